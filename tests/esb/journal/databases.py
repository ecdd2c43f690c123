"""An empty database of each kind, with the store's tables, for tests that work on a connection."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from esb.store.tables import metadata

KINDS = ("sqlite", "postgresql")
_SERVER = sa.URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=5432, database="postgres")


@contextmanager
def database(kind: str, folder: Path) -> Iterator[sa.Engine]:
    """PostgreSQL is skipped where it does not run, but for CI."""
    if kind == "sqlite":
        yield from _made(sa.create_engine(f"sqlite:///{folder}/esb.db"))
        return
    server = sa.create_engine(_SERVER, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    name = f"esb_test_{uuid.uuid4().hex}"
    try:
        _do(server, f"CREATE DATABASE {name}")
    except sa.exc.OperationalError as error:
        server.dispose()
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL on 127.0.0.1:5432: {error.orig}")
    try:
        yield from _made(sa.create_engine(_SERVER.set(database=name)))
    finally:
        _do(server, f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


def _do(engine: sa.Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def _made(engine: sa.Engine) -> Iterator[sa.Engine]:
    metadata.create_all(engine)
    yield engine
    engine.dispose()
