"""The queues and exchanges at the broker: their names and arguments, declared and checked.

Everything is durable and a quorum queue where it holds messages. For each endpoint and priority there is one queue,
for quorum queues of RabbitMQ 3.10 have no priorities. What is tried later lies in the queue of a rung, whose time to
live brings it back to the queue that its routing key names. What the broker gives up is dead-lettered at least once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from esb.buffer.rabbit.errors import BrokerMisses
from esb.buffer.rabbit.link import Connection

PRIORITIES = ("high", "normal", "low")
RUNGS = (1, 5, 30, 180, 1200, 7200)
"""Seconds; a longer wait goes over several."""
_DELIVERIES = 100
"""An id that came back so often without being claimed is parked; each lost connection counts one."""
_FOREIGN_KEPT = 10_000
_QUORUM = {"x-queue-type": "quorum"}
_FOR_EVER = {"x-delivery-limit": 1_000_000_000}


Place = tuple[str, int]
"""An endpoint and the place of a priority."""


class Stock(NamedTuple):
    """What a queue holds that no consumer has, and how many consume it; ``new``: it was not there before."""

    messages: int
    consumers: int
    new: bool


@dataclass(frozen=True)
class Names:
    """All begin with ``prefix`` and a dot, so that rights can be given by it and several buses share a broker."""

    prefix: str

    @property
    def direct(self) -> str:
        """The exchange for queues, by their names."""
        return f"{self.prefix}.queues"

    @property
    def dead(self) -> str:
        """Exchange and queue of what the broker gave up."""
        return f"{self.prefix}.dead"

    @property
    def foreign(self) -> str:
        """The queue of what was in ours and is not ours."""
        return f"{self.prefix}.foreign"

    def queue(self, endpoint: str, priority: int) -> str:
        """The queue of an endpoint for a priority."""
        return f"{self.prefix}.{endpoint}.{PRIORITIES[level(priority)]}"

    def rung(self, seconds: int) -> str:
        """Exchange and queue of what waits so long."""
        return f"{self.prefix}.later.{seconds}s"


def level(priority: int) -> int:
    """The place of a priority in ``PRIORITIES``."""
    return min(max(priority, 0), len(PRIORITIES) - 1)


def bounds(place: int) -> tuple[int, int]:
    """The least and the greatest priority whose messages are in the queue at this place."""
    lowest = -(2**31) if place == 0 else place
    return lowest, (2**31 - 1 if place == len(PRIORITIES) - 1 else place)


def rung(seconds: float) -> int:
    """The longest rung that is not longer than the wait, the first for what is shorter than all."""
    return max((one for one in RUNGS if one <= seconds), default=RUNGS[0])


def _returning(exchange: str) -> dict[str, Any]:
    """At least once: nothing leaves the queue before the one that it goes to has confirmed it."""
    return {
        **_QUORUM,
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _common(names: Names) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    yield names.dead, names.dead, {**_QUORUM, **_FOR_EVER}
    yield names.direct, names.foreign, {**_QUORUM, **_FOR_EVER, "x-max-length": _FOREIGN_KEPT}
    for seconds in RUNGS:
        yield names.rung(seconds), names.rung(seconds), {**_returning(names.direct), "x-message-ttl": seconds * 1000}


def _of_endpoints(endpoints: Iterable[str]) -> Iterator[Place]:
    for endpoint in endpoints:
        for place in range(len(PRIORITIES)):
            yield endpoint, place


async def declare(
    connection: Connection, names: Names, endpoints: Iterable[str], missed: Callable[[Place], Awaitable[None]]
) -> None:
    """Make what is missing and check the rest; raises ``BrokerError``.

    ``missed`` is awaited for each queue of an endpoint that is not there, before it is made: a queue that is there was
    never seen empty by a process that died before it could say so.
    """
    channel = await connection.channel()
    await channel.ask("exchange_declare", names.direct, "direct", durable=True)
    for exchange in (names.dead, *map(names.rung, RUNGS)):
        await channel.ask("exchange_declare", exchange, "fanout", durable=True)

    async def make(exchange: str, queue: str, arguments: Mapping[str, Any]) -> None:
        await channel.ask("queue_declare", queue, durable=True, arguments=dict(arguments))
        await channel.ask("queue_bind", queue, exchange, routing_key=queue)

    for common in _common(names):
        await make(*common)
    for place in _of_endpoints(endpoints):
        queue = names.queue(*place)
        if (await stocked(connection, queue)).new:
            await missed(place)
        await make(names.direct, queue, {**_returning(names.dead), "x-delivery-limit": _DELIVERIES})
    channel.raw.close()


async def stocked(connection: Connection, queue: str) -> Stock:
    """What a queue holds; ``new`` when there is none yet."""
    channel = await connection.channel()
    try:
        answer = await channel.ask("queue_declare", queue, passive=True)
    except BrokerMisses:
        return Stock(0, 0, new=True)
    channel.raw.close()
    return Stock(answer.method.message_count, answer.method.consumer_count, new=False)
