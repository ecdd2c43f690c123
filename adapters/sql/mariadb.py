"""MariaDB over aiomysql."""

from __future__ import annotations

from typing import Any

from aiomysql import SSCursor
from pymysql import err  # type: ignore[import-untyped]
from pymysql.constants import COMMAND  # type: ignore[import-untyped]
from sqlalchemy import URL

from adapters.sql.databases import Answer, Database, Table, refused, unfit
from adapters.sql.statement import Procedure, Statement
from esb.spi import AdapterError, Clock, Malformed, OutcomeUnknown, Tree, Unavailable

_TRANSIENT = {
    1205: "it waited too long for a lock",
    1213: "it was in a deadlock",
    1317: "it was interrupted",
    1969: "it ran into its time limit",
    1040: "the database has too many connections",
    1203: "the database has too many connections",
    1226: "the account has used up its share",
}
_GONE = {1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2027, 2055}
_UNFIT = {1044, 1049, 1054, 1064, 1142, 1143, 1146, 1227, 1305, 1370}
_SIGNAL = 1644
_MULTI_STATEMENTS_OFF = b"\x01\x00"


class _Cursor(SSCursor):  # type: ignore[misc]
    """Unbuffered, the later result sets of a procedure too; does not ask for warnings, which repeat data."""

    _result: Any

    async def nextset(self) -> bool:
        connection, current = self._get_db(), self._result
        if current is None or current is not connection._result or not current.has_next:
            return False
        self._result = None
        self._clear_result()
        await connection._read_query_result(unbuffered=True)
        await self._do_get_result()
        return True

    async def _show_warnings(self, conn: Any) -> None:
        return None


class MariaDB(Database):
    style = "mariadb"

    def target(self, url: URL) -> tuple[URL, dict[str, Any]]:
        only = "ON" if self.rules.read_only else "OFF"
        setup = f"SET SESSION tx_read_only = {only}, time_zone = '+08:00', max_statement_time = {self._cap()}"
        arguments = {"connect_timeout": self.rules.connect_timeout_s, "init_command": setup}
        query = {"charset": "utf8mb4", **url.query}
        return url.set(drivername="mariadb+aiomysql", query=query), arguments

    async def made(self, raw: Any) -> None:
        """aiomysql asks for several statements in one packet; the server is told to refuse them."""
        await raw._execute_command(COMMAND.COM_SET_OPTION, _MULTI_STATEMENTS_OFF)
        await raw._read_packet()

    async def begin(self, raw: Any, seconds: float, clock: Clock) -> None:
        await raw.query(f"SET SESSION max_statement_time = {min(seconds, self._cap()):.3f}")
        await raw.query("START TRANSACTION READ " + ("ONLY" if self.rules.read_only else "WRITE"))

    async def run(self, raw: Any, statement: Statement, values: dict[str, Tree]) -> Answer:
        return Answer(await self._tables(raw, statement.sql, [values[name] for name in statement.names]))

    async def call(self, raw: Any, procedure: Procedure, values: dict[str, Tree]) -> Answer:
        places, arguments = [], []
        for name, mode in zip(procedure.parameters, procedure.modes, strict=True):
            places.append("%s" if mode == "in" else f"@esb_{name}")
            if mode == "in":
                arguments.append(values[name])
            elif mode == "inout":
                await self._tables(raw, f"SET @esb_{name} = %s", [values[name]])
        tables = await self._tables(raw, f"CALL {procedure.name}({', '.join(places)})", arguments)
        tables = [table for table in tables if table.names] or [Table()]
        if not procedure.outs:
            return Answer(tables, {})
        asked = await self._tables(raw, "SELECT " + ", ".join(f"@esb_{name}" for name in procedure.outs), [])
        return Answer(tables, dict(zip(procedure.outs, asked[0].rows[0], strict=True)))

    async def end(self, raw: Any, *, commit: bool) -> None:
        await raw.query("COMMIT" if commit else "ROLLBACK")

    async def abandon(self, raw: Any) -> None:
        raw.close()

    def judge(self, error: Exception, *, can_commit: bool) -> AdapterError | None:
        if isinstance(error, err.InternalError | err.InterfaceError) and len(error.args) < 2:
            return Malformed("the database broke its protocol", raw=str(error).encode())
        if not isinstance(error, err.MySQLError) or not error.args or not isinstance(error.args[0], int):
            return None
        number = error.args[0]
        if number in _GONE:
            return None
        if number in _TRANSIENT:
            reason = f"the database stopped the statement, {_TRANSIENT[number]} ({number})"
            return OutcomeUnknown(reason) if can_commit else Unavailable(reason)
        if number in _UNFIT:
            return (
                OutcomeUnknown(f"a procedure that may commit failed ({number})") if can_commit else unfit(str(number))
            )
        return refused(str(number), str(error.args[1]) if number == _SIGNAL else type(error).__name__)

    def prepare(self, value: Tree) -> Any:
        if isinstance(value, list):
            raise ValueError("MariaDB has no list to bind")
        return super().prepare(value)

    def _cap(self) -> float:
        return self.rules.statement_timeout_s

    async def _tables(self, raw: Any, sql: str, arguments: list[Any]) -> list[Table]:
        """Every result set in order. ``arguments`` are written into the text by PyMySQL's escaping."""
        cursor = await raw.cursor(_Cursor)
        await cursor.execute(sql, tuple(arguments))
        tables = []
        while True:
            names = [column[0] for column in cursor.description or ()]
            rows = await self.collect(cursor.fetchmany) if names else []
            tables.append(Table(names, rows, cursor.rowcount if not names else -1))
            if not await cursor.nextset():
                break
        await cursor.close()
        return tables


__all__ = ["MariaDB"]
