"""One thread writes: all that waits goes into one transaction, so that a thousand rows cost one sync of the disk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from esb.observe import Metrics, get_logger
from esb.store.bodies import pack, unpack
from esb.store.commits import Commits, OwnCommits
from esb.store.many import insert
from esb.store.ordering import Key, keep_order
from esb.store.tables import Fenced, Row, StoreError, Unsettled, clean, exchange

_T = TypeVar("_T")
_LARGEST_BATCH = 2000
_BESIDE_WORKS = 200
_GATHER_S = 0.001
_log = get_logger()

__all__ = ["Many", "Writer", "pack", "packed", "unpack"]

Work = Callable[[sa.Connection], Any]
Many = Callable[[sa.Connection, Sequence[Any]], Sequence[Any]]
"""Does several items of one kind together: a result for each, in their order."""


class _Waiting(NamedTuple):
    many: Many
    item: Any
    size: int
    keys: Sequence[Key]
    future: asyncio.Future[Any]


def _each(connection: sa.Connection, works: Sequence[Work]) -> list[Any]:
    return [work(connection) for work in works]


def _many(waiting: _Waiting) -> Many:
    return waiting.many


def packed(row: Row) -> tuple[str | int | bytes, ...]:
    """``row`` as it is stored."""
    plain = [clean(value) if type(value) is str else value for value in row[:-4]]
    return (*plain, pack(row.request), pack(row.sent), pack(row.raw), pack(row.answer))


def _size(row: Row) -> int:
    return len(row.request) + len(row.sent) + len(row.raw) + len(row.answer)


class Writer:
    """The thread. ``add`` never waits and is for rows that nobody waits for; they may lie ``linger_s`` before they are
    written. ``do`` is done at once with all that has gathered, and its result comes after the commit.

    The queues have no bound: who admits work looks at ``backlog`` first. What somebody waits for goes first.
    """

    def __init__(self, engine: sa.Engine, metrics: Metrics, linger_s: float) -> None:
        self.commits: Commits = OwnCommits(engine)
        self._metrics = metrics
        self._linger_s = linger_s
        self._works: deque[_Waiting] = deque()
        self._rows: deque[Row] = deque()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._is_called = self._is_urged = False
        self._added = self._taken = 0  # bytes; each is changed by one thread only
        self._gather_s = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        metrics.journal_lag.set_function(lambda: self.backlog)

    @property
    def backlog(self) -> int:
        """Works that no commit has taken yet."""
        return len(self._works) + len(self._rows)

    @property
    def backlog_bytes(self) -> int:
        """What they hold."""
        return self._added - self._taken

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Write what is there and end; blocks."""
        self._stopping = True
        self._urge()
        if self._thread.ident is not None:
            self._thread.join()

    def add(self, row: Row) -> None:
        if self._stopping:
            return self._failed([row], StoreError("the store is closed"))
        self._rows.append(row)
        self._added += _size(row)
        if not self._is_called:
            self._is_called = True
            self._calls.put(False)

    async def do(self, work: Callable[[sa.Connection], _T], keys: Sequence[Key] = ()) -> _T:
        """Run ``work`` in the next transaction; raises ``StoreError`` when that did not commit.

        When the caller is cancelled the work is done all the same. ``keys`` as ``put``.
        """
        done: asyncio.Future[_T] = self.put(_each, work, keys=keys)
        return await done

    def put(self, many: Many, item: Any, size: int = 0, keys: Sequence[Key] = ()) -> asyncio.Future[Any]:
        """Do ``item`` in the next transaction, with its neighbours that are for the same ``many`` in one call.

        The future has its result after the commit, or ``StoreError``. ``size`` is what it holds in bytes; of ``keys``
        it adds or removes messages, and has them to itself (``keep_order``).
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._stopping:
            future.set_exception(StoreError("the store is closed"))
            return future
        self._added += size
        self._works.append(_Waiting(many, item, size, keys, future))
        self._urge()
        return future

    def _urge(self) -> None:
        """Call the thread, once until it comes. A queue wakes it sooner than an ``Event``, which is Python."""
        if not self._is_urged:
            self._is_called = self._is_urged = True
            self._calls.put(True)

    def _write(self) -> None:
        while not self._stopping or self.backlog:
            if self._called() and self._gather_s:
                time.sleep(self._gather_s)
            self._is_called = self._is_urged = False  # before what is there is taken: what comes later calls again
            if batch := self._take():
                self._commit(batch)

    def _called(self) -> bool:
        """Wait for a call, and when it is one that may wait, so long for one that may not; whether that came."""
        try:
            return self._calls.get() or self._calls.get(timeout=self._linger_s)
        except Empty:
            return False

    def _take(self) -> list[Row | _Waiting]:
        works = [self._works.popleft() for _ in range(min(len(self._works), _LARGEST_BATCH))]
        count = min(len(self._rows), _BESIDE_WORKS if works else _LARGEST_BATCH)
        rows = [self._rows.popleft() for _ in range(count)]
        if self.backlog or self._stopping:
            self._urge()
        self._taken += sum(map(_size, rows)) + sum([one.size for one in works])
        return [*rows, *works]

    def _commit(self, batch: list[Row | _Waiting]) -> None:
        began = time.perf_counter()
        try:
            done = self._transact(batch)
        except Exception as error:
            if len(batch) > 1 and _is_of_one(error):
                half = len(batch) // 2
                self._commit(batch[:half])
                self._commit(batch[half:])
            else:
                self._failed(batch, error)
            return
        self._gather(len(done), time.perf_counter() - began)
        self._metrics.journal_batch_size.observe(len(batch))
        self._answer(lambda future, result: future.set_result(result), done)

    def _gather(self, works: int, seconds: float) -> None:
        """Who was answered together sends again at about the same time: a short wait puts them into one commit again.

        Otherwise two halves take turns, each waiting for the other's sync.
        """
        self._gather_s = min(seconds / 4, _GATHER_S) if works > 1 else 0.0

    def _transact(self, batch: list[Row | _Waiting]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Many rows a statement: each gives the interpreter's lock away, and a busy loop is slow to give it back."""
        rows = [packed(one) for one in batch if isinstance(one, Row)]
        keys = [key for one in batch if not isinstance(one, Row) for key in one.keys]

        def work(connection: sa.Connection) -> list[tuple[asyncio.Future[Any], Any]]:
            keep_order(connection, keys)
            insert(connection, exchange, Row._fields, rows)
            done: list[tuple[asyncio.Future[Any], Any]] = []
            for many, same in groupby((one for one in batch if not isinstance(one, Row)), _many):
                waiting = list(same)
                results = many(connection, [one.item for one in waiting])
                done += zip([one.future for one in waiting], results, strict=True)
            return done

        return self.commits.run(work, is_fenced=len(rows) < len(batch))

    def _failed(self, batch: list[Row | _Waiting], error: Exception) -> None:
        rows = sum(isinstance(one, Row) for one in batch)
        self._metrics.journal_lost.inc(rows)
        failure = _failure(error)
        self._metrics.steps_fenced.inc(isinstance(failure, Fenced))
        _log.error("journal_not_written", rows=rows, count=len(batch), reason=str(failure))
        failed = [(one.future, failure) for one in batch if not isinstance(one, Row)]
        self._answer(lambda future, result: future.set_exception(result), failed)

    def _answer(self, tell: Callable[[asyncio.Future[Any], Any], None], results: list[tuple[Any, Any]]) -> None:
        """Tell all who wait with one wake-up of the loop."""

        def resolve() -> None:
            for future, result in results:
                if not future.done():
                    tell(future, result)

        if results and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve)


def _failure(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__)


def _is_of_one(error: Exception) -> bool:
    """True when one work is at fault, so that the others may be written without it."""
    if isinstance(error, Unsettled):
        return False
    return isinstance(error, IntegrityError | DataError) or not isinstance(error, DBAPIError | PoolTimeout)
