"""What the broker has brought and nobody has claimed yet: hints, each the id of an exchange."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pika.exceptions import AMQPError

from esb.buffer.rabbit.errors import BrokerDown
from esb.buffer.rabbit.link import Channel, Connection
from esb.buffer.rabbit.publisher import KIND
from esb.observe import Metrics, get_logger

_ID = re.compile(rb"[0-9A-Za-z_.:-]{1,64}")
_log = get_logger()


class Hint(NamedTuple):
    """An id, the receipt for the broker (good for the ``turn``-th channel only) and since when it is here."""

    exchange: str
    turn: int
    tag: int
    since: float


def exchange_of(body: bytes, properties: Any) -> str:
    """The exchange that a message names; empty when it is none of ours."""
    return body.decode("ascii") if properties.type == KIND and _ID.fullmatch(body) else ""


class Tap:
    """The consumer of one queue, with a channel of its own: what comes first is claimed first, so that one
    acknowledgement stands for all before it.
    """

    def __init__(self, queue: str, news: Callable[[], None], metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self.queue = queue
        self._news, self._monotonic = news, monotonic
        self._foreign = metrics.broker_hints.labels("foreign")
        self._hints: deque[Hint] = deque()
        self._channel: Channel | None = None
        self._turn = 0

    def __len__(self) -> int:
        return len(self._hints)

    async def open(self, connection: Connection, most: int) -> None:
        """Consume, at most so many unacknowledged; a queue that is deleted costs the connection."""
        earlier = self._channel
        self.over()
        if earlier is not None:
            _quietly(lambda raw: raw.close(), earlier)
        channel = await connection.channel()
        await channel.ask("basic_qos", prefetch_count=most)

        def lost(*_: Any) -> None:
            if self._channel is channel:
                deleted = BrokerDown(f"{self.queue} was deleted")
                connection.give_up(channel.lost.result() if channel.lost.done() else deleted)

        channel.raw.add_on_cancel_callback(lost)
        channel.lost.add_done_callback(lost)
        self._channel = channel
        channel.raw.basic_consume(self.queue, self._on_message)

    def over(self) -> None:
        """What is here is the broker's again."""
        self._channel = None
        self._turn += 1
        self._hints.clear()

    def pop(self, most: int, before: float | None = None) -> list[Hint]:
        """The first ones here, only those that came before ``before`` when that is given."""
        found: list[Hint] = []
        while self._hints and len(found) < most and (before is None or self._hints[0].since < before):
            found.append(self._hints.popleft())
        return found

    def put_back(self, hints: Iterable[Hint]) -> None:
        """They could not be looked at now."""
        self._hints.extendleft(reversed([one for one in hints if one.turn == self._turn]))

    def acknowledge(self, last: Hint) -> None:
        """This one and all before it are dealt with."""
        if self._channel is not None and last.turn == self._turn:
            _quietly(lambda raw: raw.basic_ack(last.tag, multiple=True), self._channel)

    def _on_message(self, raw: Any, method: Any, properties: Any, body: bytes) -> None:
        if self._channel is None or raw is not self._channel.raw:
            return
        exchange = exchange_of(body, properties)
        if exchange:
            self._hints.append(Hint(exchange, self._turn, method.delivery_tag, self._monotonic()))
            self._news()
        else:
            self._foreign.inc()
            _log.warning("foreign_message_found", reason=self.queue, bytes=len(body))
            _quietly(lambda it: it.basic_reject(method.delivery_tag, requeue=False), self._channel)


def _quietly(do: Callable[[Any], None], channel: Channel) -> None:
    """What is not acknowledged because the channel closes comes again and is recognised."""
    try:
        do(channel.raw)
    except AMQPError:
        _log.info("broker_not_told", reason="the channel is closed")
