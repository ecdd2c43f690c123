"""Reads: asked, checked, cached, shared, cancelled, journalled after the answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from esb.clock import SystemClock
from esb.errors import Malformed, Outcome, Refused, Unavailable
from esb.model import Tree
from esb.spi import Call
from tests.esb.kit import GOOD_LIST, Gate, hang, running, silence

ASK = {"doctorId": "D1"}


async def test_a_read_is_answered_and_its_row_tells_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", GOOD_LIST)
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, result.body) == (Outcome.DONE, {"items": ["S1", "S2"]})
    assert result.encoded == b'{"items":["S1","S2"]}'
    assert (row.operation, row.endpoint, row.effect, row.state) == ("slot.list", "his", "read", "done")
    assert (row.request, row.sent, row.raw, row.answer) == (
        b'{"doctorId":"D1"}',
        b"<sent/>",
        b"<received/>",
        b"",
    ), "the answer to a read without a key follows from the raw answer"
    assert (row.principal, row.request_id, row.attempts, row.mapping) == ("app", "REQ1", 1, "slot.list.yaml")
    assert set(json.loads(row.timings)) == {"map", "call", "interpret", "total"}
    assert bus.value("exchanges_total", operation="slot.list", outcome="done") == 1


async def test_every_wrong_field_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        result = await bus.ask("slot.list", {"doctorId": 5, "doctor": "x"})
    assert (result.outcome, result.code) == (Outcome.REFUSED, "invalid_request")
    assert {error["pointer"] for error in result.details["errors"]} == {"/doctorId", "/doctor"}
    assert bus.his.calls == []


async def test_an_operation_without_a_route_is_unavailable(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.pipeline._versions.current.lanes.pop("slot.find")
        result = await bus.ask("slot.find", {"orderNo": "R1"})
    assert (result.outcome, result.code) == (Outcome.UNAVAILABLE, "no_route")


async def test_an_answer_that_breaks_the_contract_is_malformed_and_kept_raw(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", {"Code": "0", "Slots": [7]})
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, result.code, result.body) == (Outcome.MALFORMED, "malformed_answer", None)
    assert row.raw == b"<received/>"
    assert "/items/0 wrong_type" in row.reason


async def test_the_raw_answer_of_an_adapters_malformed_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", Malformed("not XML", raw=b"\xff\xfe<html>" * 500))
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, row.raw, row.reason) == (Outcome.MALFORMED, b"\xff\xfe<html>" * 500, "not XML")


async def test_an_answer_without_a_case_and_one_without_a_field_are_malformed(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", {"Code": "77"}, {"Code": "0"})
        results = [await bus.ask("slot.list", ASK) for _ in range(2)]
        row = await bus.row(results[1].exchange)
    assert [one.code for one in results] == ["malformed_answer"] * 2
    assert "slot.list.yaml" in row.reason
    assert "Slots" in row.reason


async def test_a_mapping_that_cannot_be_filled_sends_nothing(tmp_path: Path) -> None:
    broken = {"slot.list": "action: List\nrequest: {Doctor: $doctor.name}\nresponse: {done: {items: []}}\n"}
    async with running(tmp_path, mappings=broken) as bus:
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, result.code, bus.his.calls) == (Outcome.MALFORMED, "mapping_failed", [])
    assert "slot.list.yaml:2" in row.reason


async def test_a_read_without_an_answer_did_nothing_and_is_unavailable(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", silence())
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, result.code, row.state) == (Outcome.UNAVAILABLE, "no_answer", "unknown")
    assert result.retry_after


async def test_a_protocols_own_no_is_refused_with_its_code(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", Refused("404", code="not-found", message="none"), Refused("fault", code="soap:Server"))
        first, second = [await bus.ask("slot.list", ASK) for _ in range(2)]
    assert (first.outcome, first.code, first.message) == (Outcome.REFUSED, "not_found", "none")
    assert (second.code, second.details) == ("refused", {"systemCode": "soap:Server"})


async def test_a_read_is_retried_with_growing_waits_until_it_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.list": {"retry": 3}}) as bus:
        bus.his.does("List", Unavailable("refused"), silence(), {"Code": "3"}, GOOD_LIST)
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, row.attempts) == (Outcome.DONE, 4)
    assert bus.clock.slept == pytest.approx([0.075, 0.15, 0.3])


async def test_retries_end_with_the_deadline_which_shrinks_as_it_passes_down(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.list": {"retry": 9, "timeout": "1s"}}) as bus:
        bus.his.does("List", silence())
        started = bus.clock.at
        result = await bus.ask("slot.list", ASK)
    remaining = [call.deadline for _, _, call in bus.his.calls]
    assert result.code == "no_answer"
    assert set(remaining) == {started + 1.0}
    assert bus.clock.at < started + 1.0
    assert bus.his.count("List") == 4


async def test_the_sooner_of_two_deadlines_holds(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.list": {"timeout": "3s"}}) as bus:
        sooner = bus.begin("slot.list", ASK, timeout_s=0.5)
        later = bus.begin("slot.list", ASK, timeout_s=60.0)
    assert (sooner.deadline, later.deadline) == (bus.clock.at + 0.5, bus.clock.at + 3.0)


async def test_a_hanging_system_does_not_outlast_the_deadline(tmp_path: Path) -> None:
    clock = SystemClock()
    async with running(tmp_path, clock=clock, sleep=asyncio.sleep, routes={"slot.list": {"timeout": "50ms"}}) as bus:
        bus.his.does("List", hang)
        began = clock.monotonic()
        result = await bus.ask("slot.list", ASK)
        assert clock.monotonic() - began < 1.0
    assert (result.outcome, result.code) == (Outcome.UNAVAILABLE, "no_answer")


async def test_a_cancelled_read_cancels_its_call_and_is_journalled_as_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LIST)
        bus.his.does("List", gate)
        exchange = bus.begin("slot.list", ASK)
        task = asyncio.create_task(bus.pipeline.run(exchange))
        await gate.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bus.row(exchange.id)).state == "cancelled"
        found = await bus.pipeline.find(exchange.id)
    assert bus.his.cancelled == 1
    assert found is not None
    assert found.code == "cancelled"


async def test_a_crash_inside_an_adapter_is_an_outcome_and_not_an_exception(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("List", KeyError("SECRET"))
        result = await bus.ask("slot.list", ASK)
        row = await bus.row(result.exchange)
    assert (result.outcome, result.code) == (Outcome.UNAVAILABLE, "unavailable")
    assert row.reason == "the adapter raised KeyError"


async def test_over_the_bound_of_exchanges_in_flight_a_caller_is_told_to_come_back(tmp_path: Path) -> None:
    async with running(tmp_path, in_flight=1) as bus:
        gate = Gate(GOOD_LIST)
        bus.his.does("List", gate)
        first = asyncio.create_task(bus.ask("slot.list", ASK))
        await gate.entered.wait()
        second = await bus.ask("slot.list", ASK)
        gate.open.set()
        assert (await first).outcome is Outcome.DONE
        assert (await bus.ask("slot.list", ASK)).outcome is Outcome.DONE
    assert (second.outcome, second.code, second.retry_after) == (Outcome.UNAVAILABLE, "overloaded", 2.0)


CACHED = {"slot.list": {"cache": "5s"}}


async def test_a_cached_answer_is_fresh_for_its_time_and_names_its_source(tmp_path: Path) -> None:
    async with running(tmp_path, routes=CACHED) as bus:
        bus.his.does("List", GOOD_LIST, {"Code": "0", "Slots": []})
        first, second = [await bus.ask("slot.list", ASK) for _ in range(2)]
        other = await bus.ask("slot.list", {"doctorId": "D2"})
        row, found = await bus.row(second.exchange), await bus.pipeline.find(second.exchange)
        bus.clock.at += 5.1
        third = await bus.ask("slot.list", ASK)
    assert second.exchange not in (first.exchange, "")
    assert (second.encoded, row.cause, row.state) == (first.encoded, first.exchange, "done")
    assert found is not None
    assert (found.outcome, found.exchange) == (Outcome.DONE, second.exchange)
    assert (other.body, third.body) == ({"items": []}, {"items": []})
    assert bus.value("cache_hits_total", operation="slot.list") == 1


async def test_only_done_is_cached(tmp_path: Path) -> None:
    async with running(tmp_path, routes=CACHED) as bus:
        bus.his.does("List", Unavailable("down"), GOOD_LIST)
        assert (await bus.ask("slot.list", ASK)).outcome is Outcome.UNAVAILABLE
        assert (await bus.ask("slot.list", ASK)).outcome is Outcome.DONE


async def test_the_same_question_of_many_is_asked_once(tmp_path: Path) -> None:
    async with running(tmp_path, routes=CACHED) as bus:
        gate = Gate(GOOD_LIST)
        bus.his.does("List", gate)
        tasks = [asyncio.create_task(bus.ask("slot.list", ASK)) for _ in range(50)]
        await gate.entered.wait()
        gate.open.set()
        results = await asyncio.gather(*tasks)
        rows = [await bus.row(one.exchange) for one in results]
    assert bus.his.count("List") == 1
    assert {one.encoded for one in results} == {b'{"items":["S1","S2"]}'}
    assert len({one.exchange for one in results}) == 50
    assert {row.cause for row in rows} == {"", results[0].exchange}


async def test_a_cancelled_leader_leaves_the_others_their_answer(tmp_path: Path) -> None:
    async with running(tmp_path, routes=CACHED) as bus:
        gate = Gate(GOOD_LIST)
        bus.his.does("List", gate)
        leader = asyncio.create_task(bus.ask("slot.list", ASK))
        await gate.entered.wait()
        follower = asyncio.create_task(bus.ask("slot.list", ASK))
        await asyncio.sleep(0)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        gate.open.set()
        assert (await follower).outcome is Outcome.DONE
    assert (bus.his.count("List"), bus.his.cancelled) == (1, 0)


async def test_when_all_who_wait_have_gone_the_call_is_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path, routes=CACHED) as bus:
        gate = Gate(GOOD_LIST)
        bus.his.does("List", gate, GOOD_LIST)
        exchanges = [bus.begin("slot.list", ASK) for _ in range(2)]
        tasks = [asyncio.create_task(bus.pipeline.run(one)) for one in exchanges]
        await gate.entered.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [(await bus.row(one.id)).state for one in exchanges] == ["cancelled", "cancelled"]
        assert bus.his.cancelled == 1
        assert (await bus.ask("slot.list", ASK)).outcome is Outcome.DONE


async def test_probe_names_each_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        assert await bus.pipeline.probe() == {"his": None}
        bus.his.closed = True
        assert await bus.pipeline.probe() == {"his": "closed"}


async def test_a_cached_read_that_overruns_its_deadline_has_one_row(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def stubborn(action: str, payload: Tree, call: Call) -> Tree:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()
        return GOOD_LIST

    async with running(tmp_path, routes={"slot.list": {"cache": "5s", "timeout": "10ms"}}) as bus:
        bus.his.does("List", stubborn)
        result = await bus.ask("slot.list", {"doctorId": "D1"})
        over.set()
        await bus.row(result.exchange)
        await bus.store._writer.do(lambda connection: None)
    assert (result.outcome, result.code) == (Outcome.UNAVAILABLE, "no_answer")
    assert bus.value("journal_lost_total") == 0


async def test_the_cache_counts_the_trees_that_it_keeps(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.list": {"cache": "5s"}}) as bus:
        cache = bus.pipeline._versions.current.lanes["slot.list"].cache
        assert cache is not None
        cache._size = 100_000
        bus.his.does("List", {"Code": "0", "Slots": ["S" * 30] * 1000})
        for _ in range(2):
            await bus.ask("slot.list", ASK)
    assert bus.his.count("List") == 2
