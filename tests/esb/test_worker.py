"""What a worker does with a message that it is given again while it has it under way: its lease had ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from esb.buffer import Delivery, Where
from esb.model import Result
from esb.store import StoreError
from esb.worker import Line, Worker
from tests.esb.kit import GOOD_LOCK, Bus, Gate, running, until

LEASE_S = 61


class Site:
    """A bus whose system does not answer yet, and two lines of a worker: of its queue, and of what is over its time."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.buffer = bus, bus.pipeline.buffer
        here: dict[str, Delivery] = {}
        self.line = Line("his", 4, here, bus.pipeline, self.buffer, bus.clock)
        self.overdue = Line("", 4, here, bus.pipeline, self.buffer, bus.clock)
        self.answer = Gate(GOOD_LOCK)
        bus.his.does("Free", self.answer, GOOD_LOCK)

    async def begun(self) -> Result:
        """One that was sent, and whose lease ends."""
        accepted = await self.bus.ask("slot.free", {"orderNo": "R1"}, None)
        await self.line.begin(await self.buffer.take("his", 1))
        await self.answer.entered.wait()
        self.bus.clock.at += LEASE_S
        return accepted

    async def ended(self, exchange: str) -> str:
        async def gone() -> bool:
            return await self.buffer.find(exchange) is None

        self.answer.open.set()
        await until(gone)
        return (await self.bus.row(exchange)).state


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    routes = {"slot.free": {"deliver": "queued", "retry": "3 over 30s", "ttl": "30s", "timeout": "10m"}}
    async with running(tmp_path, routes=routes) as bus:
        made = Site(bus)
        yield made
        made.answer.open.set()


async def test_what_it_took_again_it_acknowledges_by_the_newer_receipt(site: Site) -> None:
    """I3: else it would be sent once more when that lease ends too."""
    accepted = await site.begun()
    await site.line.begin(await site.buffer.take("his", 1))
    assert site.line.free == 3
    assert await site.ended(accepted.exchange) == "done"
    assert site.bus.his.count("Free") == 1


async def test_what_is_over_its_time_meanwhile_ends_as_its_answer_says(site: Site) -> None:
    accepted = await site.begun()
    assert await site.buffer.take("other", 1) == []  # gives back what has no lease any more
    over = await site.buffer.expired(10)
    assert [one.message.id for one in over] == [accepted.exchange]
    await site.overdue.begin(over)
    assert await site.ended(accepted.exchange) == "done"
    assert site.bus.his.count("Free") == 1


async def test_what_another_had_between_waits_until_the_first_try_has_ended(site: Site) -> None:
    """What the other one did is not known here: the first may not end it."""
    accepted = await site.begun()
    (others,) = await site.buffer.take("his", 1)
    site.bus.clock.at += LEASE_S
    await site.line.begin(await site.buffer.take("his", 1))
    entry = await site.buffer.find(accepted.exchange)
    assert entry is not None
    assert entry.where is Where.LATER
    assert not await site.buffer.ack(others)


async def test_more_places_are_used_while_those_there_were_are_taken(site: Site) -> None:
    """A reload that widens a system's limits is for just that: calls that hang."""
    site.bus.his.does("Free", site.answer)
    line = Line("his", 1, {}, site.bus.pipeline, site.buffer, site.bus.clock)
    for order in ("R1", "R2"):
        await site.bus.ask("slot.free", {"orderNo": order}, None)
    line.start()
    await site.answer.entered.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    line.widen(2)
    await until(lambda: _called(site, 2))
    site.answer.open.set()
    await line.stop()


async def _called(site: Site, times: int) -> bool:
    return site.bus.his.count("Free") == times


async def test_leases_are_renewed_whatever_fails_beside_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = asyncio.Event()

    async def fails() -> None:
        raise StoreError("a lock was not given")

    async def renew(deliveries: object) -> None:
        renewed.set()

    monkeypatch.setattr(site.bus.pipeline, "route_queues", fails)
    monkeypatch.setattr(site.buffer, "renew", renew)
    task = asyncio.create_task(Worker(site.bus.pipeline, site.bus.clock, site.bus.metrics).run())
    async with asyncio.timeout(5):
        await renewed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
