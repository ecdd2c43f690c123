"""Queued delivery in doubt, after a crash, and with a store that does not take its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.buffer import Where
from esb.errors import Outcome
from esb.model import Tree
from esb.spi import Call
from esb.store import Fate, Row, State, Store, StoreError, queue
from esb.store.tables import exchange
from tests.esb.kit import ABSENT, GOOD_LOCK, Bus, FakeClock, Gate, hang, silence, until
from tests.esb.pipeline.queueing import DOWN, QUEUED, deliver, found, free, gone, queued, where


async def test_a_once_without_an_answer_is_settled_and_never_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence(), GOOD_LOCK)
        accepted = await bus.lock()
        await deliver(bus)
        row = await bus.until(accepted.exchange, "done")
        await until(lambda: gone(bus, accepted.exchange))
    assert (accepted.outcome, row.answer, bus.his.count("Lock")) == (
        Outcome.ACCEPTED,
        b'{"lockId":"L1","orderNo":"R1"}',
        1,
    )


async def test_a_once_that_did_not_happen_after_all_is_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence(), GOOD_LOCK)
        bus.his.does("Find", ABSENT)
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "accepted")
        bus.clock.at += 60
        assert await deliver(bus) == 1
        row = await bus.row(accepted.exchange)
    assert (row.state, bus.his.count("Lock"), bus.his.count("Find")) == ("done", 2, 3)


async def test_a_once_that_was_certainly_not_sent_is_tried_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", DOWN, {"Code": "3"}, GOOD_LOCK)
        accepted = await bus.lock()
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 60
        row = await bus.row(accepted.exchange)
    assert (row.state, row.attempts, bus.his.count("Find")) == ("done", 3, 0)


async def test_a_once_in_doubt_holds_its_key_until_it_is_settled(tmp_path: Path) -> None:
    routes = {"slot.lock": {**QUEUED["slot.lock"], "ordered": "$slotId"}}
    async with queued(tmp_path, routes=routes, sleep=FakeClock().sleep) as bus:
        bus.his.does("Lock", silence(), GOOD_LOCK)
        settled = Gate(GOOD_LOCK)
        bus.his.does("Find", silence(), silence(), settled)
        first, second = await bus.lock("K1"), await bus.lock("K2", "R1")
        await deliver(bus)
        await settled.entered.wait()
        assert await where(bus, second.exchange) is Where.HELD
        settled.open.set()
        await until(lambda: gone(bus, first.exchange))
        assert await deliver(bus) == 1
        assert (await found(bus, second.exchange)).outcome is Outcome.DONE


async def test_after_a_crash_what_was_sent_once_is_settled_and_what_may_be_is_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", hang)
        bus.his.does("Free", hang)
        lock, again = await bus.lock(), await free(bus)
        tasks = [bus.pipeline.deliver(one) for one in await bus.pipeline.buffer.take("his", 2)]
        async with asyncio.timeout(5):
            while len(bus.his.calls) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with queued(tmp_path) as second:
        second.his.does("Find", GOOD_LOCK)
        second.his.does("Free", GOOD_LOCK)
        second.clock.at += 61
        assert await deliver(second) == 2
        await second.until(lock.exchange, "done")
        assert (await found(second, again.exchange)).outcome is Outcome.DONE
        assert second.his.count("Lock") == 0
        assert second.his.count("Free") == 1


async def test_what_was_decided_before_a_crash_is_not_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        row = await bus.row(accepted.exchange)
        await bus.store.finish(row._replace(state=State.DONE.value, answer=b"{}"), "keep")  # type: ignore[arg-type]
        await bus.pipeline.deliver(delivery)
        assert (await where(bus, accepted.exchange), bus.his.calls) == (None, [])


async def test_a_worker_that_lost_its_lease_sends_nothing(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        await free(bus)
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        bus.clock.at += 61
        (other,) = await bus.pipeline.buffer.take("his", 1)
        await bus.pipeline.deliver(delivery)
        assert bus.his.calls == []
        await bus.pipeline.deliver(other)
        assert bus.his.count("Free") == 1


async def test_what_a_later_process_found_not_to_have_happened_it_can_also_end(tmp_path: Path) -> None:
    """I11: who had it in doubt is gone and owns it no more."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence())
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "unknown")
        owner = bus.store.instance.name
        reopened = await bus.store.transact(lambda one: queue.reopen(one, accepted.exchange, owner, 0, "not happened"))
        row = await bus.row(accepted.exchange)
    assert reopened is not None
    assert (row.state, row.owner) == ("accepted", "")


