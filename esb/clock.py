"""Time and ids, passed in so that tests own them. Nothing else in the bus reads a clock or makes a random id."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Protocol

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""Every bare local time of a hospital system is in this zone (no daylight saving)."""


class Clock(Protocol):
    """Two readings: a monotonic one for deadlines, a wall one for what people and systems see."""

    def monotonic(self) -> float:
        """Seconds that never go back; the time base of every deadline. Equal to the event loop's time."""

    def now(self) -> datetime:
        """The present wall time, aware, in Asia/Shanghai."""


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(SHANGHAI)


def boottime() -> float:
    """Seconds that go on while the machine is suspended, when ``monotonic`` stands still: the time base of leases, for
    others do not wait. Where the system has no such clock, ``monotonic``.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]


class Ids:
    """Time-ordered ids: 26 Crockford base-32 characters, 48 bits of milliseconds and 80 of randomness (ULID layout).

    Ids made by one process sort in the order they were made, within one millisecond too. ``random`` gives so many
    random bytes.
    """

    def __init__(self, clock: Clock, random: Callable[[int], bytes] = os.urandom) -> None:
        self._clock, self._bytes = clock, random
        self._last = 0
        self._random = b""
        self._lock = threading.Lock()

    def new(self) -> str:
        stamp = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            value = (stamp << 80) | self._eighty_bits()
            if value >> 80 <= self._last >> 80:
                value = self._last + 1
            self._last = value
        return self._text(value)

    def _eighty_bits(self) -> int:
        """From a block of the system's randomness: asking for ten bytes a time costs more than all else here."""
        if not self._random:
            self._random = self._bytes(10 * 256)
        taken, self._random = self._random[:10], self._random[10:]
        return int.from_bytes(taken, "big")

    def _text(self, value: int) -> str:
        return crockford(value, 26)


def crockford(value: int, length: int) -> str:
    """The last ``length`` digits of a number in base 32; ``length`` is even."""
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


def first_id(moment: datetime) -> str:
    """The least id that could have been made at ``moment``: what was made before it sorts before it."""
    return crockford(max(0, int(moment.timestamp() * 1000)), 10)


def moment_of(id: str) -> datetime:
    """When an id was made; raises ``ValueError`` for what is none."""
    milliseconds = 0
    for digit in id[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(digit)
    return datetime.fromtimestamp(milliseconds / 1000, SHANGHAI)
