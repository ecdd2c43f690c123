"""The buffer in the store itself: a row is journalled, queued and acknowledged where its exchange is.

One process at a time works on a SQLite file, so at the start nobody else can have a message: leases are ended at once
instead of being waited for. On PostgreSQL any number of processes take from one queue, and leases are by its time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from esb.buffer.base import Delivery, Entry, Lost, Message, Where
from esb.clock import Clock
from esb.store import Earlier, Fate, Fenced, Row, Store, Try, accepting, leases, queue, tries
from esb.store.ordering import Key
from esb.store.queue import Queued

_Counts = list[tuple[str, str, int, int]]
_LEASE_S = 60.0
_NEWS = "queue"
_NO_ROUTE = "no_route: the operation has no queued route any more"


class SqlBuffer:
    """See ``Buffer``. The store is opened before ``start``; whoever made it closes it.

    A message's lease is as long as that of its process; on a file, where nobody takes over, it matters little.
    """

    tells_others = True
    """Whether nobody else tells the workers of other processes that there is something to take."""

    def __init__(
        self, store: Store, clock: Clock, *, lease_s: float | None = None, now: leases.Now | None = None
    ) -> None:
        self._store, self._clock = store, clock
        self._lease_ms = int((lease_s or (store.instance.ttl_s if store.is_shared else _LEASE_S)) * 1000)
        self._now = now or (leases.now_ms if store.is_shared else self._clock_ms)
        self._is_timed_by_store = now is None and store.is_shared
        self._lengths: Counter[str] = Counter()
        self._looks: tuple[Counter[str], ...] = ()
        self._news: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        """See ``Buffer``."""
        self._store.news.hear(_NEWS, self._heard)
        await self._store.transact(queue.left_settling if self._store.is_shared else queue.orphan)
        await self.counts()

    async def close(self) -> None:
        """See ``Buffer``."""

    async def accept(self, row: Row, message: Message) -> Earlier | None:
        """See ``Buffer``."""
        values = (*message, queue.READY, 0, 0, 0, 0, False, "")
        size, looks = len(row.request), self._looks
        self._changed(message, 1, looks)
        is_kept = False
        try:
            offered = accepting.Accepted(row, values)
            earlier: Earlier | None = await self._store.gather(accepting.accept, offered, size, _keys(message))
            is_kept = earlier is None
        finally:
            if not is_kept:
                self._changed(message, -1, looks)
        self._tell(message.endpoint)
        return earlier

    def noted(self, messages: Sequence[Message]) -> None:
        """See ``Buffer``."""
        for message in messages:
            self._changed(message, 1, ())
            self._tell(message.endpoint)

    def length(self, endpoint: str) -> int:
        """See ``Buffer``."""
        return self._lengths[endpoint]

    async def measure(self) -> None:
        """See ``Buffer``."""
        await self._counted(queue.counts)

    async def _counted(self, count: Callable[[sa.Connection], _Counts]) -> _Counts:
        """Count, and set the lengths right by it.

        The writer counts between what was offered to it before and what comes after; the latter is added.
        """
        changes: Counter[str] = Counter()
        self._looks = (*self._looks, changes)
        try:
            rows = await self._store.transact(count)
        finally:
            self._looks = tuple(one for one in self._looks if one is not changes)
        self._lengths = changes.copy()
        for endpoint, _, number, _ in rows:
            self._lengths[endpoint] += number
        return rows

    def _changed(self, message: Message, by: int, looks: Iterable[Counter[str]]) -> None:
        """``looks`` had begun to count when the change was offered to the writer: they did not see it."""
        self._lengths[message.endpoint] += by
        for one in looks:
            one[message.endpoint] += by

    async def take(self, endpoint: str, most: int) -> list[Delivery]:
        """See ``Buffer``."""

        def work(connection: sa.Connection) -> list[Queued]:
            now = self._now(connection)
            return queue.take(connection, endpoint, most, now, now + self._lease_ms, judges=self._judges())

        return [_delivery(row) for row in await self._store.transact(work)]

    async def expired(self, most: int) -> list[Delivery]:
        """See ``Buffer``."""

        def work(connection: sa.Connection) -> list[Queued]:
            now = self._now(connection)
            if self._store.is_shared:
                queue.left_settling(connection)
            return queue.take_expired(connection, most, now, now + self._lease_ms)

        return [_delivery(row) for row in await self._store.transact(work)]

    async def wait(self, endpoint: str, seconds: float) -> None:
        """See ``Buffer``. What nobody told of, such as what a command released, is found when the time is over."""
        news = self._event(endpoint)
        judges = self._judges()
        due, now = await self._store.look(lambda one: (queue.next_due(one, endpoint, judges=judges), self._now(one)))
        if due is not None:
            seconds = max(0.0, min(seconds, (due - now) / 1000))
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return
        news.clear()

    async def renew(self, deliveries: Iterable[Delivery]) -> None:
        """See ``Buffer``."""
        receipts = [(one.position, one.takes) for one in deliveries]
        await self._store.transact(lambda one: queue.renew(one, receipts, self._now(one) + self._lease_ms))

    async def sent(self, delivery: Delivery) -> None:
        """See ``Buffer``."""
        position, takes = delivery.position, delivery.takes
        if not await self._store.transact(lambda one: queue.mark_sent(one, position, takes)):
            raise Lost("the delivery is not this worker's any more")
        self._store.check_lease()

    async def finish(self, delivery: Delivery, row: Row, fate: Fate) -> bool:
        """See ``Buffer``."""
        position, takes = delivery.position, delivery.takes

        def work(connection: sa.Connection) -> bool:
            is_mine = queue.holds(connection, position, takes)
            if is_mine:
                self._store.finish_in(connection, row, fate)
            return is_mine

        try:
            return await self._store.transact(work)
        except Fenced:
            self._store.instance.estranged.discard(row.id)
            return False

    async def ack(self, delivery: Delivery) -> bool:
        """See ``Buffer``."""
        message, looks = delivery.message, self._looks
        done = await self._store.transact(
            lambda one: queue.acknowledge(
                one, delivery.position, delivery.takes, message.endpoint, message.order_key
            ),
            _keys(message),
        )  # fmt: skip
        if done:
            self._gone(message, looks)
        return done

    async def later(
        self,
        delivery: Delivery,
        wait_s: float,
        reason: str,
        *,
        counts: bool,
        sent: bool | None = None,
        tried: Try | None = None,
    ) -> bool:
        """See ``Buffer``. A message is never put off beyond its own time."""
        wait_ms, expires = int(wait_s * 1000), delivery.message.expires

        def due(now: int) -> int:
            return min(now + wait_ms, expires) if expires else now + wait_ms

        return await self._put_back(
            delivery,
            due,
            tried,
            state=queue.LATER,
            tries=delivery.tries + counts,
            lost=0,
            reason=reason,
            **_known(sent),
        )

    async def park(
        self, delivery: Delivery, reason: str, *, sent: bool | None = None, tried: Try | None = None
    ) -> bool:
        """See ``Buffer``."""
        return await self._put_back(delivery, _never, tried, state=queue.PARKED, reason=reason, **_known(sent))

    async def settling(self, delivery: Delivery) -> bool:
        """See ``Buffer``."""
        return await self._put_back(delivery, _never, None, state=queue.SETTLING, sent=True)

    async def _put_back(self, delivery: Delivery, due: Callable[[int], int], tried: Try | None, **values: Any) -> bool:
        position, takes = delivery.position, delivery.takes

        def work(connection: sa.Connection) -> bool:
            is_mine = queue.put_back(connection, position, takes, {**values, "due": due(self._now(connection))})
            if is_mine and tried is not None:
                tries.keep(connection, delivery.message.id, tried)
            return is_mine

        return await self._store.transact(work)

    async def settled(self, exchange: str) -> bool:
        """See ``Buffer``."""
        entry = await self.find(exchange)
        if entry is None:
            return False
        looks = self._looks
        row = await self._store.transact(lambda one: queue.remove(one, exchange), _keys(entry.message))
        if row is not None:
            self._gone(_message(row), looks)
        return row is not None

    async def reopen(self, exchange: str, wait_s: float, reason: str) -> Entry | None:
        """See ``Buffer``."""
        wait_ms, instance = int(wait_s * 1000), self._store.instance

        def work(connection: sa.Connection) -> Queued | None:
            row = queue.reopen(connection, exchange, instance.name, self._now(connection) + wait_ms, reason)
            if row is not None and self._store.is_shared:
                instance.leaves([exchange])
            return row

        row = await self._store.transact(work)
        if row is None:
            instance.estranged.discard(exchange)
        return _entry(row) if row else None

    async def route(self, endpoints: Mapping[str, str]) -> None:
        """See ``Buffer``."""
        if await self._store.transact(lambda one: queue.reroute(one, endpoints, _NO_ROUTE)):
            await self.counts()
            for endpoint in set(endpoints.values()):
                self._tell(endpoint)

    async def find(self, exchange: str) -> Entry | None:
        """See ``Buffer``."""
        row = await self._store.look(lambda one: queue.find(one, exchange))
        return _entry(row) if row else None

    async def list(self, where: Sequence[Where] = (), endpoint: str = "", most: int = 100) -> list[Entry]:
        """See ``Buffer``."""
        states = [str(one) for one in where]
        return [_entry(row) for row in await self._store.look(lambda one: queue.listed(one, states, endpoint, most))]

    async def counts(self) -> dict[tuple[str, Where], tuple[int, int]]:
        """See ``Buffer``. The lengths that are kept in memory are set right by it: another process may discard.

        A row in a state that there is not would wait for ever and be seen by nobody: it is parked.
        """
        rows = await self._counted(lambda one: (queue.park_damaged(one), queue.counts(one))[1])
        return {(endpoint, Where(state)): (number, oldest) for endpoint, state, number, oldest in rows}

    def _gone(self, message: Message, looks: Iterable[Counter[str]]) -> None:
        self._changed(message, -1, looks)
        if message.order_key:
            self._tell(message.endpoint)

    def _event(self, endpoint: str) -> asyncio.Event:
        return self._news.setdefault(endpoint, asyncio.Event())

    def _tell(self, endpoint: str) -> None:
        self._event(endpoint).set()
        if self.tells_others:
            self._store.news.tell(_NEWS, endpoint)

    def _heard(self, endpoint: str) -> None:
        for one in [self._event(endpoint)] if endpoint else self._news.values():
            one.set()

    def _judges(self) -> bool:
        """Whether a lease that is over says that its worker is gone: an outage ends those of the living too."""
        return not self._is_timed_by_store or self._store.instance.may_judge

    def _clock_ms(self, _: sa.Connection) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _keys(message: Message) -> tuple[Key, ...]:
    return ((message.endpoint, message.order_key),) if message.order_key else ()


def _never(_: int) -> int:
    return 0


def _known(sent: bool | None) -> dict[str, bool]:
    return {} if sent is None else {"sent": sent}


def _message(row: Queued) -> Message:
    return Message(row.id, row.endpoint, row.operation, row.priority, row.order_key, row.accepted, row.expires)


def _delivery(row: Queued) -> Delivery:
    return Delivery(_message(row), row.position, row.takes, row.tries, row.lost, row.sent, row.reason)


def _entry(row: Queued) -> Entry:
    return Entry(_message(row), Where(row.state), row.tries, row.lost, row.sent, row.due, row.reason)
