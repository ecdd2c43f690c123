"""Copies of live reads: compared after the answer, bounded, never in the way of the live system."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from esb.clock import Ids
from esb.config.routes import EndpointConfig, RouteConfig
from esb.endpoint import Endpoint
from esb.errors import Outcome, Unavailable
from esb.model import Result
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.shadow import Shadows, as_text, report
from esb.shadow.shadows import WAITING
from esb.store import Store
from esb.store.shadow import Count, counted
from tests.esb.kit import GOOD_LIST, GOOD_LOCK, OPERATIONS, FakeClock, Gate, ScriptedAdapter, mapping, until

OTHER_LIST = {"Code": "0", "Slots": ["S1", "S9"]}


class Side:
    """A bus with ``slot.list`` and ``slot.free`` to one system, the list shadowed by another."""

    def __init__(self, folder: Path, shadow: dict[str, Any], drawn: float) -> None:
        self.metrics, self.clock = Metrics(), FakeClock()
        self.live, self.second = ScriptedAdapter(), ScriptedAdapter()
        self.live.does("List", GOOD_LIST)
        self.live.does("Free", GOOD_LOCK)
        self.store = Store(f"sqlite:///{folder / 'esb.db'}", self.metrics, linger_s=0.001)
        self.shadows = Shadows(self.store, self.clock, self.metrics, sleep=self.clock.sleep, uniform=lambda: drawn)
        config = RouteConfig.model_validate({"to": "his", "shadow": {"to": "new", **shadow}})
        aside, first = self._endpoint("new:shadow", self.second), self._endpoint("his", self.live)
        second = Route(RouteConfig.model_validate({"to": "new"}), aside, mapping("slot.list"))
        routes = {
            "slot.list": Route(config, first, mapping("slot.list"), shadow=second),
            "slot.free": Route(RouteConfig.model_validate({"to": "his"}), first, mapping("slot.free")),
        }
        self.pipeline = Pipeline(
            OPERATIONS, routes, self.store, clock=self.clock, ids=Ids(self.clock), metrics=self.metrics,
            sleep=self.clock.sleep, uniform=lambda: 0.5, copy=self.shadows.copy,
        )  # fmt: skip

    def _endpoint(self, name: str, adapter: ScriptedAdapter) -> Endpoint:
        limits = {"concurrency": 4, "breaker": "2 in 30s"}
        config = EndpointConfig.model_validate({"adapter": "his", "dialect": "his", "limits": limits})
        return Endpoint(name, config, adapter, clock=self.clock, metrics=self.metrics, sleep=self.clock.sleep)

    async def list(self) -> Result:
        exchange = self.pipeline.begin("slot.list", {"doctorId": "D1"}, key=None, principal="app", request_id="")
        return await self.pipeline.run(exchange)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def copies(self, result: str) -> float:
        return self.value("shadow_reads_total", operation="slot.list", shadow="new", result=result)

    async def until(self, result: str, number: int = 1) -> None:
        async def look() -> bool:
            return self.copies(result) == number

        await until(look)

    async def kept(self) -> list[Count]:
        await self.shadows.keep()
        return list(await self.store.look(counted))


@contextlib.asynccontextmanager
async def beside(folder: Path, drawn: float = 0.0, **shadow: Any) -> AsyncIterator[Side]:
    side = Side(folder, shadow, drawn)
    await side.pipeline.start()
    try:
        yield side
    finally:
        await side.shadows.close()
        await side.pipeline.close()


async def test_a_difference_is_counted_by_field_and_kept_with_the_exchange(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", OTHER_LIST, GOOD_LIST)
        first = await bus.list()
        await bus.until("differs")
        await bus.list()
        await bus.until("alike")
        (found,) = report(await bus.kept())
        assert bus.value("shadow_differences_total", operation="slot.list", shadow="new", field="items[]") == 1
    assert (first.body, first.outcome) == ({"items": ["S1", "S2"]}, Outcome.DONE)
    assert as_text([found]).splitlines() == [
        "slot.list beside new: 2 compared, 1 alike",
        "  items[]: 1 of 2",
        f"    {first.exchange}: S2 -> S9",
    ]


async def test_what_is_kept_adds_up_over_commits(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", OTHER_LIST)
        for number in range(1, 4):
            await bus.list()
            await bus.until("differs", number)
            await bus.shadows.keep()
        (found,) = report(await bus.kept())
    assert (found.compared, found.fields["items[]"].exchanges, len(found.fields["items[]"].samples)) == (3, 3, 1)


async def test_what_the_store_did_not_take_is_kept_later(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", OTHER_LIST)
        await bus.list()
        await bus.until("differs")
        await bus.store.transact(lambda one: one.exec_driver_sql("ALTER TABLE shadow RENAME TO away"))
        await bus.shadows.keep()
        await bus.store.transact(lambda one: one.exec_driver_sql("ALTER TABLE away RENAME TO shadow"))
        (found,) = report(await bus.kept())
    assert (found.compared, found.fields["items[]"].samples[0].after) == (1, "S9")


async def test_a_system_that_hangs_delays_no_answer_and_what_is_over_the_bound_is_dropped(tmp_path: Path) -> None:
    """I10: the copies hang; every live read is answered all the same and the number that waits is bounded."""
    async with beside(tmp_path) as bus:
        gate = Gate(GOOD_LIST)
        bus.second.does("List", gate)
        for _ in range(WAITING + 4 + 7):
            assert (await bus.list()).outcome is Outcome.DONE
        assert bus.copies("dropped") == 7
        await asyncio.wait_for(gate.entered.wait(), 5)
        assert bus.second.most_under_way <= 4
        assert bus.live.count("List") == WAITING + 11
        gate.open.set()
        await bus.until("alike", WAITING + 4)


async def test_a_system_that_is_down_opens_no_breaker_of_the_live_one(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", Unavailable("connection refused"))
        for number in range(1, 6):
            assert (await bus.list()).outcome is Outcome.DONE
            await bus.until("unanswered", number)
        (found,) = report(await bus.kept())
        breakers = [bus.value("breaker_state", endpoint=name) for name in ("his", "new:shadow")]
    assert bus.live.count("List") == 5
    assert (breakers[0], breakers[1] != 0) == (0, True)
    assert found.fields["outcome"].samples[0].after == "unavailable (unavailable)"


async def test_an_adapter_that_crashes_breaks_nothing(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", KeyError("a bug"), {"nonsense": 1})
        for number in (1, 2):
            assert (await bus.list()).outcome is Outcome.DONE
            await bus.until("unanswered", number)


async def test_only_reads_are_copied(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        exchange = bus.pipeline.begin("slot.free", {"orderNo": "R1"}, key="K", principal="app", request_id="")
        assert (await bus.pipeline.run(exchange)).outcome is Outcome.DONE
    assert bus.second.calls == []


@pytest.mark.parametrize(("drawn", "copied"), [(0.09, 1), (0.1, 0), (0.9, 0)])
async def test_the_share_is_what_is_copied(tmp_path: Path, drawn: float, copied: int) -> None:
    async with beside(tmp_path, drawn=drawn, share="10%") as bus:
        bus.second.does("List", GOOD_LIST)
        await bus.list()
        if copied:
            await bus.until("alike")
    assert bus.second.count("List") == copied


async def test_the_journal_and_the_counts_of_exchanges_know_the_live_one_alone(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        bus.second.does("List", GOOD_LIST)
        result = await bus.list()
        await bus.until("alike")
        await until(lambda: bus.store.find(result.exchange))
        rows = await bus.store.look(lambda one: one.exec_driver_sql("SELECT count(*) FROM exchange").scalar())
    assert rows == 1
    assert bus.value("exchanges_total", operation="slot.list", outcome="done") == 1


async def test_one_under_way_when_the_bus_stops_is_dropped(tmp_path: Path) -> None:
    async with beside(tmp_path) as bus:
        gate = Gate(GOOD_LIST)
        bus.second.does("List", gate)
        await bus.list()
        await asyncio.wait_for(gate.entered.wait(), 5)
    assert bus.copies("dropped") == 1
