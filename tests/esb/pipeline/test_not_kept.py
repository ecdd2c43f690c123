"""The store took an exchange and its answer was lost: what the caller is told, and what becomes of the exchange."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from esb.errors import Outcome
from esb.store import Row, StoreError, Unsettled
from tests.esb.kit import GOOD_LOCK, Bus, until
from tests.esb.pipeline.queueing import deliver, found, free, queued


async def test_who_was_told_that_nothing_was_kept_sees_no_effect_of_it_though_a_worker_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13, I2: the answer to the commit is lost, and the message is taken before it can be taken back."""
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        buffer, taken = bus.pipeline.buffer, []
        accept = buffer.accept

        async def committed_and_lost(row: Row, message: Any) -> Any:
            await accept(row, message)
            taken.extend(await buffer.take("his", 1))
            raise StoreError("the connection was lost")

        monkeypatch.setattr(buffer, "accept", committed_and_lost)
        first = await free(bus, key="K1")
        monkeypatch.undo()
        early = await free(bus, key="K1")
        await asyncio.gather(*map(bus.pipeline.deliver, taken))
        assert (len(taken), bus.his.calls) == (1, [])
        ended = await found(bus, first.exchange)
        again = await free(bus, key="K1")
        await deliver(bus)
        assert (await found(bus, again.exchange)).outcome is Outcome.DONE
    assert {(one.outcome, one.code) for one in (first, early, ended)} == {(Outcome.UNAVAILABLE, "store_unavailable")}
    assert (again.outcome, bus.his.count("Free")) == (Outcome.ACCEPTED, 1)


def losing_answers(bus: Bus, monkeypatch: pytest.MonkeyPatch, is_made: bool) -> None:
    """The commit of what is accepted is made or not, and the database does not say which."""
    accept = bus.pipeline.buffer.accept

    async def lost(row: Row, message: Any) -> Any:
        if is_made:
            await accept(row, message)
        raise Unsettled("the database went away during a commit and did not come back")

    monkeypatch.setattr(bus.pipeline.buffer, "accept", lost)


async def test_a_once_that_may_have_been_accepted_is_unknown_and_its_key_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: another process may deliver it, so nobody may be told that nothing was kept."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        losing_answers(bus, monkeypatch, is_made=True)
        first = await bus.lock()
        monkeypatch.undo()
        await until(lambda: asyncio.sleep(0, not bus.pipeline._journal._finding_out))
        again = await bus.lock()
        await deliver(bus)
        assert (await found(bus, first.exchange)).outcome is Outcome.DONE
    assert (first.outcome, first.code) == (Outcome.UNKNOWN, "outcome_unknown")
    assert (again.outcome, again.exchange, again.replayed) == (Outcome.ACCEPTED, first.exchange, True)
    assert bus.his.count("Lock") == 1


async def test_a_once_that_was_not_accepted_after_all_ends_as_such_and_its_key_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        losing_answers(bus, monkeypatch, is_made=False)
        first = await bus.lock()
        monkeypatch.undo()
        ended = await until(lambda: bus.pipeline.find(first.exchange))
        again = await bus.lock()
        await deliver(bus)
        assert (await found(bus, again.exchange)).outcome is Outcome.DONE
    assert first.outcome is Outcome.UNKNOWN
    assert (ended.outcome, ended.code) == (Outcome.UNAVAILABLE, "store_unavailable")
    assert again.exchange != first.exchange
    assert bus.his.count("Lock") == 1


async def test_an_idempotent_that_may_have_been_accepted_may_be_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queued(tmp_path) as bus:
        losing_answers(bus, monkeypatch, is_made=True)
        first = await free(bus, key="K1")
        monkeypatch.undo()
        again = await free(bus, key="K1")
    assert (first.outcome, first.code) == (Outcome.UNAVAILABLE, "outcome_unknown")
    assert (again.outcome, again.exchange) == (Outcome.ACCEPTED, first.exchange)


async def test_a_direct_one_was_not_sent_and_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its own process would send it, and that does not."""
    async with queued(tmp_path, routes={"slot.lock": {"settle": "slot.find"}}) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        opening = bus.store.open

        async def lost(row: Row) -> Any:
            await opening(row)
            raise Unsettled("the database went away during a commit and did not come back")

        monkeypatch.setattr(bus.store, "open", lost)
        first = await bus.lock()
        monkeypatch.undo()
        await until(lambda: asyncio.sleep(0, not bus.pipeline._journal._unsure))
        assert (await bus.lock()).outcome is Outcome.DONE
    assert (first.outcome, first.code, bus.his.count("Lock")) == (Outcome.UNAVAILABLE, "store_unavailable", 1)
