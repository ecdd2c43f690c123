"""Poison (F32, I9, I11) is parked after a few tries with the reason, while the worker lives and the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from adapters import rest
from esb.buffer import Entry, Where
from esb.clock import Ids
from esb.config.routes import EndpointConfig, RouteConfig
from esb.endpoint import Endpoint
from esb.errors import Outcome
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.store import Row, Store
from esb.worker import Worker
from tests.esb.kit import OPERATIONS, FakeClock, mapping

GOOD = b'{"Code": "0", "No": "L1", "Order": "R1"}'
POISON = {
    "huge": b'{"Code": "0", "No": "' + b"x" * 300_000 + b'"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "charset": '{"Code": "0", "No": "号源"}'.encode("gb18030"),
    "cut": b'{"Code": "0", "No',
    "empty": b"",
    "odd": b'{"Code": "17"}',
}
FREE = """
action: POST /free
request: {body: {Order: $orderNo, Id: $exchange.key}}
response:
  - when: $Code == '0'
    done: {lockId: $No, orderNo: $Order}
  - when: $Code == '1'
    refused: {code: slot_full}
"""
FAILING = FREE.replace("Order: $orderNo,", "Order: $order,")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    yield
    structlog.reset_defaults()


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What ``look`` finds, as soon as it finds something; fails after thirty seconds."""
    async with asyncio.timeout(30):
        while not (found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


class Bus:
    """A pipeline and its worker in front of a system that answers over HTTP what its order number says."""

    def __init__(self, folder: Path, address: str, text: str) -> None:
        self.metrics, self.clock = Metrics(), FakeClock()
        self.before: Any = None
        self.store = Store(f"sqlite:///{folder / 'esb.db'}", self.metrics, linger_s=0.001)
        limits = {"breaker": "1000 in 1s"}
        config = EndpointConfig.model_validate({"adapter": "rest", "dialect": "his", "limits": limits})
        adapter = rest.connect(rest.Settings.model_validate({"base_url": address, "max_answer_bytes": 200_000}))
        endpoint = Endpoint("his", config, adapter, clock=self.clock, metrics=self.metrics, sleep=self.clock.sleep)
        route = RouteConfig.model_validate({"to": "his", "deliver": "queued", "retry": "2 over 2s"})
        self.pipeline = Pipeline(
            OPERATIONS, {"slot.free": Route(route, endpoint, mapping("slot.free", text))}, self.store,
            clock=self.clock, ids=Ids(self.clock), metrics=self.metrics, sleep=self.clock.sleep, uniform=lambda: 0.5,
        )  # fmt: skip
        self.worker = Worker(self.pipeline, self.clock, self.metrics, sleep=self._pause)

    async def _pause(self, seconds: float) -> None:
        """A look of the worker is a second of the clock, and a moment of ours."""
        self.clock.at += seconds
        await asyncio.sleep(0.005)

    async def free(self, order: str) -> str:
        exchange = self.pipeline.begin("slot.free", {"orderNo": order}, key=None, principal="app", request_id="")
        result = await self.pipeline.run(exchange)
        assert result.outcome is Outcome.ACCEPTED
        return result.exchange

    async def parked(self, exchange: str) -> Entry:
        async def look() -> Entry | None:
            entry = await self.pipeline.buffer.find(exchange)
            return entry if entry and entry.where is Where.PARKED else None

        entry: Entry = await until(look)
        return entry

    async def ended(self, exchange: str) -> Row:
        async def look() -> Row | None:
            row = await self.store.find(exchange)
            return row if row and row.state != "accepted" else None

        row: Row = await until(look)
        return row

    async def damage(self, statement: str, *values: Any) -> None:
        await self.store.transact(lambda connection: connection.exec_driver_sql(statement, values))


@contextlib.asynccontextmanager
async def system() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        order = json.loads(await request.read())["Order"]
        return web.Response(body=POISON.get(order, GOOD), content_type="application/json")

    app = web.Application()
    app.router.add_post("/free", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def working(folder: Path, text: str = FREE, begun: Any = None) -> AsyncIterator[Bus]:
    async with system() as address:
        bus = Bus(folder, address, text)
        await bus.pipeline.start()
        before = await begun(bus) if begun else None
        task = asyncio.create_task(bus.worker.run())
        try:
            bus.before = before
            yield bus
            assert not task.done(), "the worker lives"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await bus.pipeline.close()


async def test_answers_that_are_poison_are_parked_with_the_reason_and_the_good_ones_go_on(tmp_path: Path) -> None:
    async with working(tmp_path) as bus:
        poison = {name: await bus.free(name) for name in POISON}
        good = await bus.free("R1")
        assert (await bus.ended(good)).state == "done"
        entries = {name: await bus.parked(exchange) for name, exchange in poison.items()}
        after = await bus.free("R1")
        assert (await bus.ended(after)).state == "done"
    assert {name: entry.reason.split(":")[0] for name, entry in entries.items()} == dict.fromkeys(
        POISON, "malformed_answer"
    )
    assert {entry.tries for entry in entries.values()} == {2}
    assert all(entry.sent for entry in entries.values())
    assert not any("x" * 20 in entry.reason for entry in entries.values())


async def test_a_mapping_that_fails_is_parked_after_three_tries_with_its_place(tmp_path: Path) -> None:
    async with working(tmp_path, FAILING) as bus:
        entry = await bus.parked(await bus.free("R1"))
    assert entry.reason.startswith("mapping_failed: slot.free.yaml:3")
    assert (entry.tries, entry.sent) == (2, False)


DAMAGE = {
    "no JSON": ("UPDATE exchange SET request = ? WHERE id = ?", b"\x00{", "internal_error: DecodeError"),
    "no body": ("UPDATE exchange SET request = ? WHERE id = ?", b"\x01not zlib", "internal_error: CorruptError"),
    "no state": ("UPDATE exchange SET state = ? WHERE id = ?", "nonsense", "damaged: the journal's row has the state"),
    "no effect": ("UPDATE exchange SET effect = ? WHERE id = ?", "twice", "damaged: the journal's row has the effect"),
    "no row": ("DELETE FROM exchange WHERE ? != '' AND id = ?", "x", "not_journalled: "),
    "no operation": ("UPDATE queue SET operation = ? WHERE id = ?", "no.such", "no_route: "),
    "no place": ("UPDATE queue SET state = ? WHERE id = ?", "nonsense", "damaged: the queue's row"),
    "no priority": ("UPDATE queue SET priority = ? WHERE id = ?", "x", ""),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_row_of_the_store_is_parked_and_neither_kills_the_worker_nor_blocks_the_queue(
    tmp_path: Path, damage: str
) -> None:
    statement, value, reason = DAMAGE[damage]

    async def broken(bus: Bus) -> tuple[str, str]:
        bad, good = await bus.free("R1"), await bus.free("R1")
        await bus.damage(statement, value, bad)
        return bad, good

    async with working(tmp_path, begun=broken) as bus:
        bad, good = bus.before
        assert (await bus.ended(good)).state == "done"
        if reason:
            assert (await bus.parked(bad)).reason.startswith(reason)
        else:
            assert (await bus.ended(bad)).state == "done"
        after = await bus.free("R1")
        assert (await bus.ended(after)).state == "done"
