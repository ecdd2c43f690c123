"""The pipeline: what happens to an exchange from its admission to its record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from esb import crash
from esb.buffer import Buffer, Delivery, SqlBuffer
from esb.clock import Clock, Ids
from esb.contract import Operation
from esb.errors import ConfigError, Outcome
from esb.model import Effect, Exchange, Result
from esb.observe import Metrics, get_logger
from esb.pipeline import endings
from esb.pipeline.asking import Asking
from esb.pipeline.backlog import Backlog
from esb.pipeline.delivering import Delivering
from esb.pipeline.forwarding import Forwarded, Forwarding
from esb.pipeline.journal import Journal
from esb.pipeline.parts import Ending, Record
from esb.pipeline.settle import Settler
from esb.pipeline.version import Lane, Route, Version
from esb.pipeline.versions import Versions
from esb.policies.cache import Cache
from esb.policies.retry import Retry
from esb.spi import Answers
from esb.store import Earlier, State, Store, StoreError, Unsettled

_T = TypeVar("_T")
_DRAIN_S = 10.0
_GRACE_S = 0.5
_DEFAULT_TIMEOUT_S = 8.0
_TREE_FACTOR = 5  # a kept answer is its JSON and its tree, which takes some four times as much memory
_log = get_logger()


class Pipeline:
    """Runs exchanges of the operations in ``routes``. One event loop; ``start`` before the first exchange.

    ``replace`` changes the routes while it runs: an exchange keeps the version that it began with. It owns what it is
    given: ``start`` opens the store and takes up what a crash left behind, ``close`` lets effects under way end and
    closes endpoints and store. ``copy`` is told of every read that a system was asked, when it has ended; it returns at
    once and raises nothing. ``answers`` are those that systems give later.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        routes: Mapping[str, Route],
        store: Store,
        *,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        in_flight: int = 2000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
        version: str = "",
        buffer: Buffer | None = None,
        copy: Callable[[Record, Result], None] = lambda record, result: None,
        answers: Answers | None = None,
    ) -> None:
        self._operations, self._metrics = operations, metrics
        self._versions = Versions(Version(version, operations, routes, clock, metrics), metrics)
        self._store, self._clock, self._ids, self._uniform = store, clock, ids, uniform
        self._most, self._in_flight, self._copy = in_flight, 0, copy
        self._tasks: set[asyncio.Task[Any]] = set()
        self._deliveries: set[asyncio.Task[float]] = set()
        self._asking = Asking(clock, Retry(clock, sleep, uniform), answers)
        self._journal = Journal(store, clock, sleep)
        self._backlog = Backlog(buffer or SqlBuffer(store, clock), self._versions, clock, sleep, uniform)
        self._settler = Settler(self._versions, self._asking, self._journal, clock, ids, sleep, metrics, self._backlog)
        self._delivering = Delivering(
            store, self._backlog, self._asking, self._journal, self._settler, clock, metrics
        )  # fmt: skip
        self.forwarding = Forwarding(self._backlog, self._asking, self._journal, clock)

    async def start(self) -> None:
        """Open the store and settle what a crash left behind; raises ``ConfigError`` for what cannot be used, and
        ``StoreError``: then everything is closed again.
        """
        try:
            await self._store.start()
            await self._backlog.buffer.start()
            await self.take_over()
        except (ConfigError, StoreError):
            await self.close()
            raise

    async def take_over(self) -> None:
        """Settle what nobody has under way any more; raises ``StoreError``. To be called again where others share the
        store: some of them may have died.
        """
        await self._settler.recover(await self._store.unfinished())

    async def close(self) -> None:
        """Wait for effects under way, up to 10 seconds, then stop settling and close everything."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_DRAIN_S)
        for task in self._tasks & self._deliveries:
            task.cancel()
        await self._settler.close()
        await self._journal.close()
        await self._versions.close()
        await self._backlog.buffer.close()
        await self._store.close()

    @property
    def version(self) -> str:
        """The version that new exchanges begin with."""
        return self._versions.current.name

    def prepare(self, routes: Mapping[str, Route], version: str) -> Version:
        """A version of these routes beside the one in use; in any thread, one at a time."""
        return Version(version, self._operations, routes, self._clock, self._metrics, self._versions.current)

    def differs(self, version: Version) -> bool:
        """Whether to replace the version in use by ``version`` would change anything."""
        return not version.equals(self._versions.current)

    def replace(self, version: Version, retired: Callable[[], object] = lambda: None) -> None:
        """Begin new exchanges with ``version``, prepared beside the one in use; ``retired`` when that has ended."""
        self._versions.replace(version, retired)

    def begin(
        self,
        operation: str,
        request: Mapping[str, Any],
        *,
        key: str | None,
        principal: str,
        request_id: str,
        timeout_s: float | None = None,
    ) -> Exchange:
        """A new exchange whose deadline is the route's timeout from now, or ``timeout_s`` if that is sooner.

        Without a key the exchange's own id is its key. Raises ``KeyError`` for an operation the contract does not have.
        """
        lane = self._versions.current.lanes.get(operation)
        timeout = lane.config.timeout_s if lane else _DEFAULT_TIMEOUT_S
        if timeout_s is not None:
            timeout = min(timeout, timeout_s)
        exchange_id = self._ids.new()
        return Exchange(
            id=exchange_id,
            operation=operation,
            effect=self._operations[operation].effect,
            request=request,
            key=key or exchange_id,
            principal=principal,
            deadline=self._clock.monotonic() + timeout,
            received=self._clock.now().isoformat(timespec="seconds"),
            request_id=request_id,
        )

    async def run(self, exchange: Exchange) -> Result:
        """How the exchange ended; never raises for what a system, a caller or a mapping did.

        When the caller is cancelled a read is cancelled with it; an effect goes on and its ending is journalled.
        """
        lane = self._versions.current.lanes.get(exchange.operation)
        if lane is None:
            return Result(Outcome.UNAVAILABLE, exchange.id, code="no_route")
        doubtful = exchange.effect is Effect.ONCE and self._settler.full
        if self._in_flight >= self._most or self._store.full or doubtful:
            lane.counts["unavailable"].inc()
            return Result(Outcome.UNAVAILABLE, exchange.id, code="overloaded", retry_after=1.0 + 2.0 * self._uniform())
        record = Record(exchange, lane, self._clock.monotonic())
        refused = _refusal(record)
        if refused:
            return self._journal.end(record, refused)
        if lane.is_queued:
            return await self._tracked(record, self._accepted(record))
        if exchange.effect is not Effect.READ or record.keyed:
            return await self._tracked(record, self._durable(record))
        self._in_flight += 1
        lane.version.enter()
        try:
            return await (self._cached(record, lane.cache) if lane.cache else self._read(record))
        finally:
            self._in_flight -= 1
            lane.version.leave()

    async def find(self, exchange_id: str, principal: str | None = None) -> Result | None:
        """What the journal knows of an exchange; None when it knows nothing, or it is not ``principal``'s.

        An exchange that was given another's answer (cache, repeated key) has that one's. Raises ``StoreError`` when
        the journal cannot be read.
        """
        row = await self._store.find(exchange_id)
        if row is None or (principal is not None and row.principal != principal):
            return None
        source = await self._store.find(row.cause) if row.cause and not row.attempts else None
        shown = source or row
        delivery = await self._backlog.delivery_of(shown.id) if shown.state == State.ACCEPTED else ""
        return replace(endings.of_row(shown), exchange=row.id, version=row.version, delivery=delivery)

    @property
    def buffer(self) -> Buffer:
        """What was accepted and is not delivered yet."""
        return self._backlog.buffer

    def queues(self) -> dict[str, int]:
        """The endpoints that are asked for more than reads, and how many messages of each may be under way at once.

        That is half of what the system can bear: the rest is for those who wait for their answer. A route that is not
        queued has messages where an exchange is replayed.
        """
        lanes = self._versions.current.lanes.values()
        changing = (lane.endpoint for lane in lanes if lane.operation.effect is not Effect.READ)
        return {endpoint.name: max(1, endpoint.limits.concurrency // 2) for endpoint in changing}

    def retentions(self) -> dict[str, timedelta]:
        """How long the journal keeps exchanges of those operations that say so."""
        lanes = self._versions.current.lanes
        return {
            name: timedelta(seconds=lane.config.retain_s)
            for name, lane in lanes.items()
            if lane.config.retain_s is not None
        }

    async def route_queues(self) -> None:
        """Let everything that waits go where its operation goes now."""
        lanes = self._versions.current.lanes
        await self.buffer.route({name: lane.endpoint.name for name, lane in lanes.items()})

    def lane(self, operation: str) -> Lane | None:
        """The way of an operation in the version in use."""
        return self._versions.current.lanes.get(operation)

    def forward(self, exchange: Exchange, lane: Lane, cause: str) -> asyncio.Task[Forwarded]:
        """Try what an event asks for."""
        return self._begin(self.forwarding.tried(exchange, lane, cause), lane.version)

    def deliver(self, delivery: Delivery) -> asyncio.Task[float]:
        """Try to deliver a message; seconds for which its queue had better rest, 0 for none."""
        version = self._versions.current
        task = self._begin(self._delivering.deliver(delivery, version), version)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        return task

    async def probe(self) -> dict[str, str | None]:
        """For each endpoint None when it shows a sign of life, otherwise why not."""
        endpoints = {lane.endpoint.name: lane.endpoint for lane in self._versions.current.lanes.values()}
        reasons = await asyncio.gather(*(endpoint.probe() for endpoint in endpoints.values()))
        return dict(zip(endpoints, reasons, strict=True))

    async def _tracked(self, record: Record, work: Coroutine[Any, Any, Result]) -> Result:
        return await asyncio.shield(self._begin(work, record.lane.version))

    def _begin(self, work: Coroutine[Any, Any, _T], version: Version) -> asyncio.Task[_T]:
        self._in_flight += 1
        version.enter()
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, version))
        return task

    def _ended(self, task: asyncio.Task[Any], version: Version) -> None:
        self._in_flight -= 1
        version.leave()
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("exchange_crashed", exc_info=error)

    async def _read(self, record: Record) -> Result:
        try:
            ending = await self._asking.ask(record)
        except asyncio.CancelledError:
            self._journal.cancelled(record)
            raise
        result = self._journal.end(record, ending)
        if record.lane.shadow is not None:
            self._copy(record, result)
        return result

    async def _cached(self, record: Record, cache: Cache[Result]) -> Result:
        kept = cache.peek(record.request())
        if kept is not None:
            record.lane.hits.inc()
            return self._journal.given(record, kept)
        leads = False

        async def fetch() -> tuple[Result, int | None]:
            nonlocal leads
            leads = True
            result = await self._read(record)
            return result, _TREE_FACTOR * len(result.encoded or b"") if result.outcome is Outcome.DONE else None

        try:
            async with asyncio.timeout(record.exchange.deadline - self._clock.monotonic() + _GRACE_S):
                result = await cache.get(record.request(), fetch)
        except TimeoutError:
            late = Ending(Outcome.UNAVAILABLE, "no_answer", retry_after=1.0)
            return late.result(record.exchange.id) if leads else self._journal.end(record, late)
        except asyncio.CancelledError:
            if not leads:
                self._journal.cancelled(record)
            raise
        return result if leads else self._journal.given(record, result)

    async def _accepted(self, record: Record) -> Result:
        """Keep it for later; over the bound nothing is kept, the refusal neither."""
        if self._backlog.is_full(record.lane):
            record.lane.counts["unavailable"].inc()
            retry_after = 5.0 + 10.0 * self._uniform()
            return Result(Outcome.UNAVAILABLE, record.exchange.id, code="queue_full", retry_after=retry_after)
        if answered := await self._opened(record, self._backlog.accept(record)):
            return answered
        crash.at("after_accept_before_answer")
        record.lane.accepted.inc()
        return self._journal.accepted(record)

    async def _opened(self, record: Record, opening: Awaitable[Earlier | None]) -> Result | None:
        """The answer when there is one without carrying it out: another has its key, or nothing can be kept."""
        try:
            earlier = await opening
            return await self._repeated(record, earlier) if earlier else None
        except Unsettled as error:
            told = self._journal.unsettled if record.lane.is_queued else self._journal.not_kept
            return told(record, error)
        except StoreError as error:
            return self._journal.not_kept(record, error)

    async def _durable(self, record: Record) -> Result:
        crash.at("before_open")
        if answered := await self._opened(record, self._journal.open(record)):
            return answered
        crash.at("after_open_before_send")
        is_read = record.exchange.effect is Effect.READ
        ending = await self._asking.ask(record, None if is_read else lambda: self._mark(record))
        crash.at("after_reply_before_result")
        try:
            result = await self._concluded(record, ending)
        except Exception as error:  # an exchange without an end would hold its key until the next start
            _log.error("exchange_failed", exchange=record.exchange.id, exc_info=error)
            result = await self._concluded(record, endings.of_fault(record, error))
        crash.at("after_result_before_answer")
        return result

    async def _concluded(self, record: Record, ending: Ending) -> Result:
        if endings.in_doubt(record, ending):
            return await self._settler.doubt(record, ending)
        return await self._journal.finish(record, ending, endings.fate(record, ending))

    async def _mark(self, record: Record) -> None:
        await self._store.sent(record.exchange.id)
        crash.at("after_mark_before_send")

    async def _repeated(self, record: Record, earlier: Earlier) -> Result:
        """Somebody used this key before: the same answer for the same request, once there is one."""
        if not earlier.same:
            return self._journal.end(record, Ending(Outcome.REFUSED, "idempotency_conflict"))
        if earlier.state in (State.RECEIVED, State.SENT):
            return self._journal.end(record, Ending(Outcome.REFUSED, "idempotency_running", retry_after=1.0))
        taken_back = self._journal.was_not_kept(earlier.exchange)
        first = None if taken_back else await self.find(earlier.exchange)
        if first is None:
            return self._journal.end(record, Ending(Outcome.UNAVAILABLE, "store_unavailable", retry_after=1.0))
        return self._journal.given(record, replace(first, replayed=True))


def _refusal(record: Record) -> Ending | None:
    """What is wrong with the exchange before anything is done."""
    if record.exchange.effect is Effect.ONCE and not record.keyed:
        return Ending(Outcome.REFUSED, "idempotency_key_missing")
    errors = record.lane.operation.check_request(record.exchange.request)
    if not errors:
        return None
    return Ending(Outcome.REFUSED, "invalid_request", details={"errors": [error.tree() for error in errors]})
