"""The embedded buffer passes the contract of all buffers; and what only it promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from esb.buffer import Message, SqlBuffer
from esb.observe import Metrics
from esb.store import Row, Store, StoreError
from tests.esb.buffer.processes import LEASE_S, Databases
from tests.esb.buffer.suite import *  # noqa: F403
from tests.esb.buffer.suite import HIS, Rig, accept, row, taken
from tests.esb.kit import FakeClock


@pytest.fixture
async def databases(url: str) -> AsyncIterator[Databases]:
    made = Databases(url)
    yield made
    await made.close()


@pytest.fixture
async def rig(databases: Databases) -> Rig:
    buffer = await databases.process()
    return Rig(buffer, databases.clock, databases.crashed, databases.state, LEASE_S)


async def test_nothing_is_accepted_when_the_store_is_closed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'esb.db'}", Metrics())
    await store.start()
    buffer = SqlBuffer(store, FakeClock())
    await buffer.start()
    await store.close()
    with pytest.raises(StoreError):
        await buffer.accept(row("E1"), Message("E1", HIS, "slot.free"))
    assert buffer.length(HIS) == 0


async def test_one_that_cannot_be_written_does_not_take_its_neighbours_with_it(rig: Rig) -> None:
    await accept(rig.buffer, "E2")

    async def offered(exchange: str) -> str:
        try:
            await rig.buffer.accept(row(exchange), Message(exchange, HIS, "slot.free"))
        except StoreError:
            return "not kept"
        return "kept"

    assert await asyncio.gather(*map(offered, ("E1", "E2", "E3"))) == ["kept", "not kept", "kept"]
    assert sorted(await taken(rig.buffer)) == ["E1", "E2", "E3"]
    assert rig.buffer.length(HIS) == 3


async def test_a_long_queue_of_one_stuck_key_costs_the_others_nothing(rig: Rig) -> None:
    """Held ones are not looked through: the statement that takes stays as quick with 5,000 of them before it."""
    names = [f"A{number}" for number in range(5000)]
    rows: list[Row] = [row(name) for name in names]
    messages = [Message(name, HIS, "slot.free", order_key="a") for name in names]
    await asyncio.gather(*(rig.buffer.accept(*one) for one in zip(rows, messages, strict=True)))
    assert await taken(rig.buffer) == ["A0"]
    await accept(rig.buffer, "B1", order_key="b")
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await taken(rig.buffer) == ["B1"]
    assert loop.time() - began < 0.1


async def test_what_comes_and_goes_while_it_is_counted_is_counted_once(databases: Databases) -> None:
    """A bound is not exceeded, nor is anything refused below it."""
    buffer, (store, *_) = await databases.process(), databases.stores
    await accept(buffer, "E1", "E2", "E3")
    one, two, _ = await buffer.take(HIS, 3)
    await accept(buffer, "E4")
    ready = threading.Event()
    held = asyncio.ensure_future(store.transact(lambda _: ready.wait(10)))
    await asyncio.sleep(0)
    works = (
        buffer.ack(one), accept(buffer, "E5"), accept(buffer, "E3"),
        buffer.measure(),
        buffer.ack(two), accept(buffer, "E6"), accept(buffer, "E7"), accept(buffer, "E4"),
    )  # fmt: skip
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.sleep(0)
    ready.set()
    found = await asyncio.gather(held, *tasks, return_exceptions=True)
    assert sum(isinstance(one, StoreError) for one in found) == 2
    assert buffer.length(HIS) == 5
    await buffer.measure()
    assert buffer.length(HIS) == 5
