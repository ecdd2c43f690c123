"""What really happened (the ledger) and what was asked (the request list)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sandbox.clock import SHANGHAI, Clock

REQUESTS_KEPT = 5_000


class Ledger:
    """Append-only list of effects; a row exists if and only if the effect does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: list[dict[str, Any]] = []

    def add(self, channel: str, operation: str, key: str, slot: str | None = None, result: str = "ok") -> None:
        self._rows.append(
            {
                "seq": len(self._rows) + 1,
                "at": self._clock.now().isoformat(timespec="milliseconds"),
                "channel": channel,
                "operation": operation,
                "key": key,
                "slot": slot,
                "result": result,
            }
        )

    def rows(self) -> list[dict[str, Any]]:
        return list(self._rows)

    def mark(self) -> int:
        return len(self._rows)

    def undo_to(self, mark: int) -> None:
        """Forget the rows of a transaction that was rolled back with its effects."""
        del self._rows[mark:]


class RequestLog:
    """The last requests, cheap to add to: times are formatted and contents decoded only when somebody looks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: deque[tuple[float, str, str, Any, str | None]] = deque(maxlen=REQUESTS_KEPT)

    def add(self, channel: str, operation: str, decoded: Any, fault: str | None) -> None:
        self._rows.append((self._clock.time(), channel, operation, decoded, fault))

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "at": datetime.fromtimestamp(at, SHANGHAI).isoformat(timespec="milliseconds"),
                "channel": channel,
                "operation": operation,
                "decoded": decoded() if isinstance(decoded, Callable) else decoded,  # type: ignore[arg-type]
                "fault": fault,
            }
            for at, channel, operation, decoded, fault in self._rows
        ]
