"""The buffer whose workers hear from a broker: rows as in ``SqlBuffer``, dispatched by RabbitMQ.

The store stays the truth. A message at the broker is an id; it is claimed in the store, then acknowledged to the
broker, and from then on the lease in the store stands for it. So a broker may bring an id twice, late or never again:
the first two do nothing, and what it forgot is published once more.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import sqlalchemy as sa

from esb import crash
from esb.buffer.base import Delivery, Entry, Message
from esb.buffer.rabbit.broker import Broker
from esb.buffer.rabbit.dead import DeadLetters
from esb.buffer.rabbit.errors import BrokerDown, BrokerError
from esb.buffer.rabbit.hand import Hand, Held, ids
from esb.buffer.rabbit.leader import Leader
from esb.buffer.rabbit.publisher import Publisher
from esb.buffer.rabbit.relay import Relay
from esb.buffer.rabbit.site import Site
from esb.buffer.rabbit.topology import PRIORITIES, Names, Place, Stock, bounds
from esb.buffer.sql import SqlBuffer, _delivery
from esb.clock import Clock
from esb.observe import Metrics, get_logger
from esb.store import Earlier, Row, Store, StoreError, Try, leases, relaying
from esb.store.queue import LATER, READY
from esb.store.relaying import Relayed

_TEND_S, _GATHER_S, _TRY_AGAIN_S = 1.0, 0.05, 1.0
_COMPARE_S, _SETTLED_MS = 10.0, 20_000
_LOOKS = 20
"""So often a row that another process is just changing is looked at again; then it is left to the next comparison."""
_MOST_IN_HAND = 1000
_LONGEST_IN_HAND_S = 600.0
"""Well within the broker's half hour for an acknowledgement: what no worker takes for so long is given back."""
_log = get_logger()


