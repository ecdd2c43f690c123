"""A PostgreSQL database of our own for one test; without a server the test is skipped, in CI it fails."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest

SERVER = "host=127.0.0.1 port=5432 user=postgres dbname=postgres connect_timeout=3"


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Its URL; it is dropped at the end, whoever is connected."""
    name = "esb_" + uuid.uuid4().hex[:12]
    do(f"CREATE DATABASE {name}")
    try:
        yield f"postgresql://postgres@127.0.0.1:5432/{name}"
    finally:
        do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def do(statement: str) -> None:
    """Run it beside all databases of tests."""
    try:
        with psycopg.connect(SERVER, autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PostgreSQL does not run on 127.0.0.1 ({type(error).__name__})")


__all__ = ["database", "do"]
