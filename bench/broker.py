"""What the broker adds and bears: a part of ``bench.durable``.

A private RabbitMQ node on the same cores, quorum queues, every message confirmed from its disk. Publishing is set
against pika's BlockingConnection that waits for each confirm before it sends the next. Consuming is the whole way of a
worker without a system behind it: messages brought by the broker, claimed in the store in one transaction for all that
are here, acknowledged to the broker, and acknowledged in the store. Rebuilding is a broker that was wiped while many
waited.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pika
import uvloop

from bench.harness import Row, row
from esb.buffer import Message
from esb.buffer.rabbit import Broker, RabbitBuffer
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Row as Journalled
from esb.store import Store
from tests.rabbit_node import Node

ENDPOINT = "bench"
BLOCKING, PIPELINED, CONSUMED, ROUNDS = 500, 20_000, 20_000, 3
AT_ONCE = 500


def blocking(url: str) -> float:
    """One after another, each confirmed before the next."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare("blocking", durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2)
    began = time.perf_counter()
    for number in range(BLOCKING):
        channel.basic_publish("", "blocking", f"B{number:025}".encode(), properties, mandatory=True)
    rate = BLOCKING / (time.perf_counter() - began)
    channel.queue_purge("blocking")
    connection.close()
    return rate


async def pipelined(buffer: RabbitBuffer, number: int) -> float:
    """Many under way: what the bus's publisher does."""
    publisher, names = buffer._relay._publisher, buffer._site.names
    left, done = PIPELINED, asyncio.Event()

    def told(confirmed: bool) -> None:
        nonlocal left
        if not confirmed:
            raise SystemExit("a message was not confirmed")
        left -= 1
        if not left:
            done.set()

    began = time.perf_counter()
    for one in range(PIPELINED):
        while not publisher.publish(names.direct, names.foreign, f"P{number}{one:024}".encode(), told):
            await publisher.has_room()
    await done.wait()
    return PIPELINED / (time.perf_counter() - began)


@asynccontextmanager
async def opened(url: str, store_url: str) -> AsyncIterator[tuple[Store, RabbitBuffer]]:
    store = Store(store_url, Metrics())
    await store.start()
    buffer = RabbitBuffer(store, SystemClock(), Broker(url, "bench"), Metrics(), endpoints=[ENDPOINT])
    await buffer.start()
    try:
        yield store, buffer
    finally:
        await buffer.close()
        await store.close()


def journalled(exchange: str) -> Journalled:
    values: dict[str, Any] = dict.fromkeys(Journalled._fields, "")
    values |= {"fingerprint": b"", "attempts": 0, "sent": b"", "raw": b"", "answer": b"", "request": b'{"orderNo":"1"}'}
    values |= {"id": exchange, "operation": "registration.unlock", "endpoint": ENDPOINT, "effect": "idempotent"}
    return Journalled(**{**values, "state": "accepted"})


async def accepted(buffer: RabbitBuffer, first: str, count: int) -> float:
    """So many accepted, some hundred in flight; how many a second."""
    now = int(time.time() * 1000)
    began = time.perf_counter()
    for at in range(0, count, AT_ONCE):
        names = [f"{first}{number:024}" for number in range(at, at + AT_ONCE)]
        messages = [Message(name, ENDPOINT, "registration.unlock", accepted=now) for name in names]
        await asyncio.gather(*(buffer.accept(journalled(one.id), one) for one in messages))
    return count / (time.perf_counter() - began)


async def relayed(store: Store, count: int) -> None:
    """Wait until the broker has confirmed so many."""
    while await marked(store) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def marked(store: Store) -> int:
    """How many the broker has confirmed."""
    query = "SELECT count(*) FROM queue WHERE relayed > 0"
    return int(await store.look(lambda one: one.exec_driver_sql(query).scalar()) or 0)


async def consumed(buffer: RabbitBuffer, count: int) -> tuple[float, float]:
    """All taken and acknowledged: a second, and a second of taking alone."""
    left, taking, began = count, 0.0, time.perf_counter()
    while left:
        at = time.perf_counter()
        deliveries = await buffer.take(ENDPOINT, AT_ONCE)
        if not deliveries:
            await buffer.wait(ENDPOINT, 1.0)
        taking += time.perf_counter() - at
        if not all(await asyncio.gather(*map(buffer.ack, deliveries))):
            raise SystemExit("a delivery was lost")
        left -= len(deliveries)
    return count / (time.perf_counter() - began), count / taking


async def measured(node: Node, store_url: str, kind: str, waiting: int) -> list[Row]:
    rounds, accepting, consuming, claiming = [], [], [], []
    async with opened(node.url, store_url) as (store, buffer):
        for number in range(ROUNDS):
            one = await asyncio.to_thread(blocking, node.url)
            rounds.append((one, await pipelined(buffer, number)))
            accepting.append(await accepted(buffer, f"C{number}", CONSUMED))
            await relayed(store, CONSUMED)
            both = await consumed(buffer, CONSUMED)
            consuming.append(both[0])
            claiming.append(both[1])
        rebuilt = await rebuilding(node, store, buffer, waiting)
    base, ours = (statistics.median(one[at] for one in rounds) for at in (0, 1))
    ratio = statistics.median(one[1] / one[0] for one in rounds)
    return [
        row("published with confirms", ours, "msg/s", ">= 8", base, ratio),
        row(f"accepted into the buffer ({kind}) and published", statistics.median(accepting), "msg/s", ">= 1000"),
        row(f"brought, claimed ({kind}), acknowledged to the broker", statistics.median(claiming), "msg/s", ">= 4000"),
        row(f"the same, and acknowledged in the store ({kind})", statistics.median(consuming), "msg/s", ">= 2000"),
        row(f"wiped with {waiting:,} waiting ({kind}): published again", rebuilt, "msg/s", ">= 2000"),
    ]


async def rebuilding(node: Node, store: Store, buffer: RabbitBuffer, waiting: int) -> float:
    """From the moment at which the relay finds the queues empty: it looks for the broker every five seconds."""
    await accepted(buffer, "W", waiting)
    await relayed(store, waiting)
    node.wipe()
    await asyncio.to_thread(node.start)
    await wiped_is_noticed(store, waiting)
    began = time.perf_counter()
    await relayed(store, waiting)
    return waiting / (time.perf_counter() - began)


async def wiped_is_noticed(store: Store, waiting: int) -> None:
    while await marked(store) >= waiting:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def through_broker(node: Node, url: str, waiting: int) -> list[Row]:
    """With the store at ``url``; so many wait when the broker is wiped."""
    return uvloop.run(measured(node, url, url.split(":")[0], waiting))
