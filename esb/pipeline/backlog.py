"""What was accepted and waits: into the buffer, put off, out of it again."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from esb.buffer import Buffer, Entry, Message, Where
from esb.clock import Clock
from esb.config.routes import RouteConfig
from esb.config.values import steps
from esb.model import Tree
from esb.observe import get_logger
from esb.pipeline.parts import Ending, Record
from esb.pipeline.version import Lane
from esb.pipeline.versions import Versions
from esb.policies.schedule import Schedule
from esb.store import Earlier, Row, State, StoreError

_T = TypeVar("_T")
_PRIORITIES = {"high": 0, "normal": 1, "low": 2}
_FIRST_S = 1.0
_TRY_AGAIN_S = 5.0
_log = get_logger()


class Backlog:
    """Accepted exchanges in the buffer; what it is asked to do about one that ended is done however long the store
    takes. ``uniform`` gives a random number in [0, 1).
    """

    def __init__(
        self,
        buffer: Buffer,
        versions: Versions,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        uniform: Callable[[], float],
    ) -> None:
        self.buffer = buffer
        self._versions, self._clock, self._sleep, self._uniform = versions, clock, sleep, uniform

    def is_full(self, lane: Lane) -> bool:
        """Whether no more may be accepted for this lane's system."""
        return self.buffer.length(lane.endpoint.name) >= lane.endpoint.limits.backlog

    async def accept(self, record: Record) -> Earlier | None:
        """Journal the exchange and queue it, or say who has its key; raises ``StoreError`` when nothing was kept."""
        row = record.row(State.ACCEPTED, "", self._clock.monotonic())
        return await self.buffer.accept(row, self.message(record))

    def message(self, record: Record) -> Message:
        """What stands in the queue for an exchange that is accepted now."""
        exchange, lane = record.exchange, record.lane
        config, now = lane.config, self.now()
        return Message(
            exchange.id,
            lane.endpoint.name,
            exchange.operation,
            _PRIORITIES[config.priority],
            order_key(config.ordered, exchange.request),
            now,
            now + int(config.ttl_s * 1000) if config.ttl_s else 0,
        )

    async def find(self, exchange: str) -> Entry | None:
        """Where it waits; None when it is not queued."""
        return await self.surely(lambda: self.buffer.find(exchange))

    async def reopened(self, row: Row, made: int, ending: Ending) -> bool:
        """What was settled as not having happened after ``made`` tries is tried again; False when it is not ours in
        doubt any more, be it that we did so and were told that it failed.
        """
        lane = self._versions.current.lanes.get(row.operation)
        wait = self.wait(lane.config, made, ending) if lane else _FIRST_S
        return await self.surely(lambda: self.buffer.reopen(row.id, wait, ending.reason)) is not None

    async def settled(self, exchange: str) -> None:
        """It is decided; nothing to do for an exchange that is not queued."""
        await self.surely(lambda: self.buffer.settled(exchange))

    async def delivery_of(self, exchange: str) -> str:
        """For its caller: ``waiting``, ``sending`` or ``parked``; empty when it is not queued."""
        entry = await self.buffer.find(exchange)
        if entry is None:
            return ""
        return {Where.TAKEN: "sending", Where.PARKED: "parked"}.get(entry.where, "waiting")

    def wait(self, config: RouteConfig, made: int, ending: Ending) -> float:
        """Seconds until the try after ``made`` ones: longer and longer, never less than the system asked for."""
        return max(Schedule.of(config.again).wait(made, self._uniform()), ending.retry_after or 0.0)

    async def surely(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do it, again and again while the store does not."""
        while True:
            try:
                return await work()
            except StoreError as error:
                _log.error("backlog_not_written", reason=str(error))
            await self._sleep(_TRY_AGAIN_S)

    def now(self) -> int:
        """Milliseconds of the wall clock."""
        return int(self._clock.now().timestamp() * 1000)


def order_key(path: str | None, request: Tree) -> str:
    """A digest of the value at ``path``, for it may be a patient's."""
    if path is None:
        return ""
    value = request
    for step in steps(path):
        value = value[step]
    return hashlib.blake2b(str(value).encode(), digest_size=16).hexdigest()
