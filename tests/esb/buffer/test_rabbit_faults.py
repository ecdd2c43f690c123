"""Whatever happens to the broker: nothing is lost, each message has one effect, and an order key keeps its order.

F10 killed and started again, alarm; F11 wiped; F12 a socket at whose other end nobody answers; queues deleted and
connections closed by a person; poison in our queues (F32). Invariants I1, I2, I9, I12. The node is a private one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import sqlalchemy as sa

from esb.buffer import Delivery, Entry, Message, Where
from esb.buffer.rabbit import Broker, RabbitBuffer
from esb.buffer.rabbit import buffer as rabbit_buffer
from esb.buffer.rabbit.topology import Names
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Store
from esb.store.queue import queue
from tests.esb.buffer.suite import HIS, release, row
from tests.rabbit_node import Node, own_prefix, session_node

KEYS, TRIED_AGAIN, MOST_WAITING = 7, 5, 600


@pytest.fixture(autouse=True)
def nothing_is_found_by_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missed is missed at once, or the test finds it: the comparison is for what nobody can notice."""
    monkeypatch.setattr(rabbit_buffer, "_COMPARE_S", 1e9)


@pytest.fixture
def node() -> Node:
    return session_node()


@pytest.fixture
def prefix(node: Node) -> Iterator[str]:
    with own_prefix(node.url) as found:
        yield found


class Site:
    """Messages going in and out all the time, every third with an order key, every fifth failing once."""

    def __init__(self, store: Store, buffer: RabbitBuffer, metrics: Metrics) -> None:
        self.store, self.buffer, self.metrics = store, buffer, metrics
        self.accepted: list[str] = []
        self.effects: list[str] = []
        self._full = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._offer()), asyncio.create_task(self._work())]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self, count: int) -> None:
        first = len(self.accepted)
        names = [f"E{number:05}" for number in range(first, first + count)]
        for at in range(0, count, 50):
            some = names[at : at + 50]
            await asyncio.gather(*(self.buffer.accept(row(one), message(one)) for one in some))
            self.accepted += some

    async def more(self, count: int) -> None:
        """Return when so many more were accepted and dealt with."""
        before = len(self.effects)
        await within(60, lambda: len(self.effects) >= before + count)

    async def finished(self) -> None:
        """All is dealt with, once each, in the order of its key."""
        self._full = True
        await self._tasks[0]
        await within(60, lambda: len(self.effects) >= len(self.accepted))
        assert await self.buffer.counts() == {}
        assert sorted(self.effects) == self.accepted
        by_key = defaultdict(list)
        for one in self.effects:
            by_key[message(one).order_key].append(one)
        by_key.pop("", None)
        assert all(one == sorted(one) for one in by_key.values())

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def _offer(self) -> None:
        while not self._full:
            if len(self.accepted) - len(self.effects) < MOST_WAITING:
                await self.accept(10)
            await asyncio.sleep(0.02)

    async def _work(self) -> None:
        while True:
            deliveries = await self.buffer.take(HIS, 20)
            if not deliveries:
                await self.buffer.wait(HIS, 0.2)
            await asyncio.gather(*map(self._deal, deliveries))

    async def _deal(self, delivery: Delivery) -> None:
        exchange = delivery.message.id
        if int(exchange[1:]) % TRIED_AGAIN == 0 and not delivery.tries:
            assert await self.buffer.later(delivery, 0.3, "busy", counts=True)
        elif await self.buffer.ack(delivery):
            self.effects.append(exchange)


def message(exchange: str) -> Message:
    number = int(exchange[1:])
    key = f"k{number % KEYS}" if number % 3 == 0 else ""
    return Message(exchange, HIS, "slot.free", number % 2, key, int(1_000 * SystemClock().now().timestamp()))


