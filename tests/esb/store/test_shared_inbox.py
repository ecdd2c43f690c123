"""What two processes on PostgreSQL are told at once: each message kept once, positions seen in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from esb.observe import Metrics
from esb.store import Arrival, Settled, Store, Taken
from esb.store.inbox import inbox
from tests import postgres


@pytest.fixture
async def stores() -> AsyncIterator[list[Store]]:
    with postgres.database() as url:
        made = [Store(url, Metrics(), linger_s=0.001) for _ in range(2)]
        for one in made:
            await one.start()
        yield made
        for one in made:
            await one.close()


def arrival(control: str, sequence: int = -1, digest: bytes = b"d", state: Taken = Taken.EVENT) -> Arrival:
    texts = dict.fromkeys(Arrival._fields, "")
    values = {
        "id": control,
        "endpoint": "his",
        "sender": "S",
        "control": control,
        "received": "2026-01-15T09:30:00+08:00",
    }
    blobs = {"digest": digest, "raw": b"MSH|" + control.encode(), "body": b"{}", "answer": b"AA " + control.encode()}
    return Arrival(**{**texts, **values, **blobs, "sequence": sequence, "state": str(state), "event": "e"})


def keep(store: Store, one: Arrival) -> asyncio.Future[Settled]:
    return store.receive(one, "", lambda: one._replace(state=str(Taken.CONFLICT), control=""))


async def test_a_message_that_comes_to_both_is_kept_once_and_answered_alike(stores: list[Store]) -> None:
    names = [f"M{number:03}" for number in range(60)]
    settled = await asyncio.gather(*(keep(store, arrival(name)) for name in names for store in stores))
    assert sum(one.is_repeat for one in settled) == 60
    assert sorted(one.answer for one in settled) == sorted([b"AA " + name.encode() for name in names] * 2)
    told = await stores[0].events(0, 1000)
    assert [one.position for one in told] == list(range(1, 61))
    assert sorted(one.control for one in told) == names


async def test_who_reads_behind_a_position_misses_nothing_while_both_write(stores: list[Store]) -> None:
    """A row that is committed later must not stand before one that was seen."""
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 80:
            seen.extend(one.position for one in await stores[0].events(seen[-1] if seen else 0, 1000))

    async def write(number: int, store: Store) -> None:
        for at in range(40):
            await keep(store, arrival(f"{number}-{at}"))

    async with asyncio.timeout(60):
        await asyncio.gather(read(), *(write(*one) for one in enumerate(stores)))
    assert seen == list(range(1, 81))


async def test_another_message_with_an_id_that_the_other_process_kept_is_a_conflict(stores: list[Store]) -> None:
    first, second = stores
    assert not (await keep(first, arrival("M1"))).is_repeat
    assert (await keep(second, arrival("M1"))).is_repeat
    assert (await keep(second, arrival("M1", digest=b"other"))).state is Taken.CONFLICT


async def test_a_parked_message_is_tried_again_by_whoever_gets_it_next(stores: list[Store]) -> None:
    first, second = stores
    await keep(first, arrival("M1", state=Taken.PARKED))
    assert await second.events(0) == []
    assert (await keep(second, arrival("M1"))).state is Taken.EVENT
    assert [one.control for one in await first.events(0)] == ["M1"]
    states = [one.state for _, one in await first.arrivals()]
    assert states == [str(Taken.EVENT), str(Taken.SUPERSEDED)]


async def test_the_repeat_of_a_damaged_row_is_kept_anew_and_the_row_stays(stores: list[Store]) -> None:
    """Or its sender would be answered AE for ever. Neighbours in the batch are none the worse."""
    await keep(stores[0], arrival("M1"))
    damage = inbox.update().values(content=b"\1 no longer packed")
    await stores[0].transact(lambda one: one.execute(damage).rowcount)
    settled = await asyncio.gather(*(keep(stores[1], arrival(name)) for name in ("M1", "M2", "M1")))
    assert [(one.answer, one.is_repeat) for one in settled] == [(b"AA M1", False), (b"AA M2", False), (b"AA M1", True)]
    assert [(one.position, one.control) for one in await stores[0].events(0)] == [(1, "M1"), (2, "M1"), (3, "M2")]
