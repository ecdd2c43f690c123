"""What differs between PostgreSQL, MariaDB and SQLite: how to be read-only, to stop in time, to call and to fail.

SQLAlchemy makes and pools the connections; on them the drivers are used directly, so that a cancelled call, a result of
several sets and the database's own error codes stay what they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.sql.statement import Procedure, Statement, Style
from esb.spi import AdapterError, Clock, Malformed, Refused, Tree, Unavailable

BATCH = 256


@dataclass(slots=True)
class Table:
    """One result: ``affected`` is -1 where the database does not say."""

    names: list[str] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    affected: int = -1


@dataclass(slots=True)
class Answer:
    """What one action gave; ``out`` only of a procedure."""

    tables: list[Table]
    out: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Agreed limits: seconds for a statement, rows and bytes of an answer, connections."""

    read_only: bool
    statement_timeout_s: float
    connect_timeout_s: float
    max_rows: int
    max_answer_bytes: int
    connections: int


class Database(ABC):
    """One kind of database. ``raw`` is always the driver's own connection."""

    style: ClassVar[Style]

    def __init__(self, url: URL, rules: Rules) -> None:
        self.rules = rules
        target, arguments = self.target(url)
        self.engine: AsyncEngine = create_async_engine(
            target,
            connect_args=arguments,
            isolation_level="AUTOCOMMIT",
            pool_size=rules.connections,
            max_overflow=0,
            pool_timeout=3600,  # the caller's deadline ends the wait
            pool_pre_ping=True,
            pool_recycle=1800,
            pool_reset_on_return=None,  # every call ends its own transaction or gives up the connection
            hide_parameters=True,
        )
        event.listen(self.engine.sync_engine, "connect", lambda adapted, _: adapted.run_async(self.made))

    @abstractmethod
    def target(self, url: URL) -> tuple[URL, dict[str, Any]]:
        """SQLAlchemy's URL and the driver's arguments."""

    @abstractmethod
    async def made(self, raw: Any) -> None:
        """Set up a new connection."""

    @abstractmethod
    async def begin(self, raw: Any, seconds: float, clock: Clock) -> None:
        """Start the transaction, read-only by the database's own hand if so agreed, with a time limit."""

    @abstractmethod
    async def run(self, raw: Any, statement: Statement, values: dict[str, Tree]) -> Answer: ...

    @abstractmethod
    async def call(self, raw: Any, procedure: Procedure, values: dict[str, Tree]) -> Answer: ...

    @abstractmethod
    async def end(self, raw: Any, *, commit: bool) -> None: ...

    @abstractmethod
    async def abandon(self, raw: Any) -> None:
        """Stop whatever runs and drop the connection, in a second at most."""

    @abstractmethod
    def judge(self, error: Exception, *, can_commit: bool) -> AdapterError | None:
        """What ``error`` means; None if the connection or its state is no longer known.

        ``can_commit``: the action may have committed something before it failed (a procedure of MariaDB can).
        """

    def prepare(self, value: Tree) -> Any:
        """A tree's value as the driver takes it."""
        if isinstance(value, dict):
            raise ValueError("a dict cannot be bound")
        return value

    async def collect(self, fetch: Callable[[int], Any]) -> list[Any]:
        """All rows, in batches; over the agreed limits ``Malformed``."""
        rows: list[Any] = []
        size = 0
        while batch := await fetch(min(BATCH, self.rules.max_rows + 1 - len(rows))):
            rows.extend(batch)
            if len(rows) > self.rules.max_rows:
                raise Malformed(f"more than the agreed {self.rules.max_rows} rows came back (max_rows)")
            size += sum(len(value) for row in batch for value in row if isinstance(value, str | bytes))
            if size > self.rules.max_answer_bytes:
                raise Malformed(f"the rows hold more than {self.rules.max_answer_bytes} bytes (max_answer_bytes)")
        return rows


def unfit(code: str) -> Unavailable:
    """The views, columns or rights that the statement needs are not there: nobody said no, and nothing happened."""
    return Unavailable(f"the database lacks what the statement needs ({code})")


def refused(code: str, message: str = "") -> Refused:
    return Refused(f"the database refused the statement ({code})", code=code, message=message[:200])
