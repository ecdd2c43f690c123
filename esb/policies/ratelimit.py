"""Rate limit: no system hears from us more often than it can bear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from esb.clock import Clock
from esb.policies import Limited

_LONGEST_WAIT_S = 2.0
_NO_WAIT_S = 1e-6


class RateLimit:
    """At most ``count`` calls in any ``per_s`` seconds: a tenth of them may go at once, the others follow evenly.

    A bucket of ``count`` tokens would let twice as many go in the first ``per_s`` seconds of a burst. Callers are
    served in the order they came.
    """

    def __init__(self, clock: Clock, sleep: Callable[[float], Awaitable[object]], count: int, per_s: float) -> None:
        self._clock = clock
        self._sleep = sleep
        at_once = max(1, count // 10)
        self._interval = per_s / (count - at_once + 1)
        self._burst = (at_once - 1) * self._interval
        self._next = clock.monotonic() - per_s

    async def enter(self, wait_s: float) -> None:
        """Take a token, waiting up to ``wait_s`` (at most two seconds); raises ``Limited`` if it would take longer."""
        now = self._clock.monotonic()
        due = max(self._next, now - self._burst)
        wait = due - now
        if wait > min(wait_s, _LONGEST_WAIT_S):
            raise Limited("rate_limited", f"the next call is due in {wait:.2f} s", retry_after=wait)
        self._next = due + self._interval
        if wait > _NO_WAIT_S:
            await self._sleep(wait)
