"""Processes on one PostgreSQL database hear of each other's work at once, and miss nothing for good."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from esb.buffer import Message, SqlBuffer
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Store
from tests import postgres
from tests.esb.store.test_store import claim

LISTENS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
Heard = Callable[[str], Any]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as made:
        yield made


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[Store]]:
    made = [Store(url, Metrics(), linger_s=0.001) for _ in range(2)]
    for one in made:
        await one.start()
    async with asyncio.timeout(20):
        while len(await asyncio.to_thread(listeners, url)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    yield made
    for one in made:
        await one.close()


def listeners(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [pid for (pid,) in connection.execute(LISTENS)]


class Ear:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()
        self._new = asyncio.Event()

    def __call__(self, name: str) -> None:
        self.heard[name] += 1
        self._new.set()

    async def hears(self, name: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.heard[name] < times:
                self._new.clear()
                await self._new.wait()


async def test_a_worker_of_another_process_is_woken_by_what_is_accepted(stores: list[Store]) -> None:
    here, there = (SqlBuffer(one, SystemClock()) for one in stores)
    await here.start()
    await there.start()
    waiting = asyncio.create_task(there.wait("his", 600))
    await asyncio.sleep(0)
    row = claim(state="accepted")
    assert await here.accept(row, Message(row.id, "his", "op")) is None
    async with asyncio.timeout(20):
        await waiting
    assert [one.message.id for one in await there.take("his", 1)] == [row.id]


async def test_the_others_hear_a_topic_and_who_told_it_does_not(stores: list[Store]) -> None:
    mine, other, events = Ear(), Ear(), Ear()
    here, there = stores
    here.news.hear("queue", mine)
    there.news.hear("queue", other)
    there.news.hear("event", events)
    here.news.tell("queue", "his")
    await other.hears("his")
    there.news.tell("queue", "lis")
    await mine.hears("lis")
    assert (mine.heard["his"], events.heard["his"]) == (0, 0)


async def test_what_is_told_in_a_moment_is_one_message(stores: list[Store], url: str) -> None:
    here, there = stores
    ear = Ear()
    there.news.hear("queue", ear)
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("LISTEN esb_news")
        for _ in range(1000):
            here.news.tell("queue", "his")
        here.news.tell("queue", "lis")
        await ear.hears("lis")
        payloads = [one.payload for one in raw.notifies(timeout=20, stop_after=1)]
    assert [json.loads(one)[1] for one in payloads] == [[["queue", "his"], ["queue", "lis"]]]
    assert ear.heard["his"] == 1


async def test_whatever_a_stranger_says_is_no_more_than_a_hint(stores: list[Store], url: str) -> None:
    ear = Ear()
    stores[0].news.hear("queue", ear)
    odd = ("", "no json", "7", '{"a": 1}', '["x"]', '["x", 1]', '["x", [1]]', "[" * 7000)
    with psycopg.connect(url, autocommit=True) as raw:
        for payload in (*odd, '["x", [["unheard of", "x"], ["queue", "his"]]]'):
            raw.execute("SELECT pg_notify('esb_news', %s)", (payload,))
    await ear.hears("his")
    assert ear.heard == {"": len(odd), "his": 1}


async def test_more_than_fits_is_told_as_everything(stores: list[Store]) -> None:
    here, there = stores
    ear = Ear()
    there.news.hear("queue", ear)
    for number in range(2000):
        here.news.tell("queue", f"endpoint {number}")
    await ear.hears("")


async def test_a_cut_connection_is_made_again_and_then_anything_may_have_been_missed(
    stores: list[Store], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F05: meanwhile everybody looks as often as without news."""
    monkeypatch.setattr("esb.store.news._AGAIN_S", 0.01)
    ear = Ear()
    stores[1].news.hear("queue", ear)
    with psycopg.connect(url, autocommit=True) as raw:
        for pid in listeners(url):
            raw.execute("SELECT pg_terminate_backend(%s)", (pid,))
    await ear.hears("")
    stores[0].news.tell("queue", "his")
    await ear.hears("his")


async def test_on_a_file_nobody_is_told(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), linger_s=0.001)
    await store.start()
    store.news.tell("queue", "his")
    assert not store.news._topics
    await store.close()
