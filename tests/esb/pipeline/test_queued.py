"""Queued delivery: accepted durably, delivered by the same stages as direct exchanges, tried again, parked, settled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from esb.buffer import SqlBuffer, Where
from esb.errors import Outcome, Refused, Unavailable
from esb.model import Result, Tree
from esb.spi import Call
from esb.store import Fate, Row, State, StoreError, queue
from esb.store.tables import exchange
from tests.esb.kit import ABSENT, GOOD_LOCK, MAPPINGS, Bus, FakeClock, Gate, hang, prune, running, silence, until

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
        assert await bus.pipeline.buffer.release(accepted.exchange, "the system is back")
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


async def test_a_once_without_an_answer_is_settled_and_never_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence(), GOOD_LOCK)
        accepted = await bus.lock()
        await deliver(bus)
        row = await bus.until(accepted.exchange, "done")
        await until(lambda: gone(bus, accepted.exchange))
    assert (accepted.outcome, row.answer, bus.his.count("Lock")) == (
        Outcome.ACCEPTED,
        b'{"lockId":"L1","orderNo":"R1"}',
        1,
    )


async def test_a_once_that_did_not_happen_after_all_is_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence(), GOOD_LOCK)
        bus.his.does("Find", ABSENT)
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "accepted")
        bus.clock.at += 60
        assert await deliver(bus) == 1
        row = await bus.row(accepted.exchange)
    assert (row.state, bus.his.count("Lock"), bus.his.count("Find")) == ("done", 2, 3)


async def test_a_once_that_was_certainly_not_sent_is_tried_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", DOWN, {"Code": "3"}, GOOD_LOCK)
        accepted = await bus.lock()
        for _ in range(3):
            await deliver(bus)
            bus.clock.at += 60
        row = await bus.row(accepted.exchange)
    assert (row.state, row.attempts, bus.his.count("Find")) == ("done", 3, 0)


async def test_a_once_in_doubt_holds_its_key_until_it_is_settled(tmp_path: Path) -> None:
    routes = {"slot.lock": {**QUEUED["slot.lock"], "ordered": "$slotId"}}
    async with queued(tmp_path, routes=routes, sleep=FakeClock().sleep) as bus:
        bus.his.does("Lock", silence(), GOOD_LOCK)
        settled = Gate(GOOD_LOCK)
        bus.his.does("Find", silence(), silence(), settled)
        first, second = await bus.lock("K1"), await bus.lock("K2", "R1")
        await deliver(bus)
        await settled.entered.wait()
        assert await where(bus, second.exchange) is Where.HELD
        settled.open.set()
        await until(lambda: gone(bus, first.exchange))
        assert await deliver(bus) == 1
        assert (await found(bus, second.exchange)).outcome is Outcome.DONE


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


async def test_after_a_crash_what_was_sent_once_is_settled_and_what_may_be_is_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", hang)
        bus.his.does("Free", hang)
        lock, again = await bus.lock(), await free(bus)
        tasks = [bus.pipeline.deliver(one) for one in await bus.pipeline.buffer.take("his", 2)]
        async with asyncio.timeout(5):
            while len(bus.his.calls) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with queued(tmp_path) as second:
        second.his.does("Find", GOOD_LOCK)
        second.his.does("Free", GOOD_LOCK)
        second.clock.at += 61
        assert await deliver(second) == 2
        await second.until(lock.exchange, "done")
        assert (await found(second, again.exchange)).outcome is Outcome.DONE
        assert second.his.count("Lock") == 0
        assert second.his.count("Free") == 1


async def test_what_was_decided_before_a_crash_is_not_sent_again(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        row = await bus.row(accepted.exchange)
        await bus.store.finish(row._replace(state=State.DONE.value, answer=b"{}"), "keep")  # type: ignore[arg-type]
        await bus.pipeline.deliver(delivery)
        assert (await where(bus, accepted.exchange), bus.his.calls) == (None, [])


async def test_a_worker_that_lost_its_lease_sends_nothing(tmp_path: Path) -> None:
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        await free(bus)
        (delivery,) = await bus.pipeline.buffer.take("his", 1)
        bus.clock.at += 61
        (other,) = await bus.pipeline.buffer.take("his", 1)
        await bus.pipeline.deliver(delivery)
        assert bus.his.calls == []
        await bus.pipeline.deliver(other)
        assert bus.his.count("Free") == 1


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


async def test_what_a_later_process_found_not_to_have_happened_it_can_also_end(tmp_path: Path) -> None:
    """I11: who had it in doubt is gone and owns it no more."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence())
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "unknown")
        reopened = await bus.store.transact(lambda one: queue.reopen(one, accepted.exchange, 0, "it did not happen"))
        row = await bus.row(accepted.exchange)
    assert reopened is not None
    assert (row.state, row.owner) == ("accepted", "")


