"""Each try of a delivery is kept: what was sent, what came back and why it did not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from esb.buffer import Where
from esb.errors import Malformed, Unavailable
from esb.journal.search import Tried, find
from esb.model import Tree
from esb.spi import Call
from esb.store import Kept, Pruner, again, queue, tries
from tests.esb.kit import GOOD_LOCK, Bus, silence
from tests.esb.pipeline.test_queued import DOWN, deliver, free, queued, where


async def tries_of(bus: Bus, exchange: str) -> Sequence[Tried]:
    found = await bus.store.look(lambda connection: find(connection, exchange))
    assert found is not None
    return found.tries


class Numbered:
    """Sends and gets the number of the try, which is no answer, until it is to be good."""

    def __init__(self, good_at: int = 10_000, size: int = 0) -> None:
        self.count, self.good_at, self.size = 0, good_at, size

    async def __call__(self, action: str, payload: Tree, call: Call) -> Tree:
        self.count += 1
        call.wire.sending(b"sent %d" % self.count)
        call.wire.received = b"raw %d" % self.count + b"." * self.size
        if self.count < self.good_at:
            raise Malformed("no such envelope", raw=call.wire.received)
        return GOOD_LOCK


async def until_parked(bus: Bus, exchange: str) -> None:
    for _ in range(100):
        await deliver(bus)
        if await where(bus, exchange) is Where.PARKED:
            return
        bus.clock.at += 3600
    raise AssertionError("it is not parked")


def often(times: int) -> dict[str, Any]:
    return {"slot.free": {"deliver": "queued", "retry": f"{times} over 6h"}}


async def test_each_try_is_kept_with_its_wire_and_the_last_is_the_rows_own(tmp_path: Path) -> None:
    async with queued(tmp_path, limits={"breaker": "99 in 1s"}) as bus:
        bus.his.does("Free", DOWN, Numbered(good_at=2), Numbered(good_at=1))
        accepted = await free(bus)
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 60
        kept = await tries_of(bus, accepted.exchange)
        row = await bus.row(accepted.exchange)
    assert [(one.sent, one.raw) for one in kept] == [(b"", b""), (b"sent 1", b"raw 1")]
    facts = [{name: one.facts[name] for name in ("number", "endpoint", "state", "code", "attempts")} for one in kept]
    assert facts == [
        {"number": 1, "endpoint": "his", "state": "unavailable", "code": "unavailable", "attempts": 1},
        {"number": 2, "endpoint": "his", "state": "malformed", "code": "malformed_answer", "attempts": 1},
    ]
    assert kept[0].facts["reason"] == "connection refused"
    assert "no such envelope" in kept[1].facts["reason"]
    assert kept[0].facts["at"] < kept[1].facts["at"]
    assert (row.state, row.sent, row.raw) == ("done", b"sent 1", b"raw 1")


async def test_of_many_tries_the_first_and_the_last_are_kept_and_bodies_up_to_a_bound(tmp_path: Path) -> None:
    most = tries.FIRST + tries.LAST
    async with queued(tmp_path, limits={"breaker": "99 in 1s"}, routes=often(most + 4)) as bus:
        bus.his.does("Free", Numbered(size=tries.LONGEST))
        accepted = await free(bus)
        await until_parked(bus, accepted.exchange)
        kept = await tries_of(bus, accepted.exchange)
    last = most + 5
    numbers = [*range(1, tries.FIRST + 1), *range(last - tries.LAST + 1, last + 1)]
    assert [one.facts["number"] for one in kept] == numbers
    assert [one.sent for one in kept] == [b"sent %d" % number for number in numbers]
    assert [len(one.raw) for one in kept] == [tries.LONGEST] * most
    assert kept[0].facts["raw_bytes"] == tries.LONGEST + len(b"raw 1")


async def test_what_our_own_limits_kept_back_was_no_try(tmp_path: Path) -> None:
    async with queued(tmp_path, limits={"breaker": "1 in 60s"}) as bus:
        bus.his.does("Free", DOWN)
        accepted = await free(bus)
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 1
        kept = await tries_of(bus, accepted.exchange)
    assert [one.facts["code"] for one in kept] == ["unavailable"]


async def test_a_worker_that_lost_the_message_keeps_no_try(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        accepted = await free(bus)
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        stale = replace(delivery, takes=delivery.takes - 1)
        one = tries.Try("2026", "his", "unavailable", "x", "", 1, "", "", b"s", b"r")
        assert not await bus.pipeline.buffer.later(stale, 1, "x", counts=True, tried=one)
        assert not await bus.pipeline.buffer.park(stale, "x", tried=one)
        assert await tries_of(bus, accepted.exchange) == []
        assert await bus.pipeline.buffer.later(delivery, 1, "x\0", counts=True, tried=one._replace(reason="a\0b"))
        assert [kept.facts["reason"] for kept in await tries_of(bus, accepted.exchange)] == ["a\ufffdb"]


async def test_what_was_in_doubt_and_did_not_happen_is_kept_before_it_is_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", _unanswered, GOOD_LOCK)
        bus.his.does("Find", silence())
        accepted = await bus.lock()
        await deliver(bus)
        doubtful = await bus.row(accepted.exchange)
        assert (doubtful.state, doubtful.sent, doubtful.raw) == ("unknown", b"<lock/>", b"<half")
        owner = bus.store.instance.name
        entry = await bus.store.transact(lambda one: queue.reopen(one, accepted.exchange, owner, 0, "not happened"))
        assert entry is not None
        (kept,) = await tries_of(bus, accepted.exchange)
        row = await bus.row(accepted.exchange)
    assert (kept.sent, kept.raw, kept.facts["state"]) == (b"<lock/>", b"<half", "unknown")
    assert (row.state, row.sent, row.raw) == ("accepted", b"", b"")


async def _unanswered(action: str, payload: Tree, call: Call) -> Tree:
    call.wire.sending(b"<lock/>")
    call.wire.received = b"<half"
    raise Malformed("it ends in the middle", raw=b"<half")


async def test_an_exchange_that_is_replayed_keeps_its_last_try(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", Numbered(good_at=1))
        accepted = await free(bus)
        await deliver(bus)
        await bus.store.transact(lambda one: _ended_badly(one, accepted.exchange))
        row = await bus.row(accepted.exchange)
        message = (row.id, "his", row.operation, 1, "", 0, 0, queue.LATER, 0, 0, 0, 0, False, "")
        assert await bus.store.transact(lambda one: again.accept_again(one, row, message))
        (kept,) = await tries_of(bus, accepted.exchange)
    assert (kept.facts["number"], kept.sent, kept.raw) == (1, b"sent 1", b"raw 1")


def _ended_badly(connection: sa.Connection, exchange: str) -> None:
    table = again.exchange
    connection.execute(table.update().where(table.c.id == exchange).values(state="unavailable"))


async def test_tries_go_with_their_exchange(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", Unavailable("down"), GOOD_LOCK)
        accepted, other = await free(bus, "R1"), await free(bus, "R2")
        for _ in range(2):
            await deliver(bus)
            bus.clock.at += 60
        before = await bus.store.look(_count)
        bus.clock.at += 86_400
        now_ms = int(bus.clock.now().timestamp() * 1000)
        pruner = Pruner(bus.store, bus.clock, bus.clock.sleep, now=lambda _: now_ms)
        await pruner.prune(Kept(timedelta(hours=1)))
        assert await bus.store.find(accepted.exchange) is None
        assert await bus.store.find(other.exchange) is None
        assert (before, await bus.store.look(_count)) == (1, 0)


def _count(connection: sa.Connection) -> Any:
    return connection.scalar(sa.select(sa.func.count()).select_from(tries.attempt))
