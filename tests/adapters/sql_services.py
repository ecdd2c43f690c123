"""Real databases for the tests of the SQL adapter, each with a database of its own that is dropped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiomysql
import asyncpg
import pytest

POSTGRESQL = {"host": "127.0.0.1", "port": 5432, "user": "postgres"}
MARIADB = {"host": "127.0.0.1", "port": 3306, "user": "root", "password": "", "charset": "utf8mb4"}


class Site:
    """One database of our own: its URL for the adapter and a way in for the test."""

    def __init__(self, kind: str, url: str, name: str) -> None:
        self.kind = kind
        self.url = url
        self.name = name

    async def do(self, *statements: str) -> list[Any]:
        """Run each statement on a connection of its own; the rows of the last one."""
        if self.kind == "sqlite":
            return await asyncio.to_thread(self._do_sqlite, statements)
        if self.kind == "postgresql":
            return await do_postgresql(self.name, *statements)
        return await do_mariadb(self.name, *statements)

    def _do_sqlite(self, statements: tuple[str, ...]) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.name)) as connection:
            rows: list[Any] = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            connection.commit()
        return rows


async def do_postgresql(database: str, *statements: str) -> list[Any]:
    connection = await asyncpg.connect(**POSTGRESQL, database=database, timeout=3)
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = [tuple(row) for row in await connection.fetch(statement)]
        return rows
    finally:
        await connection.close()


async def do_mariadb(database: str, *statements: str) -> list[Any]:
    connection = await aiomysql.connect(**MARIADB, db=database, autocommit=True, connect_timeout=3)
    try:
        rows: list[Any] = []
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
                rows = list(await cursor.fetchall())
        return rows
    finally:
        connection.close()


def elsewhere(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run on a loop of another thread: fixtures of a module must not touch the loop of a test."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def missing(service: str, error: Exception) -> None:
    """Skip where the service does not run; in CI that is a failure."""
    if os.environ.get("CI"):
        raise error
    pytest.skip(f"{service} does not run on 127.0.0.1 ({type(error).__name__})")


@contextlib.contextmanager
def site(kind: str, folder: Path, *, options: str = "") -> Any:
    name = "esb_" + uuid.uuid4().hex[:12]
    if kind == "sqlite":
        path = folder / f"{name}.db"
        sqlite3.connect(path).close()
        yield Site(kind, f"sqlite:///{path}", str(path))
        return
    do, home, drop = (
        (do_postgresql, "test", f"DROP DATABASE {name} WITH (FORCE)")
        if kind == "postgresql"
        else (do_mariadb, "test", f"DROP DATABASE {name}")
    )
    try:
        elsewhere(lambda: do(home, f"CREATE DATABASE {name} {options}"))
    except OSError as error:
        missing(kind, error)
    except Exception as error:
        if "connect" not in str(error).lower():
            raise
        missing(kind, error)
    settings = POSTGRESQL if kind == "postgresql" else MARIADB
    try:
        yield Site(kind, f"{kind}://{settings['user']}@127.0.0.1:{settings['port']}/{name}", name)
    finally:
        elsewhere(lambda: do(home, drop))


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], seconds: float = 3.0) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


__all__ = ["Site", "elsewhere", "site", "until"]
