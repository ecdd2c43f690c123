"""All subscribers of a bus: their start, what a reload changes of them, their numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from esb.clock import Clock
from esb.events.subscriber import Subscriber
from esb.events.subscription import Subscription
from esb.observe import Metrics, get_logger
from esb.pipeline import Pipeline
from esb.store import Store, StoreError, cursors

_NEWS = "event"
_COUNT_S = 5.0
_CLOSE_S = 10.0
_log = get_logger()


class Subscribers:
    """One event loop. ``start`` when the store is open, ``close`` before it is closed."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription],
        pipeline: Pipeline,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._wanted = tuple(subscriptions)
        self._pipeline, self._store, self._clock, self._metrics = pipeline, store, clock, metrics
        self._sleep = sleep
        self._live: dict[str, Subscriber] = {}
        self._by_event: dict[str, list[Subscriber]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changes: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """New subscribers take their places, all begin."""
        self._store.news.hear(_NEWS, self._heard)
        await self._change(self._wanted, None)
        self._counting = asyncio.get_running_loop().create_task(self._count_often())

    def tell(self, event: str) -> None:
        """An event of this name was kept."""
        self._heard(event)
        self._store.news.tell(_NEWS, event)

    def _heard(self, event: str) -> None:
        for subscriber in self._by_event.get(event, ()) if event else self._live.values():
            subscriber.tell()

    def replace(self, subscriptions: Iterable[Subscription]) -> None:
        """Take up others: the same ones go on where they are, with what is new of them; who is gone ends."""
        change = self._change(tuple(subscriptions), self._changes)
        self._changes = asyncio.get_running_loop().create_task(change)

    async def close(self) -> None:
        """Read nothing more; what is under way has ten seconds to end, and what has ended is kept."""
        if self._changes is not None:
            await asyncio.gather(self._changes, return_exceptions=True)
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        for subscriber in self._live.values():
            subscriber.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _change(self, wanted: tuple[Subscription, ...], earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.gather(earlier, return_exceptions=True)
        by_name = {one.name: one for one in wanted}
        await self._enrol([(one.name, one.from_start) for one in wanted])
        for name in [name for name in self._live if name not in by_name]:
            self._live.pop(name).stop()
            self._metrics.event_behind.remove(name)
            self._metrics.event_oldest.remove(name)
        for name, subscription in by_name.items():
            if name in self._live:
                self._live[name].subscription = subscription
            else:
                self._begin(subscription)
        self._by_event = {}
        for one in self._live.values():
            self._by_event.setdefault(one.subscription.event, []).append(one)

    async def _enrol(self, wanted: list[tuple[str, bool]]) -> None:
        while True:
            try:
                return await self._store.transact(lambda one: cursors.want(one, wanted))
            except StoreError as error:
                _log.warning("subscribers_not_enrolled", reason=str(error))
            await self._sleep(_COUNT_S)

    def _begin(self, subscription: Subscription) -> None:
        subscriber = Subscriber(
            subscription, self._pipeline, self._store, self._clock, self._metrics, self._sleep
        )  # fmt: skip
        self._live[subscription.name] = subscriber
        for gauge in (self._metrics.event_behind, self._metrics.event_oldest):
            gauge.labels(subscription.name).set(0)
        task = asyncio.get_running_loop().create_task(subscriber.run(), name=f"subscriber {subscription.name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("subscriber_crashed", exc_info=error)

    async def _count_often(self) -> None:
        while True:
            try:
                await self._count()
            except StoreError as error:
                _log.warning("subscribers_not_counted", reason=str(error))
            await self._sleep(_COUNT_S)

    async def _count(self) -> None:
        events = {name: one.subscription.event for name, one in self._live.items()}
        lags = await self._store.look(lambda one: cursors.lags(one, events))
        now = self._clock.now()
        for name, (behind, oldest) in lags.items():
            if name in self._live:
                age = (now - datetime.fromisoformat(oldest)).total_seconds() if oldest else 0.0
                self._metrics.event_behind.labels(name).set(behind)
                self._metrics.event_oldest.labels(name).set(max(0.0, age))
