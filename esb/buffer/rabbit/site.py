"""What this process has at the broker: a connection to read from, one to write to, its queues and its consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pika.exceptions import AMQPError

from esb.buffer.rabbit.broker import Broker
from esb.buffer.rabbit.errors import BrokerError, BrokerRefused
from esb.buffer.rabbit.hand import Hand
from esb.buffer.rabbit.link import Connection, Link
from esb.buffer.rabbit.publisher import Publisher
from esb.buffer.rabbit.topology import Names, Place, Stock, declare, stocked
from esb.observe import Metrics, get_logger

_log = get_logger()


class Site:
    """Two connections, since a broker with an alarm stops reading from those that publish.

    ``missed`` is told of each queue that was not found, before it is made, ``opened`` that queues can be used, and
    ``lost`` that a connection is gone. ``reads`` is called with the connection for reading before it is said to be
    there. ``news`` is set when ``tend`` has something to do.
    """

    def __init__(
        self,
        broker: Broker,
        metrics: Metrics,
        monotonic: Callable[[], float],
        *,
        reads: Callable[[Connection], Awaitable[None]],
        missed: Callable[[Place], Awaitable[None]],
        opened: Callable[[], None],
        lost: Callable[[], None],
        uniform: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        publisher: Publisher,
    ) -> None:
        self.names = Names(broker.prefix)
        self._broker, self._metrics, self._monotonic = broker, metrics, monotonic
        self._reads, self._missed, self._opened, self._lost = reads, missed, opened, lost
        self._publisher = publisher
        self._endpoints: dict[str, None] = {}
        self._declared: set[str] = set()
        self._new: list[str] = []
        self.news = asyncio.Event()
        self._hands: dict[str, Hand] = {}
        self._current: Connection | None = None
        self._is_blocked = False
        more: dict[str, Any] = {"metrics": metrics, "uniform": uniform, "sleep": sleep}
        self._reading = Link("reading", broker.parameters(), self._read, self._reading_over, **more)
        self._writing = Link("writing", broker.parameters(), publisher.open, self._writing_over, **more)

    async def start(self) -> None:
        """Connect; raises ``ConfigError`` for what will never work. A broker that is down is waited for beside."""
        try:
            await self._reading.start()
            await self._writing.start()
        except BrokerRefused as error:
            await self.close()
            raise error.finding() from None

    async def close(self) -> None:
        """Close both connections; a second close does nothing."""
        await self._writing.close()
        await self._reading.close()

    def know(self, endpoints: Iterable[str]) -> None:
        """These have queues; those that are new get theirs by the next ``tend``."""
        for endpoint in endpoints:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = None
                self._new.append(endpoint)
                self.news.set()

    def hand(self, endpoint: str, most: int, news: Callable[[], None]) -> Hand:
        """The hints for a worker of this endpoint that takes up to ``most`` at once."""
        found = self._hands.get(endpoint)
        if found is None:
            self.know([endpoint])
            found = Hand(endpoint, most, self.names, news, self._metrics, self._monotonic)
            self._hands[endpoint] = found
            if endpoint not in self._new:
                self._new.append(endpoint)
            self.news.set()
        return found

    def hands(self) -> list[Hand]:
        """All of them."""
        return list(self._hands.values())

    @property
    def writes(self) -> bool:
        """Whether the connection for writing is open."""
        return self._publisher.is_open

    def has_queue(self, endpoint: str) -> bool:
        """Whether the broker has the endpoint's queues; if not, they will be declared."""
        if endpoint not in self._declared:
            self.know([endpoint])
        return endpoint in self._declared

    async def tend(self) -> None:
        """Declare what is new; give up a connection that does not confirm, or whose queues are gone."""
        self.news.clear()
        self._say_blocked()
        if self._publisher.waited > self._broker.confirm_s and not self._writing.blocked:
            _log.warning("broker_silent", seconds=round(self._publisher.waited, 1))
            self._writing.drop()
        if self._publisher.returns:
            self._publisher.returns = 0
            self._reading.drop()
        elif (connection := self._current) is not None and self._new:
            new, self._new = self._new, []
            try:
                await self._prepare(connection, new)
            except (BrokerError, AMQPError) as error:  # the queues are declared with the next connection
                _log.error("queue_not_declared", reason=str(error) or type(error).__name__)
                self._reading.drop()

    async def stock(self, endpoint: str, place: int) -> Stock | None:
        """What a queue holds; None while nobody knows. Raises ``BrokerError``."""
        connection = self._current
        return await stocked(connection, self.names.queue(endpoint, place)) if connection else None

    def endpoints(self) -> list[str]:
        """Those with queues."""
        return list(self._endpoints)

    async def _read(self, connection: Connection) -> None:
        self._new = []
        await self._prepare(connection, list(self._endpoints))
        await self._reads(connection)
        self._current = connection

    async def _prepare(self, connection: Connection, endpoints: list[str]) -> None:
        await declare(connection, self.names, endpoints, self._missed)
        for endpoint in endpoints:
            hand = self._hands.get(endpoint)
            if hand is not None:
                await hand.open(connection)
        self._declared.update(endpoints)
        self._opened()

    def _reading_over(self) -> None:
        self._current = None
        self._declared.clear()
        for hand in self._hands.values():
            hand.over()
        self._lost()

    def _writing_over(self) -> None:
        self._publisher.over()
        self._lost()

    def _say_blocked(self) -> None:
        blocked = self._writing.blocked
        self._metrics.broker_blocked.set(blocked)
        if blocked != self._is_blocked:
            self._is_blocked = blocked
            event = "broker_blocked" if blocked else "broker_unblocked"
            _log.warning(event, reason="the broker has an alarm: memory or disk")
