"""What events ask for: nobody waits, so the first try comes before anything is kept, and one commit keeps many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from esb.buffer import Buffer
from esb.clock import Clock
from esb.contract import FieldError
from esb.errors import Outcome
from esb.model import Effect, Exchange, Tree
from esb.pipeline.again import Again
from esb.pipeline.asking import Asking
from esb.pipeline.backlog import Backlog, order_key
from esb.pipeline.journal import Journal
from esb.pipeline.parts import Ending, Record
from esb.pipeline.version import Lane
from esb.store import Row, State, queue
from esb.store.accepting import Kept


class Forwarded(NamedTuple):
    """What became of it, ``done``, ``refused``, ``invalid`` (no request), ``queued`` or ``parked``; what to keep."""

    result: str
    kept: Kept

    @property
    def waits(self) -> bool:
        """Whether what is ordered behind it must wait in the queue too."""
        return self.kept.message is not None


class Forwarding:
    """Makes what is to be kept of an exchange; whoever asks keeps it. The exchange's id must say whose it is.

    What is done or refused at the first try is an end in the journal and was never in a queue. All else waits in the
    ordinary queue of its endpoint, as if it had been accepted. What happens once is not tried before it is kept.
    """

    def __init__(self, backlog: Backlog, asking: Asking, journal: Journal, clock: Clock) -> None:
        self._backlog, self._asking, self._journal, self._clock = backlog, asking, journal, clock

    @property
    def buffer(self) -> Buffer:
        """Where it waits."""
        return self._backlog.buffer

    def has_room(self, lane: Lane, coming: int) -> bool:
        """Whether one more may wait for this lane's system when so many that are under way will."""
        return self.buffer.length(lane.endpoint.name) + coming < lane.endpoint.limits.backlog

    def order_key(self, lane: Lane, request: Tree) -> str:
        """What a request is ordered by among the messages of its endpoint; empty when it is not."""
        return order_key(lane.config.ordered, request)

    def may_try(self, lane: Lane) -> bool:
        """Whether it may be sent before it is kept."""
        return lane.operation.effect is not Effect.ONCE

    def invalid(self, exchange: Exchange, lane: Lane, cause: str, errors: Sequence[FieldError]) -> Forwarded:
        """The end of what is no request of the operation."""
        ending = Ending(Outcome.REFUSED, "invalid_request", details={"errors": [error.tree() for error in errors]})
        return self._ended(self._record(exchange, lane, cause), ending, "invalid")

    def broken(self, exchange: Exchange, lane: Lane, cause: str, reason: str) -> Forwarded:
        """The end of an event that no request could be made of; ``exchange`` has the event instead."""
        ending = Ending(Outcome.MALFORMED, "mapping_failed", reason=reason)
        return self._ended(self._record(exchange, lane, cause), ending, "invalid")

    def accepted(self, exchange: Exchange, lane: Lane, cause: str) -> Forwarded:
        """It waits for its first try in the queue."""
        record = self._record(exchange, lane, cause)
        lane.accepted.inc()
        return Forwarded("queued", self._waiting(record, queue.READY, 0, 0, False, ""))

    async def tried(self, exchange: Exchange, lane: Lane, cause: str) -> Forwarded:
        """Try once; raises nothing but ``CancelledError``."""
        record = self._record(exchange, lane, cause)
        ending = await self._asking.ask(record)
        if ending.outcome in (Outcome.DONE, Outcome.REFUSED):
            return self._ended(record, ending, ending.outcome.value)
        again = Again.after(self._backlog, record, ending, 0, was_sent=False)
        lane.accepted.inc()
        state, due = (queue.PARKED, 0) if again.parks else (queue.LATER, self._backlog.now() + int(again.wait_s * 1000))
        finished = self._clock.now().isoformat(timespec="milliseconds")
        tried = record.tried(finished, ending) if again.counts else None
        kept = self._waiting(record, state, due, int(again.counts), again.sent, again.reason)
        return Forwarded("parked" if again.parks else "queued", kept._replace(tried=tried))

    def _record(self, exchange: Exchange, lane: Lane, cause: str) -> Record:
        return Record(exchange, lane, self._clock.monotonic(), cause)

    def _ended(self, record: Record, ending: Ending, result: str) -> Forwarded:
        record.lane.counts[ending.outcome].inc()
        return Forwarded(result, Kept(self._journal.row(record, ending)))

    def _waiting(self, record: Record, state: str, due: int, tries: int, sent: bool, reason: str) -> Kept:
        """Its row is free for the try that ends it: what an earlier one sent and got stands with that try."""
        row: Row = record.row(State.ACCEPTED, "", self._clock.monotonic())._replace(sent=b"", raw=b"")
        return Kept(row, (*self._backlog.message(record), state, due, tries, 0, 0, sent, reason))
