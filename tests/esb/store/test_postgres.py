"""The store on PostgreSQL: what it does as on a file, and what becomes of it when the database goes away."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from esb.errors import ConfigError
from esb.observe import Metrics
from esb.store import Fate, Fenced, State, Store, StoreError, Unsettled, engines
from tests import postgres
from tests.esb.kit import until
from tests.esb.store.cut import cut
from tests.esb.store.test_store import (
    claim,
    row,
)
from tests.esb.store.test_store import (
    test_a_row_comes_back_as_it_went_in as test_a_row_comes_back_as_it_went_in,
)
from tests.esb.store.test_store import (
    test_every_row_of_a_batch_is_written_whole as test_every_row_of_a_batch_is_written_whole,
)
from tests.esb.store.test_store import (
    test_finishing_what_was_never_opened_is_an_error as test_finishing_what_was_never_opened_is_an_error,
)
from tests.esb.store.test_store import (
    test_one_bad_work_does_not_take_the_others_with_it as test_one_bad_work_does_not_take_the_others_with_it,
)


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


OVER = "SELECT 1 FROM lease WHERE until_ms < extract(epoch FROM clock_timestamp()) * 1000"


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def test_a_text_with_a_nul_is_kept_without_it(store: Store) -> None:
    one = row(message="a\0b")
    store.write(one)
    assert (await until(lambda: store.find(one.id))).message == "a\ufffdb"


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_a_conflict_of_transactions_is_tried_again_in_a_new_one(store: Store, code: str) -> None:
    """F14"""
    numbers: list[str] = []

    def work(connection: sa.Connection) -> str:
        numbers.append(connection.scalar(sa.text("SELECT pg_current_xact_id()::text")))
        if len(numbers) < 4:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
        return "done"

    assert await store.transact(work) == "done"
    assert len(set(numbers)) == 4


async def test_a_conflict_that_does_not_end_is_told_after_so_many_tries(store: Store) -> None:
    """F14"""
    store._writer.commits._sleep = lambda seconds: None  # type: ignore[attr-defined]
    tries = itertools.count()

    def work(connection: sa.Connection) -> None:
        next(tries)
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    with pytest.raises(StoreError):
        await store.transact(work)
    assert next(tries) == 9
    assert await store.open(claim()) is None


async def test_two_that_lock_each_other_out_both_get_through(url: str, store: Store) -> None:
    """F14, with a deadlock as it is."""
    other = Store(url, Metrics(), linger_s=0.001)
    await other.start()
    first, second = row(id="A"), row(id="B")
    for one in (first, second):
        store.write(one)
        await until(lambda one=one: store.find(one.id))
    meet = asyncio.Event()
    loop = asyncio.get_running_loop()
    entered = itertools.count(1)

    def both(*ids: str) -> Any:
        def work(connection: sa.Connection) -> None:
            for number, one in enumerate(ids):
                connection.execute(sa.text("UPDATE exchange SET reason = reason || 'x' WHERE id = :id"), {"id": one})
                if number == 0 and next(entered) == 2:
                    loop.call_soon_threadsafe(meet.set)
                if number == 0:
                    asyncio.run_coroutine_threadsafe(meet.wait(), loop).result(5)

        return work

    await asyncio.gather(store.transact(both("A", "B")), other.transact(both("B", "A")))
    assert rows_of(url, "SELECT reason FROM exchange ORDER BY id") == [("xx",), ("xx",)]
    await other.close()


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_commit_that_is_not_answered_is_neither_done_twice_nor_told_as_lost(url: str, how: str) -> None:
    """F13: the connection is cut at the commit, before or after the server had it."""
    with cut(url) as (way, knife):
        store = Store(way, Metrics(), linger_s=0.001)
        await store.start()
        for number in range(10):
            knife.arm = how
            one = claim(key=f"K{number}")
            assert await store.open(one) is None
            knife.arm = how
            assert await store.finish(one._replace(state="done"), Fate.KEEP) is None
        await store.close()
        assert knife.cuts >= 20
    found = rows_of(url, "SELECT key, state, owner FROM exchange ORDER BY key")
    assert found == [(f"K{number}", "done", "") for number in range(10)]


async def test_rows_of_reads_are_written_once_when_a_commit_is_not_answered(url: str) -> None:
    """F13"""
    with cut(url) as (way, knife):
        metrics = Metrics()
        store = Store(way, metrics, linger_s=0.001)
        await store.start()
        rows = [row() for _ in range(30)]
        for one in rows:
            knife.arm = "after"
            store.write(one)
            await until(lambda one=one: store.find(one.id))
        await store.close()
    assert rows_of(url, "SELECT count(*) FROM exchange") == [(30,)]
    assert metrics.registry.get_sample_value("journal_lost_total") == 0


async def test_when_the_server_ends_every_connection_work_goes_on(url: str, store: Store) -> None:
    """F13: as a restart of the server does it, again and again under load."""
    name = url.rpartition("/")[2]
    ended = 0

    async def load(worker: int) -> None:
        for number in range(40):
            one = claim(key=f"{worker}/{number}")
            assert await store.open(one) is None
            await store.sent(one.id)
            await store.finish(one._replace(state="done"), Fate.KEEP)

    async def disturb() -> None:
        nonlocal ended
        while True:
            await asyncio.sleep(0.15)
            await asyncio.to_thread(
                postgres.do, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            ended += 1

    disturbing = asyncio.create_task(disturb())
    await asyncio.gather(*map(load, range(5)))
    disturbing.cancel()
    assert ended > 0
    assert rows_of(url, "SELECT state, count(*) FROM exchange GROUP BY state") == [("done", 200)]
    assert await store.find("none") is None


async def test_while_the_database_is_away_work_is_refused_soon_and_then_goes_on(url: str) -> None:
    """I10: the first that notices waits a while for it to come back, the following are told at once."""
    name = url.rpartition("/")[2]
    store = Store(url, Metrics(), linger_s=0.001)
    await store.start()
    slept: list[float] = []
    store._writer.commits._sleep = slept.append  # type: ignore[attr-defined]
    postgres.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for _ in range(3):
        with pytest.raises(StoreError):
            await store.open(claim())
    tries = len(slept)
    postgres.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert await store.open(claim()) is None
    assert tries == 8
    await store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://postgres@127.0.0.1:1/esb", "Connection refused"),
        ("postgresql://postgres@127.0.0.1:5432/esb_no_such_database", "does not exist"),
        ("postgresql://esb_nobody:secret@127.0.0.1:5432/postgres", "esb_nobody"),
    ],
)
async def test_a_database_that_cannot_be_used_is_a_finding(url: str, says: str) -> None:
    postgres.do("SELECT 1")
    store = Store(url, Metrics())
    with pytest.raises(ConfigError, match="is no usable store") as refused:
        await store.start()
    await store.close()
    assert says in str(refused.value)
    assert "ESB_STORE" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_a_role_without_rights_is_a_finding_and_changes_nothing(url: str) -> None:
    name = url.rpartition("/")[2]
    role = f"reader_{name}"
    postgres.do(f"CREATE ROLE {role} LOGIN")
    try:
        store = Store(url.replace("postgres@", f"{role}@"), Metrics())
        with pytest.raises(ConfigError, match="permission denied"):
            await store.start()
        await store.close()
        assert rows_of(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    finally:
        postgres.do(f"DROP ROLE {role}")


async def test_only_one_holds_a_lease_and_its_fence_grows_with_each_holder(url: str, store: Store) -> None:
    other = Store(url, Metrics())
    await other.start()
    assert (await store.lease("relay", 60), await other.lease("relay", 60), await store.lease("relay", 60)) == (
        1,
        None,
        1,
    )
    await store.release("relay")
    assert (await other.lease("relay", 0.0), await store.lease("relay", 60)) == (2, 3)
    await other.close()
    assert await store.lease("relay", 60) == 3


async def test_what_a_process_leaves_when_it_ends_another_takes_up(url: str, store: Store) -> None:
    other = Store(url, Metrics(), linger_s=0.001)
    await other.start()
    left = claim(key="left")
    await other.open(left)
    assert await store.unfinished() == []
    await other.close()
    assert [one.id for one in await until(store.unfinished)] == [left.id]
    assert await store.unfinished() == []
    await store.finish(left._replace(state="unavailable"), Fate.RELEASE)
    assert await store.open(claim(key="left")) is None


async def test_nobody_is_judged_dead_before_the_database_was_there_for_a_lease(url: str) -> None:
    """After an outage of the database all leases are over; the first that is back must not take everything."""
    now = 1000.0
    first, second = Store(url, Metrics(), lease_s=0.001), Store(url, Metrics(), lease_s=30)
    second.instance._elapsed = lambda: now
    await first.start()
    await second.start()
    assert first._renewing
    first._renewing.cancel()
    one = claim()
    await first.open(one)
    await until(lambda: asyncio.sleep(0, rows_of(url, OVER)))
    assert await second.unfinished() == []
    for _ in range(3):
        now += 10
        await second.lease("anything", 1)
    assert [found.id for found in await second.unfinished()] == [one.id]
    await first.close()
    await second.close()


async def test_a_process_that_slept_longer_than_its_lease_neither_sends_nor_finishes(url: str) -> None:
    """Another has taken over what it had under way, and has ended it; the key is held by a newer exchange."""
    metrics = Metrics()
    sleeper, other = Store(url, metrics, lease_s=0.05), Store(url, Metrics(), lease_s=0.05)
    for one in (sleeper, other):
        await one.start()
    assert sleeper._renewing
    sleeper._renewing.cancel()
    unsent, sent = claim(key="unsent"), claim(key="sent")
    await sleeper.open(unsent)
    await sleeper.open(sent)
    await sleeper.sent(sent.id)
    found = await until(other.unfinished)
    assert [one.id for one in found] == [unsent.id, sent.id]
    await other.finish(unsent._replace(state="unavailable"), Fate.RELEASE)
    newer = claim(key="unsent")
    assert await other.open(newer) is None

    with pytest.raises(Fenced):
        await sleeper.sent(unsent.id)
    with pytest.raises(Fenced):
        await sleeper.finish(unsent._replace(state="done"), Fate.RELEASE)
    with pytest.raises(Fenced):
        await sleeper.finish(sent._replace(state="done"), Fate.KEEP)
    assert await sleeper.open(claim(key="unsent")) == (newer.id, True, State.RECEIVED)
    states = dict(rows_of(url, "SELECT id, state FROM exchange"))
    assert states == {unsent.id: "unavailable", sent.id: "sent", newer.id: "received"}
    sample = metrics.registry.get_sample_value
    assert (sample("leases_lost_total"), sample("steps_fenced_total")) == (1, 3)
    await sleeper.close()
    await other.close()


async def test_a_lease_that_is_over_on_our_clock_sends_nothing_though_nobody_took_it(url: str) -> None:
    """Bytes go out after the commit: a process that was stopped just between must not send."""
    now = 1000.0
    store = Store(url, Metrics(), lease_s=30)
    store.instance._elapsed = lambda: now
    await store.start()
    one = claim()
    await store.open(one)
    marking = asyncio.ensure_future(store.sent(one.id))
    await until(lambda: asyncio.sleep(0, rows_of(url, "SELECT 1 FROM exchange WHERE state = 'sent'")))
    now += 31
    with pytest.raises(Fenced):
        store.check_lease()
    await asyncio.gather(marking, return_exceptions=True)
    await store.close()


async def test_who_is_stopped_in_the_middle_of_a_transaction_keeps_nobody_out(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10, I16: the server ends the transaction of a process that says nothing, and what it had locked is free."""
    usual = f"session_timeout={engines._IDLE_MS}"
    assert usual in engines._CONNECT["options"]
    soon = engines._CONNECT["options"].replace(usual, "session_timeout=200")
    monkeypatch.setitem(engines._CONNECT, "options", soon)
    sleeper = Store(url, Metrics(), linger_s=0.001)
    await sleeper.start()
    one = claim()
    await store.open(one)
    locked, wake = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    tries = itertools.count(1)

    def work(connection: sa.Connection) -> int:
        connection.execute(sa.text("UPDATE exchange SET reason = 'slept'"))
        loop.call_soon_threadsafe(locked.set)
        if (number := next(tries)) == 1:
            wake.wait(10)
        return number

    sleeping = asyncio.create_task(sleeper.transact(work))
    await locked.wait()
    await store.sent(one.id)
    assert next(tries) == 2
    wake.set()
    assert await sleeping == 3
    assert rows_of(url, "SELECT state, reason FROM exchange") == [("sent", "slept")]
    await sleeper.close()