@pytest.mark.parametrize("silent", [0, 1])
async def test_the_end_that_was_settled_is_stored_before_its_message_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    """I1: between the two a crash would leave an accepted exchange that nobody delivers; settled at once, or later."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[silence()] * silent, GOOD_LOCK)
        accepted = await bus.lock()
        finish, failures = bus.store.finish, iter([StoreError("full")])

        async def fails_once(row: Row, fate: Fate) -> None:
            if (failure := next(failures, None)) is not None:
                assert await where(bus, row.id) is not None
                raise failure
            assert await where(bus, row.id) is not None
            await finish(row, fate)

        monkeypatch.setattr(bus.store, "finish", fails_once)
        await deliver(bus)
        await bus.until(accepted.exchange, "done")
        await until(lambda: gone(bus, accepted.exchange))


async def test_an_end_that_was_kept_and_seemed_not_to_be_takes_its_message_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: the commit succeeds, its answer is lost, and writing it again finds it there."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", silence(), GOOD_LOCK)
        accepted = await bus.lock()
        finish, failures = bus.store.finish, iter([StoreError("the connection was lost")])

        async def is_lost_once(row: Row, fate: Fate) -> None:
            await finish(row, fate)
            if row.state == "done" and (failure := next(failures, None)) is not None:
                raise failure

        monkeypatch.setattr(bus.store, "finish", is_lost_once)
        await deliver(bus)
        await until(lambda: gone(bus, accepted.exchange))
        assert ((await found(bus, accepted.exchange)).outcome, list(failures)) == (Outcome.DONE, [])


@pytest.mark.parametrize("state", ["done", "accepted"])
async def test_what_nobody_settles_is_taken_up_again(tmp_path: Path, state: str) -> None:
    """I11: its process died between deciding and saying so to the queue, or before it said that it is in doubt."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[silence()] * 9)
        accepted = await bus.lock()
        await deliver(bus)
        await bus.until(accepted.exchange, "unknown")
        left = exchange.update().where(exchange.c.id == accepted.exchange).values(state=state)
        await bus.store.transact(lambda one: (queue.left_settling(one), one.execute(left)))
        assert await where(bus, accepted.exchange) is Where.SETTLING
        await bus.store.transact(queue.left_settling)
        assert await where(bus, accepted.exchange) is Where.READY


async def test_the_end_of_a_delivery_is_stored_before_its_message_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: what the store refuses is offered to it again, and the message waits for that; it is sent once."""
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        accepted = await free(bus)
        finish, failures = bus.store.finish_in, iter([StoreError("full"), StoreError("full")])

        def fails_twice(connection: Any, row: Row, fate: Fate) -> None:
            assert queue.find(connection, row.id) is not None
            if (failure := next(failures, None)) is not None:
                raise failure
            finish(connection, row, fate)

        monkeypatch.setattr(bus.store, "finish_in", fails_twice)
        await deliver(bus)
        assert (await found(bus, accepted.exchange)).outcome is Outcome.DONE
        assert (await where(bus, accepted.exchange), bus.his.count("Free"), list(failures)) == (None, 1, [])


async def test_who_was_told_that_nothing_was_kept_sees_no_effect_of_it_though_a_worker_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13, I2: the answer to the commit is lost, and the message is taken before it can be taken back."""
    async with queued(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        buffer, taken = bus.pipeline.buffer, []
        accept = buffer.accept

        async def committed_and_lost(row: Row, message: Any) -> Any:
            await accept(row, message)
            taken.extend(await buffer.take("his", 1))
            raise StoreError("the connection was lost")

        monkeypatch.setattr(buffer, "accept", committed_and_lost)
        first = await free(bus, key="K1")
        monkeypatch.undo()
        early = await free(bus, key="K1")
        await asyncio.gather(*map(bus.pipeline.deliver, taken))
        assert (len(taken), bus.his.calls) == (1, [])
        ended = await found(bus, first.exchange)
        again = await free(bus, key="K1")
        await deliver(bus)
        assert (await found(bus, again.exchange)).outcome is Outcome.DONE
    assert {(one.outcome, one.code) for one in (first, early, ended)} == {(Outcome.UNAVAILABLE, "store_unavailable")}
    assert (again.outcome, bus.his.count("Free")) == (Outcome.ACCEPTED, 1)


async def test_after_a_restart_only_the_one_in_doubt_is_asked_about(tmp_path: Path) -> None:
    """Not those that were given its answer."""
    async with queued(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", hang)
        accepted = await bus.lock()
        delivering = asyncio.gather(*map(bus.pipeline.deliver, await bus.pipeline.buffer.take("his", 1)))
        await bus.until(accepted.exchange, "unknown")
        again = await bus.lock()
        await delivering
    async with queued(tmp_path) as second:
        second.his.does("Find", hang)
        assert (again.outcome, again.replayed) == (Outcome.UNKNOWN, True)
        assert second.value("unknown_open") == 1
