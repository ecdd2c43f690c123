"""The latest events as this process kept them: who follows the inbox closely need not read them back."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from esb.store.inbox import Arrival, Told
from esb.store.tables import clean

_MOST = 1000
_MOST_BYTES = 4 * 1024 * 1024


class Recent:
    """A stretch of the inbox without gaps, in memory: at most 1,000 events and 4 MiB of them.

    Positions have to be told as they are committed, events and others. One that does not follow the last one begins a
    new stretch: another process, or a commit that failed, has those between. ``is_clear``: when the last one was kept
    nothing that is ordered waited in a queue.
    """

    def __init__(self) -> None:
        self._events: deque[Told] = deque()
        self._bytes = 0
        self._after = self._end = 0
        self.is_clear = False

    def note(self, position: int, event: Arrival | None, *, is_clear: bool = False) -> None:
        """A row was kept: an event, or None for another one; ``is_clear`` as in ``Settled``."""
        self.is_clear = is_clear
        if position != self._end + 1:
            self._events.clear()
            self._bytes, self._after = 0, position - 1
        self._end = position
        if event is not None:
            self._events.append(_told(position, event))
            self._bytes += len(event.body)
        while len(self._events) > _MOST or self._bytes > _MOST_BYTES:
            oldest = self._events.popleft()
            self._bytes -= len(oldest.body)
            self._after = oldest.position

    def upcoming(self, event: str, after: int, most: int) -> tuple[list[Told], int] | None:
        """As ``cursors.upcoming``; None when it does not reach back so far, or ends at ``after``."""
        if not self._after <= after < self._end:
            return None
        newer = takewhile(lambda told: told.position > after, reversed(self._events))
        found = [told for told in newer if told.event == event][::-1]
        return (found[:most], found[most - 1].position) if len(found) >= most else (found, self._end)


def _told(position: int, arrival: Arrival) -> Told:
    """As its row will give it back."""
    return Told(
        position,
        arrival.id,
        clean(arrival.endpoint),
        clean(arrival.sender),
        clean(arrival.control),
        clean(arrival.kind),
        arrival.received,
        arrival.event,
        arrival.body,
    )
