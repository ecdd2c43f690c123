"""Queued routes for tests of the pipeline, and what a worker does, one round at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from esb.buffer import Where
from esb.errors import Unavailable
from esb.model import Result
from tests.esb.kit import Bus, running

ORDER = {"orderNo": "R1"}
QUEUED: dict[str, dict[str, Any]] = {
    "slot.free": {"deliver": "queued", "retry": "3 over 30s"},
    "slot.lock": {"deliver": "queued", "settle": "slot.find", "settle_after": ["1s", "5s"], "timeout": "2s"},
}
DOWN = Unavailable("connection refused")


def queued(folder: Path, **more: Any) -> Any:
    return running(folder, routes={**QUEUED, **more.pop("routes", {})}, **more)


async def free(bus: Bus, order: str = "R1", key: str | None = None) -> Result:
    return await bus.ask("slot.free", {"orderNo": order}, key)


async def deliver(bus: Bus, most: int = 10) -> int:
    """One round of a worker; how many messages it had."""
    taken = await bus.pipeline.buffer.take("his", most)
    await asyncio.gather(*map(bus.pipeline.deliver, taken))
    return len(taken)


async def where(bus: Bus, exchange: str) -> Where | None:
    entry = await bus.pipeline.buffer.find(exchange)
    return entry.where if entry else None


async def gone(bus: Bus, exchange: str) -> bool:
    return await where(bus, exchange) is None


async def found(bus: Bus, exchange: str) -> Result:
    result = await bus.pipeline.find(exchange)
    assert result is not None
    return result
