"""SQL on PostgreSQL, MariaDB and SQLite: views to read, stored procedures to act.

Action: one statement with ``:name`` binds, or ``call schema.procedure(in a, inout b, out c)``. Payload: a dict of the
bind values. Answer: ``{"rows": [{column: value}]}``; of a procedure also ``{"out": {name: value}}``, and ``"sets"``
with every result set when there are several; where writing is allowed also ``"affected"``, -1 when the database does
not say. Reads only unless ``read_only: false``, by the database's own hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from pydantic import Field, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.sql.columns import columns
from adapters.sql.databases import Answer, Database, Rules
from adapters.sql.description import described
from adapters.sql.statement import Procedure, Statement, parse
from esb.codecs import DecodeError, EncodeError, json
from esb.codecs.rows import Rows
from esb.spi import (
    AdapterError,
    AdapterSettings,
    Call,
    ConfigError,
    Description,
    Finding,
    Malformed,
    OutcomeUnknown,
    Refused,
    Tree,
    Unavailable,
)

_KINDS = {
    "postgresql": ("postgresql", "PostgreSQL"),
    "postgres": ("postgresql", "PostgreSQL"),
    "mariadb": ("mariadb", "MariaDB"),
    "mysql": ("mariadb", "MariaDB"),
    "sqlite": ("sqlite", "SQLite"),
}


class Settings(AdapterSettings):
    """``url`` as SQLAlchemy writes it, the password in it or apart: ``postgresql://reader@lis:5432/lis``.

    ``trim_chars`` drops CHAR padding; ``text_charset: gbk`` reads texts again that a database holds as latin-1.
    """

    url: SecretStr
    password: SecretStr | None = None
    read_only: bool = True
    statement_timeout_s: float = Field(default=5.0, gt=0, le=300)
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    max_rows: int = Field(default=1000, ge=1, le=100_000)
    max_answer_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    connections: int = Field(default=5, ge=1, le=100)
    trim_chars: bool = False
    text_charset: str | None = None


def connect(settings: Settings) -> Sql:
    """An adapter for one database; raises ``ConfigError`` for a wrong address or a driver that is not installed."""
    return Sql(settings)


def decode(text: str) -> Tree:
    """The tree of an example's ``answer`` given as text: JSON."""
    return json.decode(text.encode())


