"""What the journal need not keep any more, deleted so that nobody waits for it.

Each operation's old rows are found by its index, beside the writer, and deleted in transactions as small as a request's
own. On PostgreSQL a day whose exchanges are all over goes with its table (``esb.store.parts``): only what is kept
for a shorter time than others of its day is deleted by rows. What is under way, in doubt or queued stays, however old
it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from esb.clock import SHANGHAI, Clock, first_id
from esb.observe import get_logger
from esb.store import cursors, leases, parts, tries
from esb.store.inbox import prune_inbox
from esb.store.parts import WHOLE, Busy, Part
from esb.store.queue import queue
from esb.store.store import Store
from esb.store.tables import UNFINISHED, State, StoreError, exchange, idempotency

_CHUNK, _GROWS = 100, 10
_TAKES_S = 0.01
_LEASE_S = 600.0
_TRIES, _AGAIN_S = 20, 0.5
_MOST_APART = timedelta(minutes=10)
_SHORT = 20
"""Of a part as long as this fraction of what is kept all goes at once: some rows are kept longer by so much."""
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """How long exchanges are kept: ``usual``, and otherwise by operation."""

    usual: timedelta
    by_operation: Mapping[str, timedelta] = field(default_factory=dict)

    def of(self, operation: str) -> timedelta:
        return self.by_operation.get(operation, self.usual)

    @property
    def least(self) -> timedelta:
        return min([self.usual, *self.by_operation.values()])

    @property
    def most(self) -> timedelta:
        return max([self.usual, *self.by_operation.values()])


class Pruner:
    """Deletes from one store. It rests as long as the database worked for it, so that at most half of the writer's time
    is its own, and deletes so many rows at a time that the writer is its own for some ten milliseconds.

    ``now`` is the database's time in milliseconds. Every method raises ``StoreError``.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        chunk: int = _CHUNK,
        now: leases.Now = leases.now_ms,
    ) -> None:
        self._store, self._clock, self._sleep, self._now = store, clock, sleep, now
        self._least = self._chunk = chunk

    async def prune(self, kept: Kept) -> int:
        """Make parts for the days to come and delete what is older than it need be; returns how many rows, not counting
        those that went with the table of their day.

        Of the processes on one database one does it, and none whose clock is wrong. Messages in the inbox are kept as
        long as is usual, and until every subscriber of events has come to them.
        """
        if not await self._is_mine():
            return 0
        now = await self._agreed()
        await self._cut(now, kept.most)
        total, before = 0, None
        for part in await self._store.look(parts.parts):
            if part.low < first_id(now - kept.least) and await self._is_mine():
                gone, is_folded = await self._part(before, part, kept, now)
                total += gone
                if is_folded and before:
                    before = before._replace(high=part.high)
                    continue
            before = part
        await self._orphans(first_id(now - kept.usual))
        return total + await self._inbox((now - kept.usual).isoformat(timespec="seconds"))

    async def _is_mine(self) -> bool:
        return await self._store.lease("prune", _LEASE_S) is not None

    async def _agreed(self) -> datetime:
        """The time, when the database has about the same: a clock that is ahead would delete what is to be kept."""
        now = self._clock.now()
        if self._store.is_shared:
            there = datetime.fromtimestamp(await self._store.look(self._now) / 1000, SHANGHAI)
            if abs(now - there) > _MOST_APART:
                raise StoreError(f"this machine's clock says {now:%F %T}, the database's {there:%F %T}: one is wrong")
        return now

    async def _cut(self, now: datetime, kept: timedelta) -> None:
        """What hinders it hinders nothing else."""
        if not self._store.is_shared:
            return
        try:
            if await self._unless_busy(lambda connection: parts.suppose(connection, now.date())):
                await self._store.look(parts.prove)
            while await self._unless_busy(lambda connection: parts.cut(connection, now.date(), kept)):
                pass
        except StoreError as error:
            _log.warning("journal_days_not_made", reason=str(error))
        finally:
            await self._unless_busy(parts.withdraw)

    async def _unless_busy(self, work: Callable[[sa.Connection], bool]) -> bool | None:
        """None when there was always somebody at the journal: it is done the next time."""
        for _ in range(_TRIES):
            try:
                return await self._store.look(work)
            except Busy:
                await self._sleep(_AGAIN_S)
        _log.warning("journal_busy", tries=_TRIES)
        return None

    async def _part(self, before: Part | None, part: Part, kept: Kept, now: datetime) -> tuple[int, bool]:
        """How many rows went, and whether the part did."""
        bounds = {name: first_id(now - kept.of(name)) for name in await self._store.look(partial(operations, of=part))}
        ends = bounds.values() or [first_id(now - kept.usual)]
        over = bool(part.high) and all(part.high <= bound for bound in ends)
        if before and over:
            folded = await self._fold(before, part)
            if folded is not False:
                return 0, bool(folded)
        is_short = part.span <= max(timedelta(days=1), kept.usual / _SHORT)
        last = min(bounds.values(), default="")
        total = 0
        for operation, bound in bounds.items():
            if bound > last or over or not is_short:
                total += await self._exchanges(operation, part.low, min(bound, part.high or bound))
        return total, False

    async def _fold(self, before: Part, part: Part) -> bool | None:
        if not await self._keys(part):
            return None
        size = await self._store.look(lambda connection: parts.size(connection, part, with_all=True))
        folded = await self._unless_busy(lambda connection: parts.fold(connection, before, part, staying))
        if folded:
            _log.info("journal_day_dropped", day=str(parts.day_of(part.low)), bytes=size)
        return folded

    async def _keys(self, part: Part) -> bool:
        """The keys and tries of a part that goes: before it, so that whoever is killed in between leaves none. False
        when somebody has one of its exchanges to himself: it goes the next time.
        """
        left = 0
        for of in (idempotency.c.exchange, tries.attempt.c.exchange):
            after = part.low
            while ids := await self._store.look(partial(_keyed, of=of, after=after, high=part.high, most=self._chunk)):
                left += await self._rested(partial(_forget, of=of, ids=ids))
                after = ids[-1]
        return not left

    async def _orphans(self, high: str) -> None:
        """Tries without their exchange: a release that knows no tries deletes exchanges beside this one."""
        of, after = tries.attempt.c.exchange, ""
        while ids := await self._store.look(partial(_keyed, of=of, after=after, high=high, most=self._chunk)):
            if alone := await self._store.look(partial(_missing, ids=ids)):
                await self._rested(partial(_forget, of=of, ids=alone))
            after = ids[-1]

    async def _exchanges(self, operation: str, after: str, bound: str) -> int:
        total = 0
        while ids := await self._store.look(self._older(operation, after, bound)):
            total += await self._rested(partial(_delete, ids=ids))
            after = ids[-1]
        return total

    def _older(self, operation: str, after: str, bound: str) -> Callable[[sa.Connection], list[str]]:
        old = sa.select(exchange.c.id).where(exchange.c.operation == operation)
        old = old.where(exchange.c.id > after, exchange.c.id < bound).order_by(exchange.c.id).limit(self._chunk)
        return lambda connection: list(connection.scalars(old))

    async def _inbox(self, moment: str) -> int:
        total, wanted = 0, self._chunk
        deleted = wanted
        while deleted == wanted:
            wanted = self._chunk
            deleted = await self._rested(
                partial(
                    lambda connection, most: prune_inbox(connection, moment, most, cursors.least(connection)),
                    most=wanted,
                )
            )
            total += deleted
        return total

    async def _rested(self, work: Callable[[sa.Connection], int]) -> int:
        """What the work itself took counts: who waits behind others for the writer need not rest for that."""
        took = 0.0

        def timed(connection: sa.Connection) -> int:
            nonlocal took
            began = self._clock.monotonic()
            done = work(connection)
            took = self._clock.monotonic() - began
            return done

        done = await self._store.transact(timed)
        await self._sleep(took)
        if took > 0:
            wanted = int(self._chunk * _TAKES_S / took)
            self._chunk = min(max(wanted, self._least), 2 * self._chunk, _GROWS * self._least)
        return done


