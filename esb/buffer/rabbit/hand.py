"""An endpoint's hints in this process, and its queues, from which they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from esb.buffer.rabbit.consumer import Hint, Tap
from esb.buffer.rabbit.link import Connection
from esb.buffer.rabbit.topology import PRIORITIES, Names
from esb.observe import Metrics

_LEAST = 32
Held = tuple[Tap, list[Hint]]


class Hand:
    """Hints of one endpoint, at most ``most`` of each priority; who takes of them has ``lock``.

    A few more than its worker has places for: enough that it never waits for the broker, so few that other workers
    have theirs.
    """

    def __init__(
        self,
        endpoint: str,
        most: int,
        names: Names,
        news: Callable[[], None],
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        self.lock = asyncio.Lock()
        self._most = max(_LEAST, 2 * most)
        self._taps = [
            Tap(names.queue(endpoint, place), news, metrics, monotonic) for place in range(len(PRIORITIES))
        ]  # fmt: skip

    @property
    def has_some(self) -> bool:
        """Whether any hint is here."""
        return any(map(len, self._taps))

    async def open(self, connection: Connection) -> None:
        """Consume; raises ``BrokerError``."""
        for tap in self._taps:
            await tap.open(connection, self._most)

    def over(self) -> None:
        """The connection is lost, and the hints are the broker's again."""
        for tap in self._taps:
            tap.over()

    def pop(self, most: int, before: float | None = None) -> list[Held]:
        """The next ones, high priorities first; with ``before`` only those that have been here since earlier."""
        found: list[Held] = []
        for tap in self._taps:
            if hints := tap.pop(most, before):
                found.append((tap, hints))
                most -= len(hints)
        return found

    def put_back(self, held: list[Held]) -> None:
        """They could not be claimed now."""
        for tap, hints in held:
            tap.put_back(hints)

    def acknowledge(self, held: list[Held]) -> None:
        """They are claimed, or nobody needs them."""
        for tap, hints in held:
            tap.acknowledge(hints[-1])


def ids(held: list[Held]) -> list[str]:
    """The exchanges, each once."""
    return list(dict.fromkeys(hint.exchange for _, hints in held for hint in hints))