class RabbitBuffer(SqlBuffer):
    """See ``Buffer``. Of all processes that share the store one sweeps for all.

    ``late_s`` is how long after its time a message may come back from the broker before it is published again.
    """

    tells_others = False

    def __init__(
        self,
        store: Store,
        clock: Clock,
        broker: Broker,
        metrics: Metrics,
        *,
        endpoints: Iterable[str] = (),
        lease_s: float | None = None,
        now: leases.Now | None = None,
        late_s: float = 2.0,
        uniform: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(store, clock, lease_s=lease_s, now=now)
        self._sleep = sleep
        self._leader = Leader(store, clock)
        self._hints = {name: metrics.broker_hints.labels(name) for name in ("claimed", "early", "late")}
        names = Names(broker.prefix)
        publisher = Publisher(metrics, clock.monotonic, window=broker.window)
        self._relay = Relay(store, publisher, names, clock, self._now, self._judges, self._site_has, late_s=late_s)
        self._dead = DeadLetters(store, publisher, names)
        self._nudge = asyncio.Event()
        self._site = Site(
            broker,
            metrics,
            clock.monotonic,
            publisher=publisher,
            reads=self._dead.open,
            missed=self._missed,
            opened=self._nudge.set,
            lost=self._relay.over,
            uniform=uniform,
            sleep=sleep,
        )
        self._site.know(endpoints)
        self._again: set[str] = set()
        self._keys: set[tuple[str, str]] = set()
        self._some = asyncio.Event()
        self._compared = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """See ``Buffer``. Raises ``ConfigError`` when the broker will never do what is asked of it."""
        await super().start()
        await self._site.start()
        steps = (self._dead.run, self._mark, self._publish_again, self._sweep, self._tend)
        self._tasks = [asyncio.get_running_loop().create_task(self._for_ever(step)) for step in steps]

    async def close(self) -> None:
        """See ``Buffer``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leader.resign()
        await self._site.close()

    async def accept(self, row: Row, message: Message) -> Earlier | None:
        """See ``Buffer``. Published after the commit; what is ordered only when nothing is before it."""
        earlier = await super().accept(row, message)
        if earlier is None:
            crash.at("after_commit_before_publish")
            self._publish(message)
        return earlier

    def noted(self, messages: Sequence[Message]) -> None:
        """See ``Buffer``."""
        super().noted(messages)
        self._look_at(message.id for message in messages)

    async def take(self, endpoint: str, most: int) -> list[Delivery]:
        """See ``Buffer``. What the broker has brought by now."""
        hand = self._hand(endpoint, most)
        async with hand.lock:
            while held := hand.pop(most):
                try:
                    deliveries = await self._claim(endpoint, held)
                except BaseException:
                    hand.put_back(held)
                    raise
                crash.at("after_claim_before_broker_ack")
                hand.acknowledge(held)
                if deliveries:
                    return deliveries
        return []

    async def _claim(self, endpoint: str, held: list[Held]) -> list[Delivery]:
        wanted = ids(held)

        def work(connection: sa.Connection) -> relaying.Claimed:
            now = self._now(connection)
            return relaying.claim(connection, wanted, endpoint, now, now + self._lease_ms, judges=self._judges())

        claimed = await self._store.transact(work)
        for row in claimed.elsewhere:
            self._relay.row(row)
        self._hints["claimed"].inc(len(claimed.taken))
        self._hints["early"].inc(len(claimed.elsewhere))
        self._hints["late"].inc(sum(len(hints) for _, hints in held) - len(claimed.taken) - len(claimed.elsewhere))
        return [_delivery(row) for row in claimed.taken]

    async def wait(self, endpoint: str, seconds: float) -> None:
        """See ``Buffer``."""
        news = self._event(endpoint)
        if not self._hand(endpoint, 1).has_some:
            try:
                async with asyncio.timeout(seconds):
                    await news.wait()
            except TimeoutError:
                return
        news.clear()

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
        """See ``Buffer``."""
        done = await super().later(delivery, wait_s, reason, counts=counts, sent=sent, tried=tried)
        if done:
            message = delivery.message
            self._relay.publish(Relayed(message.id, delivery.takes, LATER, message.endpoint), message.priority, wait_s)
        return done

    async def reopen(self, exchange: str, wait_s: float, reason: str) -> Entry | None:
        """See ``Buffer``."""
        entry = await super().reopen(exchange, wait_s, reason)
        self._look_at([exchange])
        return entry

    async def route(self, endpoints: Mapping[str, str]) -> None:
        """See ``Buffer``."""
        await super().route(endpoints)
        self._nudge.set()

    def _gone(self, message: Message, looks: Iterable[Counter[str]]) -> None:
        super()._gone(message, looks)
        if message.order_key:
            self._keys.add((message.endpoint, message.order_key))
            self._some.set()

    def _publish(self, message: Message) -> None:
        if message.order_key:
            self._look_at([message.id])
        else:
            self._relay.publish(Relayed(message.id, 0, READY, message.endpoint), message.priority)

    def _site_has(self, endpoint: str) -> bool:
        return self._site.has_queue(endpoint)

    def _look_at(self, exchanges: Iterable[str]) -> None:
        self._again.update(exchanges)
        self._some.set()

    def _hand(self, endpoint: str, most: int) -> Hand:
        return self._site.hand(endpoint, most, partial(self._tell, endpoint))

    async def _missed(self, place: Place) -> None:
        """A queue that is not there has nothing of what the broker once confirmed."""
        try:
            await self._forget(place, 0)
        except StoreError as error:
            raise BrokerDown(f"cannot be compared with the store: {error}") from None

    async def _forget(self, place: Place, older_ms: int) -> None:
        endpoint, number = place

        def work(connection: sa.Connection) -> relaying.Forgotten:
            return relaying.forget_queue(connection, endpoint, bounds(number), self._now(connection) - older_ms)

        lost = 0
        for _ in range(_LOOKS):
            found = await self._store.transact(work)
            lost += found.lost
            if not found.left:
                break
            await self._sleep(_GATHER_S)
        if lost:
            _log.warning("broker_forgot_messages", endpoint=endpoint, count=lost)
            self._nudge.set()

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except (StoreError, BrokerError) as error:
                _log.warning("relay_hindered", reason=str(error))
                await self._sleep(_TRY_AGAIN_S)
            except Exception as error:
                _log.error("relay_failed", exc_info=error)
                await self._sleep(_TRY_AGAIN_S)

    async def _mark(self) -> None:
        await self._relay.confirmed()
        await self._sleep(_GATHER_S)
        await self._relay.mark()

    async def _publish_again(self) -> None:
        await self._some.wait()
        self._some.clear()
        exchanges, self._again = self._again, set()
        keys, self._keys = self._keys, set()
        await self._relay.again(sorted(exchanges), sorted(keys))

    async def _sweep(self) -> None:
        if await self._leader.leads(fit=self._site.writes):
            await self._relay.sweep()
            if self._clock.monotonic() - self._compared >= _COMPARE_S:
                self._compared = self._clock.monotonic()
                await self._compare()
        await _for_a_moment(self._nudge)
        self._nudge.clear()

    async def _compare(self) -> None:
        """A queue that is shorter than it can be has lost something: all of it is published again."""
        for endpoint in self._site.endpoints():
            for place in range(len(PRIORITIES)):
                stock = await self._site.stock(endpoint, place)
                expected = await self._store.look(partial(self._relayed, endpoint, place))
                if stock and expected and not _may_hold(stock, expected):
                    await self._forget((endpoint, place), _SETTLED_MS)

    def _relayed(self, endpoint: str, place: int, connection: sa.Connection) -> int:
        return relaying.relayed(connection, endpoint, bounds(place), self._now(connection) - _SETTLED_MS)

    async def _tend(self) -> None:
        await self._site.tend()
        for hand in self._site.hands():
            await self._give_back(hand)
        await _for_a_moment(self._site.news)

    async def _give_back(self, hand: Hand) -> None:
        before = self._clock.monotonic() - _LONGEST_IN_HAND_S
        async with hand.lock:
            while held := hand.pop(_MOST_IN_HAND, before):
                wanted = ids(held)
                try:
                    await self._store.transact(partial(relaying.forget, ids=wanted))
                except StoreError:
                    hand.put_back(held)
                    raise
                hand.acknowledge(held)


async def _for_a_moment(event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_TEND_S):
            await event.wait()


def _may_hold(stock: Stock, expected: int) -> bool:
    """Whether what is in the queue and what its consumers can have in hand may be all that is expected."""
    return stock.messages > 0 and stock.messages + stock.consumers * _MOST_IN_HAND >= expected
