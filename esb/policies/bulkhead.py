"""Bulkhead: a slow system holds its own places and nobody else's."""

from __future__ import annotations

import asyncio
from collections import deque

from esb.policies import Limited


class Bulkhead:
    """At most ``concurrency`` calls at once and at most ``queue`` waiting, first come first served. One event loop."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    async def enter(self, wait_s: float) -> None:
        """Take a place, waiting up to ``wait_s`` seconds; raises ``Limited`` if there is none. Pair with ``leave``."""
        if self.in_flight < self._concurrency:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._queue:
            raise Limited("endpoint_busy", f"{self.in_flight} calls and {len(self._waiting)} waiting", retry_after=1.0)
        await self._wait(wait_s)

    def leave(self) -> None:
        """Give the place to the first who waits, or back."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1

    async def _wait(self, wait_s: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(wait_s):
                await place
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise Limited("endpoint_busy", "no place became free in time", retry_after=1.0) from None
            raise

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self.leave()
        elif place in self._waiting:
            self._waiting.remove(place)
