"""A journal that was one table becomes the first of its parts while an older release works on it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa
import structlog

from esb.clock import SHANGHAI, Ids, SystemClock, first_id
from esb.store import engines, migrations, parts
from esb.store.engines import engine_of, open_up
from esb.store.migrations import proof
from esb.store.tables import READS_FROM, SCHEMA_VERSION
from tests import postgres
from tests.esb.store.test_migrations import KILLED, run
from tests.esb.store.test_store import row

IDS = Ids(SystemClock())
_NAMES = row()._fields
INSERT = f"INSERT INTO exchange ({', '.join(_NAMES)}) VALUES ({', '.join(['%s'] * len(_NAMES))})"
LEFT = "SELECT conname FROM pg_constraint WHERE starts_with(conname, 'exchange_until_')"


@pytest.fixture
def url() -> Iterator[str]:
    """A store of schema 5."""
    with postgres.database() as made:
        engine = engine_of(made)
        with engine.begin() as connection:
            migrations.upgrade(connection, 5)
        engine.dispose()
        yield made


@pytest.fixture(params=["read", "proved"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the journal counts as large."""
    if request.param == "proved":
        monkeypatch.setattr(proof, "LARGE", 0)


def add(url: str, *ids: str) -> None:
    with psycopg.connect(url) as connection:
        for one in ids:
            connection.execute(INSERT, row(id=one))


def brought_up(url: str) -> list[parts.Part]:
    engine = engine_of(url)
    try:
        open_up(engine)
        with engine.connect() as connection:
            return parts.parts(connection)
    finally:
        engine.dispose()


@pytest.mark.usefixtures("way")
def test_every_row_is_there_also_those_of_days_to_come_and_of_no_day(url: str) -> None:
    now = datetime.now(SHANGHAI)
    ids = [first_id(now + timedelta(days=days)) + "0" * 16 for days in (-4000, -1, 0, 1, 29, 31, 400)]
    add(url, *ids, "OLD", "made by hand")
    before, after = brought_up(url)
    assert sorted(one for (one,) in run(url, "SELECT id FROM exchange")) == sorted([*ids, "OLD", "made by hand"])
    assert (before.low, after.high, before.high) == ("", "", after.low)
    outside = sa.text(f"SELECT count(*) FROM {before.name} WHERE id >= '{before.high}'")
    assert run(url, str(outside)) == [(0,)]
    assert run(url, "SELECT version, reads_from FROM schema_version") == [(SCHEMA_VERSION, READS_FROM)]
    assert run(url, LEFT) == []


def test_a_large_one_is_proved_before_so_that_nothing_is_read_while_others_wait(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "LARGE", 0)
    add(url, *(IDS.new() for _ in range(20)))
    before, _ = brought_up(url)
    assert parts.day_of(before.high) - datetime.now(SHANGHAI).date() >= timedelta(days=29)
    assert run(url, "SELECT count(*) FROM exchange_before") == [(20,)]


def test_of_who_was_killed_while_it_proved_the_next_start_removes_the_proof(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F08: until then only ids of a month later are refused."""
    text = (
        "from esb.store.migrations import proof; from esb.store.engines import engine_of, open_up\n"
        f"proof.LARGE = 0; open_up(engine_of({url!r}))"
    )
    environment = {**os.environ, "ESB_CRASH_AT": "during_proof"}
    killed = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, check=False)
    assert killed.returncode == KILLED, killed.stderr
    assert len(run(url, LEFT)) == 1
    add(url, IDS.new())
    assert len(brought_up(url)) == 2
    assert run(url, LEFT) == []


def test_an_exchange_of_later_days_that_hinders_the_proof_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LARGE", 0)
    ahead = first_id(datetime.now(SHANGHAI) + timedelta(days=400)) + "0" * 16
    add(url, IDS.new(), ahead)
    with structlog.testing.capture_logs() as logs:
        assert len(brought_up(url)) == 2
    assert [one["exchange"] for one in logs if one["event"] == "journal_ahead"] == [ahead]


def test_who_upgrades_is_waited_for_and_may_take_longer_than_a_statement(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F42: a second process waits for the first, however long an index of a large journal takes."""
    monkeypatch.setitem(engines._CONNECT, "options", "-c statement_timeout=200")
    waited = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND waitstart < clock_timestamp() - interval '0.5 s'"
    )
    found: list[list[parts.Part]] = []
    with psycopg.connect(url, autocommit=True) as first:
        first.execute(f"SELECT pg_advisory_lock({migrations._ONE_AT_A_TIME})")
        second = threading.Thread(target=lambda: found.append(brought_up(url)))
        second.start()
        while second.is_alive() and not first.execute(waited).fetchall():
            second.join(0.05)
    second.join()
    assert [len(one) for one in found] == [2]


def test_a_start_that_fails_takes_its_proof_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def upgrade(connection: sa.Connection) -> None:
        assert len(run(url, LEFT)) == 1
        raise RuntimeError("no room")

    monkeypatch.setattr(proof, "LARGE", 0)
    monkeypatch.setattr(migrations, "upgrade", upgrade)
    engine = engine_of(url)
    with pytest.raises(RuntimeError, match="no room"):
        open_up(engine)
    engine.dispose()
    assert run(url, LEFT) == []


@pytest.mark.usefixtures("way")
def test_an_older_release_writes_all_the_time_with_statements_that_it_has_prepared(url: str) -> None:
    """F42: its next statement waits for a moment and finds the new table."""
    done: list[str] = []
    warm, stop = threading.Event(), threading.Event()

    def older() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.is_set():
                one = row(id=IDS.new(), state="received")
                connection.execute(INSERT, one, prepare=True)
                connection.execute("UPDATE exchange SET id = %s, state = 'done' WHERE id = %s", (one.id, one.id))
                found = connection.execute("SELECT state FROM exchange WHERE id = %s FOR UPDATE", (one.id,))
                assert found.fetchall() == [("done",)]
                done.append(one.id)
                if len(done) == 20:
                    warm.set()

    thread = threading.Thread(target=older)
    thread.start()
    try:
        assert warm.wait(20)
        brought_up(url)
        at = len(done)
        while len(done) < at + 20 and thread.is_alive():
            thread.join(0.01)
    finally:
        stop.set()
        thread.join()
    assert len(done) >= at + 20
    assert sorted(one for (one,) in run(url, "SELECT id FROM exchange WHERE state = 'done'")) == sorted(done)
