"""Events in the inbox of a small bus, subscribers that call its operations, and what the scripted system saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb.clock import Ids, SystemClock
from esb.codecs import yaml
from esb.events import Subscribers, Subscription
from esb.mapping import Codes, Filling, compile_filling
from esb.store import Arrival, cursors
from esb.store.tables import exchange
from tests.esb.kit import Bus, running, until

EVENT = "slot.taken"
NAME = f"{EVENT}/slot.free"
QUEUED = {"slot.free": {"deliver": "queued", "retry": "20 over 6h"}}
ORDERED = {"slot.free": {**QUEUED["slot.free"], "ordered": "$orderNo"}}


def filling(text: str) -> Filling:
    """``with: {...}`` as it stands in routes.yaml."""
    document = yaml.load(f"with: {text}", "routes.yaml")
    return compile_filling(document, f"with: {text}", ("with",), document.value["with"], Codes({}))


def subscription(text: str | None = None, *, operation: str = "slot.free", **more: Any) -> Subscription:
    return Subscription(EVENT, more.pop("label", operation), operation, filling=filling(text) if text else None, **more)


def arrival(ids: Ids, clock: Any, body: dict[str, Any], event: str = EVENT) -> Arrival:
    """A message that became an event."""
    one = ids.new()
    received = clock.now().isoformat(timespec="milliseconds")
    told = json.dumps(body).encode()
    return Arrival(
        one, "his_inbound", "HIS|H1", one, "ADT^A01", "127.0.0.1", received, "event", event, "", "m@1", "v1", -1, b"d",
        b"raw", told, b"ack",
    )  # fmt: skip


@dataclass
class Tellers:
    """The bus and its subscribers."""

    bus: Bus
    subscribers: Subscribers
    ids: Ids
    clock: Any

    async def tell(self, *orders: str, event: str = EVENT, **more: Any) -> None:
        """One event for each order number, all kept."""
        for order in orders:
            one = arrival(self.ids, self.clock, {"orderNo": order, **more}, event)
            await self.bus.store.receive(one, "", lambda one=one: one)  # type: ignore[misc]
            self.subscribers.tell(event)

    async def position(self, name: str = NAME) -> int:
        rows = await self.bus.store.look(lambda one: one.execute(cursors.cursor.select()).all())
        return next(row.position for row in rows if row.name == name)

    async def until_position(self, position: int, name: str = NAME) -> None:
        async def there() -> bool:
            return await self.position(name) == position

        await until(there)

    async def rows(self, operation: str = "slot.free") -> list[tuple[str, str]]:
        """Request's order number and state of each exchange, oldest event first."""
        query = exchange.select().where(exchange.c.operation == operation)
        found = await self.bus.store.look(lambda one: one.execute(query).all())
        rows = [await self.bus.store.find(row.id) for row in found]
        return sorted((json.loads(row.request).get("orderNo", "?"), row.state) for row in rows if row)

    def seen(self, action: str = "Free") -> list[str]:
        """The order numbers that the system was asked, in their order."""
        return [payload["Order"] for one, payload, _ in self.bus.his.calls if one == action]

    def counted(self, result: str, name: str = NAME) -> float:
        return self.bus.value("event_exchanges_total", subscriber=name, result=result)


@contextlib.asynccontextmanager
async def telling(
    folder: Path,
    *subscriptions: Subscription,
    routes: dict[str, dict[str, Any]] = QUEUED,
    limits: Any = None,
    before: Sequence[Any] = (),
) -> AsyncIterator[Tellers]:
    """Everything running; ``before`` are order numbers that were told before the subscribers began."""
    clock = SystemClock()
    async with running(folder, clock=clock, sleep=asyncio.sleep, routes=routes, limits=limits) as bus:
        answers(bus)
        wanted = subscriptions or (subscription("{orderNo: $orderNo}"),)
        subscribers = Subscribers(wanted, bus.pipeline, bus.store, clock, bus.metrics)
        made = Tellers(bus, subscribers, Ids(clock), clock)
        await made.tell(*before)
        await subscribers.start()
        try:
            yield made
        finally:
            await subscribers.close()


def answers(bus: Bus) -> None:
    """The system does what it is asked, at once."""

    async def free(action: str, payload: Any, call: Any) -> Any:
        call.wire.sending(b"<sent/>")
        call.wire.received = b"<received/>"
        return {"Code": "0", "No": "L1", "Order": payload["Order"]}

    bus.his.does("Free", free)
