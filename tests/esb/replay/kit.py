"""A store with exchanges in every state, as a bus left them, and the demo hospital's configuration."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from esb.buffer import Message, SqlBuffer
from esb.clock import Ids, SystemClock
from esb.lint import Plan
from esb.observe import Metrics
from esb.pipeline.parts import canonical
from esb.store import Row, Store
from tests.esb.configured import Configured

UNLOCK = "registration.unlock"
LOCK = "registration.lock"
LOCK_REQUEST: dict[str, Any] = {
    "orderNo": "R1",
    "patientId": "P0000001",
    "fee": 2500,
    "slot": {
        "slotId": "S1",
        "scheduleId": "R1",
        "departmentId": "010101",
        "doctorId": "D001",
        "start": "2026-01-16T08:30:00+08:00",
        "end": "2026-01-16T09:00:00+08:00",
    },
}


class Hospital:
    """``ended`` journals an exchange that has ended, ``parked`` one that waits for a person; both give the id."""

    def __init__(self, store: Store, url: str, plan: Plan) -> None:
        self.store, self.url, self.plan = store, url, plan
        self.clock = SystemClock()
        self.buffer = SqlBuffer(store, self.clock)
        self._ids = Ids(self.clock)

    def row(self, operation: str, request: dict[str, Any] | None = None, **values: Any) -> Row:
        request = request or ({"orderNo": "R1"} if operation == UNLOCK else LOCK_REQUEST)
        effect = (
            self.plan.contract.operations[operation].effect.value if operation in self.plan.mappings else "idempotent"
        )
        id_, body = self._ids.new(), canonical(request)
        received = self.clock.now().isoformat(timespec="seconds")
        facts = {"key": id_, "fingerprint": b"", **values}
        if facts["key"] != id_:
            facts["fingerprint"] = hashlib.sha256(body).digest()
        base = dict.fromkeys(Row._fields, "") | {
            "fingerprint": b"",
            "sent": b"",
            "raw": b"",
            "answer": b"",
            "attempts": 0,
        }
        return Row(**{
            **base, "id": id_, "operation": operation, "endpoint": "his", "effect": effect, "state": "received",
            "principal": "app", "received": received, "timings": "{}", "request": body, **facts,
        })  # fmt: skip

    async def ended(self, operation: str, state: str, fate: Any = None, **values: Any) -> str:
        from esb.store import Fate

        row = self.row(operation, **values)
        opened = row._replace(state="received")
        assert await self.store.open(opened) is None
        finished = self.clock.now().isoformat(timespec="milliseconds")
        await self.store.finish(row._replace(state=state, finished=finished), fate or Fate.KEEP)
        return row.id

    async def parked(self, operation: str, reason: str = "unavailable: refused", order: str = "", **values: Any) -> str:
        row = self.row(operation, state="accepted", **values)
        now = int(self.clock.now().timestamp() * 1000)
        await self.buffer.accept(row, Message(row.id, "his", operation, 1, order, now))
        for delivery in await self.buffer.take("his", 1000):
            assert await self.buffer.park(delivery, reason)
        return row.id


@asynccontextmanager
async def hospital(folder: Path, url: str = "") -> AsyncIterator[Hospital]:
    """With its store open, as by a bus that runs: a file in ``folder``, or what ``url`` names."""
    url = url or f"sqlite:///{folder / 'esb.db'}"
    (folder / "configured").mkdir()
    plan = Configured(folder / "configured").load()
    store = Store(url, Metrics(), linger_s=0.001)
    await store.start()
    made = Hospital(store, url, plan)
    await made.buffer.start()
    try:
        yield made
    finally:
        await store.close()