class Sql:
    """One database and its pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = _database(settings)
        self._rows = _rows(settings)
        self._parse = lru_cache(maxsize=1024)(lambda action: parse(action, self._database.style))
        self._closed = False
        self._leaving: set[asyncio.Task[None]] = set()

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        """See the module and ``esb.spi.Adapter``."""
        parsed, values, sent = self._written(action, payload)
        if self._closed:
            raise Unavailable("the connection to this database was closed")
        if call.remaining() <= 0:
            raise Unavailable("the deadline had passed before anything was sent")
        try:
            async with asyncio.timeout(call.remaining()):
                answer = await self._run(parsed, values, sent, call)
        except TimeoutError:
            if call.wire.left:
                raise OutcomeUnknown("no end of the answer before the deadline") from None
            raise Unavailable("no connection to the database in time") from None
        return self._tree(parsed, answer, call)

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """The statement and, as JSON, its bind values."""
        return self._written(action, payload)[2].decode()

    async def probe(self, call: Call) -> None:
        """A connection from the pool, tried out."""
        if self._closed:
            raise Unavailable("the connection to this database was closed")
        try:
            async with asyncio.timeout(call.remaining()):
                connection, _ = await self._connection()
                await connection.close()
        except TimeoutError:
            raise Unavailable("no connection to the database in time") from None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.gather(*self._leaving)
            await self._database.engine.dispose()

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """Sentences about a statement that cannot be run; what its binds want ``describe`` tells, if any is given."""
        try:
            parsed = self._parse(action)
        except ValueError as error:
            yield str(error)
            return
        if isinstance(parsed, Statement) and self._settings.read_only and not parsed.is_read:
            yield "this statement writes, and the endpoint's settings do not say read_only: false"
        if not fields:
            yield from (f"the action's :{name} is not given by the request" for name in sorted(parsed.binds))
        if isinstance(parsed, Statement):
            for name in columns(action, self._database.style).twice():
                yield f"the column '{name}' stands twice in the answer; give one of them another name"

    def describe(self, action: str) -> Description:
        """The binds, and the columns of the rows as far as the text of the statement tells them."""
        try:
            return described(action, self._database.style, writes=not self._settings.read_only)
        except ValueError:
            return Description()

    # one call

    def _written(self, action: str, payload: Tree) -> tuple[Statement | Procedure, dict[str, Any], bytes]:
        try:
            if not isinstance(payload, dict):
                raise ValueError("the payload is not a dict of bind values")
            parsed = self._parse(action)
            if isinstance(parsed, Procedure):
                parsed = parsed.with_values(tuple(payload))
            if parsed.binds != payload.keys():
                raise ValueError(f"the action binds {sorted(parsed.binds)}, the payload gives {sorted(payload)}")
            if isinstance(parsed, Statement) and self._settings.read_only and not parsed.is_read:
                raise ValueError("it writes, and the endpoint is read-only")
            values = {name: self._database.prepare(value) for name, value in payload.items()}
            shown = {name: "(bytes)" if isinstance(value, bytes) else value for name, value in payload.items()}
            return parsed, values, action.strip().encode() + b"\n" + json.encode(shown)
        except (ValueError, EncodeError) as error:
            raise Refused(f"the statement cannot be sent: {error}", code="invalid") from None

    async def _connection(self) -> tuple[AsyncConnection, Any]:
        try:
            connection = await self._database.engine.connect()
            return connection, (await connection.get_raw_connection()).driver_connection
        except TimeoutError:
            raise
        except Exception as error:  # whatever it is, nothing was sent yet
            raise Unavailable(f"no connection to the database ({_name(error)})") from None

    async def _run(self, parsed: Statement | Procedure, values: dict[str, Any], sent: bytes, call: Call) -> Answer:
        """One transaction on one connection, which goes back to the pool only if its state is known for certain."""
        connection, raw = await self._connection()
        known = False
        try:
            answer = await self._transact(raw, parsed, values, sent, call)
            known = not self._settings.read_only or await self._rolled_back(raw)
            return answer
        except _Decided as decided:
            known = await self._rolled_back(raw)
            raise decided.error from None
        finally:
            if known:
                await connection.close()
            else:
                task = asyncio.create_task(self._give_up(connection, raw))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _give_up(self, connection: AsyncConnection, raw: Any) -> None:
        """Beside the call, which has its answer; the connection keeps its place in the pool until it is gone."""
        with contextlib.suppress(Exception):  # it is thrown away, however it goes
            await self._database.abandon(raw)
        with contextlib.suppress(Exception):
            await connection.invalidate()
        await connection.close()

    async def _transact(
        self, raw: Any, parsed: Statement | Procedure, values: dict[str, Any], sent: bytes, call: Call
    ) -> Answer:
        database, remaining = self._database, call.remaining()
        seconds = min(self._settings.statement_timeout_s, remaining - min(0.1, remaining / 10))
        try:
            await database.begin(raw, seconds, call.clock)
            call.wire.sending(sent)
            if isinstance(parsed, Statement):
                answer = await database.run(raw, parsed, values)
            else:
                answer = await database.call(raw, parsed, values)
            if not self._settings.read_only:
                await database.end(raw, commit=True)
            return answer
        except AdapterError:
            raise
        except Exception as error:  # drivers raise whatever they like
            raise self._judged(error, parsed, call) from None

    def _judged(self, error: Exception, parsed: Statement | Procedure, call: Call) -> Exception:
        if not call.wire.left:
            return Unavailable(f"the transaction could not begin ({_name(error)})")
        can_commit = isinstance(parsed, Procedure) and not self._settings.read_only
        judged = self._database.judge(error, can_commit=can_commit)
        if judged is not None and not isinstance(judged, Malformed):
            return _Decided(judged)
        if judged is not None:
            return judged
        if isinstance(error, _BROKEN):
            return Malformed(f"the database's answer cannot be read ({_name(error)})", raw=_name(error).encode())
        return OutcomeUnknown(f"the connection to the database was lost ({_name(error)})")

    async def _rolled_back(self, raw: Any) -> bool:
        try:
            await self._database.end(raw, commit=False)
        except Exception:  # then the connection is given up, and the database rolls back by itself
            return False
        return True

    def _tree(self, parsed: Statement | Procedure, answer: Answer, call: Call) -> Tree:
        try:
            sets = [self._rows.read(table.names, table.rows) for table in answer.tables]
            tree: dict[str, Tree] = {"rows": sets[0]}
            if answer.out is not None:
                tree["out"] = {name: self._rows.value(value, name) for name, value in answer.out.items()}
            if len(sets) > 1:
                tree["sets"] = sets
            if not self._settings.read_only and isinstance(parsed, Statement):
                tree["affected"] = answer.tables[0].affected
            call.wire.received = json.encode(tree)
        except (DecodeError, EncodeError) as error:
            raise Malformed(f"the rows cannot be read: {error.reason}", raw=b"") from None
        return tree


class _Decided(Exception):
    """The database itself said what happened; the connection may live on."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(error.reason)
        self.error = error


_BROKEN = (UnicodeDecodeError, struct.error, IndexError, AssertionError)


def _name(error: BaseException) -> str:
    """An error's kind and the database's own code, without its text, which repeats values and addresses."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    if code is None and original.args and isinstance(original.args[0], int):
        code = original.args[0]
    return type(original).__name__ + (f" {code}" if code else "")


def _database(settings: Settings) -> Database:
    rules = Rules(
        read_only=settings.read_only,
        statement_timeout_s=settings.statement_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        max_rows=settings.max_rows,
        max_answer_bytes=settings.max_answer_bytes,
        connections=settings.connections,
    )
    try:
        url = make_url(settings.url.get_secret_value())
        if settings.password is not None:
            url = url.set(password=settings.password.get_secret_value())
        module, name = _KINDS[url.get_backend_name()]
        kind: type[Database] = getattr(import_module(f"adapters.sql.{module}"), name)
        return kind(url, rules)
    except KeyError:
        raise _fault("'url' must begin with postgresql://, mariadb:// or sqlite://") from None
    except ModuleNotFoundError as error:
        raise _fault(f"the driver {error.name!r} is not installed; install the extra of that database") from None
    except (ArgumentError, ValueError) as error:
        text = str(error) if type(error) is ValueError else "it cannot be read as an address"
        raise _fault(f"'url' is wrong: {text}") from None


def _rows(settings: Settings) -> Rows:
    try:
        return Rows(trim=settings.trim_chars, text_charset=settings.text_charset)
    except LookupError:
        raise _fault(f"'text_charset': no charset is called {settings.text_charset!r}") from None


def _fault(message: str) -> ConfigError:
    return ConfigError([Finding("settings", 0, 0, message)])


__all__ = ["Settings", "Sql", "connect", "decode"]
