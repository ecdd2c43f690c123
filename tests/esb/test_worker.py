"""What a worker does with a message that it is given again while it has it under way: its lease had ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from esb.buffer import Delivery, Where
from esb.model import Result
from esb.worker import Line
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
