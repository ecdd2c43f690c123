"""How a transaction is carried out: on a file just so; on a database that others share and that may go away, with a
lease, a bounded number of tries, and a question about what became of a commit that was not answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from esb.observe import Metrics, get_logger
from esb.store import driver
from esb.store.leases import Instance
from esb.store.tables import Fenced, Unsettled

_T = TypeVar("_T")
_SERIALIZATION, _DEADLOCK, _LOCK_TIMEOUT = "40001", "40P01", "55P03"
_AGAIN = (_SERIALIZATION, _DEADLOCK, _LOCK_TIMEOUT)
_UNIQUE = "23505"
_GONE = ("08", "57P")
_WAITS_S = (0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0)
_STATUS = sa.text("SELECT pg_xact_status(CAST(:number AS xid8))")
_log = get_logger()


class Commits(Protocol):
    """Carries out one transaction after another, in one thread."""

    def run(self, work: Callable[[sa.Connection], _T], *, is_fenced: bool = True) -> _T:
        """``work`` in a transaction, its result once that is committed; ``work`` may be done several times, each time
        from the beginning. ``is_fenced``: not when this process has lost its lease.
        """

    def close(self) -> None:
        """After the last transaction."""


class OwnCommits:
    """Of a file. One connection for all transactions: what it has written it need not read again. After one that failed
    another connection is taken. The driver begins and commits: SQLAlchemy's way costs 10 us and more each time.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def run(self, work: Callable[[sa.Connection], _T], *, is_fenced: bool = True) -> _T:
        """See ``Commits``."""
        connection, self._connection = self._connection or self._engine.connect(), None
        try:
            driver.run(connection, "BEGIN IMMEDIATE")
            result = work(connection)
            if connection.in_transaction():  # a statement of SQLAlchemy's was among them
                connection.commit()
            else:
                driver.run(connection, "COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return result

    def close(self) -> None:
        """See ``Commits``."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SharedCommits:
    """Of a PostgreSQL database. While it is away a transaction is tried for some eight seconds, the following ones once
    each until it is back, so that who waits is told soon.
    """

    def __init__(
        self, engine: sa.Engine, instance: Instance, metrics: Metrics, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._engine, self._instance, self._metrics, self._sleep = engine, instance, metrics, sleep
        self._is_away = False

    def run(self, work: Callable[[sa.Connection], _T], *, is_fenced: bool = True) -> _T:
        """See ``Commits``."""
        for wait in self._waits():
            attempt = _Attempt(self._engine, self._instance)
            try:
                result = self._fenced(attempt, work) if is_fenced else attempt.run(work, is_fenced=False)
            except (DBAPIError, PoolTimeout) as error:
                self._is_away = is_away(error)
                if attempt.is_in_doubt and self._is_away and self._is_committed(attempt.number):
                    self._is_away = False
                    attempt.committed(is_fenced=is_fenced)
                    return attempt.result  # type: ignore[no-any-return]
                if wait is None or not (self._is_away or _is_for_now(error, wait)):
                    raise
                _log.warning("store_transaction_again", reason=type(error).__name__, code=_state(error))
                self._sleep(wait)
            else:
                self._is_away = False
                return result
        raise AssertionError("the last wait is none")

    def close(self) -> None:
        """See ``Commits``; each transaction has given its connection back."""

    def _fenced(self, attempt: _Attempt, work: Callable[[sa.Connection], _T]) -> _T:
        """Under our lease; when that was taken over, once more under a new one: only what was under way is lost."""
        try:
            return attempt.run(work, is_fenced=True)
        except Fenced as error:
            if attempt.number:
                raise
            self._metrics.leases_lost.inc()
            _log.error("lease_lost", reason=str(error), count=len(self._instance.estranged))
        return attempt.run(work, is_fenced=True)

    def _waits(self) -> Iterator[float | None]:
        if not self._is_away:
            yield from _WAITS_S
        yield None

    def _is_committed(self, number: str) -> bool:
        """What became of the transaction of this number; raises ``Unsettled`` when that cannot be found out."""
        for wait in (*_WAITS_S, *_WAITS_S):
            try:
                with self._engine.connect() as connection:
                    status = connection.scalar(_STATUS, {"number": number})
            except (DBAPIError, PoolTimeout) as error:
                status = "in progress" if is_away(error) else "aborted"
            if status != "in progress":
                return bool(status == "committed")
            self._sleep(wait)
        raise Unsettled("the database went away during a commit and did not come back")


class _Attempt:
    """One transaction; ``is_in_doubt`` when its commit was asked for and not answered."""

    def __init__(self, engine: sa.Engine, instance: Instance) -> None:
        self._engine, self._instance = engine, instance
        self.number = ""
        self._began = float("-inf")
        self.result: Any = None
        self.is_in_doubt = False

    def run(self, work: Callable[[sa.Connection], _T], *, is_fenced: bool) -> _T:
        self._began = self._instance.now()
        with self._engine.connect() as connection:
            if is_fenced:
                self.number = self._instance.enter(connection)
            else:
                self.number = str(connection.scalar(sa.select(sa.cast(sa.func.pg_current_xact_id(), sa.Text))))
            self.result = result = work(connection)
            self.is_in_doubt = True
            connection.commit()
        self.committed(is_fenced=is_fenced)
        return result

    def committed(self, *, is_fenced: bool) -> None:
        """It is known to be: the lease was renewed when it began."""
        if is_fenced:
            self._instance.entered(self._began)


def _is_for_now(error: Exception, wait: float) -> bool:
    """Whether a new transaction may do better; one that met a row of another is done anew once, and then sees it."""
    return _state(error) in _AGAIN or (_state(error) == _UNIQUE and wait == _WAITS_S[0])


def _state(error: Exception) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def is_away(error: Exception) -> bool:
    """Whether the database could not be reached or cut the connection."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _state(error)
    return state.startswith(_GONE) or (isinstance(error, OperationalError | InterfaceError) and not state)
