"""A store with rows in it, on either database, and the command line on it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from esb.clock import Ids
from esb.store import Row
from esb.store.effects import stored
from esb.store.tables import exchange
from tests.esb.kit import FakeClock

CLOCK = FakeClock()
IDS = Ids(CLOCK)
KEY = "ab" * 32


def row(**more: Any) -> Row:
    """A read of the sandbox's registration that went well, a second after the one before it."""
    CLOCK.at += 1
    usual = {
        "id": IDS.new(), "operation": "report.list", "endpoint": "lis", "effect": "read", "state": "done",
        "received": CLOCK.now().isoformat(timespec="seconds"),
        "finished": CLOCK.now().isoformat(timespec="milliseconds"),
        "timings": '{"map":0.100,"call":12.000,"total":12.500}', "attempts": 1, "principal": "app",
        "mapping": "mappings/lis/report.list.yaml@0123", "version": "0123456789ab",
        "request": b'{"patientId":"P0000001"}', "sent": b'{"patient":"P0000001"}', "raw": b'{"entry":[]}',
        "answer": b'{"items":[]}',
    }  # fmt: skip
    texts: dict[str, Any] = dict.fromkeys(Row._fields, "")
    made = Row(**{**texts, "fingerprint": b"", **usual, **more})
    return made if made.key else made._replace(key=made.id)


def put(engine: sa.Engine, *rows: Row) -> None:
    with engine.begin() as connection:
        connection.execute(exchange.insert(), [stored(one) for one in rows])
