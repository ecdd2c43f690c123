"""A real replay: exchanges are accepted again or released, for the workers of the bus that runs to deliver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from esb import audit
from esb.clock import Clock
from esb.lint import Plan
from esb.model import Effect
from esb.pipeline.backlog import order_key
from esb.replay.judging import CARRIED_OUT, Judged, Verdict, judge
from esb.replay.rehearsing import chunks
from esb.store import State, queue
from esb.store.again import accept_again, last_due, replayed_by
from esb.store.engines import transaction
from esb.store.leases import now_ms
from esb.store.ordering import Key, keep_order

_LOW = 2
"""Of a message that is replayed: what is asked now goes first."""


@dataclass(frozen=True, slots=True)
class Performer:
    """Replays in transactions of some hundred exchanges, a row in the audit for each: who, why and which.

    Cut short, it may be begun again with the same list: what is on its way or has ended is left alone. The first tries
    are spread to ``rate`` a second, behind those of replays that still wait. A queue is filled up to its bound and no
    further.
    """

    store: str
    plan: Plan
    clock: Clock
    reason: str
    rate: float

    def perform(self, ids: Sequence[str]) -> Iterator[list[Judged]]:
        """What became of each, a transaction at a time; raises ``ConfigError`` when the store cannot be used."""
        for chunk in chunks(ids):
            with transaction(self.store) as connection:
                done = self._chunk(connection, chunk)
            yield done

    def _chunk(self, connection: sa.Connection, ids: Sequence[str]) -> list[Judged]:
        due = _Due(max(now_ms(connection), last_due(connection)), self.rate)
        room = _Room(connection, self.plan)
        judged = judge(connection, ids, self.plan)
        keep_order(connection, [self._order(one) for one in judged if one.verdict is Verdict.AGAIN])
        done = [self._one(connection, one, due, room) for one in judged]
        for one in done:
            if one.verdict in CARRIED_OUT and one.row is not None:
                details = {"operation": one.row.operation, "verdict": str(one.verdict), "was": one.why}
                act = audit.Act(self.clock.now(), audit.actor(), "replay", one.id, self.reason, details)
                audit.write(connection, act)
        return done

    def _one(self, connection: sa.Connection, one: Judged, due: _Due, room: _Room) -> Judged:
        if one.verdict is Verdict.RELEASE and one.queued is not None:
            kept = queue.release(connection, one.queued, due.next(), self._why)
            return one if kept else replace(one, verdict=Verdict.UNDER_WAY, why="it is not parked any more")
        if one.verdict is not Verdict.AGAIN or one.row is None:
            return one
        if not room.take(one.row.operation):
            return replace(one, verdict=Verdict.FULL, why="its queue holds as much as it may; go on later")
        if accept_again(connection, one.row, self._message(connection, one, due.next())):
            return one
        return replace(one, verdict=Verdict.UNDER_WAY, why="somebody else was faster")

    def _message(self, connection: sa.Connection, one: Judged, due: int) -> tuple[object, ...]:
        assert one.row is not None
        row, config = one.row, self.plan.routes.routes[one.row.operation]
        order = self._order(one)
        behind = order[1] and queue.ordered_before(connection, [order])
        sent = row.effect != Effect.ONCE and row.state != State.UNAVAILABLE
        expires = due + int(config.ttl_s * 1000) if config.ttl_s else 0
        where = queue.HELD if behind else queue.LATER
        now, why = now_ms(connection), self._why
        return (row.id, config.to, row.operation, _LOW, order[1], now, expires, where, due, 0, 0, 0, sent, why)

    def _order(self, one: Judged) -> Key:
        assert one.row is not None
        config = self.plan.routes.routes[one.row.operation]
        return config.to, order_key(config.ordered, one.request)

    @property
    def _why(self) -> str:
        return replayed_by(audit.actor(), self.reason)


class _Due:
    """When each is tried first, in milliseconds."""

    def __init__(self, last: int, rate: float) -> None:
        self._last, self._every, self._number = last, 1000.0 / rate, 0

    def next(self) -> int:
        self._number += 1
        return self._last + int(self._every * self._number)


class _Room:
    """How many more each endpoint's queue may take."""

    def __init__(self, connection: sa.Connection, plan: Plan) -> None:
        self._plan = plan
        self._held: Counter[str] = Counter()
        for endpoint, _, number, _ in queue.counts(connection):
            self._held[endpoint] += number

    def take(self, operation: str) -> bool:
        endpoint = self._plan.routes.routes[operation].to
        if self._held[endpoint] >= self._plan.routes.endpoints[endpoint].limits.backlog:
            return False
        self._held[endpoint] += 1
        return True