@pytest.mark.parametrize("silent", [0, 1])
async def test_the_end_that_was_settled_is_stored_before_its_message_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    """I1: between the two a crash would leave an accepted exchange that nobody delivers; settled at once, or later."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[silence()] * silent, GOOD_LOCK)
        accepted = await bus.lock()
        finish, failures = bus.store.finish_in, iter([StoreError("full")])

        def fails_once(connection: sa.Connection, row: Row, fate: Fate) -> None:
            assert queue.find(connection, row.id) is not None
            if row.state == "done" and (failure := next(failures, None)) is not None:
                raise failure
            finish(connection, row, fate)

        monkeypatch.setattr(bus.store, "finish_in", fails_once)
        await deliver(bus)
        await bus.until(accepted.exchange, "done")
        await until(lambda: gone(bus, accepted.exchange))
        assert list(failures) == []


async def test_an_end_that_was_kept_and_seemed_not_to_be_takes_its_message_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: the commit succeeds, its answer is lost, and writing it again finds it there."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence(), GOOD_LOCK)
        accepted = await bus.lock()
        finish, failures = bus.store.finish, iter([StoreError("the connection was lost")])

        async def is_lost_once(row: Row, fate: Fate) -> None:
            await finish(row, fate)
            if row.state == "done" and (failure := next(failures, None)) is not None:
                raise failure

        monkeypatch.setattr(bus.store, "finish", is_lost_once)
        await deliver(bus)
        await until(lambda: gone(bus, accepted.exchange))
        assert ((await found(bus, accepted.exchange)).outcome, list(failures)) == (Outcome.DONE, [])


@pytest.mark.parametrize("state", ["done", "accepted"])
async def test_what_nobody_settles_is_taken_up_again(tmp_path: Path, state: str) -> None:
    """I11: its process died between deciding and saying so to the queue, or before it said that it is in doubt."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[silence()] * 9)
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "unknown")
        left = exchange.update().where(exchange.c.id == accepted.exchange).values(state=state)
        await bus.store.transact(lambda one: (queue.left_settling(one), one.execute(left)))
        assert await where(bus, accepted.exchange) is Where.SETTLING
        await bus.store.transact(queue.left_settling)
        assert await where(bus, accepted.exchange) is Where.READY


async def test_the_end_of_a_delivery_is_stored_before_its_message_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: what the store refuses is offered to it again, and the message waits for that; it is sent once."""
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        finish, failures = bus.store.finish_in, iter([StoreError("full"), StoreError("full")])

        def fails_twice(connection: Any, row: Row, fate: Fate) -> None:
            assert queue.find(connection, row.id) is not None
            if (failure := next(failures, None)) is not None:
                raise failure
            finish(connection, row, fate)

        monkeypatch.setattr(bus.store, "finish_in", fails_twice)
        await deliver(bus)
        assert (await found(bus, accepted.exchange)).outcome is Outcome.DONE
        assert (await where(bus, accepted.exchange), bus.his.count("Free"), list(failures)) == (None, 1, [])


async def test_after_a_restart_only_the_one_in_doubt_is_asked_about(tmp_path: Path) -> None:
    """Not those that were given its answer."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", hang)
        accepted = await bus.lock()
        delivering = asyncio.gather(*map(bus.pipeline.deliver, await bus.pipeline.buffer.take("his", 1)))
        await bus.until(accepted.exchange, "unknown")
        again = await bus.lock()
        await delivering
    async with queued(tmp_path) as second:
        second.his.does("Find", hang)
        assert (again.outcome, again.replayed) == (Outcome.UNKNOWN, True)
        assert second.value("unknown_open") == 1