async def test_a_commit_of_which_nobody_can_say_whether_it_was_made_is_told_as_that(url: str) -> None:
    """F13: the database goes away at the commit and stays away. Nothing of it is done again."""
    name = url.rpartition("/")[2]
    with cut(url) as (way, knife):
        store = Store(way, Metrics(), linger_s=0.001)
        await store.start()
        store._writer.commits._sleep = lambda seconds: None  # type: ignore[attr-defined]
        ready, done = threading.Event(), itertools.count()
        held = asyncio.ensure_future(store.transact(lambda _: ready.wait(10)))
        await asyncio.sleep(0)

        def work(_: sa.Connection) -> int:
            knife.arm = "after"
            return next(done)

        two = [asyncio.ensure_future(store.transact(work)) for _ in range(2)]
        await asyncio.sleep(0)
        postgres.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        ready.set()
        found = await asyncio.gather(held, *two, return_exceptions=True)
        postgres.do(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await store.close()
    assert [type(one) for one in found[1:]] == [Unsettled, Unsettled]
    assert next(done) == 2


async def test_who_listens_finds_the_database_as_the_engine_does(url: str) -> None:
    """Of several machines the one that answers, and a name with a blank."""
    name = url.rpartition("/")[2]
    postgres.do(f'CREATE ROLE "{name} bus" LOGIN')
    port = sa.make_url(url).port
    where = f"postgresql://{name}%20bus@/{name}?host=127.0.0.1:1&host=127.0.0.1:{port}&application_name=a%20b"
    engine = engines.engine_of(where)
    try:
        with engine.connect() as one:
            assert one.scalar(sa.text("SELECT current_user")) == f"{name} bus"
        async with await engines.listening(engine) as other:
            found = await other.execute("SELECT current_user::text, current_setting('lock_timeout')")
            assert await found.fetchall() == [(f"{name} bus", "5s")]
    finally:
        engine.dispose()
        postgres.do(f'DROP ROLE "{name} bus"')
