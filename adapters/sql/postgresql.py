"""PostgreSQL over asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import asyncpg
from sqlalchemy import URL

from adapters.sql.databases import Answer, Database, Table, refused, unfit
from adapters.sql.statement import Procedure, Statement
from esb.codecs import DecodeError, json
from esb.spi import AdapterError, Clock, Malformed, Tree, Unavailable

_TRANSIENT = {
    "57014": "it ran into its time limit",
    "40001": "it met another transaction",
    "40P01": "it was in a deadlock",
}
_GONE = ("08", "57P", "58", "XX", "F0")
_KIND = """
    SELECT p.prokind::text FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = $1 AND CASE WHEN $2 = '' THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname = $2 END
    LIMIT 1
"""


class PostgreSQL(Database):
    style = "postgresql"

    def target(self, url: URL) -> tuple[URL, dict[str, Any]]:
        self._kinds: dict[str, str] = {}
        settings = {
            "application_name": "hospital-esb",
            "default_transaction_read_only": "on" if self.rules.read_only else "off",
            "statement_timeout": str(int(self.rules.statement_timeout_s * 1000)),
            "timezone": "Asia/Shanghai",
            "datestyle": "ISO",
            "standard_conforming_strings": "on",
        }
        arguments = {"timeout": self.rules.connect_timeout_s, "server_settings": settings}
        return url.set(drivername="postgresql+asyncpg"), arguments

    async def made(self, raw: Any) -> None:
        """Scalars travel as text: a mapping's texts and numbers fit every column, and money is never a float."""
        for names, decode in _CODECS:
            for name in names:
                await raw.set_type_codec(name, schema="pg_catalog", encoder=_encode, decoder=decode, format="text")

    async def begin(self, raw: Any, seconds: float, clock: Clock) -> None:
        mode = "READ ONLY" if self.rules.read_only else "READ WRITE"
        await raw.execute(f"BEGIN {mode}; SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")

    async def run(self, raw: Any, statement: Statement, values: dict[str, Tree]) -> Answer:
        return Answer([await self._table(raw, statement.sql, [values[name] for name in statement.names])])

    async def call(self, raw: Any, procedure: Procedure, values: dict[str, Tree]) -> Answer:
        is_procedure = await self._kind(raw, procedure.name) == "p"
        shown = [n for n in procedure.parameters if is_procedure or n in procedure.binds]
        binds = [n for n in shown if n in procedure.binds]
        listed = ", ".join(f"{n} => " + (f"${binds.index(n) + 1}" if n in binds else "NULL") for n in shown)
        head = "CALL" if is_procedure else "SELECT * FROM"
        table = await self._table(raw, f"{head} {procedure.name}({listed})", [values[name] for name in binds])
        if not procedure.outs:
            return Answer([table], {})
        if len(table.rows) != 1 or not {n.lower() for n in procedure.outs} <= set(table.names):
            raise Malformed("the procedure did not give its out parameters back in one row")
        row = dict(zip(table.names, table.rows[0], strict=True))
        return Answer([Table()], {name: row[name.lower()] for name in procedure.outs})

    async def end(self, raw: Any, *, commit: bool) -> None:
        await raw.execute("COMMIT" if commit else "ROLLBACK")

    async def abandon(self, raw: Any) -> None:
        """Closing tells the server to cancel what still runs."""
        try:
            await raw.close(timeout=1.0)
        finally:
            raw.terminate()

    def judge(self, error: Exception, *, can_commit: bool) -> AdapterError | None:
        """PostgreSQL lets no procedure commit inside of our transaction: what failed did not happen."""
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            return Unavailable("the tables changed under the statement")
        if isinstance(error, asyncpg.PostgresError):
            return _of_state(error.sqlstate or "", error)
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
            return Unavailable("a value cannot be written as the type the statement wants, nothing was sent")
        if isinstance(error, asyncpg.InternalClientError):
            return Malformed("the database broke its protocol", raw=type(error).__name__.encode())
        return None

    async def _kind(self, raw: Any, name: str) -> str:
        if name not in self._kinds:
            schema, _, plain = name.lower().rpartition(".")
            self._kinds[name] = await raw.fetchval(_KIND, plain, schema.rpartition(".")[2]) or "f"
        return self._kinds[name]

    async def _table(self, raw: Any, sql: str, arguments: list[Any]) -> Table:
        if self.rules.read_only:
            rows = await self.collect((await raw.cursor(sql, *arguments)).fetch)
            return _shaped(rows, -1)
        prepared = await raw.prepare(sql)
        if prepared.get_attributes():
            rows = await self.collect((await prepared.cursor(*arguments)).fetch)
            return _shaped(rows, len(rows))
        await prepared.fetch(*arguments)
        count = prepared.get_statusmsg().rpartition(" ")[2]
        return Table(affected=int(count) if count.isdigit() else -1)


def _shaped(rows: list[Any], affected: int) -> Table:
    return Table(list(rows[0].keys()) if rows else [], rows, affected)


def _of_state(state: str, error: asyncpg.PostgresError) -> AdapterError | None:
    if state in _TRANSIENT:
        return Unavailable(f"the database stopped the statement, {_TRANSIENT[state]} ({state})")
    if state.startswith(("53", "55")):
        return Unavailable(f"the database is too busy for the statement ({state})")
    if state.startswith("42"):
        return unfit(state)
    if state.startswith(_GONE):
        return None
    return refused(state, str(error) if state == "P0001" else type(error).__name__)


def _encode(value: Tree) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kept(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """``read``, or the text as it is where it has no such form (``infinity``, a date before Christ)."""

    def decode(text: str) -> Any:
        try:
            return read(text)
        except (ValueError, DecodeError):
            return text

    return decode


_CODECS: list[tuple[tuple[str, ...], Callable[[str], Any]]] = [
    (("text", "varchar", "bpchar"), str),
    (("int2", "int4", "int8"), int),
    (("numeric", "float4", "float8"), Decimal),
    (("bool",), lambda text: text == "t"),
    (("date",), _kept(date.fromisoformat)),
    (("time",), _kept(time.fromisoformat)),
    (("timestamp", "timestamptz"), _kept(datetime.fromisoformat)),
    (("json", "jsonb"), _kept(lambda text: json.decode(text.encode()))),
]

__all__ = ["PostgreSQL"]
