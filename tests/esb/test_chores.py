"""S26: how the audit ends is told to the log every day, where whoever owns the store cannot change it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import structlog

from esb import audit
from esb.chores import Chores
from esb.clock import SHANGHAI
from esb.observe import Metrics
from esb.pipeline import Pipeline
from esb.store import Store
from tests.esb.kit import FakeClock


async def test_every_day_the_log_is_told_how_the_audit_ends_by_one_of_the_processes(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), linger_s=0.001)
    await store.start()
    clock, told = FakeClock(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if clock.slept.count(seconds) * seconds > 86_400:
            told.set()
            await asyncio.Event().wait()
        if not clock.slept:
            act = audit.Act(datetime(2026, 1, 15, 12, tzinfo=SHANGHAI), "li", "unmask", "E1", "complaint")
            await store.transact(lambda connection: audit.write(connection, act))
        await clock.sleep(seconds)

    async def day() -> list[Any]:
        """What a process tells that begins now."""
        # It does not touch the pipeline.
        chores = Chores(store, cast(Pipeline, None), clock, timedelta(days=1), sleep)
        with structlog.testing.capture_logs() as logs:
            task = asyncio.create_task(chores.anchor())
            async with asyncio.timeout(5):
                await told.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return [audit.Anchor(one["day"], one["seq"], one["hash"]) for one in logs if one["event"] == "audit_anchor"]

    kept = await day()
    assert [(one.day, one.seq) for one in kept] == [("2026-01-15", 0), ("2026-01-16", 1)]
    assert await store.look(lambda connection: audit.verify(connection, kept)) == audit.Verified(1)
    store.instance.name = "another"
    clock.slept.clear()
    told.clear()
    assert await day() == []
    await store.close()
