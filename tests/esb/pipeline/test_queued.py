"""Queued delivery: accepted durably, delivered by the same stages as direct exchanges, tried again, parked, settled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from esb.buffer import SqlBuffer, Where
from esb.errors import Outcome, Refused, Unavailable
from esb.model import Tree
from esb.spi import Call
from esb.store.tables import exchange
from tests.esb.buffer.suite import release
from tests.esb.kit import ABSENT, GOOD_LOCK, MAPPINGS, prune, silence
from tests.esb.pipeline.queueing import DOWN, QUEUED, deliver, found, free, queued, where


async def test_it_is_accepted_at_once_and_done_when_it_was_delivered(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus, key="K1")
        before = await found(bus, accepted.exchange)
        assert bus.his.calls == []
        await deliver(bus)
        after = await found(bus, accepted.exchange)
        row = await bus.row(accepted.exchange)
        assert await where(bus, accepted.exchange) is None
    assert (accepted.outcome, before.outcome, before.delivery) == (Outcome.ACCEPTED, Outcome.ACCEPTED, "waiting")
    assert (after.outcome, after.body, after.delivery) == (Outcome.DONE, {"lockId": "L1", "orderNo": "R1"}, "")
    assert (row.state, row.attempts, row.sent, row.key) == ("done", 1, b"<sent/>", "K1")
    assert bus.his.calls[0][1] == {"Order": "R1", "Id": "K1"}
    assert bus.value("queue_accepted_total", endpoint="his") == 1
    assert bus.value("queue_deliveries_total", endpoint="his", result="done") == 1


async def test_a_wrong_request_is_refused_and_nothing_is_queued(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        result = await free(bus, order="")
    assert (result.outcome, result.code, bus.pipeline.buffer.length("his")) == (Outcome.REFUSED, "invalid_request", 0)


async def test_a_repeated_key_is_given_what_became_of_the_first(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        first, again = await free(bus, key="K1"), await free(bus, key="K1")
        other = await free(bus, order="R2", key="K1")
        await deliver(bus)
        after = await free(bus, key="K1")
    assert (again.outcome, again.exchange, again.replayed) == (Outcome.ACCEPTED, first.exchange, True)
    assert (other.outcome, other.code) == (Outcome.REFUSED, "idempotency_conflict")
    assert (after.outcome, after.exchange, bus.his.count("Free")) == (Outcome.DONE, first.exchange, 1)


async def test_fifty_at_once_with_one_key_are_delivered_once(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        results = await asyncio.gather(*(free(bus, key="K1") for _ in range(50)))
        while await deliver(bus):
            pass
    assert {(one.outcome, one.exchange) for one in results} == {(Outcome.ACCEPTED, results[0].exchange)}
    assert bus.his.count("Free") == 1


async def test_it_is_tried_again_with_the_same_key_at_growing_intervals_and_then_parked(tmp_path: Path) -> None:
    async with queued(tmp_path, limits={"breaker": "99 in 1s"}) as bus:
        bus.his.does("Free", DOWN)
        accepted = await free(bus)
        waits: list[float] = []
        for _ in range(4):
            assert await deliver(bus) == 1
            entry = await bus.pipeline.buffer.find(accepted.exchange)
            assert entry is not None
            waits.append(entry.due / 1000 - bus.clock.now().timestamp())
            bus.clock.at += max(0.0, waits[-1]) + 0.01
        assert (entry.where, entry.reason) == (Where.PARKED, "unavailable: connection refused")
        shown = await found(bus, accepted.exchange)
        assert (shown.outcome, shown.delivery) == (Outcome.ACCEPTED, "parked")
        bus.his.does("Free", GOOD_LOCK)
        assert await release(bus.pipeline.buffer, accepted.exchange, "the system is back")
        await deliver(bus)
        row = await bus.row(accepted.exchange)
    assert sum(waits[:3]) == pytest.approx(30, rel=0.2)
    assert waits[0] < waits[1] < waits[2]
    assert row.state == "done"
    assert {call.key for _, _, call in bus.his.calls} == {accepted.exchange}


async def test_silence_is_tried_again_for_what_may_be_sent_twice(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", silence(), GOOD_LOCK)
        accepted = await free(bus)
        await deliver(bus)
        entry = await bus.pipeline.buffer.find(accepted.exchange)
        assert entry is not None
        assert (entry.sent, entry.tries) == (True, 1)
        bus.clock.at += 10
        await deliver(bus)
        assert (await bus.row(accepted.exchange)).state == "done"


async def test_the_system_is_given_the_time_that_it_asks_for(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", Unavailable("busy", retry_after=20.0))
        accepted = await free(bus)
        await deliver(bus)
        entry = await bus.pipeline.buffer.find(accepted.exchange)
        assert entry is not None
        assert entry.due / 1000 - bus.clock.now().timestamp() >= 20


async def test_our_own_limits_do_not_use_up_its_tries_and_let_the_queue_rest(tmp_path: Path) -> None:
    async with queued(tmp_path, limits={"breaker": "1 in 30s for 60s"}) as bus:
        bus.his.does("Free", DOWN)
        await free(bus)
        await deliver(bus)
        bus.clock.at += 30
        (taken,) = await bus.pipeline.buffer.take("his", 1)
        rests = await bus.pipeline.deliver(taken)
        entry = await bus.pipeline.buffer.find(taken.message.id)
        assert entry is not None
    assert (entry.tries, entry.where, entry.reason) == (1, Where.LATER, "endpoint_down: breaker is open")
    assert rests > 1
    assert bus.his.count("Free") == 1


async def test_a_refusal_ends_it(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", ABSENT)
        accepted = await free(bus)
        await deliver(bus)
        result = await found(bus, accepted.exchange)
        assert await where(bus, accepted.exchange) is None
    assert (result.outcome, result.code) == (Outcome.REFUSED, "not_found")


async def test_a_protocols_own_no_ends_it_too(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", Refused("no", code="403"))
        accepted = await free(bus)
        await deliver(bus)
        assert (await found(bus, accepted.exchange)).outcome is Outcome.REFUSED


async def test_an_answer_that_breaks_the_contract_is_tried_again_and_then_parked(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", {"Code": "0", "No": 7, "Order": "R1"})
        accepted = await free(bus)
        for _ in range(4):
            await deliver(bus)
            bus.clock.at += 60
        entry = await bus.pipeline.buffer.find(accepted.exchange)
    assert entry is not None
    assert (entry.where, bus.his.count("Free")) == (Where.PARKED, 4)
    assert entry.reason.startswith("malformed_answer: the answer breaks the contract")


async def test_a_request_that_cannot_be_mapped_is_parked_and_the_worker_lives(tmp_path: Path) -> None:
    broken = MAPPINGS["slot.free"].replace("$orderNo", "$orderNo | int")
    async with queued(tmp_path, mappings={"slot.free": broken}) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 60
        entry = await bus.pipeline.buffer.find(accepted.exchange)
        assert entry is not None
        assert (entry.where, bus.his.calls) == (Where.PARKED, [])
        assert entry.reason.startswith("mapping_failed: ")
        well = await free(bus, order="12")
        await deliver(bus)
        assert (await found(bus, well.exchange)).outcome is Outcome.DONE


async def test_what_takes_the_worker_with_it_is_parked_in_the_end(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        for _ in range(6):
            await bus.pipeline.buffer.take("his", 1)
            bus.clock.at += 61
        await deliver(bus)
        entry = await bus.pipeline.buffer.find(accepted.exchange)
    assert entry is not None
    assert (entry.where, bus.his.calls) == (Where.PARKED, [])
    assert entry.reason.startswith("worker_lost: 6")


async def test_a_damaged_row_of_the_journal_is_parked_and_the_worker_lives(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        await bus.store.transact(
            lambda one: one.execute(exchange.update().values(request=b"\x00{"))
        )  # fmt: skip
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 60
        entry = await bus.pipeline.buffer.find(accepted.exchange)
    assert entry is not None
    assert (entry.where, entry.reason) == (Where.PARKED, "internal_error: DecodeError")


@pytest.mark.parametrize(("sent", "outcome", "code"), [(False, Outcome.UNAVAILABLE, "expired"),
                                                       (True, Outcome.UNAVAILABLE, "outcome_unknown")])  # fmt: skip
async def test_what_is_over_its_time_ends_and_frees_its_key(
    tmp_path: Path, sent: bool, outcome: Outcome, code: str
) -> None:
    routes = {"slot.free": {**QUEUED["slot.free"], "ttl": "10s"}}
    async with queued(tmp_path, routes=routes) as bus:
        bus.his.does("Free", silence() if sent else DOWN)
        first = await free(bus, key="K1")
        await deliver(bus)
        bus.clock.at += 11
        for delivery in await bus.pipeline.buffer.expired(10):
            await bus.pipeline.deliver(delivery)
        result = await found(bus, first.exchange)
        again = await free(bus, key="K1")
    assert (result.outcome, result.code, bus.his.count("Free")) == (outcome, code, 1)
    assert (again.outcome, again.exchange != first.exchange) == (Outcome.ACCEPTED, True)


async def test_over_the_bound_nothing_is_accepted(tmp_path: Path) -> None:
    async with queued(tmp_path, limits={"backlog": 3}) as bus:
        bus.his.does("Free", GOOD_LOCK)
        results = await asyncio.gather(*(free(bus, f"R{number}") for number in range(5)))
        refused = [one for one in results if one.outcome is Outcome.UNAVAILABLE]
        await deliver(bus)
        assert (await free(bus)).outcome is Outcome.ACCEPTED
    assert [(one.code, (one.retry_after or 0) >= 5) for one in refused] == [("queue_full", True)] * 2


async def test_priorities_go_first(tmp_path: Path) -> None:
    routes = {"slot.free": {**QUEUED["slot.free"], "priority": "low"}}
    async with queued(tmp_path, routes=routes) as bus:
        bus.his.does("Free", GOOD_LOCK)
        bus.his.does("Lock", GOOD_LOCK)
        await free(bus)
        await bus.lock()
        await deliver(bus, most=1)
    assert [action for action, _, _ in bus.his.calls] == ["Lock"]


async def test_those_of_one_key_go_one_after_another(tmp_path: Path) -> None:
    routes = {"slot.free": {**QUEUED["slot.free"], "ordered": "$orderNo"}}
    async with queued(tmp_path, routes=routes) as bus:
        is_down = True

        async def his(action: str, payload: Any, call: Call) -> Any:
            if payload["Order"] == "R1" and is_down:
                raise DOWN
            return GOOD_LOCK

        bus.his.does("Free", his)
        first, second, other = await free(bus, "R1"), await free(bus, "R1"), await free(bus, "R2")
        assert await deliver(bus) == 2
        assert [await where(bus, one.exchange) for one in (first, second, other)] == [Where.LATER, Where.HELD, None]
        is_down = False
        bus.clock.at += 60
        assert [await deliver(bus), await deliver(bus), await deliver(bus)] == [1, 1, 0]


async def test_the_journal_keeps_what_is_queued_however_old_it_is(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        accepted = await free(bus)
        bus.clock.at += 10_000
        assert await prune(bus.store, bus.clock.now()) == 0
        bus.his.does("Free", GOOD_LOCK)
        await deliver(bus)
        assert await prune(bus.store, bus.clock.now()) == 1
        assert await bus.store.find(accepted.exchange) is None


async def test_bytes_leave_only_after_it_is_known_that_they_may(tmp_path: Path) -> None:
    seen: list[bool] = []
    async with queued(tmp_path) as bus:

        async def look(action: str, payload: Tree, call: Call) -> Tree:
            entry = await SqlBuffer(bus.store, bus.clock).find(call.exchange)
            seen.append(entry is not None and entry.sent)
            return GOOD_LOCK

        bus.his.does("Lock", look)
        await bus.lock()
        await deliver(bus)
    assert seen == [True]
