"""Processes on one database and one broker, for the contract of all buffers.

The broker is asynchronous and the contract's tests are not: ``Waiting`` sweeps, and waits until all that is ready is
here, before it takes.
"""

from __future__ import annotations

import asyncio

from esb.buffer import Delivery, Where
from esb.buffer.rabbit import Broker, RabbitBuffer
from esb.observe import Metrics
from esb.store import Store
from tests.esb.buffer.processes import LEASE_S, Databases
from tests.esb.buffer.suite import HIS, LIS


class Waiting(RabbitBuffer):
    """Takes when everything that is ready has come, and again when what came was there twice."""

    async def take(self, endpoint: str, most: int) -> list[Delivery]:
        found: list[Delivery] = []
        async with asyncio.timeout(20):
            while len(found) < most and await self._has_come(endpoint, most):
                found += await super().take(endpoint, most - len(found))
        return found

    async def _has_come(self, endpoint: str, most: int) -> bool:
        """Once all that is ready is in hand; False when nothing is."""
        hand = self._hand(endpoint, most)
        while True:
            ready = await self._ready(endpoint)
            if ready <= {hint.exchange for tap in hand._taps for hint in tap._hints}:
                return bool(ready)
            await asyncio.sleep(0.005)

    async def _ready(self, endpoint: str) -> set[str]:
        await self._relay.sweep()
        return {entry.message.id for entry in await self.list([Where.READY], endpoint, 10_000)}


class Brokered(Databases):
    """The same with a broker between them: one whose process is gone gives back what it had in hand."""

    def __init__(self, url: str, broker: Broker) -> None:
        super().__init__(url)
        self._broker = broker
        self._buffers: list[Waiting] = []

    async def buffer(self, store: Store) -> Waiting:
        """A buffer whose leases go by the clock, whatever the database."""
        buffer = Waiting(
            store,
            self.clock,
            self._broker,
            Metrics(),
            endpoints=[HIS, LIS],
            lease_s=LEASE_S,
            late_s=0.0,
            now=lambda _: int(self.clock.now().timestamp() * 1000),
        )
        await buffer.start()
        self._buffers.append(buffer)
        return buffer

    async def crashed(self) -> Waiting:
        """As for every buffer."""
        for buffer in self._buffers:
            await buffer.close()
        made = await super().crashed()
        assert isinstance(made, Waiting)
        return made

    async def close(self) -> None:
        """All of them."""
        for buffer in self._buffers:
            await buffer.close()
        await super().close()
