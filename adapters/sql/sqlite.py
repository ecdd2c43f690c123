"""SQLite over aiosqlite, one thread a connection."""

from __future__ import annotations

import contextlib
import sqlite3
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL

from adapters.sql.databases import Answer, Database, Table, refused, unfit
from adapters.sql.statement import Procedure, Statement
from esb.spi import AdapterError, Clock, Malformed, Tree, Unavailable

_TRANSIENT = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_INTERRUPT", "SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_CANTOPEN")
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
_STEPS = 1000


class SQLite(Database):
    style = "sqlite"

    def target(self, url: URL) -> tuple[URL, dict[str, Any]]:
        if not url.database or url.database == ":memory:":
            raise ValueError("SQLite needs the path of a file")
        query = {"mode": "ro" if self.rules.read_only else "rw", "uri": "true"}
        return URL.create("sqlite+aiosqlite", database="file:" + quote(url.database), query=query), {"timeout": 1.0}

    async def made(self, raw: Any) -> None:
        if self.rules.read_only:
            await raw.execute("PRAGMA query_only = ON")

    async def begin(self, raw: Any, seconds: float, clock: Clock) -> None:
        end = clock.monotonic() + seconds
        await raw.set_progress_handler(lambda: clock.monotonic() > end, _STEPS)
        await raw.execute("BEGIN" if self.rules.read_only else "BEGIN IMMEDIATE")

    async def run(self, raw: Any, statement: Statement, values: dict[str, Tree]) -> Answer:
        cursor = await raw.execute(statement.sql, [values[name] for name in statement.names])
        names = [column[0] for column in cursor.description or ()]
        rows = await self.collect(cursor.fetchmany) if names else []
        await cursor.close()
        return Answer([Table(names, rows, cursor.rowcount)])

    async def call(self, raw: Any, procedure: Procedure, values: dict[str, Tree]) -> Answer:
        raise Unavailable("SQLite has no stored procedures")

    async def end(self, raw: Any, *, commit: bool) -> None:
        await raw.set_progress_handler(None, 0)
        await (raw.commit() if commit else raw.rollback())

    async def abandon(self, raw: Any) -> None:
        """Closed here and waited for: the thread, which ends with the statement, must not outlive the loop."""
        with contextlib.suppress(ValueError):  # it has been closed already
            raw._conn.interrupt()
        await raw.close()

    def judge(self, error: Exception, *, can_commit: bool) -> AdapterError | None:
        if isinstance(error, OverflowError | sqlite3.InterfaceError):
            return Unavailable("a value cannot be bound, nothing was sent")
        name = getattr(error, "sqlite_errorname", None)
        if isinstance(error, sqlite3.Error) and isinstance(name, str):
            if name.startswith(_TRANSIENT):
                return Unavailable(f"the database did not run the statement ({name})")
            if name.startswith(_BROKEN):
                return Malformed(f"the file is not a sound database ({name})", raw=name.encode())
            return unfit(name) if name == "SQLITE_ERROR" else refused(name)
        return refused(type(error).__name__) if isinstance(error, sqlite3.Error) else None

    def prepare(self, value: Tree) -> Any:
        """A fraction goes as text, which the affinity of a numeric column turns into a number."""
        if isinstance(value, list):
            raise ValueError("SQLite has no list to bind")
        if isinstance(value, Decimal):
            return int(value) if value == value.to_integral_value() else str(value)
        return super().prepare(value)


__all__ = ["SQLite"]
