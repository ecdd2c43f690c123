"""F15: a reader that stays holds the write-ahead log; it may not grow without an end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from esb.observe import Metrics
from esb.store import Store
from esb.store.files import Wal
from tests.esb.kit import FakeClock

KIB = 1024


def insert(name: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql("INSERT INTO lease VALUES (?, 'x', 1, 1)", (name,))


async def test_under_a_long_reader_the_log_has_a_bound_and_intake_goes_on_when_the_reader_has_gone(
    tmp_path: Path,
) -> None:
    """Over the bound nothing is admitted; what is under way is still written, so that it can end."""
    file = tmp_path / "esb.db"
    metrics = Metrics()
    store = Store(f"sqlite:///{file}", metrics, wal_bytes=400 * KIB)
    clock = store._wal._clock = FakeClock()
    await store.start()
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM exchange").fetchall()
        written = 0
        while not store.full:
            clock.at += 1.0
            await store.transact(partial(insert, str(written)))
            written += 1
            assert written < 1000, "it would have grown for ever"
        assert metrics.registry.get_sample_value("store_wal_bytes") >= 400 * KIB  # type: ignore[operator]
        await store.transact(lambda one: one.exec_driver_sql("DELETE FROM lease"))
    with closing(sqlite3.connect(file)) as another:
        another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    clock.at += 1.0
    assert not store.full
    await store.close()


def test_a_store_without_a_log_has_none(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'esb.db'}", Metrics())
    assert Wal(store.engine).size == 0
