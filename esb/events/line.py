"""The events that a subscriber has read and not yet left behind, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from esb.model import Tree
from esb.pipeline.forwarding import Forwarded
from esb.store import Told


class Item:
    """One event on its way. ``order`` is empty for one that has no order; with ``forwarded`` it is at its end."""

    __slots__ = ("forwarded", "order", "request", "told")

    def __init__(self, told: Told, request: Tree, order: str = "", forwarded: Forwarded | None = None) -> None:
        self.told, self.request, self.order = told, request, order
        self.forwarded = forwarded


class Line:
    """What is begun in turn, an order key at a time, and left behind in turn.

    ``stuck`` are the keys that have something in the endpoint's queue: what comes after it must go there too.
    ``waiting`` counts those that will be in the queue when they are kept.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._ready: deque[Item] = deque()
        self._behind: dict[str, deque[Item]] = {}
        self.stuck: set[str] = set()
        self.under_way = 0
        self.waiting = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def stick(self, keys: set[str]) -> None:
        """These have something in the queue, and so have those of what has ended and is not kept yet; no others."""
        self.stuck = keys | {one.order for one in self._items if one.order and one.forwarded and one.forwarded.waits}

    def add(self, items: Collection[Item]) -> None:
        """Those that were read next."""
        self._items.extend(items)
        for item in items:
            if item.forwarded is not None:
                continue
            if not item.order:
                self._ready.append(item)
            elif item.order in self._behind:
                self._behind[item.order].append(item)
            else:
                self._behind[item.order] = deque()
                self._ready.append(item)

    def begin(self) -> Item | None:
        """The next that may be begun; pair with ``end``."""
        if not self._ready:
            return None
        self.under_way += 1
        return self._ready.popleft()

    def give_back(self, item: Item) -> None:
        """It was not begun after all."""
        self.under_way -= 1
        self._ready.appendleft(item)

    def end(self, item: Item, forwarded: Forwarded) -> None:
        """What became of it; the next of its order may begin."""
        self.under_way -= 1
        item.forwarded = forwarded
        self.waiting += forwarded.waits
        if not item.order:
            return
        if forwarded.waits:
            self.stuck.add(item.order)
        behind = self._behind[item.order]
        if behind:
            self._ready.append(behind.popleft())
        else:
            del self._behind[item.order]

    def finished(self, most: int) -> list[tuple[Item, Forwarded]]:
        """Take from its head what has come to an end."""
        found: list[tuple[Item, Forwarded]] = []
        while self._items and len(found) < most and (forwarded := self._items[0].forwarded) is not None:
            found.append((self._items.popleft(), forwarded))
            self.waiting -= forwarded.waits
        return found

    @property
    def has_finished(self) -> bool:
        """Whether its head has come to an end."""
        return bool(self._items) and self._items[0].forwarded is not None
