"""Cache and single flight for reads: the same question asked by many is asked once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from esb.clock import Clock

_T = TypeVar("_T")
_ENTRY_BYTES = 500


class Cache(Generic[_T]):
    """Answers kept for ``keep_s`` seconds, the least recently used dropped over ``entries`` or ``size`` bytes.

    ``get`` asks ``fetch`` at most once at a time for one key, however many wait; who waits may go away without harm to
    the others, and the fetch is cancelled when all have gone. ``fetch`` returns the answer and its size in bytes, or a
    size of None for an answer that is not to be kept. Its errors reach all who wait and are not kept.
    """

    def __init__(self, clock: Clock, keep_s: float, *, entries: int = 10_000, size: int = 64 * 1024 * 1024) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._entries = entries
        self._size = size
        self._used = 0
        self._kept: OrderedDict[bytes, tuple[float, int, _T]] = OrderedDict()
        self._flights: dict[bytes, _Flight[_T]] = {}

    def peek(self, key: bytes) -> _T | None:
        """The kept answer, if it is fresh."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock.monotonic():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry[2]

    async def get(self, key: bytes, fetch: Callable[[], Awaitable[tuple[_T, int | None]]]) -> _T:
        """Join the flight for ``key`` or start it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(self._fetch(key, fetch)))
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._landed(key, flight)
                flight.task.cancel()

    async def _fetch(self, key: bytes, fetch: Callable[[], Awaitable[tuple[_T, int | None]]]) -> _T:
        answer, size = await fetch()
        if size is not None:
            self._keep(key, answer, size + _ENTRY_BYTES + len(key))
        return answer

    def _keep(self, key: bytes, answer: _T, size: int) -> None:
        if size > self._size:
            return
        self._drop(key)
        self._kept[key] = (self._clock.monotonic() + self._keep_s, size, answer)
        self._used += size
        while self._used > self._size or len(self._kept) > self._entries:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        entry = self._kept.pop(key, None)
        if entry:
            self._used -= entry[1]

    def _landed(self, key: bytes, flight: _Flight[_T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight(Generic[_T]):
    def __init__(self, task: asyncio.Future[_T]) -> None:
        self.task = task
        self.waiting = 0
