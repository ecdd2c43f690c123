"""What the broker gave up: parked in the store with the reason, or, when it is none of ours, put aside."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from pika.exceptions import AMQPError

from esb.buffer.rabbit.consumer import exchange_of
from esb.buffer.rabbit.link import Channel, Connection
from esb.buffer.rabbit.publisher import Publisher
from esb.buffer.rabbit.topology import Names
from esb.observe import get_logger
from esb.store import Store, StoreError, relaying

_AT_ONCE = 20
_log = get_logger()


class DeadLetters:
    """Empties the queue of dead letters, whose messages are acknowledged when they are safe elsewhere."""

    def __init__(self, store: Store, publisher: Publisher, names: Names) -> None:
        self._store, self._publisher, self._names = store, publisher, names
        self._arrived: asyncio.Queue[tuple[Channel, int, Any, bytes]] = asyncio.Queue()

    async def open(self, connection: Connection) -> None:
        """Consume from this connection; raises ``BrokerError``."""
        channel = await connection.channel()
        await channel.ask("basic_qos", prefetch_count=_AT_ONCE)

        def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
            self._arrived.put_nowait((channel, method.delivery_tag, properties, body))

        channel.raw.basic_consume(self._names.dead, on_message)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            channel, tag, properties, body = await self._arrived.get()
            is_safe = False
            with suppress(StoreError):
                is_safe = await self._put(body, properties)
            with suppress(AMQPError):
                if is_safe:
                    channel.raw.basic_ack(tag)
                else:
                    await asyncio.sleep(1.0)
                    channel.raw.basic_nack(tag)

    async def _put(self, body: bytes, properties: Any) -> bool:
        reason = _reason(properties.headers or {})
        if exchange := exchange_of(body, properties):
            if await self._store.transact(partial(relaying.park, exchange_id=exchange, reason=reason)):
                _log.error("message_parked", exchange=exchange, reason=reason)
            return True
        return await self._aside(body, properties)

    async def _aside(self, body: bytes, properties: Any) -> bool:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._publisher.pass_on(self._names.direct, self._names.foreign, body, properties, done.set_result):
            return False
        return await done


def _reason(headers: dict[str, Any]) -> str:
    deaths = headers.get("x-death") or [{}]
    return f"dead_letter: the broker gave it up ({deaths[0].get('reason', 'unknown')} in {deaths[0].get('queue', '?')})"
