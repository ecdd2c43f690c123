"""Circuit breaker: stop asking a system that fails, and find out with one harmless question when it is back."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from esb.clock import Clock
from esb.model import Effect
from esb.policies import Limited

_SLICES = 10


class State(IntEnum):
    """What ``/metrics`` shows as ``breaker_state``."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker:
    """Opens when, within ``window_s`` seconds, at least ``failures`` calls failed, and at least half of all calls did.

    Open: every call is refused for ``open_s`` seconds. Then half-open: one read is let through and decides; nothing
    that changes the system is ever used to try. Where no read comes by, ``due`` tells when to look for a sign of life.
    ``enter`` before a call gives a ticket for exactly one of ``succeeded``, ``failed`` and ``abandoned`` (no verdict:
    cancelled); a ticket from before the last change is void.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int = 5,
        window_s: float = 30.0,
        open_s: float = 10.0,
        changed: Callable[[State], None] = lambda state: None,
    ) -> None:
        self._clock = clock
        self._failures = failures
        self._slice_s = window_s / _SLICES
        self._open_s = open_s
        self._changed = changed
        self._counts: dict[int, list[int]] = {}
        self._until = 0.0
        self._trying = False
        self._ticket = 0
        self.state = State.CLOSED

    def adjust(self, *, failures: int, window_s: float, open_s: float) -> None:
        """Other numbers from now on; the state stays, and an open one waits as long as it was told to."""
        self._failures, self._open_s = failures, open_s
        if window_s / _SLICES != self._slice_s:
            self._slice_s = window_s / _SLICES
            self._counts.clear()

    def check(self, effect: Effect) -> None:
        """Raise ``Limited`` if a call would be refused now; takes nothing."""
        if self.state is State.CLOSED:
            return
        wait = self._until - self._clock.monotonic()
        if wait > 0 or self._trying or effect is not Effect.READ:
            raise Limited("endpoint_down", "breaker is open", retry_after=max(wait, 1.0))

    def enter(self, effect: Effect) -> int:
        """Begin a call, or raise ``Limited``; half-open, this call becomes the one that decides."""
        if self.state is not State.CLOSED:
            self.check(effect)
            self._trying = True
            self._become(State.HALF_OPEN)
        return self._ticket

    def due(self) -> int | None:
        """The ticket for the verdict of a sign of life, when it is time for one and no read is deciding already."""
        waits = self._trying or self._until > self._clock.monotonic()
        return None if self.state is State.CLOSED or waits else self._ticket

    def succeeded(self, ticket: int) -> None:
        """The system answered, whatever it said."""
        if ticket != self._ticket:
            return
        if self.state is State.CLOSED:
            self._count()[0] += 1
        else:
            self._become(State.CLOSED)

    def failed(self, ticket: int) -> None:
        """The system could not be reached or was silent."""
        if ticket != self._ticket:
            return
        if self.state is State.CLOSED:
            self._count()[1] += 1
            good, bad = map(sum, zip(*self._counts.values(), strict=True))
            if bad < self._failures or bad < good:
                return
        self._until = self._clock.monotonic() + self._open_s
        self._become(State.OPEN)

    def abandoned(self, ticket: int) -> None:
        """The call ended without a verdict; when it was the one that decides, the next read decides."""
        if ticket == self._ticket:
            self._trying = False

    def _count(self) -> list[int]:
        now = int(self._clock.monotonic() / self._slice_s)
        count = self._counts.get(now)
        if count is None:
            for old in [one for one in self._counts if one <= now - _SLICES]:
                del self._counts[old]
            count = self._counts[now] = [0, 0]
        return count

    def _become(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        self._ticket += 1
        self._trying = state is State.HALF_OPEN
        self._counts.clear()
        self._changed(state)
