"""Copies of live reads on their way to second systems: beside the live ones, bounded, and never told to a caller."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from esb.clock import Clock
from esb.config.routes import SHADOW_CALLS
from esb.errors import Outcome
from esb.model import Result
from esb.observe import Metrics, get_logger
from esb.pipeline.asking import Asking
from esb.pipeline.parts import Record
from esb.pipeline.version import Shadowed
from esb.policies.retry import Retry
from esb.shadow.comparing import Answered, differing
from esb.shadow.tally import Tally
from esb.store import Store, StoreError
from esb.store.shadow import Count, add, prune_shadow

WAITING = 100
"""Copies for one system that wait."""
_KEEP_S = 2.0
_KEPT = timedelta(days=90)
_COMPARABLE = (Outcome.DONE, Outcome.REFUSED)
_log = get_logger()


class Shadows:
    """Asks the shadow of a route what its live system was asked, after that has answered, and compares.

    What is over the bounds is dropped and counted; so is what has not begun when the bus stops. The journal does not
    hold copies: what is found is counted by field in the table ``shadow``. ``uniform`` gives a random number in [0, 1).
    One event loop.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._clock, self._metrics, self._sleep, self._uniform = store, clock, metrics, sleep, uniform
        self._asking = Asking(clock, Retry(clock, sleep, uniform))
        self._held: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tally = Tally()

    def copy(self, record: Record, live: Result) -> None:
        """A live read has ended; returns at once and raises nothing."""
        shadow = record.lane.shadow
        if shadow is None or live.outcome not in _COMPARABLE or self._uniform() >= shadow.config.share:
            return
        name = shadow.lane.endpoint.name
        if self._held[name] >= SHADOW_CALLS + WAITING:
            self._count(record, "dropped")
            return
        self._held[name] += 1
        record.lane.version.enter()
        task = asyncio.get_running_loop().create_task(
            self._follow(record, shadow, live), name=f"shadow {live.exchange}"
        )
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, record, name))

    async def run(self) -> None:
        """Keep what was found, until it is cancelled."""
        while True:
            await self._sleep(_KEEP_S)
            await self.keep()

    async def keep(self) -> None:
        """Put into the store what was found up to now."""
        if not (counts := self._tally.take()):
            return
        try:
            await self._store.transact(lambda connection: self._keep(connection, counts))
        except StoreError as error:
            self._tally.give_back(counts)
            _log.warning("shadow_not_kept", reason=str(error))

    def _keep(self, connection: sa.Connection, counts: list[Count]) -> None:
        add(connection, counts)
        prune_shadow(connection, _hour(self._clock.now() - _KEPT))

    async def close(self) -> None:
        """End every copy under way and keep what was found."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.keep()

    async def _follow(self, record: Record, shadow: Shadowed, live: Result) -> None:
        name = shadow.lane.endpoint.name
        async with self._gates.setdefault(name, asyncio.Semaphore(SHADOW_CALLS)):
            await self._compare(record, shadow, live)

    async def _compare(self, record: Record, shadow: Shadowed, live: Result) -> None:
        now = self._clock.monotonic()
        exchange = dataclasses.replace(record.exchange, deadline=now + shadow.lane.config.timeout_s)
        ending = await self._asking.ask(Record(exchange, shadow.lane, now, cause=record.exchange.id))
        pair = (Answered(live.outcome, live.code, live.body), Answered(ending.outcome, ending.code, ending.body))
        found = await asyncio.to_thread(
            differing, *pair, record.lane.operation, shadow.config.ignore, shadow.config.match
        )
        answered = ending.outcome in _COMPARABLE
        self._count(record, "differs" if found and answered else "alike" if answered else "unanswered")
        for one in found:
            self._metrics.shadow_differences.labels(exchange.operation, shadow.label, one.field).inc()
        self._tally.add(_hour(self._clock.now()), exchange.operation, shadow.label, exchange.id, found)

    def _count(self, record: Record, result: str) -> None:
        assert record.lane.shadow is not None
        self._metrics.shadows.labels(record.exchange.operation, record.lane.shadow.label, result).inc()

    def _ended(self, task: asyncio.Task[None], record: Record, name: str) -> None:
        self._held[name] -= 1
        self._tasks.discard(task)
        record.lane.version.leave()
        if task.cancelled():
            self._count(record, "dropped")
        elif error := task.exception():
            self._count(record, "failed")
            _log.error("shadow_failed", exchange=record.exchange.id, exc_info=error)


def _hour(moment: datetime) -> str:
    return moment.isoformat()[: len("2026-01-15T09")]
