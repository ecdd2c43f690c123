"""What everybody in a simulation saw, in one order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Event(NamedTuple):
    """``what`` happened to ``who`` at a moment of virtual time, with the facts that tell it."""

    at: float
    who: str
    what: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items() if value not in ("", None))
        return f"{self.at:10.4f} {self.who:<9} {self.what:<10} {facts}"


class History:
    """Events in the order in which they happened."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.events: list[Event] = []

    def note(self, who: str, what: str, **facts: Any) -> int:
        """It happened now; its number."""
        self.events.append(Event(self._now(), who, what, facts))
        return len(self.events) - 1

    def of(self, what: str) -> list[Event]:
        """The events of one kind."""
        return [one for one in self.events if one.what == what]

    def text(self) -> str:
        """One line an event."""
        return "\n".join(map(str, self.events)) + "\n"
