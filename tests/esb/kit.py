"""A small bus for tests of the core: real contract, mappings, endpoint and store, a scripted system, our own clock."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from esb.buffer import SqlBuffer
from esb.clock import SHANGHAI, Ids, SystemClock
from esb.codecs import yaml
from esb.config.routes import EndpointConfig, RouteConfig
from esb.contract import Operation
from esb.endpoint import Endpoint
from esb.errors import OutcomeUnknown, Unavailable
from esb.mapping import Codes, Mapping, compile_mapping
from esb.model import Effect, Exchange, Result, Tree
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.spi import Call
from esb.store import Kept, Pruner, Row, Store

Behaviour = Callable[[str, Tree, Call], Awaitable[Tree]]


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What ``look`` finds, as soon as it finds something; fails after five seconds."""
    async with asyncio.timeout(5):
        while not (found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return found


async def prune(store: Store, before: datetime, chunk: int = 100) -> int:
    """Delete what is older than ``before``; how many rows."""
    clock = SystemClock()
    return await Pruner(store, clock, lambda seconds: asyncio.sleep(0), chunk).prune(Kept(clock.now() - before))


def failing_at(number: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """``work`` with a mistake in it: the call of this number, from 1, raises."""
    calls = itertools.count(1)

    def mistaken(*given: Any) -> Any:
        if next(calls) == number:
            raise KeyError("a bug")
        return work(*given)

    return mistaken


class FakeClock:
    """Stands still but for ``sleep`` and ``advance``; remembers how long was slept."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime(2026, 1, 15, 9, 30, tzinfo=SHANGHAI) + timedelta(seconds=self.at - 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


class ScriptedAdapter:
    """A system that does for each action what the script says, one step a call, the last step for ever."""

    def __init__(self) -> None:
        self.script: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, Tree, Call]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.cancelled = 0
        self.closed = False

    def does(self, action: str, *steps: Any) -> None:
        """A step is an answer, an exception to raise, or a coroutine function of (action, payload, call)."""
        self.script[action] = list(steps)

    def count(self, action: str) -> int:
        return sum(one == action for one, _, _ in self.calls)

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        self.calls.append((action, payload, call))
        steps = self.script[action]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if callable(step):
                return await step(action, payload, call)
            return self._plain(step, call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    def _plain(self, step: Any, call: Call) -> Tree:
        if isinstance(step, Unavailable | KeyError):
            raise step
        call.wire.sending(b"<sent/>")
        if isinstance(step, Exception):
            raise step
        call.wire.received = b"<received/>"
        return step

    async def probe(self, call: Call) -> None:
        if self.closed:
            raise Unavailable("closed")

    async def close(self) -> None:
        self.closed = True

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        return ()


def silence() -> OutcomeUnknown:
    return OutcomeUnknown("no answer in time")


async def hang(action: str, payload: Tree, call: Call) -> Tree:
    """Bytes leave, nothing comes back."""
    call.wire.sending(b"<sent/>")
    await asyncio.Event().wait()


class Gate:
    """A step that waits until the test opens it."""

    def __init__(self, answer: Tree) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self._answer = answer

    async def __call__(self, action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"<sent/>")
        self.entered.set()
        await self.open.wait()
        call.wire.received = b"<received/>"
        return self._answer


_LOCK = {
    "type": "object",
    "required": ["lockId", "orderNo"],
    "properties": {"lockId": {"type": "string"}, "orderNo": {"type": "string"}},
    "additionalProperties": False,
}
_ITEMS = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}


def _asks(*names: str) -> dict[str, Any]:
    fields = {name: {"type": "string", "minLength": 1} for name in names}
    return {"type": "object", "required": list(names), "properties": fields, "additionalProperties": False}


def _operation(name: str, effect: Effect, request: dict[str, Any], answer: dict[str, Any]) -> Operation:
    return Operation(name, "POST", "/" + name, effect, 200, name, request, answer)


OPERATIONS = {
    one.name: one
    for one in (
        _operation("slot.list", Effect.READ, _asks("doctorId"), _ITEMS),
        _operation("slot.lock", Effect.ONCE, _asks("orderNo", "slotId"), _LOCK),
        _operation("slot.find", Effect.READ, _asks("orderNo"), _LOCK),
        _operation("slot.free", Effect.IDEMPOTENT, _asks("orderNo"), _LOCK),
    )
}

_ANSWER = """
response:
  - when: $Code == '0'
    done: {lockId: $No, orderNo: $Order}
  - when: $Code == '1'
    refused: {code: slot_full, message: $Text?}
  - when: $Code == '2'
    refused: {code: not_found}
  - when: $Code == '3'
    unavailable: their queue is full
  - when: $Code == '4'
    unknown: they do not know themselves
"""
MAPPINGS = {
    "slot.list": """
action: List
request: {Doctor: $doctorId, Site: $site.code?}
response:
  - when: $Code == '0'
    done: {items: $Slots}
  - when: $Code == '3'
    unavailable: their queue is full
""",
    "slot.lock": "action: Lock\nrequest: {Order: $orderNo, Slot: $slotId, Key: $exchange.key}" + _ANSWER,
    "slot.find": "action: Find\nrequest: {Order: $orderNo}" + _ANSWER,
    "slot.free": "action: Free\nrequest: {Order: $orderNo, Id: $exchange.key}" + _ANSWER,
}
ROUTES: dict[str, dict[str, Any]] = {
    "slot.list": {},
    "slot.lock": {"settle": "slot.find"},
    "slot.find": {},
    "slot.free": {},
}


def mapping(operation: str, text: str | None = None) -> Mapping:
    text = text or MAPPINGS[operation]
    return compile_mapping(yaml.load(text, f"{operation}.yaml"), text, Codes({}))


SHARED = ""
"""The PostgreSQL database that ``Bus`` works on, by default a file of its own; ``tests/esb/pipeline/conftest.py``."""


class Bus:
    """A running pipeline with one endpoint, and what tests ask of it."""

    def __init__(self, file: Path, clock: Any, sleep: Any, routes: dict[str, dict[str, Any]], limits: Any, **more: Any):
        self.metrics = Metrics()
        self.clock = clock
        self.his = ScriptedAdapter()
        config = EndpointConfig.model_validate({"adapter": "his", "dialect": "his", "limits": limits})
        endpoint = Endpoint("his", config, self.his, clock=clock, metrics=self.metrics, sleep=sleep)
        self.store = Store(SHARED or f"sqlite:///{file}", self.metrics, linger_s=0.001)
        more.setdefault("buffer", SqlBuffer(self.store, clock, now=lambda _: int(clock.now().timestamp() * 1000)))
        mappings = more.pop("mappings", {})
        lanes = {
            name: Route(RouteConfig.model_validate({"to": "his", **route}), endpoint, mapping(name, mappings.get(name)))
            for name, route in {**ROUTES, **routes}.items()
        }
        self.pipeline = Pipeline(
            OPERATIONS, lanes, self.store, clock=clock, ids=Ids(clock), metrics=self.metrics, sleep=sleep,
            uniform=lambda: 0.5, **more,
        )  # fmt: skip

    def begin(self, operation: str, request: dict[str, Tree], key: str | None = None, **more: Any) -> Exchange:
        return self.pipeline.begin(operation, request, key=key, principal="app", request_id="REQ1", **more)

    async def ask(self, operation: str, request: dict[str, Tree], key: str | None = None, **more: Any) -> Result:
        return await self.pipeline.run(self.begin(operation, request, key, **more))

    async def lock(self, key: str = "K1", order: str = "R1") -> Result:
        return await self.ask("slot.lock", {"orderNo": order, "slotId": "S1"}, key)

    async def row(self, exchange: str) -> Row:
        """The journal's row, once it is written."""
        return await until(lambda: self.store.find(exchange))

    async def until(self, exchange: str, state: str) -> Row:
        """The row as soon as it has ``state``."""

        async def look() -> Row | None:
            row = await self.store.find(exchange)
            return row if row and row.state == state else None

        return await until(look)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def until_value(self, name: str, value: float) -> None:
        """Wait until a metric without labels has ``value``."""

        async def look() -> bool:
            return self.value(name) == value

        await until(look)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    clock: Any = None,
    sleep: Any = None,
    routes: dict[str, dict[str, Any]] | None = None,
    limits: Any = None,
    **more: Any,
) -> AsyncIterator[Bus]:
    clock = clock or FakeClock()
    bus = Bus(folder / "esb.db", clock, sleep or clock.sleep, routes or {}, limits or {}, **more)
    await bus.pipeline.start()
    try:
        yield bus
    finally:
        await bus.pipeline.close()


GOOD_LIST = {"Code": "0", "Slots": ["S1", "S2"]}
GOOD_LOCK = {"Code": "0", "No": "L1", "Order": "R1"}
ABSENT = {"Code": "2"}
