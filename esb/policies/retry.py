"""Retry: again, a little later, while there is time and it is safe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_any
from tenacity.stop import stop_base

from esb.clock import Clock
from esb.errors import AdapterError, OutcomeUnknown, Unavailable
from esb.policies import Limited

_T = TypeVar("_T")
_FIRST_S = 0.1
_LONGEST_S = 5.0


def worth_another(error: BaseException) -> bool:
    """True when the same call may well succeed later: silence and absence, not a no and not one of our own limits."""
    return isinstance(error, Unavailable | OutcomeUnknown) and not isinstance(error, Limited)


class _OutOfTime(stop_base):
    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline

    def __call__(self, state: RetryCallState) -> bool:
        return self._clock.monotonic() + state.upcoming_sleep >= self._deadline


class Retry:
    """Up to ``retries`` further attempts with exponential waits and jitter, none of which outlives the deadline.

    Only for what may be sent twice: the caller passes ``retries=0`` for an effect that is once. ``uniform`` gives a
    random number in [0, 1).
    """

    def __init__(self, clock: Clock, sleep: Callable[[float], Awaitable[None]], uniform: Callable[[], float]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform

    async def run(self, attempt: Callable[[], Awaitable[_T]], retries: int, deadline: float) -> _T:
        """The first good answer, or the last attempt's error."""
        try:
            return await attempt()
        except AdapterError as error:
            if not retries or not worth_another(error):
                raise
            first = error
        return await self._again(attempt, first, retries, deadline)

    async def _again(
        self, attempt: Callable[[], Awaitable[_T]], first: AdapterError, retries: int, deadline: float
    ) -> _T:
        pending: list[AdapterError] = [first]

        async def next_attempt() -> _T:
            if pending:
                raise pending.pop()
            return await attempt()

        # A new object for each call: tenacity keeps state in it (LIBRARIES, tenacity).
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_any(stop_after_attempt(retries + 1), _OutOfTime(self._clock, deadline)),
            wait=self._wait,
            retry=retry_if_exception(worth_another),
            reraise=True,
        )
        return await retrying(next_attempt)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = (error.retry_after or 0.0) if isinstance(error, Unavailable) else 0.0
        wait = min(_LONGEST_S, _FIRST_S * 2.0 ** (state.attempt_number - 1))
        return max(asked, wait * (0.5 + self._uniform() / 2))
