"""One subscriber at work: reads events, has them forwarded, keeps what came of them and its position."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from prometheus_client import Counter

from esb.buffer import Message
from esb.clock import Clock
from esb.codecs import DecodeError
from esb.events.line import Item, Line
from esb.events.subscription import Subscription, body_of
from esb.mapping import MappingError
from esb.model import Exchange, Tree
from esb.observe import Metrics, get_logger
from esb.pipeline import Pipeline
from esb.pipeline.forwarding import Forwarded
from esb.pipeline.version import Lane
from esb.store import Store, StoreError, Told, cursors, queue
from esb.store.cursors import Hold, Step

_READ = 100
_WINDOW = 500
"""Events read and not left behind; after a crash so many may be sent again."""
_STEP = 200
_GATHER_S = 0.01
_LOOK_S = 1.0
_PAUSE_S = 1.0
_IDLE_STEP = 1000
_LEASE_S = 15.0
_OF_MESSAGE = len(Message._fields)
_log = get_logger()


class Superseded(Exception):
    """Another process has the cursor now."""


class Subscriber:
    """Runs until it is stopped, on one event loop. ``subscription`` may be replaced by another of the same name.

    An event is left behind when it has come to an end or waits in the endpoint's queue, and only together with those
    before it: a slow one holds back the position and after ``_WINDOW`` events also what comes after it.
    """

    def __init__(
        self,
        subscription: Subscription,
        pipeline: Pipeline,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.subscription = subscription
        self._pipeline, self._store, self._clock, self._sleep = pipeline, store, clock, sleep
        self._forwarding = pipeline.forwarding
        self._metric = metrics.event_exchanges
        self._counts: dict[str, Counter] = {}
        self._hold: Hold | None = None
        self._leased = float("-inf")
        self._read = 0
        self._line = Line()
        self._news, self._stir = asyncio.Event(), asyncio.Event()
        self._stopping = self._has_looked = False

    def tell(self) -> None:
        """There may be news."""
        self._news.set()
        self._stir.set()

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns when what is under way has ended and was kept."""
        self._stopping = True
        self._stir.set()

    async def run(self) -> None:
        """Until ``stop``. What goes wrong with the store is tried again."""
        while not (self._stopping and self._line.under_way == 0 and not self._line.has_finished):
            try:
                await self._work()
            except Superseded:
                _log.warning("subscriber_superseded", subscriber=self.subscription.name)
                await self._forget()
            except StoreError as error:
                _log.warning("subscriber_held_up", subscriber=self.subscription.name, reason=str(error))
                await self._sleep(_PAUSE_S)
            except Exception as error:
                _log.error("subscriber_failed", subscriber=self.subscription.name, exc_info=error)
                await self._sleep(_PAUSE_S)
        if self._store.is_shared and self._hold is not None:
            with contextlib.suppress(StoreError):
                await self._store.release(self._lease)

    async def _work(self) -> None:
        await self._stay_alone()
        if self._hold is None:
            if self._stopping:
                return
            await self._take()
        self._stir.clear()
        if self._may_read:
            await self._fetch()
        self._begin()
        if self._line.has_finished:
            await self._leave_behind()
        elif not self._may_read:
            await self._wait()

    @property
    def _may_read(self) -> bool:
        return self._news.is_set() and len(self._line) < _WINDOW and not self._stopping

    async def _stay_alone(self) -> None:
        """Where several processes share the store one of them runs a subscriber; the others wait for its end."""
        if not self._store.is_shared or self._clock.monotonic() - self._leased < _LEASE_S / 3:
            return
        while await self._store.lease(self._lease, _LEASE_S) is None and not self._stopping:
            if self._hold is not None:
                raise Superseded
            await self._sleep(_PAUSE_S)
        self._leased = self._clock.monotonic()

    @property
    def _lease(self) -> str:
        return f"events/{self.subscription.name}"

    async def _take(self) -> None:
        name = self.subscription.name
        self._hold = await self._store.transact(lambda one: cursors.take(one, name))
        if self._hold is None:
            raise StoreError(f"the subscriber '{name}' is not known")
        self._read = self._hold.position
        self._news.set()

    async def _forget(self) -> None:
        """Somebody else goes on from what was kept; what is under way here ends and is not kept."""
        self._line, self._hold, self._leased, self._has_looked = Line(), None, float("-inf"), False
        await self._sleep(_PAUSE_S)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._stir.wait()
                return
        self._news.set()  # another process may have heard something

    # what comes in

    async def _fetch(self) -> None:
        """Read on."""
        lane = self._pipeline.lane(self.subscription.operation)
        if lane is None:
            raise StoreError(f"'{self.subscription.operation}' has no route")
        self._news.clear()
        after, event, endpoint = self._read, self.subscription.event, lane.endpoint.name
        recent, is_ordered = self._store.recent.upcoming(event, after, _READ), False
        if recent is not None and self._is_clear:
            told, end = recent
        else:
            (told, end), is_ordered = await self._store.look(
                lambda one: (recent or cursors.upcoming(one, event, after, _READ), queue.has_ordered(one, endpoint))
            )
        if len(told) == _READ:
            self._news.set()
        items = [self._item(one, lane) for one in told]
        self._line.stick(await self._queued(endpoint, items) if is_ordered else set())
        self._has_looked = True
        self._line.add(items)
        self._read = end
        await self._pass_over()

    @property
    def _is_clear(self) -> bool:
        """Whether nothing can be in the endpoint's queue before what is read from memory.

        Nothing was when the latest message was kept, and nothing of this line has gone there since the last look.
        """
        return self._has_looked and not self._line.stuck and self._store.recent.is_clear

    def _item(self, told: Told, lane: Lane) -> Item:
        body: Tree = None
        try:
            body = body_of(told)
            request = self.subscription.request(told, body)
        except (DecodeError, MappingError) as error:
            reason = str(error) if isinstance(error, MappingError) else f"row {told.position} of the inbox is damaged"
            exchange = self._exchange(told, body, lane)
            return Item(told, body, "", self._counted(self._forwarding.broken(exchange, lane, told.id, reason)))
        if errors := lane.operation.check_request(request):
            exchange = self._exchange(told, request, lane)
            return Item(told, request, "", self._counted(self._forwarding.invalid(exchange, lane, told.id, errors)))
        return Item(told, request, self._forwarding.order_key(lane, request))

    def _exchange(self, told: Told, request: Tree, lane: Lane) -> Exchange:
        deadline = self._clock.monotonic() + lane.config.timeout_s
        return self.subscription.exchange(told, request, lane.operation.effect, deadline)

    async def _queued(self, endpoint: str, items: Sequence[Item]) -> set[str]:
        """Which order keys of what is on its way have something in the endpoint's queue."""
        pairs = sorted({(endpoint, item.order) for item in (*self._line, *items) if item.order})
        return {key for _, key in await self._store.look(lambda one: queue.ordered_before(one, pairs))}

    async def _pass_over(self) -> None:
        """Many events of other kinds are left behind too, or nothing could ever be pruned."""
        assert self._hold is not None
        if not len(self._line) and self._read >= self._hold.position + _IDLE_STEP:
            self._hold = await self._keep(Step(self._hold, self._read, ()))

    # what goes out

    def _begin(self) -> None:
        lane = self._pipeline.lane(self.subscription.operation)
        if lane is None or self._stopping or self._store.full or self._is_dead:
            return
        places = max(1, lane.endpoint.limits.concurrency // 2)
        line = self._line
        while line.under_way < places and self._forwarding.has_room(lane, line.waiting + line.under_way):
            item = line.begin()
            if item is None:
                return
            self._one(item, lane)

    @property
    def _is_dead(self) -> bool:
        """Whether another process may have taken this one's work."""
        return self._store.is_shared and not self._store.instance.is_valid

    def _one(self, item: Item, lane: Lane) -> None:
        exchange = self._exchange(item.told, item.request, lane)
        if item.order in self._line.stuck or not self._forwarding.may_try(lane):
            self._line.end(item, self._counted(self._forwarding.accepted(exchange, lane, item.told.id)))
            return
        tried = self._pipeline.forward(exchange, lane, item.told.id)
        tried.add_done_callback(partial(self._tried, self._line, item))

    def _tried(self, line: Line, item: Item, task: asyncio.Task[Forwarded]) -> None:
        if line is not self._line:
            return
        if task.cancelled() or task.exception() is not None:
            line.give_back(item)
            return
        line.end(item, self._counted(task.result()))
        self._begin()
        if line.has_finished:
            self._stir.set()

    def _counted(self, forwarded: Forwarded) -> Forwarded:
        count = self._counts.get(forwarded.result)
        if count is None:
            count = self._counts[forwarded.result] = self._metric.labels(self.subscription.name, forwarded.result)
        count.inc()
        if forwarded.result in ("invalid", "parked"):
            row = forwarded.kept.row
            _log.warning(f"event_{forwarded.result}", exchange=row.id, operation=row.operation, reason=row.reason)
        return forwarded

    # what is left behind

    async def _leave_behind(self) -> None:
        assert self._hold is not None
        if len(self._line) < _STEP and not self._stopping:
            await self._sleep(_GATHER_S)
        items = self._line.finished(_STEP)
        kept = [forwarded.kept for _, forwarded in items]
        self._hold = await self._keep(Step(self._hold, items[-1][0].told.position, kept))
        self._forwarding.buffer.noted([Message(*one.message[:_OF_MESSAGE]) for one in kept if one.message])

    async def _keep(self, step: Step) -> Hold:
        """However long it takes: what was sent is not sent again as long as this process lives."""
        size = sum(len(one.row.request) for one in step.kept)
        while True:
            try:
                hold: Hold | None = await self._store.gather(cursors.advance, step, size, step.keys)
            except StoreError as error:
                _log.error("events_not_kept", subscriber=step.hold.name, reason=str(error))
                await self._sleep(_PAUSE_S)
                continue
            if hold is None:
                raise Superseded
            return hold
