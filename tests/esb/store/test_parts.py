"""The journal in parts on PostgreSQL: days ahead, days that go, and nothing refused or lost in between."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import structlog

from esb.clock import SHANGHAI, Ids, first_id
from esb.journal.search import Query, page
from esb.observe import Metrics
from esb.store import Kept, Pruner, Row, Store, StoreError, Try, parts, tries
from esb.store.parts import Part
from tests import postgres
from tests.esb.kit import FakeClock, until
from tests.esb.store.test_store import claim, row

DAY = timedelta(days=1)
USUAL = timedelta(days=10)
KILLED = 137
TRIED = Try("2026-01-15T09:00:00.000+08:00", "his", "unavailable", "down", "", 1, "", "", b"sent", b"")


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as made:
        yield made


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    made = Store(url, Metrics(), linger_s=0.001)
    await made.start()
    yield made
    await made.close()


class Days:
    """A store in the days after it was made: at first it is nine in the morning of the first of them."""

    def __init__(self, store: Store, first: date) -> None:
        self.store, self.first, self.clock = store, first, FakeClock()
        self.ids = Ids(self.clock)
        self.to(0)

    def to(self, day: float) -> None:
        wanted = datetime.combine(self.first, time(9), SHANGHAI) + DAY * day
        self.clock.at += (wanted - self.clock.now()).total_seconds()

    async def write(self, *more: dict[str, Any]) -> list[Row]:
        rows = [row(**{"id": self.ids.new(), **one}) for one in more]
        for one in rows:
            self.store.write(one)
        await until(lambda: self.store.find(rows[-1].id))
        return rows

    async def prune(self, kept: Kept | None = None, ahead: timedelta = timedelta()) -> int:
        """``ahead``: of the database's clock is this machine's."""
        there = int((self.clock.now() - ahead).timestamp() * 1000)
        pruner = Pruner(self.store, self.clock, self.clock.sleep, 3, lambda _: there)
        return await pruner.prune(kept or Kept(USUAL))

    async def parts(self) -> list[Part]:
        return await self.store.look(parts.parts)

    async def names(self) -> list[str]:
        return [part.name for part in await self.parts()]

    def name(self, day: int) -> str:
        return f"exchange_{self.first + DAY * day:%Y%m%d}"


@pytest.fixture
async def days(store: Store) -> Days:
    return Days(store, parts.day_of((await store.look(parts.parts))[-1].low))


async def there(store: Store, *rows: Row) -> list[bool]:
    return [await store.find(one.id) is not None for one in rows]


def whole(found: list[Part]) -> bool:
    """Whether the parts have every id there can be, and none twice."""
    ends = [(one.high, other.low) for one, other in pairwise(found)]
    return (found[0].low, found[-1].high) == ("", "") and all(high == low for high, low in ends)


def test_a_day_is_the_ids_that_are_made_from_its_midnight_to_the_next() -> None:
    day = date(2026, 3, 1)
    midnight = datetime(2026, 3, 1, tzinfo=SHANGHAI)
    assert parts.bound(day) == first_id(midnight)
    assert parts.day_of(parts.bound(day)) == day
    assert parts.bound(day) > first_id(midnight - timedelta(milliseconds=1))


async def test_there_is_a_part_for_each_of_the_days_to_come(days: Days) -> None:
    await days.prune()
    assert await days.names() == ["exchange_before", *(days.name(day) for day in range(8))]
    days.to(1)
    await days.prune()
    assert (await days.names())[-1] == days.name(8)
    assert whole(await days.parts())


async def test_of_a_time_when_nobody_was_there_there_is_one_part(days: Days) -> None:
    await days.prune()
    days.to(30)
    await days.prune(Kept(timedelta(days=40)))
    found = await days.parts()
    assert [part.name for part in found][8:] == [days.name(day) for day in (7, *range(30, 38))]
    assert whole(found)


async def three_days_a_part(store: Store) -> timedelta:
    """What is kept for so long gets parts of three days in this database."""
    locks = await store.look(lambda one: [int(one.scalar(sa.text(f"SHOW {name}"))) for name in
                             ("max_connections", "max_locks_per_transaction")])  # fmt: skip
    return timedelta(days=locks[0] * locks[1] // 132 * 3 - parts.AHEAD)


async def test_a_database_with_few_locks_gets_longer_parts(days: Days, store: Store) -> None:
    """Who searches the whole journal locks each part and its indexes."""
    kept = Kept(await three_days_a_part(store))
    await days.prune(kept)
    assert await days.names() == ["exchange_before", *(days.name(day) for day in (0, 3, 6, 9))]
    old = await days.write({}, {})
    days.to(kept.usual.days + 2)
    await days.prune(kept)
    assert await there(store, *old) == [True, True]
    days.to(kept.usual.days + 3)
    await days.prune(kept)
    assert days.name(0) not in await days.names()
    assert await there(store, *old) == [False, False]


async def test_an_operation_that_is_kept_for_years_counts_for_how_long_parts_are(days: Days, store: Store) -> None:
    """It keeps them all."""
    await days.prune(Kept(USUAL, {"long": await three_days_a_part(store)}))
    assert await days.names() == ["exchange_before", *(days.name(day) for day in (0, 3, 6, 9))]


async def test_a_part_longer_than_days_now_are_goes_too_and_its_rows_before_it(days: Days, store: Store) -> None:
    """F05: fewer locks or a longer time when it was made; otherwise there were more and more of them."""
    await days.prune(Kept(await three_days_a_part(store)))
    [first] = await days.write({})
    days.to(2)
    [third] = await days.write({})
    days.to(11.5)
    await days.prune(Kept(USUAL))
    assert await there(store, first, third) == [False, True]
    assert days.name(0) in await days.names()
    days.to(13)
    await days.prune(Kept(USUAL))
    assert await there(store, first, third) == [False, False]
    assert days.name(0) not in await days.names()
    assert whole(await days.parts())


async def test_a_day_goes_with_its_table_and_its_keys_when_all_of_it_is_over(days: Days, store: Store) -> None:
    await days.prune()
    old = claim(id=days.ids.new(), key="old")
    await store.open(old)
    await store.transact(lambda one: one.execute(sa.text("UPDATE exchange SET state = 'done', owner = ''")))
    rows = [old, *await days.write(*[{}] * 5)]
    await store.transact(lambda one: tries.keep(one, old.id, TRIED))
    days.to(1)
    [kept] = await days.write({})
    days.to(10.5)
    await days.prune()
    assert all(await there(store, *rows))  # not over before the whole day is
    days.to(11)
    await days.prune()
    assert await there(store, *rows, kept) == [False] * 6 + [True]
    assert days.name(0) not in await days.names()
    for table in ("idempotency", "attempt"):
        assert await store.look(lambda one, of=table: one.scalar(sa.text(f"SELECT count(*) FROM {of}"))) == 0
    found = await days.parts()
    assert whole(found)
    assert found[0].high == parts.bound(days.first + DAY)


async def test_what_must_stay_survives_its_day_with_its_key(days: Days, store: Store) -> None:
    await days.prune()
    parked = claim(id=days.ids.new(), key="parked")
    await store.open(parked)
    [doubt, waits, gone] = await days.write({"state": "unknown", "effect": "once"}, {"state": "accepted"}, {})
    for one in (waits, gone):
        await store.transact(lambda connection, of=one.id: tries.keep(connection, of, TRIED))
    days.to(12)
    await days.prune()
    assert list(await store.look(lambda connection: tries.kept(connection, [waits.id, gone.id]))) == [waits.id]
    assert await there(store, parked, doubt, waits, gone) == [True, True, True, False]
    assert days.name(0) not in await days.names()
    assert await store.open(claim(id=days.ids.new(), key="parked")) is not None


async def test_what_is_kept_for_a_shorter_time_goes_early_and_the_rest_with_the_day(days: Days, store: Store) -> None:
    kept = Kept(USUAL, {"short": DAY})
    await days.prune(kept)
    [short, usual] = await days.write({"operation": "short"}, {"operation": "usual"})
    days.to(2)
    assert await days.prune(kept) == 1
    assert await there(store, short, usual) == [False, True]
    days.to(11)
    assert await days.prune(kept) == 0  # with its table
    assert days.name(0) not in await days.names()


async def test_a_day_with_much_that_must_stay_stays_and_the_others_are_deleted_by_rows(
    days: Days, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST", 2)
    await days.prune()
    rows = await days.write(*[{"state": "unknown", "effect": "once"}] * 3, {})
    days.to(12)
    assert await days.prune() == 1
    assert await there(store, *rows) == [True] * 3 + [False]
    assert days.name(0) in await days.names()


async def test_rows_older_and_newer_than_every_day_are_taken_found_and_deleted(days: Days, store: Store) -> None:
    await days.prune()
    days.to(-400)
    [ancient] = await days.write({})
    days.to(90)
    [future] = await days.write({})
    days.to(0)
    assert await there(store, ancient, future) == [True, True]
    assert await store.look(lambda one: [found.id for found in page(one, Query())]) == [future.id, ancient.id]
    assert await days.prune() == 1
    assert await there(store, ancient, future) == [False, True]
    days.to(85)
    await days.prune()
    assert days.name(90) in await days.names()
    assert await there(store, future) == [True]
    in_day = sa.text(f"SELECT id FROM {days.name(90)}")
    assert await store.look(lambda one: one.scalar(in_day)) == future.id


async def test_of_an_exchange_that_somebody_is_about_to_change_the_key_stays_and_so_does_its_day(
    days: Days, store: Store, url: str
) -> None:
    await days.prune()
    old = claim(id=days.ids.new(), key="old")
    await store.open(old)
    await store.transact(lambda one: one.execute(sa.text("UPDATE exchange SET state = 'refused', owner = ''")))
    keys = sa.text("SELECT count(*) FROM idempotency")
    days.to(12)
    with psycopg.connect(url) as person:
        person.execute("SELECT 1 FROM exchange WHERE id = %s FOR UPDATE", (old.id,))
        await days.prune()
        assert days.name(0) in await days.names()
        assert await store.look(lambda one: one.scalar(keys)) == 1
    await days.prune()
    assert days.name(0) not in await days.names()
    assert await store.look(lambda one: one.scalar(keys)) == 0


async def test_tries_that_an_older_release_left_without_their_exchange_go(days: Days, store: Store) -> None:
    """It deleted their exchanges beside this one, and knew of no tries."""
    await days.prune()
    [stays] = await days.write({"state": "unknown", "effect": "once"})
    old = [days.ids.new() for _ in range(7)]
    days.to(12)
    young = days.ids.new()
    for one in (stays.id, *old, young):
        await store.transact(lambda connection, of=one: tries.keep(connection, of, TRIED))
    await days.prune()
    left = await store.look(lambda connection: tries.kept(connection, [stays.id, *old, young]))
    assert sorted(left) == [stays.id, young]


LEFT = sa.text("SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conname LIKE 'exchange_until_%'")


@pytest.mark.parametrize("left", [False, True])
async def test_a_large_part_that_others_write_to_is_proved_and_not_read_while_they_wait(
    days: Days, store: Store, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """F05, F08: nobody pruned for weeks, or somebody was killed while he proved it."""
    await days.prune()
    monkeypatch.setattr(parts, "LARGEST", 0)
    days.to(52)
    [ahead] = await days.write({})
    days.to(12)
    rows = await days.write({}, {})
    notices: list[str] = []

    def see(connection: Any, *_: Any) -> None:
        connection.add_notice_handler(lambda one: notices.append(one.message_primary))
        connection.execute("SET client_min_messages = debug1")
        connection.commit()

    sa.event.listen(store.engine, "connect", see)
    store.engine.dispose()
    if left:
        await store.look(lambda one: parts.suppose(one, days.first + DAY))
        assert await store.look(lambda one: one.scalar(LEFT)) == 1
    await days.prune()
    assert await days.names() == ["exchange_before", *(days.name(day) for day in (2, 3, 4, 5, 6, 7, 53))]
    proved = f'partition constraint for table "{days.name(7)}" is implied by existing constraints'
    assert proved in notices
    assert await there(store, ahead, *rows) == [True] * 3
    assert await store.look(lambda one: one.scalar(LEFT)) == 0
    assert whole(await days.parts())
    await days.write({})


async def test_what_keeps_days_from_being_made_is_told_and_the_rest_is_pruned(
    days: Days, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await days.prune()
    monkeypatch.setattr(parts, "LARGEST", 0)
    [old] = await days.write({})
    days.to(900)
    [ahead] = await days.write({})
    days.to(12)
    with structlog.testing.capture_logs() as logs:
        await days.prune()
    [reason] = [one["reason"] for one in logs if one["event"] == "journal_days_not_made"]
    assert ahead.id in reason
    assert await there(store, old, ahead) == [False, True]
    assert await store.look(lambda one: one.scalar(LEFT)) == 0


async def test_a_clock_that_jumps_a_day_deletes_and_makes_nothing(days: Days, store: Store) -> None:
    await days.prune()
    before = await days.parts()
    [old] = await days.write({})
    days.to(12)
    with pytest.raises(StoreError, match="one is wrong"):
        await days.prune(ahead=DAY)
    assert await there(store, old) == [True]
    assert await days.parts() == before


async def test_who_is_at_the_journal_is_waited_for_shortly_and_nobody_behind_us_for_long(
    days: Days, store: Store, url: str
) -> None:
    """F05: a dump or a forgotten transaction keeps the days from being made, and nobody from writing."""
    await days.prune()
    before = await days.parts()
    days.to(1)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM exchange")
        pruning = asyncio.create_task(days.prune())
        await days.write(*[{}] * 5)
        await pruning
        assert days.clock.slept.count(0.5) == 20
        assert await days.parts() == before
    await days.prune()
    assert len(await days.parts()) == len(before) + 1


@pytest.mark.parametrize("point", ["during_cut", "during_fold"])
async def test_killed_in_the_middle_all_is_as_before_and_the_next_one_does_it(
    days: Days, store: Store, url: str, point: str
) -> None:
    await days.prune()
    [over, stays] = await days.write({}, {"state": "unknown", "effect": "once"})
    days.to(12)
    if point == "during_fold":
        await days.store.look(lambda one: [parts.cut(one, days.clock.now().date(), USUAL) for _ in range(20)])
    before = await days.parts()
    today = days.clock.now().date()
    text = (
        "import sqlalchemy, datetime; from esb.store import parts, pruning; from esb.store.engines import engine_of\n"
        f"with engine_of({url!r}).begin() as connection:\n"
        "    first, second = parts.parts(connection)[:2]\n"
        + (
            f"    parts.cut(connection, datetime.date.fromisoformat('{today}'), datetime.timedelta(10))"
            if point == "during_cut"
            else "    parts.fold(connection, first, second, pruning.staying)"
        )
    )
    environment = {**os.environ, "ESB_CRASH_AT": point}
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", text, env=environment)
    assert await killed.wait() == KILLED
    assert await days.parts() == before
    assert await there(store, over, stays) == [True, True]
    await days.prune()
    assert await there(store, over, stays) == [False, True]
    assert days.name(0) not in await days.names()
    assert whole(await days.parts())


async def test_two_that_make_days_at_once_make_each_once(days: Days, store: Store) -> None:
    today = days.clock.now().date()

    async def all_days() -> None:
        while await store.look(lambda one: parts.cut(one, today, USUAL)):
            pass

    done = await asyncio.gather(all_days(), all_days(), return_exceptions=True)
    assert all(one is None or isinstance(one, parts.Busy) for one in done)
    await days.prune()
    assert await days.names() == ["exchange_before", *(days.name(day) for day in range(8))]


async def test_rows_are_written_and_finished_while_days_are_made_and_dropped(days: Days, store: Store) -> None:
    await days.prune()
    stop = asyncio.Event()
    done: list[str] = []

    async def work(number: int) -> None:
        while not stop.is_set():
            one = claim(id=days.ids.new(), key=f"{number}/{len(done)}")
            assert await store.open(one) is None
            await store.sent(one.id)
            done.append(one.id)

    workers = [asyncio.create_task(work(number)) for number in range(4)]
    for day in range(1, 7):
        days.to(day)
        await days.write({})
        await days.prune(Kept(timedelta(days=2)))
    stop.set()
    await asyncio.gather(*workers)
    found = await store.look(lambda one: set(one.scalars(sa.text("SELECT id FROM exchange WHERE state = 'sent'"))))
    assert found == set(done)
    assert len(await days.parts()) <= 12
