"""The store as the pipeline sees it: claim, mark as sent, finish, find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from esb.errors import ConfigError, Finding
from esb.observe import Metrics
from esb.store import cursors, tables
from esb.store.effects import Earlier, Fate, finish_exchange, mark_sent, open_exchange
from esb.store.files import Lock, prepare, tune
from esb.store.inbox import Arrival, Offer, Settled, Told, events_after, inbox, newest, prune_inbox, stored
from esb.store.queue import queue as queued
from esb.store.receiving import Receiving
from esb.store.tables import OPEN, SCHEMA_VERSION, Row, State, StoreError, exchange, idempotency
from esb.store.writer import Many, Writer, unpack

_T = TypeVar("_T")
_UNFINISHED = sa.and_(
    exchange.c.state.in_([str(state) for state in OPEN]),
    sa.or_(exchange.c.state != str(State.UNKNOWN), exchange.c.effect == "once"),
)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Store:
    """Journal and idempotency keys. One process at a time on a SQLite file.

    Writes go through one thread (``Writer``), reads through two others. Every method that waits raises ``StoreError``
    when the database did not do it.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        queue: int = 20_000,
        queue_bytes: int = 128 * 1024 * 1024,
        linger_s: float = 0.1,
        engine: Callable[[str], sa.Engine] = sa.create_engine,
        writer: type[Writer] = Writer,
    ) -> None:
        prepare(url)
        self.engine = engine(url)
        tune(self.engine)
        self._lock = Lock(self.engine)
        self._queue, self._queue_bytes = queue, queue_bytes
        self._writer = writer(self.engine, metrics, linger_s)
        self._receiving = Receiving()
        self._readers = ThreadPoolExecutor(2, "journal-read")

    @property
    def full(self) -> bool:
        """True when so much waits to be written that no further exchange should be admitted."""
        return self._writer.backlog >= self._queue or self._writer.backlog_bytes >= self._queue_bytes

    async def start(self) -> None:
        """Take the file for this process and make or check its tables; raises ``ConfigError``."""
        self._lock.take()
        try:
            await self._read(self._check)
        except StoreError as error:
            self._lock.free()
            raise ConfigError([Finding(str(self.engine.url.database), 0, 0, f"is no usable store: {error}")]) from None
        except ConfigError:
            self._lock.free()
            raise
        self._writer.start()

    async def close(self) -> None:
        """Write everything that waits; a second close does nothing."""
        await asyncio.to_thread(self._writer.stop)
        self._readers.shutdown()
        self.engine.dispose()
        self._lock.free()

    def write(self, row: Row) -> None:
        """Put a finished exchange into the journal soon; a row that cannot be written is counted and logged."""
        self._writer.add(row)

    async def open(self, row: Row) -> Earlier | None:
        """Make ``row`` durable and its key taken, or say who has the key; a row without fingerprint takes no key."""
        return await self._writer.do(lambda connection: open_exchange(connection, row))

    async def sent(self, exchange_id: str) -> None:
        """Make it durable that the bytes of this exchange may be on the wire."""
        await self._writer.do(lambda connection: mark_sent(connection, exchange_id))

    async def finish(self, row: Row, fate: Fate) -> None:
        """Make the end of an opened exchange durable, and the fate of its key."""
        await self._writer.do(lambda connection: finish_exchange(connection, row, fate))

    def receive(
        self,
        arrival: Arrival,
        since: str,
        conflict: Callable[[], Arrival],
        misplaced: Callable[[int], Arrival] | None = None,
    ) -> asyncio.Future[Settled]:
        """Keep a message that a system sent us, unless it is a repeat; its future has the answer after the commit.

        Messages are kept in the order of these calls. The future ends with ``StoreError`` when nothing was kept. For
        ``since``, ``conflict`` and ``misplaced`` see ``Offer``.
        """
        offer = Offer(arrival, stored(arrival), since, conflict, misplaced)
        return self._writer.put(self._receiving.settle, offer, len(arrival.raw))

    async def transact(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Do ``work`` in the next transaction; its result comes after the commit."""
        return await self._writer.do(work)

    async def gather(self, many: Many, item: Any, size: int = 0) -> Any:
        """As ``transact``, together with others that wait for the same ``many``; ``size`` is what it holds in bytes."""
        return await self._writer.put(many, item, size)

    async def look(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Read, beside the writer."""
        return await self._read(work)

    async def events(self, after: int, most: int = 100) -> list[Told]:
        """The events behind that position, in the order in which their messages were kept."""
        return await self._read(lambda connection: events_after(connection, after, most))

    async def arrivals(self, count: int = 100, **wanted: str) -> list[tuple[int, Arrival]]:
        """The latest messages that systems sent us, newest first, with their positions; ``wanted`` by column."""
        conditions = [inbox.c[name] == value for name, value in wanted.items()]
        return await self._read(lambda connection: newest(connection, count, *conditions))

    async def find(self, exchange_id: str) -> Row | None:
        """The journal's row, bodies unpacked."""
        rows = await self._read(lambda connection: _rows(connection, exchange.c.id == exchange_id))
        return rows[0] if rows else None

    async def unfinished(self) -> list[Row]:
        """What a crash left behind: every row under way, and every once that is unknown, oldest first."""
        return await self._read(lambda connection: _rows(connection, _UNFINISHED))

    async def prune(self, before: datetime, chunk: int = 500) -> int:
        """Delete what ended and was received before ``before``, ``chunk`` rows a transaction; returns how many rows.

        Messages that a subscriber of events has not come to yet stay.
        """
        bound, moment = _first_id(before), before.isoformat(timespec="seconds")
        total = await self._prune(lambda connection: _prune(connection, bound, chunk), chunk)
        return total + await self._prune(
            lambda connection: prune_inbox(connection, moment, chunk, cursors.least(connection)), chunk
        )

    async def _prune(self, work: Callable[[sa.Connection], int], chunk: int) -> int:
        total, deleted = 0, chunk
        while deleted == chunk:
            deleted = await self._writer.do(work)
            total += deleted
        return total

    async def _read(self, work: Callable[[sa.Connection], _T]) -> _T:
        def run() -> _T:
            with self.engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except DBAPIError as error:
            raise StoreError(str(error.orig)) from None

    def _check(self, connection: sa.Connection) -> None:
        if not sa.inspect(connection).has_table("schema_version"):
            tables.metadata.create_all(connection)
            connection.execute(tables.schema_version.insert().values(version=SCHEMA_VERSION))
        version = tables.upgrade(connection, connection.scalar(sa.select(tables.schema_version.c.version)))
        if version != SCHEMA_VERSION:
            raise ConfigError(
                [
                    Finding(
                        self.engine.url.render_as_string(),
                        0,
                        0,
                        f"the store has schema version {version}, this release needs {SCHEMA_VERSION}",
                        "use the release that made it, or another store",
                    )
                ]
            )


def _rows(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Row]:
    found = connection.execute(sa.select(exchange).where(which).order_by(exchange.c.id))
    rows = [Row(*one) for one in found]
    return [
        row._replace(request=unpack(row.request), sent=unpack(row.sent), raw=unpack(row.raw), answer=unpack(row.answer))
        for row in rows
    ]


def _prune(connection: sa.Connection, bound: str, chunk: int) -> int:
    is_queued = sa.exists().where(queued.c.id == exchange.c.id)
    old = sa.select(exchange.c.id).where(exchange.c.id < bound, sa.not_(_UNFINISHED), sa.not_(is_queued))
    ids = list(connection.scalars(old.order_by(exchange.c.id).limit(chunk)))
    connection.execute(idempotency.delete().where(idempotency.c.exchange.in_(ids)))
    connection.execute(exchange.delete().where(exchange.c.id.in_(ids)))
    return len(ids)


def _first_id(moment: datetime) -> str:
    """The least id (``clock.Ids``) that could have been made at ``moment``."""
    stamp = max(0, int(moment.timestamp() * 1000))
    return "".join([_CROCKFORD[(stamp >> shift) & 31] for shift in range(45, -1, -5)])
