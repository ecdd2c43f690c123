"""An empty store of each kind, for tests that work on a connection or on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from esb.store.engines import engine_of, open_up
from tests import postgres

KINDS = ("sqlite", "postgresql")


@contextmanager
def store_url(kind: str, folder: Path) -> Iterator[str]:
    """Its address; PostgreSQL is skipped where it does not run, but for CI."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'esb.db'}"
        return
    with postgres.database() as url:
        yield url


@contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    """Its engine, the tables made."""
    engine = engine_of(url)
    try:
        open_up(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[sa.Engine]:
    with store_url(kind, folder) as url, opened(url) as engine:
        yield engine
