"""The hospital's clock: real time plus an offset that tests may move on."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")


class Clock:
    """Wall time in Asia/Shanghai; `advance` moves it on by whole or broken seconds."""

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self) -> float:
        """Unix seconds."""
        return time.time() + self.offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), SHANGHAI)

    def real_now(self) -> datetime:
        """Without the offset: what a caller's timestamp is checked against."""
        return datetime.fromtimestamp(time.time(), SHANGHAI)

    def today(self) -> date:
        return self.now().date()

    def advance(self, seconds: float) -> None:
        self.offset += seconds


def local(text: str, pattern: str) -> datetime:
    """A bare local time text as an aware one. Raises ValueError."""
    return datetime.strptime(text, pattern).replace(tzinfo=SHANGHAI)
