"""From the store to the broker: what waits there is published until the broker has confirmed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import sqlalchemy as sa

from esb import crash
from esb.buffer.rabbit.publisher import Publisher
from esb.buffer.rabbit.topology import Names, rung
from esb.clock import Clock
from esb.store import Store, relaying
from esb.store.queue import LATER, Queued
from esb.store.relaying import Relayed

_PAGE, _MARKS = 250, 500
_SOON_S = 0.001
_OWN_S = 3.0
"""So long a row that was just accepted is left to the process that accepted it."""


class Relay:
    """Publishes rows and marks those that were confirmed.

    What this process changes it publishes at once, ``row`` by ``row``. ``sweep`` finds the rest: what was not
    confirmed, what came due ``late_s`` ago and did not come back, whose worker died, what another program released.
    ``judges`` says whether a lease that is over is that of a worker that died, ``has_queue`` whether the broker has
    queues for an endpoint yet.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        names: Names,
        clock: Clock,
        now: Callable[[sa.Connection], int],
        judges: Callable[[], bool],
        has_queue: Callable[[str], bool],
        *,
        late_s: float,
        own_s: float = _OWN_S,
    ) -> None:
        self._now, self._judges, self._has_queue = now, judges, has_queue
        self._store, self._publisher, self._names, self._clock = store, publisher, names, clock
        self._late_ms, self._own_ms = int(late_s * 1000), int(own_s * 1000)
        self._under: set[Relayed] = set()
        self._confirmed: list[Relayed] = []
        self._any = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nothing is under way and all that was confirmed is marked."""
        return not self._under

    def row(self, row: Queued) -> bool:
        """Publish a row that waits, whether it is under way or not; False when there was no room: a sweep does it."""
        wait = 0.0
        if row.state == LATER and row.due:
            wait = max(_SOON_S, row.due / 1000 - self._clock.now().timestamp())
        return self.publish(Relayed(row.id, row.takes, row.state, row.endpoint), row.priority, wait)

    def publish(self, one: Relayed, priority: int, wait_s: float = 0.0) -> bool:
        """Publish an id to the queue of an endpoint, over the rungs when it shall wait; False as ``row``."""
        if not self._has_queue(one.endpoint):
            return False
        queue = self._names.queue(one.endpoint, priority)
        through = self._names.rung(rung(wait_s)) if wait_s > 0 else self._names.direct
        if not self._publisher.publish(through, queue, one.id.encode(), partial(self._told, one)):
            return False
        self._under.add(one)
        return True

    def over(self) -> None:
        """The broker went away, and may have lost what it confirmed a moment ago: that is published again."""
        self._under.difference_update(self._confirmed)
        self._confirmed.clear()

    async def confirmed(self) -> None:
        """Return when there is something to mark."""
        await self._any.wait()

    async def mark(self) -> None:
        """Write down what was confirmed; raises ``StoreError``."""
        self._any.clear()
        while self._confirmed:
            crash.at("after_publish_before_mark")
            some, self._confirmed = self._confirmed[:_MARKS], self._confirmed[_MARKS:]
            try:
                await self._store.transact(partial(self._write_down, some))
            finally:
                self._under.difference_update(some)

    async def sweep(self) -> int:
        """Publish all that no broker has; how many that were. Raises ``StoreError``."""
        await self._store.transact(self._come_due)
        count = after = 0
        while rows := await self._store.look(partial(self._page, after)):
            for row in rows:
                if not await self._surely(row):
                    return count
            count, after = count + len(rows), rows[-1].position
        return count

    async def again(self, exchanges: Iterable[str], keys: Iterable[tuple[str, str]]) -> None:
        """Publish those of these that wait: exchanges by id, and the first of each endpoint and order key."""
        ids, pairs = list(exchanges), list(keys)
        if ids:
            for row in await self._store.look(lambda one: relaying.waiting(one, ids)):
                self.row(row)
        for pair in pairs:
            if first := await self._store.look(partial(relaying.first_of_key, endpoint=pair[0], order_key=pair[1])):
                self.row(first)

    async def _surely(self, row: Queued) -> bool:
        """Publish it as soon as there is room; False when the broker is away or takes nothing.

        One that is under way, and one whose queue is not there yet, is left to the next sweep.
        """
        if Relayed(row.id, row.takes, row.state, row.endpoint) in self._under or not self._has_queue(row.endpoint):
            return True
        while not self.row(row):
            if not await self._publisher.has_room():
                return False
        return True

    def _told(self, one: Relayed, confirmed: bool) -> None:
        if confirmed:
            self._confirmed.append(one)
            self._any.set()
        else:
            self._under.discard(one)

    def _write_down(self, some: list[Relayed], connection: sa.Connection) -> None:
        relaying.mark(connection, some, self._now(connection))

    def _come_due(self, connection: sa.Connection) -> None:
        now = self._now(connection)
        relaying.come_due(connection, now, now - self._late_ms, judges=self._judges())

    def _page(self, after: int, connection: sa.Connection) -> list[Queued]:
        return relaying.unrelayed(connection, after, _PAGE, self._now(connection) - self._own_ms)
