"""Record: what is written down, counted, logged and told when an exchange ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from esb.clock import Clock
from esb.errors import Outcome
from esb.model import Effect, Result
from esb.observe import get_logger
from esb.pipeline import endings
from esb.pipeline.parts import Ending, Record
from esb.store import Earlier, Fate, Fenced, Row, State, Store, StoreError
from esb.store.accepting import Kept, keep
from esb.store.withdrawing import withdraw

_TRY_AGAIN_S = 5.0
_WITHDRAW_AGAIN_S = 1.0
_WITHDRAWN_AT_ONCE, _MOST_UNSURE = 100, 100_000


class Journal:
    """Writes rows and tells results. Rows of reads go out without waiting; ends of effects are waited for."""

    def __init__(self, store: Store, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._log = get_logger().bind()  # bound once: the module's proxy would bind anew for every line
        self._late: dict[str, asyncio.Task[bool]] = {}
        self._unsure: list[str] = []
        self._not_kept: set[str] = set()
        self._withdrawing: asyncio.Task[None] | None = None
        self._finding_out: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what could not be written; the next start finds it unfinished."""
        late: list[asyncio.Task[Any]] = [*self._late.values(), *filter(None, [self._withdrawing]), *self._finding_out]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def open(self, record: Record) -> Earlier | None:
        """Take the key and make the row durable, or say who has the key."""
        return await self._store.open(record.row(State.RECEIVED, "", self._clock.monotonic()))

    def end(self, record: Record, ending: Ending) -> Result:
        """The end of an exchange that took no key and changed nothing."""
        self._store.write(self._row(record, State(ending.outcome), ending))
        return self._tell(record, endings.told(record.exchange.effect, ending))

    def not_kept(self, record: Record, error: StoreError) -> Result:
        """The end of an exchange that the store did not take.

        A commit may succeed and seem to fail: what it kept is taken back, or its key would be taken for ever.
        """
        if len(self._unsure) < _MOST_UNSURE:
            self._unsure.append(record.exchange.id)
            self._not_kept.add(record.exchange.id)
        if self._withdrawing is None or self._withdrawing.done():
            self._withdrawing = asyncio.get_running_loop().create_task(self._withdraw())
        ending = Ending(Outcome.UNAVAILABLE, "store_unavailable", reason=str(error), retry_after=5.0)
        return self.end(record, ending)

    def unsettled(self, record: Record, error: StoreError) -> Result:
        """The answer to one that may have been accepted: then another process may deliver it, so it is not taken back.

        When the store is back an exchange that it does not have gets its end, so that its caller may know.
        """
        reason = str(error)
        not_kept = self._row(record, State.UNAVAILABLE, Ending(Outcome.UNAVAILABLE, "store_unavailable", reason=reason))
        if len(self._finding_out) < _MOST_UNSURE:
            task = asyncio.get_running_loop().create_task(self._find_out(not_kept))
            self._finding_out.add(task)
            task.add_done_callback(self._finding_out.discard)
        return self.tell(record, Ending(Outcome.UNKNOWN, "outcome_unknown", reason=reason))

    async def _find_out(self, not_kept: Row) -> None:
        while True:
            try:
                return await self._store.transact(lambda one: keep(one, [Kept(not_kept)]))
            except StoreError:
                await self._sleep(_WITHDRAW_AGAIN_S)

    async def _withdraw(self) -> None:
        while self._unsure:
            some, finished = self._unsure[:_WITHDRAWN_AT_ONCE], self._clock.now().isoformat(timespec="milliseconds")
            try:
                taken = await self._store.transact(lambda one, ids=some, at=finished: withdraw(one, ids, at))  # type: ignore[misc]
            except StoreError:
                await self._sleep(_WITHDRAW_AGAIN_S)
            else:
                del self._unsure[: len(some)]
                self._not_kept -= set(some) - set(taken)

    def was_not_kept(self, exchange: str) -> bool:
        """Whether its caller was told that nothing was kept, and what may have been kept is not taken back yet."""
        return exchange in self._not_kept

    def taken_back(self, exchange: str) -> None:
        """A worker had it and ended it."""
        self._not_kept.discard(exchange)

    def cancelled(self, record: Record) -> None:
        """The caller of a read has gone."""
        self._store.write(self._row(record, State.CANCELLED, Ending(Outcome.UNAVAILABLE, "cancelled")))
        record.lane.counts["cancelled"].inc()

    def given(self, record: Record, first: Result) -> Result:
        """An exchange that is given the answer of another: from the cache, from a shared flight, by its key."""
        record.cause = first.exchange
        ending = Ending(first.outcome, first.code, first.body, retry_after=first.retry_after)
        self._store.write(self._row(record, State(first.outcome), ending))
        told = self._tell(record, ending)
        return first if first.replayed else replace(first, exchange=told.exchange)

    def accepted(self, record: Record) -> Result:
        """An exchange that was journalled with its message."""
        return self._tell(record, Ending(Outcome.ACCEPTED))

    async def finish(self, record: Record, ending: Ending, fate: Fate) -> Result:
        """The end of an opened exchange; durable before it is told."""
        await self.settle(self._row(record, State(ending.outcome), ending), fate)
        return self.tell(record, ending)

    def tell(self, record: Record, ending: Ending) -> Result:
        """What the caller is told of an end that was written down."""
        return self._tell(record, endings.told(record.exchange.effect, ending))

    async def settle(self, row: Row, fate: Fate) -> bool:
        """Make an end durable. What happened has happened: when the store fails, tell it and go on trying.

        A later end of the same exchange replaces one that is still to be written. What another process has taken over
        is that one's to end: then False.
        """
        if earlier := self._late.pop(row.id, None):
            earlier.cancel()
        try:
            await self._store.finish(row, fate)
        except StoreError as error:
            self._log.error("exchange_not_recorded", exchange=row.id, operation=row.operation, reason=str(error))
            if isinstance(error, Fenced):
                return False
            self._late[row.id] = asyncio.get_running_loop().create_task(self._until_written(row, fate))
        return True

    async def written(self, exchange: str) -> bool:
        """Return when no end of this exchange waits to be written; False when it turned out to be another's to end."""
        is_ours = True
        while (task := self._late.get(exchange)) is not None:
            await asyncio.wait([task])
            is_ours = task.cancelled() or task.result()
        return is_ours

    async def _until_written(self, row: Row, fate: Fate) -> bool:
        while True:
            await self._sleep(_TRY_AGAIN_S)
            try:
                is_ours = await self._written_again(row, fate)
            except StoreError:
                continue
            del self._late[row.id]
            return is_ours

    async def _written_again(self, row: Row, fate: Fate) -> bool:
        """A commit may succeed and seem to fail: the end that stands there may be this one."""
        try:
            await self._store.finish(row, fate)
        except Fenced as error:
            kept = await self._store.find(row.id)
            if kept is not None and (kept.state, kept.finished) == (row.state, row.finished):
                return True
            self._log.error("exchange_not_recorded", exchange=row.id, operation=row.operation, reason=str(error))
            return False
        return True

    def row(self, record: Record, ending: Ending) -> Row:
        """The row of an ending."""
        return self._row(record, State(ending.outcome), ending)

    def _row(self, record: Record, state: State, ending: Ending) -> Row:
        return record.row(state, self._clock.now().isoformat(timespec="milliseconds"), self._clock.monotonic(), ending)

    def _tell(self, record: Record, ending: Ending) -> Result:
        exchange, lane = record.exchange, record.lane
        seconds = self._clock.monotonic() - record.started
        lane.counts[ending.outcome].inc()
        lane.seconds.observe(seconds)
        plain = exchange.effect is Effect.READ and ending.outcome in (Outcome.DONE, Outcome.REFUSED)
        plain = plain or ending.outcome is Outcome.ACCEPTED  # its end is logged when it is delivered
        (self._log.debug if plain else self._log.info)(
            "exchange_ended",
            exchange=exchange.id,
            operation=exchange.operation,
            endpoint=lane.endpoint.name,
            outcome=ending.outcome.value,
            code=ending.code,
            reason=ending.reason,
            attempts=record.attempts,
            seconds=round(seconds, 4),
            request_id=exchange.request_id,
        )
        return ending.result(exchange.id)
