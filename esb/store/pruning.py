"""What the journal need not keep any more, deleted a few rows at a time: nobody waits for it.

Each operation's old rows are found by its index, beside the writer, and deleted in transactions as small as a request's
own. What is under way, in doubt or queued stays, however old it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from esb.clock import Clock, first_id
from esb.store import cursors
from esb.store.inbox import prune_inbox
from esb.store.queue import queue
from esb.store.store import Store
from esb.store.tables import UNFINISHED, State, exchange, idempotency

_CHUNK = 100
_LEASE_S = 600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """How long exchanges are kept: ``usual``, and otherwise by operation."""

    usual: timedelta
    by_operation: Mapping[str, timedelta] = field(default_factory=dict)

    def of(self, operation: str) -> timedelta:
        return self.by_operation.get(operation, self.usual)


class Pruner:
    """Deletes from one store. It rests as long as it works, so that at most half of the writer's time is its own."""

    def __init__(
        self, store: Store, clock: Clock, sleep: Callable[[float], Awaitable[None]], chunk: int = _CHUNK
    ) -> None:
        self._store, self._clock, self._sleep, self._chunk = store, clock, sleep, chunk

    async def prune(self, kept: Kept) -> int:
        """Delete what is older than it need be; returns how many rows. Raises ``StoreError``.

        Of the processes on one database one does it. Messages in the inbox are kept as long as is usual, and until
        every subscriber of events has come to them.
        """
        if await self._store.lease("prune", _LEASE_S) is None:
            return 0
        now, total = self._clock.now(), 0
        for operation in await self._store.look(operations):
            total += await self._exchanges(operation, first_id(now - kept.of(operation)))
        return total + await self._inbox((now - kept.usual).isoformat(timespec="seconds"))

    async def _exchanges(self, operation: str, bound: str) -> int:
        total, after = 0, ""
        while ids := await self._store.look(self._older(operation, after, bound)):
            total += await self._rested(partial(_delete, ids=ids))
            after = ids[-1]
        return total

    def _older(self, operation: str, after: str, bound: str) -> Callable[[sa.Connection], list[str]]:
        old = sa.select(exchange.c.id).where(exchange.c.operation == operation)
        old = old.where(exchange.c.id > after, exchange.c.id < bound).order_by(exchange.c.id).limit(self._chunk)
        return lambda connection: list(connection.scalars(old))

    async def _inbox(self, moment: str) -> int:
        total, deleted = 0, self._chunk
        while deleted == self._chunk:
            deleted = await self._rested(
                lambda connection: prune_inbox(connection, moment, self._chunk, cursors.least(connection))
            )
            total += deleted
        return total

    async def _rested(self, work: Callable[[sa.Connection], int]) -> int:
        began = self._clock.monotonic()
        done = await self._store.transact(work)
        await self._sleep(self._clock.monotonic() - began)
        return done


def operations(connection: sa.Connection) -> list[str]:
    """Those that the journal has rows of, each found by one look into the index."""
    found: list[str] = []
    least = sa.select(sa.func.min(exchange.c.operation))
    while (name := connection.scalar(least.where(exchange.c.operation > found[-1]) if found else least)) is not None:
        found.append(name)
    return found


def _delete(connection: sa.Connection, ids: Sequence[str]) -> int:
    is_queued = sa.exists().where(queue.c.id == exchange.c.id)
    ended = sa.select(exchange.c.id).where(exchange.c.id.in_(ids), sa.not_(UNFINISHED), sa.not_(is_queued))
    ended = ended.where(exchange.c.state != str(State.ACCEPTED))
    gone = list(connection.scalars(ended.with_for_update(skip_locked=True)))
    connection.execute(idempotency.delete().where(idempotency.c.exchange.in_(gone)))
    connection.execute(exchange.delete().where(exchange.c.id.in_(gone)))
    return len(gone)
