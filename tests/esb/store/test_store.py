"""The store: grouped, durable, claimed once, told when it fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from esb.clock import Ids
from esb.errors import ConfigError
from esb.observe import Metrics
from esb.store import Fate, Row, State, Store, StoreError
from esb.store.tables import SCHEMA_VERSION
from tests.esb.kit import FakeClock, prune, until

CLOCK = FakeClock()
IDS = Ids(CLOCK)


def row(**more: Any) -> Row:
    texts: dict[str, Any] = dict.fromkeys(Row._fields, "")
    blobs = dict.fromkeys(("fingerprint", "request", "sent", "raw", "answer"), b"")
    made = {**texts, **blobs, "attempts": 0, "id": IDS.new(), "operation": "op", "effect": "read", "state": "done"}
    return Row(**{**made, **more})


def claim(**more: Any) -> Row:
    return row(**{"effect": "once", "state": "received", "key": "K", "principal": "app", "fingerprint": b"f", **more})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/deep/esb.db", Metrics(), linger_s=0.001)
    await made.start()
    yield made
    await made.close()


def _sample(store: Store, name: str) -> float:
    return store._writer._metrics.registry.get_sample_value(name) or 0.0


async def test_a_row_comes_back_as_it_went_in(store: Store) -> None:
    one = row(raw=os.urandom(5000), answer=b"{}" * 4000, sent=b"\x01short", request=b"x", message="号", attempts=3)
    store.write(one)
    assert await until(lambda: store.find(one.id)) == one


async def test_large_bodies_are_stored_compressed(store: Store) -> None:
    one = row(raw=b"<Slot>" * 5000)
    store.write(one)
    await until(lambda: store.find(one.id))
    with sqlite3.connect(str(store.engine.url.database)) as connection:
        (size,) = connection.execute("select length(raw) from exchange").fetchone()
    connection.close()
    assert size < 1000


async def test_what_waits_goes_into_one_commit(store: Store) -> None:
    store._writer._linger_s = 60.0
    rows = [row() for _ in range(500)]
    for one in rows:
        store.write(one)
    assert await store.find(rows[0].id) is None
    effects = await asyncio.gather(*(store.open(claim(key=str(i))) for i in range(50)))
    assert effects == [None] * 50
    assert await until(lambda: store.find(rows[-1].id))
    await until(lambda: asyncio.sleep(0, _sample(store, "journal_batch_size_sum") == 550))
    assert _sample(store, "journal_batch_size_count") <= 3


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_every_row_of_a_batch_is_written_whole(store: Store, count: int) -> None:
    store._writer._linger_s = 0.05
    rows = [row(raw=bytes([number % 256]) * number) for number in range(count)]
    for one in rows:
        store.write(one)
    await until(lambda: store.find(rows[-1].id))
    assert [await store.find(one.id) for one in rows] == rows


async def test_an_effect_goes_before_the_rows_of_reads_that_wait(store: Store) -> None:
    commits: list[int] = []
    commit = store._writer._commit
    store._writer._commit = lambda batch: (commits.append(len(batch)), commit(batch))[1]  # type: ignore[method-assign]
    store._writer._linger_s = 60.0
    for _ in range(1500):
        store.write(row())
    await store.open(claim())
    assert commits[0] == 201


async def test_an_effect_does_not_wait_for_the_rows_of_reads_to_gather(store: Store) -> None:
    store._writer._linger_s = 60.0
    store.write(row())
    async with asyncio.timeout(5):
        await store.open(claim())


async def test_one_bad_work_does_not_take_the_others_with_it(store: Store) -> None:
    same = row()
    store.write(same)
    await until(lambda: store.find(same.id))
    others = [row(), row()]
    store._writer._linger_s = 0.05
    for one in (others[0], same, others[1]):
        store.write(one)
    for one in others:
        assert await until(lambda one=one: store.find(one.id))
    assert _sample(store, "journal_lost_total") == 1


async def test_a_key_is_claimed_once_and_kept_released_or_open_again(store: Store) -> None:
    first = claim()
    assert await store.open(first) is None
    assert await store.open(claim()) == (first.id, True, State.RECEIVED)
    assert await store.open(claim(fingerprint=b"other")) == (first.id, False, State.RECEIVED)
    await store.finish(first._replace(state="unknown"), Fate.AGAIN)
    assert await store.open(claim(fingerprint=b"other")) == (first.id, False, State.UNKNOWN)
    kept = claim(key="K2")
    assert await store.open(kept) is None
    await store.finish(kept._replace(state="done"), Fate.KEEP)
    assert await store.open(claim(key="K2")) == (kept.id, True, State.DONE)
    second = claim()
    assert await store.open(second) is None
    await store.finish(second._replace(state="unavailable"), Fate.RELEASE)
    assert await store.open(claim(fingerprint=b"other")) is None


async def test_the_end_of_an_older_exchange_does_not_touch_the_key_of_a_newer(store: Store) -> None:
    first, second = claim(), claim()
    await store.open(first)
    await store.finish(first._replace(state="unknown"), Fate.AGAIN)
    assert await store.open(second) is None
    await store.finish(first._replace(state="unavailable"), Fate.RELEASE)
    assert await store.open(claim()) == (second.id, True, State.RECEIVED)


async def test_finishing_what_was_never_opened_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.finish(claim(), Fate.KEEP)
    with pytest.raises(StoreError):
        await store.sent("nothing")


async def test_unfinished_is_what_is_under_way_and_every_unknown_once(store: Store) -> None:
    states = ["received", "sent", "unknown", "done"]
    rows = [row(effect=effect, state=state) for effect in ("once", "idempotent") for state in states]
    for one in rows:
        store.write(one)
    await until(lambda: store.find(rows[-1].id))
    found = [(one.effect, one.state) for one in await store.unfinished()]
    assert found == [("once", one) for one in states[:3]] + [("idempotent", one) for one in states[:2]]


async def test_a_locked_database_refuses_and_recovers_without_a_restart(store: Store) -> None:
    store.engine.dispose()
    store._writer.commits.close()
    sqlalchemy.event.listen(store.engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA busy_timeout=10"))
    other = sqlite3.connect(str(store.engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.write(row())
    with pytest.raises(StoreError, match="locked"):
        await store.open(claim())
    other.execute("ROLLBACK")
    other.close()
    assert await store.open(claim()) is None
    assert _sample(store, "journal_lost_total") == 1


async def test_a_full_disk_refuses_and_reading_goes_on(store: Store) -> None:
    kept = row()
    store.write(kept)
    await until(lambda: store.find(kept.id))
    store.engine.dispose()
    store._writer.commits.close()
    sqlalchemy.event.listen(store.engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA max_page_count=1"))
    with pytest.raises(StoreError, match="full"):
        await store.open(claim(request=os.urandom(100_000)))
    assert await store.find(kept.id) == kept


async def test_the_queue_is_full_at_its_bound(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), queue=3)
    for _ in range(2):
        store.write(row())
    assert not store.full
    store.write(row())
    assert store.full
    await store.start()
    await until(lambda: asyncio.sleep(0, not store.full))
    await store.close()


async def test_the_queue_is_full_at_its_bound_of_bytes_too(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), queue_bytes=1000)
    store.write(row(raw=b"x" * 999))
    assert not store.full
    store.write(row(request=b"{}"))
    assert store.full
    await store.start()
    await until(lambda: asyncio.sleep(0, not store.full))
    await store.close()


async def test_closing_writes_what_waits_and_twice_does_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), linger_s=60.0)
    await store.start()
    rows = [row() for _ in range(3000)]
    for one in rows:
        store.write(one)
    await store.close()
    await store.close()
    with sqlite3.connect(tmp_path / "esb.db") as connection:
        assert connection.execute("select count(*) from exchange").fetchone() == (3000,)
    connection.close()
    with pytest.raises(StoreError, match="closed"):
        await store.open(claim())
    store.write(row())
    assert _sample(store, "journal_lost_total") == 1


async def test_pruning_deletes_what_is_old_and_over_in_small_steps(store: Store) -> None:
    old = [row() for _ in range(7)]
    left_open = row(effect="once", state="unknown")
    kept_key = claim()
    for one in (*old, left_open):
        store.write(one)
    await store.open(kept_key)
    await store.finish(kept_key._replace(state="done"), Fate.KEEP)
    CLOCK.at += 3600
    new = row()
    store.write(new)
    await until(lambda: store.find(new.id))
    assert await prune(store, CLOCK.now() - timedelta(minutes=30), chunk=3) == 8
    assert await store.find(old[0].id) is None
    assert await store.find(left_open.id) is not None
    assert await store.find(new.id) is not None
    assert await store.open(claim()) is None


async def test_to_keep_longer_than_there_is_time_deletes_nothing(store: Store) -> None:
    one = row()
    store.write(one)
    await until(lambda: store.find(one.id))
    assert await prune(store, CLOCK.now() - timedelta(days=36_500)) == 0
    assert await store.find(one.id) == one


async def test_the_keys_of_what_is_pruned_are_found_by_an_index(store: Store) -> None:
    with sqlite3.connect(str(store.engine.url.database)) as connection:
        plan = connection.execute("explain query plan delete from idempotency where exchange in ('a', 'b')").fetchall()
    connection.close()
    assert "USING INDEX" in str(plan)


async def test_one_bad_work_among_many_costs_few_commits(store: Store) -> None:
    same = row()
    store.write(same)
    await until(lambda: store.find(same.id))
    store._writer._linger_s = 0.2
    others = [row() for _ in range(500)]
    for one in (*others[:250], same, *others[250:]):
        store.write(one)
    for one in others:
        assert await until(lambda one=one: store.find(one.id))
    written = _sample(store, "journal_batch_size_count")
    assert written < 30


async def test_the_file_is_private_and_survives_power_loss(store: Store) -> None:
    assert stat.S_IMODE(os.stat(str(store.engine.url.database)).st_mode) == 0o600
    with store.engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {one}").scalar() for one in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


async def test_a_store_of_another_release_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/esb.db"
    store = Store(url, Metrics())
    await store.start()
    await store.close()
    with sqlite3.connect(tmp_path / "esb.db") as connection:
        connection.execute("update schema_version set version = 99, reads_from = 98")
    connection.close()
    store = Store(url, Metrics())
    with pytest.raises(ConfigError, match=f"schema version 99, this release needs {SCHEMA_VERSION}"):
        await store.start()
    await store.close()


@pytest.mark.parametrize("cut_short", [False, True])
async def test_a_store_of_the_release_without_versions_opens_with_all_its_rows(tmp_path: Path, cut_short: bool) -> None:
    first = Store(f"sqlite:///{tmp_path}/esb.db", Metrics())
    await first.start()
    await first.open(claim(id="OLD", state="received"))
    await first.close()
    with sqlite3.connect(tmp_path / "esb.db") as connection:
        if not cut_short:
            connection.execute("alter table exchange drop column version")
        connection.execute("drop table alembic_version")
        connection.execute("update schema_version set version = 1")
    connection.close()
    again = Store(f"sqlite:///{tmp_path}/esb.db", Metrics(), linger_s=0.001)
    await again.start()
    again.write(row(id="NEW", version="v2", reason="after", mapping="m"))
    new = await until(lambda: again.find("NEW"))
    old = await again.find("OLD")
    unfinished = [one.id for one in await again.unfinished()]
    await again.close()
    assert old is not None
    assert (old.state, old.version, unfinished) == ("received", "", ["OLD"])
    assert (new.version, new.reason, new.mapping) == ("v2", "after", "m")
    with sqlite3.connect(tmp_path / "esb.db") as connection:
        assert connection.execute("select version from schema_version").fetchall() == [(SCHEMA_VERSION,)]
    connection.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u:p@h/esb", "postgresql://u:p@h", "no"])
def test_a_store_that_is_no_file_of_ours_alone_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="ESB_STORE") as refused:
        Store(url, Metrics())
    assert ":p@" not in str(refused.value)


async def test_a_file_that_is_no_database_is_a_finding_and_reading_a_broken_one_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "esb.db").write_text("a letter, not a database" * 100)
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics())
    with pytest.raises(ConfigError, match=r"esb\.db: is no usable store: file is not a database"):
        await store.start()
    with pytest.raises(StoreError, match="not a database"):
        await store.find("EX1")
    await store.close()


def test_a_store_that_cannot_be_made_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}/file/esb.db", Metrics())