async def within(seconds: float, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def site_of(url: str, prefix: str, folder: Path, **more: Any) -> AsyncIterator[Site]:
    metrics = Metrics()
    store = Store(f"sqlite:///{folder / 'esb.db'}", metrics, linger_s=0.001)
    await store.start()
    broker = Broker(url, prefix, heartbeat_s=2, **more)
    buffer = RabbitBuffer(store, SystemClock(), broker, metrics, endpoints=[HIS])
    await buffer.start()
    site = Site(store, buffer, metrics)
    try:
        yield site
    finally:
        await site.end()
        await buffer.close()
        await store.close()


@pytest.fixture
async def site(node: Node, prefix: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with site_of(node.url, prefix, tmp_path) as found:
        yield found


async def killed(node: Node, prefix: str) -> None:
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(node.start)


async def wiped(node: Node, prefix: str) -> None:
    await asyncio.to_thread(node.wipe)
    await asyncio.to_thread(node.start)


async def closed(node: Node, prefix: str) -> None:
    await asyncio.to_thread(node.ctl, "close_all_connections", "by the administrator")


async def deleted(node: Node, prefix: str) -> None:
    names = Names(prefix)

    def delete() -> None:
        with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
            for queue in (names.queue(HIS, 0), names.queue(HIS, 1), names.rung(1)):
                connection.channel().queue_delete(queue)

    await asyncio.to_thread(delete)


@pytest.mark.parametrize("fault", [killed, wiped, closed, deleted])
async def test_under_load_nothing_is_lost_or_doubled_and_order_is_kept(
    node: Node, prefix: str, site: Site, fault: Callable[[Node, str], Awaitable[None]]
) -> None:
    """F10, F11, and a person at the broker."""
    site.begin()
    await site.more(100)
    await fault(node, prefix)
    await site.more(100)
    await site.finished()


async def test_while_the_broker_is_gone_everything_is_accepted_and_it_is_rebuilt_when_it_comes_back_empty(
    node: Node, site: Site
) -> None:
    """F11."""
    await asyncio.to_thread(node.wipe)
    await site.accept(1000)
    assert site.buffer.length(HIS) == 1000
    assert site.metric("broker_up", use="writing") == 0
    await asyncio.to_thread(node.start)
    site.begin()
    await site.finished()


async def test_a_queue_is_made_only_when_the_store_knows_that_it_is_empty(
    node: Node, prefix: str, tmp_path: Path
) -> None:
    """F11: whoever dies on the way to an empty queue leaves none, so that the next one misses it too."""
    queue = Names(prefix).queue(HIS, 1)
    async with site_of(node.url, prefix, tmp_path) as site:
        await site.accept(20)
        await relayed(site, 20)
        await site.buffer._site.close()
        await deleted(node, prefix)
        connection = sqlite3.connect(tmp_path / "esb.db", isolation_level=None)
        connection.execute("ALTER TABLE queue RENAME TO away")
        with contextlib.suppress(asyncio.CancelledError):
            await site.buffer._site.start()
        assert not await asyncio.to_thread(exists, node, queue)
        connection.execute("ALTER TABLE away RENAME TO queue")
        connection.close()
    async with site_of(node.url, prefix, tmp_path) as site:
        site.accepted = [f"E{number:05}" for number in range(20)]
        site.begin()
        await site.finished()


async def test_what_a_person_takes_out_of_a_queue_is_found_by_comparing(
    node: Node, prefix: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.accept(20)
    await relayed(site, 20)
    for place in range(2):
        await asyncio.to_thread(node.ctl, "purge_queue", Names(prefix).queue(HIS, place))
    site.begin()
    monkeypatch.setattr(rabbit_buffer, "_SETTLED_MS", 100)
    monkeypatch.setattr(rabbit_buffer, "_COMPARE_S", 0.5)
    await site.finished()
    assert site.metric("broker_published_total", result="confirmed") > len(site.accepted)


async def relayed(site: Site, count: int) -> None:
    """The broker has so many for sure, and the store knows it."""
    query = sa.select(sa.func.count()).where(queue.c.relayed > 0)
    async with asyncio.timeout(20):
        while await site.store.look(lambda one: one.scalar(query)) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_alarm_pauses_publishing_and_not_the_intake(node: Node, site: Site) -> None:
    """F10: ``connection.blocked``."""
    site.begin()
    await site.more(50)
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.0000001")
    try:
        await within(20, lambda: site.metric("broker_blocked") == 1)
        before = len(site.accepted)
        await within(20, lambda: len(site.accepted) > before + 100)
    finally:
        await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.4")
    await within(20, lambda: site.metric("broker_blocked") == 0)
    await site.more(100)
    await site.finished()


async def test_a_socket_at_whose_other_end_nobody_answers_is_given_up(node: Node, prefix: str, tmp_path: Path) -> None:
    """F12: what is swallowed is neither confirmed nor acknowledged; heartbeats and confirms find it out."""
    async with Swallowing(node.port) as proxy:
        url = node.url.replace(str(node.port), str(proxy.port))
        async with site_of(url, prefix, tmp_path, confirm_s=3.0) as site:
            site.begin()
            await site.more(50)
            proxy.swallow()
            await site.more(200)
            assert site.metric("broker_published_total", result="lost") > 0
            await site.finished()


class Swallowing:
    """A TCP proxy whose present connections can be made to take everything, pass on nothing and stay open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: list[dict[str, bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Swallowing:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def swallow(self) -> None:
        for one in self._open:
            one["swallows"] = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._target)
        state = {"swallows": False}
        self._open.append(state)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink, state)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, state: dict[str, bool]) -> None:
        try:
            while data := await source.read(65536):
                if not state["swallows"]:
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()


def publish(node: Node, queue: str, *messages: tuple[bytes, pika.BasicProperties]) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for body, properties in messages:
            channel.basic_publish("", queue, body, properties, mandatory=True)


def exists(node: Node, queue: str) -> bool:
    with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
        return count(node, queue) >= 0
    return False


def count(node: Node, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        found: int = connection.channel().queue_declare(queue, passive=True).method.message_count
        return found


async def test_what_is_not_ours_is_put_aside_and_the_consumer_lives(node: Node, prefix: str, site: Site) -> None:
    """F32: other people's messages, an id that nobody knows, an id that is too long, the same id many times."""
    ours = pika.BasicProperties(type="esb.exchange")
    strange = pika.BasicProperties(content_type="application/json", headers={"x": [1, {"y": b"\xff"}]})
    await site.accept(1)
    names = Names(prefix)
    bad = [(b"\xff\x00" * 5000, ours), (json.dumps({"order": 1}).encode(), strange), (b"", ours), (b"E" * 65, ours)]
    fine = [(b"E99999", ours), *[(b"E00000", ours)] * 20]
    await asyncio.to_thread(publish, node, names.queue(HIS, 1), *bad, *fine)
    site.begin()
    await site.more(30)
    async with asyncio.timeout(20):
        while await asyncio.to_thread(count, node, names.foreign) < len(bad):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert site.metric("broker_hints_total", what="foreign") == len(bad)
    await site.finished()


async def test_an_id_that_its_consumers_die_of_is_parked_in_the_end(node: Node, prefix: str, site: Site) -> None:
    """F32: each is gone before it could claim what it was brought, with its connection; the broker counts that."""
    await site.accept(1)
    deaths = await asyncio.to_thread(die_of, node, Names(prefix).queue(HIS, 0))
    assert deaths > 100
    await within(20, lambda: site.metric("broker_published_total", result="confirmed") >= 1)
    (found,) = await parked(site)
    assert (found.message.id, found.lost) == ("E00000", 0)
    assert "delivery_limit" in found.reason
    assert await asyncio.to_thread(count, node, Names(prefix).dead) == 0
    assert await release(site.buffer, "E00000", "its consumer is repaired")
    site.begin()
    await site.finished()


def die_of(node: Node, queue: str) -> int:
    """Consumers that end without a word with the first message they are brought, until none is brought any more."""
    for deaths in range(200):
        connection = pika.BlockingConnection(pika.URLParameters(node.url))
        found = next(connection.channel().consume(queue, inactivity_timeout=3))
        if found == (None, None, None):
            connection.close()
            return deaths
        connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()
    raise AssertionError("the broker never gave it up")


async def parked(site: Site) -> list[Entry]:
    async with asyncio.timeout(20):
        while not (found := await site.buffer.list([Where.PARKED])):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return list(found)


async def test_what_the_broker_gives_up_is_parked_with_the_reason(node: Node, prefix: str, site: Site) -> None:
    """A delivery limit that was reached; what nobody knows there is just acknowledged."""
    await site.accept(2)
    names, died = Names(prefix), {"reason": "delivery_limit", "queue": Names(prefix).queue(HIS, 1), "count": 1}
    dead = pika.BasicProperties(type="esb.exchange", headers={"x-death": [died]})
    await asyncio.to_thread(publish, node, names.dead, (b"E00001", dead), (b"E99999", dead))
    found = await parked(site)
    assert [one.message.id for one in found] == ["E00001"]
    assert "delivery_limit" in found[0].reason
    assert await release(site.buffer, "E00001", "looked at")
    site.begin()
    await site.finished()
    assert await asyncio.to_thread(count, node, names.dead) == 0


async def test_what_is_tried_later_comes_back_through_the_broker(node: Node, prefix: str, tmp_path: Path) -> None:
    """The rung's time to live brings it, well before a sweep would."""
    async with site_of(node.url, prefix, tmp_path) as site:
        site.buffer._relay._late_ms = 3_600_000
        await site.accept(1)
        site.begin()
        await within(20, lambda: "E00000" in site.effects)
        assert site.metric("broker_hints_total", what="early") == 0
        await site.finished()
