"""Processes on one database, each with a store and a buffer of its own."""

from __future__ import annotations

from esb.buffer import SqlBuffer
from esb.observe import Metrics
from esb.store import Store
from tests.esb.kit import FakeClock

LEASE_S = 60.0


class Databases:
    """Where the rig of a test lives, and its processes: each has a store of its own where many may."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = FakeClock()
        self.stores: list[Store] = []

    async def process(self) -> SqlBuffer:
        """A buffer in a process of its own; on a file that of the only one."""
        if not self.stores or self.stores[0].is_shared:
            store = Store(self.url, Metrics(), linger_s=0.001)
            await store.start()
            self.stores.append(store)
        return await self.buffer(self.stores[-1])

    async def buffer(self, store: Store) -> SqlBuffer:
        buffer = SqlBuffer(store, self.clock, lease_s=LEASE_S, now=lambda _: int(self.clock.now().timestamp() * 1000))
        await buffer.start()
        return buffer

    async def crashed(self) -> SqlBuffer:
        """Where many may be, nobody knows that one is gone before its leases end."""
        if self.stores[0].is_shared:
            self.clock.at += LEASE_S + 1
        return await self.process()

    async def state(self, exchange: str) -> str:
        found = await self.stores[0].find(exchange)
        return found.state if found else ""

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
