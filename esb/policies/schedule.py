"""When what was accepted is tried again: soon at first, then at longer and longer intervals, over hours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from esb.config.values import Again

_TIMES, _OVER_S = 20, 6 * 3600.0
_FIRST_S = 1.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """``times`` further tries of which the last comes ``over_s`` seconds after the first one failed, give or take."""

    times: int
    over_s: float

    @classmethod
    def of(cls, retry: Again) -> Schedule:
        """As a route says it, or 20 over 6 hours."""
        return cls(retry.times or _TIMES, retry.over_s or _OVER_S)

    def wait(self, made: int, uniform: float) -> float:
        """Seconds before the next try when ``made`` further ones were made; ``uniform`` in [0, 1) spreads it."""
        first, factor = _growth(self.times, self.over_s)
        return first * factor ** min(made, self.times - 1) * (0.75 + uniform / 2)


@lru_cache(256)
def _growth(times: int, over_s: float) -> tuple[float, float]:
    """The first wait and how much longer each is than the one before, so that ``times`` waits last ``over_s``."""
    first = min(_FIRST_S, over_s / times) if times > 1 else over_s
    low, high = 1.0, (over_s / first) ** (1 / max(1, times - 1))  # more, and the last wait alone would be too long
    for _ in range(60):
        middle = (low + high) / 2
        total = first * sum(middle**at for at in range(times))
        low, high = (middle, high) if total < over_s else (low, middle)
    return first, low
