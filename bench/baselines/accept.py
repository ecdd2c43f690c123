"""The floor of accepting: raw ASGI, one table, one thread that commits whatever has gathered, 202.

``python -m bench.baselines.accept PORT FILE``. It checks nothing and journals nothing but the bytes of path and key.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections import deque
from typing import Any

import uvicorn


class Floor:
    def __init__(self, file: str) -> None:
        self.file = file
        self.waiting: deque[tuple[bytes, bytes, asyncio.Future[None]]] = deque()
        self.some = threading.Event()

    def write(self, loop: asyncio.AbstractEventLoop) -> None:
        database = sqlite3.connect(self.file)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
            database.execute(statement)
        database.execute("CREATE TABLE accepted (id INTEGER PRIMARY KEY, path BLOB, key BLOB)")
        while True:
            self.some.wait()
            self.some.clear()
            batch = [self.waiting.popleft() for _ in range(len(self.waiting))]
            database.executemany("INSERT INTO accepted (path, key) VALUES (?, ?)", [one[:2] for one in batch])
            database.commit()
            loop.call_soon_threadsafe(self.tell, [one[2] for one in batch])

    def tell(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            threading.Thread(target=self.write, args=(asyncio.get_running_loop(),), daemon=True).start()
            await send({"type": "lifespan.startup.complete"})
            print("ready", flush=True)
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((scope["raw_path"], dict(scope["headers"]).get(b"idempotency-key", b""), future))
        self.some.set()
        await future
        body = b'{"outcome":"accepted"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    config = uvicorn.Config(
        Floor(sys.argv[2]), port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error"
    )
    uvicorn.Server(config).run()
