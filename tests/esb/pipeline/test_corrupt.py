"""A broken row of the journal stops neither the start nor any other exchange."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from esb.errors import Outcome
from esb.store.bodies import CorruptError
from tests.esb.kit import GOOD_LIST, FakeClock, running, silence

BREAKS = {
    "a body that does not unpack": "UPDATE exchange SET request = x'01ffff' WHERE operation = 'slot.lock'",
    "a request that is no JSON": "UPDATE exchange SET request = x'007b5d' WHERE operation = 'slot.lock'",
    "a state that there is not": "UPDATE exchange SET state = 'exploded' WHERE operation = 'slot.lock'",
    "a text that is not UTF-8": "UPDATE exchange SET reason = CAST(x'ff41fe' AS TEXT)",
    "an effect that there is not": "UPDATE exchange SET effect = 'twice' WHERE operation = 'slot.lock'",
}


@pytest.mark.parametrize("kind", BREAKS)
async def test_a_bus_starts_and_serves_whatever_is_broken_in_a_row_it_left_in_doubt(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path, sleep=hang_for_ever) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence())
        assert (await bus.lock()).outcome is Outcome.UNKNOWN
    with closing(sqlite3.connect(tmp_path / "esb.db")) as database, database:
        assert database.execute(BREAKS[kind]).rowcount
    with structlog.testing.capture_logs() as logs:
        async with running(tmp_path, clock=FakeClock(), sleep=hang_for_ever) as bus:
            bus.his.does("List", GOOD_LIST)
            assert (await bus.ask("slot.list", {"doctorId": "D1"})).outcome is Outcome.DONE
            if kind == "a request that is no JSON":
                await bus.until_value("unknown_open", 0)
    told = {one["event"] for one in logs if one["log_level"] == "error"}
    if kind == "a body that does not unpack":
        assert "journal_row_corrupt" in told
    if kind == "a request that is no JSON":
        assert "exchange_left_unknown" in told


async def test_a_row_that_cannot_be_read_is_not_answered_for(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", GOOD_LIST)
        done = await bus.ask("slot.list", {"doctorId": "D1"}, "K1")
        with closing(sqlite3.connect(tmp_path / "esb.db")) as database, database:
            database.execute("UPDATE exchange SET answer = x'01ffff'")
        with pytest.raises(CorruptError):
            await bus.pipeline.find(done.exchange)


async def hang_for_ever(_: float) -> None:
    await asyncio.Event().wait()
