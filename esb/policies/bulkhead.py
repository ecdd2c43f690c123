"""Bulkhead: a slow system holds its own places and nobody else's."""

from __future__ import annotations

import asyncio
from collections import deque

from esb.model import Effect
from esb.policies import Limited


class Bulkhead:
    """At most ``concurrency`` calls at once and at most ``queue`` reads and as many effects waiting. One event loop.

    First come first served, but a place goes to an effect before it goes to a read: a crowd that looks at free slots
    must not keep others from locking one.
    """

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._effects: deque[asyncio.Future[None]] = deque()
        self._reads: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    def resize(self, concurrency: int, queue: int) -> None:
        """From now on so many places; who has one beyond them keeps it, and who waits gets one that is new."""
        self._concurrency, self._queue = concurrency, queue
        while self.in_flight < concurrency and (self._effects or self._reads):
            self.in_flight += 1
            self.leave()

    async def enter(self, wait_s: float, effect: Effect = Effect.READ) -> None:
        """Take a place, waiting up to ``wait_s`` seconds; raises ``Limited`` if there is none. Pair with ``leave``."""
        waiting = self._reads if effect is Effect.READ else self._effects
        if self.in_flight < self._concurrency:
            self.in_flight += 1
            return
        if len(waiting) >= self._queue:
            raise Limited("endpoint_busy", f"{self.in_flight} calls and {len(waiting)} waiting", retry_after=1.0)
        await self._wait(waiting, wait_s)

    def leave(self) -> None:
        """Give the place to the first who waits, or back."""
        while self.in_flight <= self._concurrency and (waiting := self._effects or self._reads):
            place = waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.in_flight -= 1

    async def _wait(self, waiting: deque[asyncio.Future[None]], wait_s: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            async with asyncio.timeout(wait_s):
                await place
        except BaseException as error:
            self._give_up(waiting, place)
            if isinstance(error, TimeoutError):
                raise Limited("endpoint_busy", "no place became free in time", retry_after=1.0) from None
            raise

    def _give_up(self, waiting: deque[asyncio.Future[None]], place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self.leave()
        elif place in waiting:
            waiting.remove(place)