async def test_who_lost_what_it_has_in_doubt_does_not_open_it_again(tmp_path: Path) -> None:
    """I2: another took it over, found that it had not happened, and its worker is sending it now."""
    async with queued(tmp_path, sleep=FakeClock().sleep) as bus:
        last = Gate(ABSENT)
        bus.his.does("Lock", silence(), hang)
        bus.his.does("Find", silence(), silence(), last)
        exchange_id = (await bus.lock()).exchange
        await deliver(bus)
        await last.entered.wait()
        await bus.store.transact(lambda one: _reopened_by_another(one, exchange_id))
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        await bus.pipeline.buffer.sent(delivery)
        last.open.set()
        await bus.until_value("unknown_open", 0)
        assert (await where(bus, exchange_id), (await bus.row(exchange_id)).state) == (Where.TAKEN, "accepted")
        assert await bus.pipeline.buffer.park(delivery, "it is with this worker still")


def _reopened_by_another(connection: sa.Connection, exchange_id: str) -> None:
    theirs = exchange.update().where(exchange.c.id == exchange_id).values(owner="instance/other")
    connection.execute(theirs)
    assert queue.reopen(connection, exchange_id, "instance/other", 0, "it did not happen") is not None


async def test_who_lost_the_message_does_not_say_that_it_is_in_doubt(tmp_path: Path) -> None:
    """I2: what it would ask about is being sent by another worker."""
    async with queued(tmp_path, sleep=FakeClock().sleep) as bus:
        first = Unanswered()
        bus.his.does("Lock", first)
        bus.his.does("Find", ABSENT)
        exchange_id = (await bus.lock()).exchange
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        task = bus.pipeline.deliver(delivery)
        await first.entered.wait()
        await bus.store.transact(lambda one: one.execute(queue.queue.update().values(takes=2)))
        first.open.set()
        await task
        assert (await where(bus, exchange_id), (await bus.row(exchange_id)).state) == (Where.TAKEN, "accepted")
        assert bus.value("unknown_open") == 0


class Unanswered(Gate):
    """When it is opened there is no answer."""

    def __init__(self) -> None:
        super().__init__({})

    async def __call__(self, action: str, payload: Tree, call: Call) -> Tree:
        await super().__call__(action, payload, call)
        raise silence()


async def test_what_is_opened_again_is_not_in_doubt_once_more_when_that_is_written_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: nobody would ask about it."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", hang)
        exchange_id = (await bus.lock()).exchange
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        await bus.pipeline.buffer.sent(delivery)
        doubtful = (await bus.row(exchange_id))._replace(state="unknown")
        assert await bus.pipeline.buffer.finish(delivery, doubtful, Fate.KEEP)
        assert await bus.pipeline.buffer.settling(delivery)
    finish, is_away, failed = Store.finish, True, asyncio.Event()

    async def fails(store: Store, row: Row, fate: Fate) -> None:
        if is_away and row.id == exchange_id:
            failed.set()
            raise StoreError("away")
        await finish(store, row, fate)

    monkeypatch.setattr(Store, "finish", fails)
    async with queued(tmp_path, sleep=FakeClock().sleep) as second:
        second.his.does("Find", ABSENT)
        await failed.wait()
        await deliver(second)
        await until(lambda: _asked(second, 2))
        is_away = False
        await until(lambda: _is(second, exchange_id, Where.LATER))
        await second.until_value("unknown_open", 0)
        await second.pipeline._journal.written(exchange_id)
        assert (await second.row(exchange_id)).state == "accepted"


async def _asked(bus: Bus, times: int) -> bool:
    return bus.his.count("Find") >= times


async def _is(bus: Bus, exchange_id: str, wanted: Where) -> bool:
    return await where(bus, exchange_id) is wanted
