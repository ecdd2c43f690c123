"""The store as the pipeline sees it: claim, mark as sent, finish, find."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from esb.errors import ConfigError
from esb.observe import Metrics, get_logger
from esb.store import engines, leases
from esb.store.bodies import CorruptError
from esb.store.commits import SharedCommits, is_away
from esb.store.effects import Earlier, Fate, finish_exchange, mark_sent, open_exchange
from esb.store.files import Lock, Wal
from esb.store.inbox import Arrival, Offer, Settled, Taken, Told, events_after, inbox, newest, stored
from esb.store.leases import Instance
from esb.store.news import News
from esb.store.ordering import Key
from esb.store.receiving import Receiving
from esb.store.recent import Recent
from esb.store.tables import UNFINISHED, Fenced, Row, State, StoreError, exchange, lease
from esb.store.writer import Many, Writer, unpack

_T = TypeVar("_T")
_LARGEST = 500
_FIND = sa.select(exchange).where(exchange.c.id == sa.bindparam("its_id"))
_log = get_logger()


def _new_name() -> str:
    """Which machine and process, for people; the rest makes it another one each time."""
    return f"{socket.gethostname()}/{os.getpid()}/{os.urandom(4).hex()}"


class Store:
    """Journal and idempotency keys. One process at a time on a SQLite file, any number on a PostgreSQL database.

    Of those each has what it opened for its own: what a process did not renew its lease for, others take up, and it can
    neither mark it as sent nor finish it any more (``Fenced``).

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
        wal_bytes: int = 1024 * 1024 * 1024,
        linger_s: float = 0.1,
        engine: Callable[[str], sa.Engine] = sa.create_engine,
        writer: Callable[[sa.Engine, Metrics, float], Writer] = Writer,
        lease_s: float = 15.0,
        name: Callable[[], str] = _new_name,
    ) -> None:
        self.engine = engines.engine_of(url, engine)
        self.is_shared = self.engine.dialect.name == "postgresql"
        self.instance = Instance(name, lease_s)
        self._lock = Lock(self.engine)
        self._queue, self._queue_bytes = queue, queue_bytes
        self._wal, self._wal_bytes = Wal(self.engine), wal_bytes
        metrics.store_wal.set_function(lambda: self._wal.size)
        self._writer = writer(self.engine, metrics, linger_s)
        if self.is_shared:
            self._writer.commits = SharedCommits(self.engine, self.instance, metrics)
        self._renewing: asyncio.Task[None] | None = None
        self._receiving = Receiving()
        self.recent = Recent()
        self._readers = ThreadPoolExecutor(2, "journal-read")
        listening = partial(engines.listening, self.engine) if self.is_shared else None
        self.news = News(listening, self._look)

    @property
    def full(self) -> bool:
        """True when so much waits to be written, or so long nobody let SQLite clear its log, that nothing more should
        be admitted.
        """
        waits = self._writer.backlog >= self._queue or self._writer.backlog_bytes >= self._queue_bytes
        return waits or self._wal.size >= self._wal_bytes

    async def start(self) -> None:
        """Take the file for this process, or a lease; bring the tables up to this release. Raises ``ConfigError``."""
        if not self.is_shared:
            self._lock.take()
        try:
            await self._read(lambda: engines.open_up(self.engine))
        except StoreError as error:
            self._lock.free()
            raise engines.unusable(self.engine.url, f"is no usable store: {error}") from None
        except ConfigError:
            self._lock.free()
            raise
        self._writer.start()
        if self.is_shared:
            await self._renew()
            self._renewing = asyncio.get_running_loop().create_task(self._keep_renewing())
        self.news.start()

    async def close(self) -> None:
        """Write everything that waits and leave; a second close does nothing."""
        await self.news.close()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await asyncio.to_thread(self._writer.stop)
        if self._renewing is not None:
            await self._leave()
            self._renewing = None
        self._readers.shutdown()
        self._writer.commits.close()
        self.engine.dispose()
        self._lock.free()

    async def _renew(self) -> None:
        """Every transaction that is waited for renews the lease."""
        await self._writer.do(lambda connection: None)

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self.instance.ttl_s / 3)
            with contextlib.suppress(StoreError):
                await self._renew()

    async def _leave(self) -> None:
        """What is left under way may be taken up at once."""
        with contextlib.suppress(StoreError):
            await self._look(lambda connection: leases.leave(connection, self.instance.name))

    def write(self, row: Row) -> None:
        """Put a finished exchange into the journal soon; a row that cannot be written is counted and logged."""
        self._writer.add(row)

    async def open(self, row: Row) -> Earlier | None:
        """Make ``row`` durable and its key taken, or say who has the key; a row without fingerprint takes no key."""
        return await self._writer.do(lambda connection: self._open(connection, row))

    def _open(self, connection: sa.Connection, row: Row) -> Earlier | None:
        earlier = open_exchange(connection, row._replace(owner=self.instance.name))
        if earlier is None and self.is_shared:
            self.instance.takes([row.id])
        return earlier

    async def sent(self, exchange_id: str) -> None:
        """Make it durable that the bytes of this exchange may be on the wire; raises ``Fenced``."""
        await self._writer.do(lambda connection: mark_sent(connection, exchange_id, self._owner(exchange_id)))
        self.check_lease()

    def check_lease(self) -> None:
        """Raises ``Fenced`` when another may have taken what this process has under way: before bytes go out."""
        if self.is_shared and not self.instance.is_valid:
            raise Fenced("the lease of this process is over")

    async def finish(self, row: Row, fate: Fate) -> None:
        """Make the end of an opened exchange durable, and the fate of its key; raises ``Fenced``.

        A once that ends as unknown stays this process's until it is settled.
        """
        try:
            await self._writer.do(lambda connection: self.finish_in(connection, row, fate))
        except Fenced:
            self.instance.estranged.discard(row.id)
            raise

    def finish_in(self, connection: sa.Connection, row: Row, fate: Fate) -> None:
        """``finish`` as a part of a transaction."""
        stays = row.state == State.UNKNOWN and row.effect == "once"
        owner = self._owner(row.id)
        finish_exchange(connection, row._replace(owner=owner if stays else ""), fate, owner)
        if self.is_shared:
            (self.instance.takes if stays else self.instance.leaves)([row.id])

    def _owner(self, exchange_id: str) -> str:
        """Our name in the row of an exchange that is ours."""
        if exchange_id in self.instance.estranged:
            raise Fenced("the exchange was begun before the lease of this process was taken over")
        return self.instance.name

    def receive(
        self,
        arrival: Arrival,
        since: str,
        conflict: Callable[[], Arrival],
        misplaced: Callable[[int], Arrival] | None = None,
        answers: tuple[str, str] | None = None,
    ) -> asyncio.Future[Settled]:
        """Keep a message that a system sent us, unless it is a repeat; its future has the answer after the commit.

        Messages are kept in the order of these calls. The future ends with ``StoreError`` when nothing was kept. For
        all but ``arrival`` see ``Offer``.
        """
        offer = Offer(arrival, stored(arrival), since, conflict, misplaced, answers)
        kept = self._writer.put(self._receiving.settle, offer, len(arrival.raw))
        kept.add_done_callback(partial(self._note, arrival))
        return kept

    def _note(self, arrival: Arrival, kept: asyncio.Future[Settled]) -> None:
        if kept.cancelled() or kept.exception() is not None:
            return
        settled = kept.result()
        if settled.position:
            event = arrival if settled.state is Taken.EVENT else None
            self.recent.note(settled.position, event, is_clear=settled.is_clear)

    async def transact(self, work: Callable[[sa.Connection], _T], keys: Sequence[Key] = ()) -> _T:
        """Do ``work`` in the next transaction; its result comes after the commit. Of ``keys`` it adds or removes
        messages.
        """
        return await self._writer.do(work, keys)

    async def gather(self, many: Many, item: Any, size: int = 0, keys: Sequence[Key] = ()) -> Any:
        """As ``transact``, together with others that wait for the same ``many``; ``size`` is what it holds in bytes."""
        return await self._writer.put(many, item, size, keys)

    async def look(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Read, beside the writer."""
        return await self._look(work)

    async def events(self, after: int, most: int = 100) -> list[Told]:
        """The events behind that position, in the order in which their messages were kept."""
        return await self._look(lambda connection: events_after(connection, after, most))

    async def arrivals(self, count: int = 100, **wanted: str) -> list[tuple[int, Arrival]]:
        """The latest messages that systems sent us, newest first, with their positions; ``wanted`` by column."""
        conditions = [inbox.c[name] == value for name, value in wanted.items()]
        return await self._look(lambda connection: newest(connection, count, *conditions))

    async def find(self, exchange_id: str) -> Row | None:
        """The journal's row, bodies unpacked; raises ``CorruptError`` when they are broken."""
        found = await self._look(lambda connection: connection.execute(_FIND, {"its_id": exchange_id}).first())
        return _unpacked(Row(*found)) if found else None

    async def unfinished(self) -> list[Row]:
        """What nobody has under way: every row under way, and every once that is unknown, oldest first; now ours.

        On a file that is what a crash left behind; of a shared store, what others left whose lease is over.
        """
        return await self._writer.do(self._take_up)

    def _take_up(self, connection: sa.Connection) -> list[Row]:
        mine = self.instance
        left = exchange.c.owner != mine.name
        if self.is_shared:
            if mine.may_judge:
                leases.bury(connection)
            alive = sa.select(lease.c.name).where(lease.c.name.startswith(leases.INSTANCE))
            left = sa.and_(exchange.c.owner != "", exchange.c.owner.not_in(alive))
        found = _sound(_stored(connection, sa.and_(UNFINISHED, left)))
        rows = [row for row in found if row.id not in mine.estranged]
        ids = [row.id for row in rows]
        for at in range(0, len(ids), _LARGEST):
            some = exchange.c.id.in_(ids[at : at + _LARGEST])
            connection.execute(exchange.update().where(some).values(owner=mine.name))
        if self.is_shared:
            mine.takes(ids)
        return rows

    async def lease(self, name: str, seconds: float) -> int | None:
        """Take or renew what only one process may have; its fence, or None while another has it."""

        def work(connection: sa.Connection) -> int | None:
            now = leases.now_ms(connection)
            return leases.acquire(connection, name, self.instance.name, now, int(seconds * 1000))

        return await self._writer.do(work)

    async def release(self, name: str) -> None:
        """Let another process have it at once."""
        await self._writer.do(lambda connection: leases.release(connection, name, self.instance.name))

    async def _look(self, work: Callable[[sa.Connection], _T]) -> _T:
        """A short transaction beside the writer; once more when the connection turns out to be dead."""

        def run() -> _T:
            try:
                return self._once(work)
            except DBAPIError as error:
                if not (self.is_shared and is_away(error)):
                    raise
            return self._once(work)

        return await self._read(run)

    def _once(self, work: Callable[[sa.Connection], _T]) -> _T:
        with self.engine.begin() as connection:
            return work(connection)

    async def _read(self, run: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except (DBAPIError, PoolTimeout) as error:
            raise StoreError(str(error.orig) if isinstance(error, DBAPIError) else "no connection is free") from None


def _sound(rows: Iterable[Row]) -> Iterator[Row]:
    """Without those that cannot be read: one broken row is no reason not to start."""
    for row in rows:
        try:
            yield _unpacked(row)
        except CorruptError as error:
            _log.error("journal_row_corrupt", exchange=row.id, operation=row.operation, reason=str(error))


def _stored(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Row]:
    query = sa.select(exchange).where(which).order_by(exchange.c.id)
    return [Row(*one) for one in connection.execute(query.with_for_update(skip_locked=True))]


def _unpacked(row: Row) -> Row:
    return row._replace(
        request=unpack(row.request), sent=unpack(row.sent), raw=unpack(row.raw), answer=unpack(row.answer)
    )
