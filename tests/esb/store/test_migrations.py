"""Stores of earlier and later releases: brought up once, whole or not at all, and never by two at a time."""

from __future__ import annotations

import ast
import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from esb.errors import ConfigError
from esb.observe import Metrics
from esb.store import Fate, Store, migrations
from esb.store.engines import engine_of, open_up, transaction
from esb.store.migrations.versions import schema_3
from esb.store.tables import READS_FROM, SCHEMA_VERSION, metadata
from tests import postgres
from tests.esb.store import schemas
from tests.esb.store.test_store import claim

KILLED = 137


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'esb.db'}"
        return
    with postgres.database() as made:
        yield made


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    engine = engine_of(url)
    with engine.begin() as connection:
        found = [connection.exec_driver_sql(one) for one in statements][-1]
        rows = [tuple(row) for row in found] if found.returns_rows else []
    engine.dispose()
    return rows


def is_ours(name: str | None, kind: str, _: object) -> bool:
    """But for alembic's own table and the parts of the journal."""
    return kind != "table" or not str(name).startswith(("alembic_", "exchange_"))


def made_by_schema_3(url: str) -> None:
    """As the release before revisions left it, with an exchange under way."""
    engine = engine_of(url)
    with engine.begin() as connection:
        schema_3._then.create_all(connection)
        connection.exec_driver_sql("INSERT INTO schema_version (version) VALUES (3)")
        values = {**dict.fromkeys(schema_3.exchange.c.keys(), ""), "attempts": 0}
        blobs = dict.fromkeys(("fingerprint", "request", "sent", "raw", "answer"), b"")
        given = {**values, **blobs, "id": "OLD", "state": "received", "effect": "once"}
        connection.execute(schema_3.exchange.insert().values(given))
    engine.dispose()


def test_the_revisions_are_one_line_that_ends_at_this_schema() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [str(SCHEMA_VERSION)]
    assert READS_FROM <= SCHEMA_VERSION


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_what_a_revision_makes_never_changes(url: str, version: int) -> None:
    """Stores that it made are out there: a later release adds a revision and touches no earlier one."""
    kept = schemas.kept(sa.make_url(url).get_backend_name(), version)
    assert schemas.made(url, version) == kept.read_text().splitlines()


@pytest.mark.parametrize("before", schemas.VERSIONS[:-1])
def test_from_every_earlier_schema_the_tables_become_those_of_a_new_store(url: str, before: int) -> None:
    kept = schemas.kept(sa.make_url(url).get_backend_name(), SCHEMA_VERSION)
    assert schemas.made(url, SCHEMA_VERSION, before) == kept.read_text().splitlines()


def test_no_revision_looks_at_the_tables_as_they_are_now() -> None:
    for file in (Path(migrations.__file__).parent / "versions").glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        ours = {str(node.module) for node in nodes if str(node.module).startswith("esb")}
        assert ours <= {"esb.clock", "esb.store.migrations.lacking"}, file.name


@pytest.mark.parametrize("is_old", [False, True])
def test_the_revisions_make_the_tables_that_the_release_works_with(url: str, is_old: bool) -> None:
    if is_old:
        made_by_schema_3(url)
    engine = engine_of(url)
    open_up(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_what_the_release_before_left_under_way_is_taken_up(url: str) -> None:
    """F42: on PostgreSQL nobody had it before; a file is brought up with all its rows."""
    made_by_schema_3(url)
    store = Store(url, Metrics())
    await store.start()
    row = await store.find("OLD")
    assert row is not None
    assert (row.state, row.subject, row.owner) == ("received", "", "")
    if not store.is_shared:
        assert [one.id for one in await store.unfinished()] == ["OLD"]
    await store.close()


async def test_processes_that_start_together_upgrade_once(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("one process at a time on a file")
    made_by_schema_3(url)
    stores = [Store(url, Metrics()) for _ in range(4)]
    await asyncio.gather(*(store.start() for store in stores))
    await asyncio.gather(*(store.close() for store in stores))
    assert run(url, "SELECT version, reads_from FROM schema_version") == [(SCHEMA_VERSION, READS_FROM)]


def test_killed_in_the_middle_the_store_is_as_it_was_and_the_next_start_upgrades_it(url: str) -> None:
    """F08: everything is one transaction."""
    made_by_schema_3(url)
    text = f"from esb.store.engines import engine_of, open_up; open_up(engine_of({url!r}))"
    environment = {**os.environ, "ESB_CRASH_AT": "during_migration"}
    killed = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, check=False)
    assert killed.returncode == KILLED, killed.stderr
    assert run(url, "SELECT version FROM schema_version") == [(3,)]
    engine = engine_of(url)
    assert "lease" not in sa.inspect(engine).get_table_names()
    open_up(engine)
    engine.dispose()
    assert run(url, "SELECT version FROM schema_version") == [(SCHEMA_VERSION,)]
    assert run(url, "SELECT id, owner FROM exchange") == [("OLD", "")]


async def test_a_newer_schema_that_only_has_more_is_worked_with_and_left_alone(url: str) -> None:
    """F42: the next release has expanded the tables; this one goes on beside it."""
    store = Store(url, Metrics())
    await store.start()
    await store.close()
    run(
        url,
        "ALTER TABLE exchange ADD COLUMN later TEXT NOT NULL DEFAULT 'new'",
        "ALTER TABLE queue ADD COLUMN later TEXT NOT NULL DEFAULT 'new'",
        "CREATE TABLE later (id INTEGER PRIMARY KEY)",
        f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}, reads_from = {SCHEMA_VERSION}",
        "UPDATE alembic_version SET version_num = 'later'",
    )
    store = Store(url, Metrics())
    await store.start()
    one = claim()
    assert await store.open(one) is None
    await store.finish(one._replace(state="done"), Fate.KEEP)
    assert (await store.find(one.id)) == one._replace(state="done")
    await store.close()
    with transaction(url) as connection:
        assert connection.scalar(sa.text("SELECT later FROM exchange")) == "new"
    assert run(url, "SELECT version FROM schema_version") == [(SCHEMA_VERSION + 1,)]


async def test_a_newer_schema_that_needs_a_newer_release_is_refused_and_nothing_is_changed(url: str) -> None:
    store = Store(url, Metrics())
    await store.start()
    await store.close()
    run(url, f"UPDATE schema_version SET version = {SCHEMA_VERSION + 2}, reads_from = {SCHEMA_VERSION + 1}")
    store = Store(url, Metrics())
    with pytest.raises(ConfigError, match=rf"version {SCHEMA_VERSION + 2}, this release needs {SCHEMA_VERSION}"):
        await store.start()
    await store.close()
    with pytest.raises(ConfigError, match="is of another release"), transaction(url):
        pass
    assert run(url, "SELECT version FROM schema_version") == [(SCHEMA_VERSION + 2,)]


def test_a_database_without_the_tables_of_a_bus_is_told(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        sqlite3.connect(tmp_path / "esb.db").close()
    with pytest.raises(ConfigError, match="holds no queue"), transaction(url):
        pass
