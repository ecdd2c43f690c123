"""Accepting, written the usual way: FastAPI, a row and a commit for each request, pika's blocking confirm for each.

``python -m bench.baselines.accept_usual PORT STORE [BROKER]``. STORE is a file of SQLite or postgresql://...; each
thread of FastAPI's pool has connections of its own. It checks nothing and looks for no key.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from typing import Any

import pika
import psycopg
import uvicorn
from fastapi import FastAPI, Header

_TABLE = "CREATE TABLE IF NOT EXISTS accepted (path TEXT, key TEXT)"
_QUEUE = "accepted_usual"


class Own(threading.local):
    """A thread's connections."""

    def __init__(self, store: str, broker: str) -> None:
        self.is_file = not store.startswith("postgresql:")
        self.store: Any = sqlite3.connect(store, timeout=30) if self.is_file else psycopg.connect(store)
        if self.is_file:
            self.store.execute("PRAGMA journal_mode=WAL")
            self.store.execute("PRAGMA synchronous=FULL")
        self.channel = self._channel(broker) if broker else None

    def _channel(self, broker: str) -> Any:
        channel = pika.BlockingConnection(pika.URLParameters(broker)).channel()
        channel.queue_declare(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        return channel

    def accept(self, path: str, key: str) -> None:
        places = "?, ?" if self.is_file else "%s, %s"
        self.store.execute(f"INSERT INTO accepted (path, key) VALUES ({places})", (path, key))
        self.store.commit()
        if self.channel is not None:
            self.channel.basic_publish("", _QUEUE, key.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)


def build(store: str, broker: str) -> FastAPI:
    app, own = FastAPI(), Own(store, broker)
    own.store.execute(_TABLE)
    own.store.commit()

    @app.delete("/v1/registrations/locks/{order}", status_code=202)
    def unlock(order: str, idempotency_key: str = Header()) -> dict[str, str]:
        own.accept(order, idempotency_key)
        return {"outcome": "accepted"}

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {}

    return app


if __name__ == "__main__":
    app = build(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
    uvicorn.Server(uvicorn.Config(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error")).run()
