"""Several processes take from one queue on PostgreSQL: each message once, an order kept over all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from esb.buffer import Lost, Message, SqlBuffer, Where
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Fate, Store, queue, relaying
from tests import postgres
from tests.esb.buffer.processes import LEASE_S, Databases
from tests.esb.buffer.suite import HIS, LIS, accept, row, taken, where


@pytest.fixture
async def databases() -> AsyncIterator[Databases]:
    with postgres.database() as url:
        made = Databases(url)
        yield made
        await made.close()


async def test_two_processes_at_once_take_every_message_once(databases: Databases) -> None:
    first, second = await databases.process(), await databases.process()
    names = [f"E{number:03}" for number in range(200)]
    await asyncio.gather(*(accept(buffer, name) for name, buffer in zip(names, [first, second] * 100, strict=True)))
    seen: list[str] = []

    async def empty(buffer: SqlBuffer) -> None:
        while some := await buffer.take(HIS, 7):
            seen.extend(one.message.id for one in some)
            assert all([await buffer.ack(one) for one in some])

    await asyncio.gather(empty(first), empty(second))
    assert sorted(seen) == names
    assert await first.counts() == {}


async def test_a_key_that_two_processes_are_given_at_once_is_taken_by_one(databases: Databases) -> None:
    buffers = [await databases.process(), await databases.process()]
    offered = [
        buffer.accept(row(f"E{at}{number}", f"K{at}"), Message(f"E{at}{number}", HIS, "slot.free"))
        for at in range(50)
        for number, buffer in enumerate(buffers)
    ]
    answers = await asyncio.gather(*offered)
    assert sum(earlier is None for earlier in answers) == 50
    assert {earlier.same for earlier in answers if earlier} == {True}
    assert len(await buffers[0].list(most=1000)) == 50


async def test_a_key_that_another_process_is_just_taking_is_told_once_that_has_it(databases: Databases) -> None:
    """Alone in its transaction the second finds the key free, waits at its row and then knows better."""
    first, second = await databases.process(), await databases.process()
    for at in range(20):
        earlier = await asyncio.gather(
            *(one.accept(row(f"E{at}{who}", f"K{at}"), Message(f"E{at}{who}", HIS, "slot.free"))
              for who, one in enumerate((first, second)))
        )  # fmt: skip
        assert sorted(one is None for one in earlier) == [False, True]


async def test_when_the_lease_of_one_ends_the_other_takes_and_the_first_can_do_nothing(databases: Databases) -> None:
    first, second = await databases.process(), await databases.process()
    await accept(first, "E1")
    (held,) = await first.take(HIS, 1)
    assert await taken(second) == []
    databases.clock.at += LEASE_S + 1
    (again,) = await second.take(HIS, 1)
    assert (again.message.id, again.lost) == ("E1", 1)
    with pytest.raises(Lost):
        await first.sent(held)
    assert not await first.finish(held, row("E1")._replace(state="done"), Fate.KEEP)
    assert not await first.ack(held)
    assert await databases.state("E1") == "accepted"
    assert await second.finish(again, row("E1")._replace(state="done"), Fate.KEEP)
    assert await second.ack(again)
    assert await databases.state("E1") == "done"


async def test_an_order_is_kept_over_two_processes_that_accept_and_acknowledge_at_once(databases: Databases) -> None:
    """I5: one under way for each key at any time, in the order of acceptance, and none is left held."""
    buffers = [await databases.process(), await databases.process()]
    order: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    under_way = dict.fromkeys(order, 0)

    async def offer(buffer: SqlBuffer, number: int) -> None:
        for at in range(15):
            key = "abc"[at % 3]
            name = f"{key}{number}{at:02}"
            await accept(buffer, name, order_key=key)

    async def work(buffer: SqlBuffer) -> None:
        while sum(map(len, order.values())) < 30:
            for one in await buffer.take(HIS, 2):
                key = one.message.order_key
                under_way[key] += 1
                assert under_way[key] == 1
                order[key].append(one.message.id)
                await asyncio.sleep(0)
                under_way[key] -= 1
                assert await buffer.ack(one)
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(offer(one, at) for at, one in enumerate(buffers)), *map(work, buffers))
    for key, names in order.items():
        for number in range(2):
            mine = [name for name in names if name[1] == str(number)]
            assert mine == sorted(mine), key
    assert await buffers[0].counts() == {}


async def test_what_moves_to_another_queue_does_so_while_others_work(databases: Databases) -> None:
    first, second = await databases.process(), await databases.process()
    await accept(first, "A1", "A2", order_key="a")
    (held,) = await second.take(HIS, 1)
    await asyncio.gather(first.route({"slot.free": LIS}), second.route({"slot.free": LIS}))
    assert await where(first, "A2") is Where.READY
    assert await second.ack(held)
    assert await taken(first, endpoint=LIS) == ["A2"]


async def test_processes_that_need_the_same_keys_in_another_order_do_not_lock_each_other_out(
    databases: Databases,
) -> None:
    """F14: a deadlock is found by the server after a second; there is none."""
    first, second = await databases.process(), await databases.process()
    again: list[float] = []
    for store in databases.stores:
        store._writer.commits._sleep = again.append  # type: ignore[attr-defined]
    await accept(first, "A1", order_key="a")
    await accept(first, "B1", order_key="b")
    a1, b1 = await first.take(HIS, 2)
    inside = [threading.Event(), threading.Event()]

    def between(me: int) -> Any:
        """Both are in the middle of their transactions, if they can be at once."""
        inside[me].set()
        inside[1 - me].wait(0.5)

    async def together(at: int, *works: Any) -> None:
        """In one transaction, for the thread that writes is held up until all of them wait for it."""
        store, ready = databases.stores[at], threading.Event()
        held = asyncio.ensure_future(store.transact(lambda _: ready.wait(10)))
        some = [asyncio.ensure_future(one) for one in (works[0], store.transact(lambda _: between(at)), works[1])]
        await asyncio.sleep(0)
        ready.set()
        await asyncio.gather(held, *some)

    await asyncio.gather(
        together(0, first.ack(a1), first.ack(b1)),
        together(1, accept(second, "B2", order_key="b"), accept(second, "A2", order_key="a")),
    )
    assert again == []
    assert sorted(await taken(second)) == ["A2", "B2"]


async def test_an_outage_longer_than_a_lease_takes_no_message_from_a_living_worker() -> None:
    """I10: none could renew its leases meanwhile; who was dead already is found out a lease later."""
    with postgres.database() as url:
        stores = [Store(url, Metrics(), linger_s=0.001, lease_s=30.0) for _ in range(2)]
        first, second = (SqlBuffer(one, SystemClock()) for one in stores)
        for store, buffer in zip(stores, (first, second), strict=True):
            await store.start()
            await buffer.start()
        try:
            await accept(first, "E1")
            (held,) = await first.take(HIS, 1)
            over = queue.queue.update().values(due=1)
            await stores[0].transact(lambda one: one.execute(over))
            ago = stores[1].instance.now() - 31.0
            away = stores[1].instance
            away._since = away._last = ago
            assert await taken(second) == []
            assert await stores[1].look(lambda one: queue.next_due(one, HIS, judges=False)) is None
            assert await stores[1].transact(_claimed) == []
            await first.sent(held)
            away._since = ago
            assert await taken(second) == ["E1"]
        finally:
            for store in stores:
                await store.close()


def _claimed(connection: sa.Connection) -> list[queue.Queued]:
    """What a worker gets that works with a broker and may not judge."""
    relaying.come_due(connection, 2, 2, judges=False)
    return relaying.claim(connection, ["E1"], HIS, 2, 3, judges=False).taken
