"""The workers: each endpoint's queue is emptied by itself, so that a system that hangs leaves the others alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from esb.buffer import Buffer, Delivery, Where
from esb.clock import Clock
from esb.observe import Metrics, get_logger
from esb.pipeline import Pipeline
from esb.store import StoreError

_LOOK_S = 1.0
_RENEW_S, _COUNT_S = 5.0, 5.0
_EXPIRED_AT_ONCE = 20
_log = get_logger()


class Worker:
    """Takes messages and has the pipeline deliver them, until it is told to stop. One event loop.

    Of each queue it has as many under way as ``Pipeline.queues`` says and holds no more of them in memory. Their leases
    are begun anew every ``renew_s`` seconds.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Clock,
        metrics: Metrics,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        renew_s: float = _RENEW_S,
    ) -> None:
        self._renew_s = renew_s
        self._pipeline, self._buffer, self._clock, self._metrics = pipeline, pipeline.buffer, clock, metrics
        self._sleep = sleep
        self._lines: dict[str, Line] = {}
        self._here: dict[str, Delivery] = {}
        self._overdue = self._line("", _EXPIRED_AT_ONCE)
        self._version: str | None = None
        self._renewed = self._counted = float("-inf")
        self._shown: set[tuple[str, Where]] = set()

    async def run(self) -> None:
        """Until it is cancelled; the messages under way are the pipeline's to end."""
        try:
            while True:
                try:
                    await self._look()
                except StoreError as error:
                    _log.warning("queues_not_looked_at", reason=str(error))
                except Exception as error:  # whatever one row holds: the others are waiting
                    _log.error("queues_not_looked_at", exc_info=error)
                await self._sleep(_LOOK_S)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Take no more; what is under way goes on."""
        await asyncio.gather(*(line.stop() for line in self._lines.values()))

    async def _look(self) -> None:
        now = self._clock.monotonic()
        if now - self._renewed >= self._renew_s:  # before all that may fail each time
            await self._buffer.renew(list(self._here.values()))
            self._renewed = now
        if self._version != (version := self._pipeline.version):
            await self._pipeline.route_queues()
            self._version = version
        self._begin_lines()
        if now - self._counted >= _COUNT_S:
            await self._count()
            self._counted = now
        await self._overdue.begin(await self._buffer.expired(self._overdue.free))

    def _begin_lines(self) -> None:
        for endpoint, places in self._pipeline.queues().items():
            line = self._lines.get(endpoint)
            if line is None:
                line = self._lines[endpoint] = self._line(endpoint, places)
                line.start()
            line.widen(places)

    def _line(self, endpoint: str, places: int) -> Line:
        return Line(endpoint, places, self._here, self._pipeline, self._buffer, self._clock)

    async def _count(self) -> None:
        """Depth and age for ``/metrics``; queues that nobody empties get another look at where they belong."""
        counts = await self._buffer.counts()
        now = self._clock.now().timestamp()
        oldest = dict.fromkeys(self._lines, now)
        for (endpoint, where), (_, accepted) in counts.items():
            if where is not Where.PARKED:
                oldest[endpoint] = min(oldest.get(endpoint, now), accepted / 1000)
        for endpoint, since in oldest.items():
            self._metrics.queue_oldest.labels(endpoint).set(max(0.0, now - since))
        for place in self._shown | counts.keys():
            self._metrics.queue_depth.labels(*place).set(counts.get(place, (0, 0))[0])
        self._shown |= counts.keys()
        if any(endpoint not in self._lines and where is not Where.PARKED for endpoint, where in counts):
            self._version = None


class Line:
    """One queue and its messages under way, at most ``places``. ``here`` are those of all lines, by exchange."""

    def __init__(
        self,
        endpoint: str,
        places: int,
        here: dict[str, Delivery],
        pipeline: Pipeline,
        buffer: Buffer,
        clock: Clock,
    ) -> None:
        self.endpoint, self.places = endpoint, places
        self._here, self._under_way = here, 0
        self._pipeline, self._buffer, self._clock = pipeline, buffer, clock
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._rests_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def free(self) -> int:
        """How many more may be begun."""
        return self.places - self._under_way

    def widen(self, places: int) -> None:
        """It has so many now, be it fewer; where there is room again it goes on at once."""
        has_more, self.places = places > self.places, places
        if has_more:
            self._room.set()

    def start(self) -> None:
        """Begin to take."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"queue {self.endpoint}")

    async def stop(self) -> None:
        """Take no more; what was being taken is given back."""
        self._stopping.set()
        self._room.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def begin(self, deliveries: list[Delivery]) -> None:
        """Deliver these. One that is under way here already, its lease having ended, goes on by its new receipt; where
        another worker had it between it waits for the end of what is under way, and then is looked at anew.
        """
        strange = []
        for delivery in deliveries:
            exchange = delivery.message.id
            known = self._here.get(exchange)
            if known is None:
                self._here[exchange] = delivery
                self._under_way += 1
                self._pipeline.deliver(delivery).add_done_callback(partial(self._ended, exchange))
            elif not known.again(delivery):
                strange.append(delivery)
        for delivery in strange:
            await self._buffer.later(delivery, _LOOK_S, delivery.reason, counts=False)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._round()
            except StoreError as error:
                _log.warning("queue_not_taken_from", endpoint=self.endpoint, reason=str(error))
                await self._pause(_LOOK_S)
            except Exception as error:  # see Worker.run
                _log.error("queue_not_taken_from", endpoint=self.endpoint, exc_info=error)
                await self._pause(_LOOK_S)

    async def _round(self) -> None:
        if (rest := self._rests_until - self._clock.monotonic()) > 0:
            return await self._pause(rest)
        if self.free <= 0:
            self._room.clear()
            await self._room.wait()
            return None
        taken = await self._buffer.take(self.endpoint, self.free)
        if self._stopping.is_set():
            return await self._give_back(taken)
        if not taken:
            return await self._buffer.wait(self.endpoint, _LOOK_S)
        await self.begin(taken)
        return None

    async def _give_back(self, taken: list[Delivery]) -> None:
        for delivery in taken:
            await self._buffer.later(delivery, 0.0, delivery.reason, counts=False)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _ended(self, exchange: str, task: asyncio.Task[float]) -> None:
        del self._here[exchange]
        self._under_way -= 1
        self._room.set()
        if not task.cancelled() and task.exception() is None and (rest := task.result()):
            self._rests_until = self._clock.monotonic() + rest