def operations(connection: sa.Connection, of: Part = WHOLE) -> list[str]:
    """Those that the journal, or a part of it, has rows of, each found by one look into the index."""
    name_of = sa.table(of.name, sa.column("operation", sa.Text)).c.operation
    found: list[str] = []
    least = sa.select(sa.func.min(name_of))
    while (name := connection.scalar(least.where(name_of > found[-1]) if found else least)) is not None:
        found.append(name)
    return found


_IS_QUEUED = sa.exists().where(queue.c.id == exchange.c.id)
_STAYS = sa.or_(UNFINISHED, exchange.c.state == str(State.ACCEPTED), _IS_QUEUED)


def staying(connection: sa.Connection, part: Part, most: int) -> list[str]:
    """Up to ``most`` ids of a part that must stay however old they are; each kind is found by its index."""
    within = (exchange.c.id >= part.low, exchange.c.id < part.high)
    waits = sa.and_(
        exchange.c.state == sa.literal(str(State.ACCEPTED), literal_execute=True),
        exchange.c.state != sa.literal(str(State.DONE), literal_execute=True),
    )
    queued = sa.select(queue.c.id).where(queue.c.id >= part.low, queue.c.id < part.high)
    found: set[str] = set()
    for which in (UNFINISHED, waits, exchange.c.id.in_(queued)):
        found.update(connection.scalars(sa.select(exchange.c.id).where(*within, which).limit(most)))
    return sorted(found)


def _keyed(connection: sa.Connection, of: sa.Column[str], after: str, high: str, most: int) -> list[str]:
    """Ids of exchanges that the column ``of`` has, each once."""
    return list(connection.scalars(sa.select(of).distinct().where(of > after, of < high).order_by(of).limit(most)))


def _missing(connection: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Those of which there is no exchange."""
    there = set(connection.scalars(sa.select(exchange.c.id).where(exchange.c.id.in_(ids))))
    return [one for one in ids if one not in there]


def _ended(connection: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Those that need not stay, and nobody changes before this transaction has ended."""
    ended = sa.select(exchange.c.id).where(exchange.c.id.in_(ids), sa.not_(_STAYS))
    return list(connection.scalars(ended.with_for_update(skip_locked=True)))


def _forget(connection: sa.Connection, of: sa.Column[str], ids: Sequence[str]) -> int:
    """What ``of`` has of exchanges that are over or gone; of how many others that are over somebody had the row."""
    gone = [*_ended(connection, ids), *_missing(connection, ids)]
    connection.execute(of.table.delete().where(of.in_(gone)))
    left = sa.select(sa.func.count()).where(exchange.c.id.in_(ids), exchange.c.id.not_in(gone), sa.not_(_STAYS))
    return connection.scalar(left) or 0


def _delete(connection: sa.Connection, ids: Sequence[str]) -> int:
    gone = _ended(connection, ids)
    connection.execute(idempotency.delete().where(idempotency.c.exchange.in_(gone)))
    tries.prune(connection, gone)
    connection.execute(exchange.delete().where(exchange.c.id.in_(gone)))
    return len(gone)
