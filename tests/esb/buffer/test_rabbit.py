"""The buffer with a broker passes the contract of all buffers; and what only it promises.

The broker is asynchronous and the contract's tests are not: ``Waiting`` sweeps, and waits until all that the broker
has is here, before it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from esb.buffer import Delivery, Where
from esb.buffer.rabbit import Broker, RabbitBuffer
from esb.observe import Metrics
from esb.store import Store
from tests.esb.buffer.suite import *  # noqa: F403
from tests.esb.buffer.suite import Rig
from tests.esb.kit import FakeClock
from tests.rabbit_node import own_prefix, shared_broker

LEASE_S = 60.0


class Waiting(RabbitBuffer):
    """Takes when everything that is ready has come."""

    async def take(self, endpoint: str, most: int) -> list[Delivery]:
        hand = self._hand(endpoint, most)
        async with asyncio.timeout(20):
            while not await self._ready(endpoint) <= {hint.exchange for tap in hand._taps for hint in tap._hints}:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return await super().take(endpoint, most)

    async def _ready(self, endpoint: str) -> set[str]:
        await self._relay.sweep()
        return {entry.message.id for entry in await self.list([Where.READY], endpoint, 10_000)}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = FakeClock()
    url = shared_broker()
    async with contextlib.AsyncExitStack() as open_:
        prefix = open_.enter_context(own_prefix(url))
        store = Store(f"sqlite:///{tmp_path / 'esb.db'}", Metrics(), linger_s=0.001)
        await store.start()
        open_.push_async_callback(store.close)

        buffers: list[RabbitBuffer] = []

        async def begin() -> RabbitBuffer:
            for earlier in buffers:
                await earlier.close()
            buffer = Waiting(store, clock, Broker(url, prefix), Metrics(), lease_s=LEASE_S, late_s=0.0)
            await buffer.start()
            open_.push_async_callback(buffer.close)
            buffers.append(buffer)
            return buffer

        async def state(exchange: str) -> str:
            found = await store.find(exchange)
            return found.state if found else ""

        yield Rig(await begin(), clock, begin, state, LEASE_S)
