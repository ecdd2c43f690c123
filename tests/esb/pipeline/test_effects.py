"""Effects: durable before they are sent, made once, their keys kept, released or open again."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from esb.errors import Outcome, OutcomeUnknown, Refused, Unavailable
from esb.model import Tree
from esb.spi import Call
from esb.store import Row, State, StoreError
from tests.esb.kit import GOOD_LOCK, Bus, Gate, failing_at, running, silence, until

ORDER = {"orderNo": "R1"}


async def test_a_lock_is_durable_as_sent_before_its_bytes_leave(tmp_path: Path) -> None:
    seen: list[str] = []

    async with running(tmp_path) as bus:

        async def look(action: str, payload: Tree, call: Call) -> Tree:
            row = await bus.store.find(call.exchange)
            seen.append(row.state if row else "")
            return GOOD_LOCK

        bus.his.does("Lock", look)
        result = await bus.lock()
        row = await bus.row(result.exchange)
    assert seen == [State.SENT]
    assert (result.outcome, result.body, row.state) == (Outcome.DONE, {"lockId": "L1", "orderNo": "R1"}, "done")
    assert bus.his.calls[0][1] == {"Order": "R1", "Slot": "S1", "Key": "K1"}


async def test_a_once_without_a_key_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        result = await bus.ask("slot.lock", {"orderNo": "R1", "slotId": "S1"})
    assert (result.outcome, result.code, bus.his.calls) == (Outcome.REFUSED, "idempotency_key_missing", [])


async def test_the_first_answer_is_given_again_for_the_same_key(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        first, again = await bus.lock(), await bus.lock()
    assert (again.outcome, again.body, again.encoded, again.replayed) == (
        first.outcome,
        first.body,
        first.encoded,
        True,
    )
    assert again.exchange == first.exchange
    assert bus.his.count("Lock") == 1


async def test_a_refusal_is_given_again_with_its_text(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", {"Code": "1", "Text": "号已约满"})
        first, again = await bus.lock(), await bus.lock()
    assert (again.code, again.message, again.replayed) == ("slot_full", "号已约满", True)
    assert (first.code, bus.his.count("Lock")) == ("slot_full", 1)


@pytest.mark.parametrize("free", [2**64, Decimal("1.10"), 1.5, "half a pair \ud83d", {1: b"\xff"}], ids=repr)
async def test_a_refusal_ends_whatever_its_details_are(tmp_path: Path, free: Any) -> None:
    text = """
action: Lock
request: {Order: $orderNo}
response:
  - refused: {code: slot_full, details: {free: $Free}}
"""
    async with running(tmp_path, mappings={"slot.lock": text}) as bus:
        bus.his.does("Lock", {"Free": free})
        first, again = await bus.lock(), await bus.lock()
        row = await bus.row(first.exchange)
    assert (first.outcome, first.code, row.state) == (Outcome.REFUSED, "slot_full", "refused")
    assert (again.outcome, again.replayed, bus.his.count("Lock")) == (Outcome.REFUSED, True, 1)
    if isinstance(free, int | Decimal):
        assert again.details == {"free": free}


@pytest.mark.parametrize(("action", "state"), [("Lock", "done"), ("Free", "unknown")])
async def test_a_mistake_of_ours_after_the_answer_ends_by_a_question(tmp_path: Path, action: str, state: str) -> None:
    """Its key would be taken until the next start, and its caller would hear nothing that it can use."""
    async with running(tmp_path) as bus:
        bus.his.does(action, GOOD_LOCK)
        bus.his.does("Find", GOOD_LOCK)
        journal = bus.pipeline._journal
        journal.finish = failing_at(1, journal.finish)  # type: ignore[method-assign]
        result = await (bus.lock() if action == "Lock" else bus.ask("slot.free", ORDER, "K1"))
        row = await bus.row(result.exchange)
    assert (row.state, bus.his.count(action)) == (state, 1)


async def test_a_key_with_another_body_is_a_conflict(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        await bus.lock()
        other = await bus.lock(order="R2")
        row = await bus.row(other.exchange)
    assert (other.outcome, other.code, row.state) == (Outcome.REFUSED, "idempotency_conflict", "refused")
    assert bus.his.count("Lock") == 1


async def test_keys_belong_to_their_principal_and_operation(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        await bus.lock()
        request = {"orderNo": "R2", "slotId": "S1"}
        theirs = bus.pipeline.begin("slot.lock", request, key="K1", principal="other", request_id="")
        assert (await bus.pipeline.run(theirs)).outcome is Outcome.DONE
        assert await bus.pipeline.find(theirs.id, "app") is None
        assert await bus.pipeline.find(theirs.id, "other") is not None
    assert bus.his.count("Lock") == 2


async def test_a_hundred_calls_with_one_key_make_one_lock(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", gate)
        tasks = [asyncio.create_task(bus.lock()) for _ in range(100)]
        await gate.entered.wait()
        _, pending = await asyncio.wait(tasks, timeout=None, return_when=asyncio.FIRST_COMPLETED)
        while len(pending) > 1:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        gate.open.set()
        results = await asyncio.gather(*tasks)
    codes = [one.code or one.outcome for one in results]
    assert (codes.count("done"), codes.count("idempotency_running")) == (1, 99)
    assert bus.his.count("Lock") == 1


async def test_a_lock_that_never_left_frees_its_key(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", Unavailable("connection refused"), GOOD_LOCK)
        first, again = await bus.lock(), await bus.lock()
    assert (first.outcome, first.code) == (Outcome.UNAVAILABLE, "unavailable")
    assert (again.outcome, again.replayed) == (Outcome.DONE, False)


async def test_a_lock_is_not_retried_even_when_it_never_left(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.lock": {"settle": "slot.find", "retry": 5}}) as bus:
        bus.his.does("Lock", Unavailable("connection refused"))
        await bus.lock()
    assert bus.his.count("Lock") == 1


async def test_an_answer_that_says_nothing_happened_frees_the_key(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", {"Code": "3"}, GOOD_LOCK)
        first, again = await bus.lock(), await bus.lock()
    assert (first.outcome, first.message) == (Outcome.UNAVAILABLE, "their queue is full")
    assert again.outcome is Outcome.DONE


async def test_a_mapping_that_cannot_be_filled_frees_the_key(tmp_path: Path) -> None:
    broken = {"slot.lock": "action: Lock\nrequest: {Order: $patient.id}\nresponse: {done: {lockId: x, orderNo: y}}\n"}
    async with running(tmp_path, mappings=broken) as bus:
        first, again = await bus.lock(), await bus.lock()
    assert (first.code, again.code, again.replayed) == ("mapping_failed", "mapping_failed", False)
    assert bus.his.calls == []


async def test_a_protocols_own_no_decides_a_lock(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", Refused("soap fault", code="bad_order", message="no"))
        first, again = await bus.lock(), await bus.lock()
    assert (first.code, again.code, again.replayed) == ("bad_order", "bad_order", True)


async def test_an_idempotent_is_sent_again_under_the_same_key(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.free": {"retry": 2}}) as bus:
        bus.his.does("Free", silence(), Unavailable("reset"), GOOD_LOCK)
        result = await bus.ask("slot.free", ORDER, "K1")
        row = await bus.row(result.exchange)
    assert (result.outcome, row.attempts) == (Outcome.DONE, 3)
    assert [payload["Id"] for _, payload, _ in bus.his.calls] == ["K1", "K1", "K1"]


async def test_an_unknown_idempotent_may_be_sent_again_by_its_caller_with_the_same_body_only(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Free", silence(), GOOD_LOCK)
        first = await bus.ask("slot.free", ORDER, "K1")
        row = await bus.row(first.exchange)
        other = await bus.ask("slot.free", {"orderNo": "R2"}, "K1")
        again = await bus.ask("slot.free", ORDER, "K1")
    assert (first.outcome, first.code, row.state) == (Outcome.UNAVAILABLE, "outcome_unknown", "unknown")
    assert first.retry_after
    assert other.code == "idempotency_conflict"
    assert (again.outcome, again.replayed) == (Outcome.DONE, False)


async def test_an_unavailable_after_bytes_left_without_an_answer_is_not_believed(tmp_path: Path) -> None:
    async def wrong(action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"<sent/>")
        raise Unavailable("reset by peer")

    async with running(tmp_path) as bus:
        bus.his.does("Free", wrong)
        result = await bus.ask("slot.free", ORDER)
    assert result.code == "outcome_unknown"


async def test_an_idempotent_without_a_key_runs_each_time(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        results = [await bus.ask("slot.free", ORDER) for _ in range(2)]
    assert [one.outcome for one in results] == [Outcome.DONE] * 2
    assert bus.his.count("Free") == 2


async def test_a_read_with_a_key_is_answered_once_too(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Find", silence(), GOOD_LOCK)
        first, second, third = [await bus.ask("slot.find", ORDER, "K1") for _ in range(3)]
    assert (first.code, second.replayed, third.replayed) == ("no_answer", False, True)
    assert bus.his.count("Find") == 2


async def test_an_effect_goes_on_when_its_caller_has_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", gate)
        exchange = bus.begin("slot.lock", {"orderNo": "R1", "slotId": "S1"}, "K1")
        task = asyncio.create_task(bus.pipeline.run(exchange))
        await gate.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        running_now = await bus.pipeline.find(exchange.id)
        gate.open.set()
        assert (await bus.until(exchange.id, "done")).answer == b'{"lockId":"L1","orderNo":"R1"}'
        again = await bus.lock()
    assert running_now is not None
    assert (running_now.outcome, running_now.code) == (Outcome.UNKNOWN, "running")
    assert (again.replayed, bus.his.cancelled) == (True, 0)


async def test_close_waits_for_an_effect_under_way(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", gate)
        task = asyncio.create_task(bus.lock())
        await gate.entered.wait()
        closing = asyncio.create_task(bus.pipeline.close())
        await asyncio.sleep(0)
        gate.open.set()
        await closing
        assert (await task).outcome is Outcome.DONE


def _forbid_writes(bus: Bus, forbidden: list[bool]) -> None:
    """While ``forbidden`` holds something the database answers as it does when it is read-only."""
    forbidden.append(True)
    bus.store.engine.dispose()
    bus.store._writer.commits.close()
    setting = "SET SESSION default_transaction_read_only = {}" if bus.store.is_shared else "PRAGMA query_only={}"

    def connected(dbapi: Any, _: Any) -> None:
        dbapi.execute(setting.format(len(forbidden)))
        dbapi.commit()

    sqlalchemy.event.listen(bus.store.engine, "connect", connected)


async def test_when_the_store_cannot_write_effects_are_refused_before_sending_and_reads_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        bus.his.does("Find", GOOD_LOCK)
        _forbid_writes(bus, [])
        locked = await bus.lock()
        found = await bus.ask("slot.find", ORDER)
        await bus.until_value("journal_lost_total", 1 + 1)
    assert (locked.outcome, locked.code) == (Outcome.UNAVAILABLE, "store_unavailable")
    assert (found.outcome, bus.his.count("Lock"), bus.his.count("Find")) == (Outcome.DONE, 0, 1)


async def test_an_unknown_answer_of_an_idempotent_is_retried(tmp_path: Path) -> None:
    async with running(tmp_path, routes={"slot.free": {"retry": 1}}) as bus:
        bus.his.does("Free", {"Code": "4"}, GOOD_LOCK)
        assert (await bus.ask("slot.free", ORDER)).outcome is Outcome.DONE


async def test_a_once_is_never_attempted_twice_after_bytes_left(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.pipeline._versions.current.lanes["slot.lock"].retries = 3
        bus.his.does("Lock", OutcomeUnknown("silence"), GOOD_LOCK)
        bus.his.does("Find", {"Code": "3"})
        result = await bus.lock()
    assert result.outcome is Outcome.UNKNOWN
    assert bus.his.count("Lock") == 1


async def test_a_lock_that_a_limit_holds_back_is_never_marked_as_sent_and_frees_its_key(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"breaker": {"failures": 1, "open_s": 10.0}}) as bus:
        bus.his.does("Find", silence(), GOOD_LOCK)
        bus.his.does("Lock", GOOD_LOCK)
        await bus.ask("slot.find", ORDER)
        first = await bus.lock()
        row = await bus.row(first.exchange)
        bus.clock.at += 10
        half_open = await bus.lock()
        await bus.ask("slot.find", ORDER)
        again = await bus.lock()
    assert (first.outcome, first.code, first.retry_after) == (Outcome.UNAVAILABLE, "endpoint_down", 10.0)
    assert (row.state, row.attempts, row.sent) == ("unavailable", 1, b"")
    assert (half_open.code, again.outcome, bus.his.count("Lock")) == ("endpoint_down", Outcome.DONE, 1)


async def test_when_the_journal_cannot_keep_up_nobody_is_admitted_and_no_row_is_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Find", GOOD_LOCK)
        bus.store._queue = 2
        writing, written = threading.Event(), threading.Event()

        def stuck_disk(_: object) -> None:
            writing.set()
            written.wait(10)

        stuck = asyncio.create_task(bus.store._writer.do(stuck_disk))
        await until(lambda: asyncio.sleep(0, writing.is_set()))
        results = [await bus.ask("slot.find", ORDER) for _ in range(4)]
        written.set()
        await stuck
        rows = [await bus.row(one.exchange) for one in results[:2]]
        recovered = await until(lambda: asyncio.sleep(0, not bus.store.full))
    assert [one.code for one in results] == ["", "", "overloaded", "overloaded"]
    assert ([row.state for row in rows], recovered) == (["done", "done"], True)


async def test_an_end_that_could_not_be_written_is_told_and_written_later(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        forbidden: list[bool] = []

        async def then_the_disk_fails(action: str, payload: Tree, call: Call) -> Tree:
            _forbid_writes(bus, forbidden)
            call.wire.sending(b"<sent/>")
            call.wire.received = b"<received/>"
            return GOOD_LOCK

        async def sleep(seconds: float) -> None:
            forbidden.clear()
            bus.store.engine.dispose()

        bus.pipeline._journal._sleep = sleep
        bus.his.does("Lock", then_the_disk_fails)
        result = await bus.lock()
        row = await bus.until(result.exchange, "done")
    assert (result.outcome, row.answer) == (Outcome.DONE, result.encoded)


@pytest.mark.parametrize("last", [Unavailable("refused"), {"Code": "3"}])
async def test_an_idempotent_that_was_sent_once_is_not_said_to_have_done_nothing(tmp_path: Path, last: object) -> None:
    async with running(tmp_path, routes={"slot.free": {"retry": 1}}) as bus:
        bus.his.does("Free", silence(), last)
        result = await bus.ask("slot.free", ORDER, "K1")
        row = await bus.row(result.exchange)
        other = await bus.ask("slot.free", {"orderNo": "R2"}, "K1")
    assert (result.outcome, result.code, row.state) == (Outcome.UNAVAILABLE, "outcome_unknown", "unknown")
    assert other.code == "idempotency_conflict"


async def test_an_end_that_is_written_late_does_not_replace_what_was_settled_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        forbidden: list[bool] = []
        gate = Gate(GOOD_LOCK)
        late = asyncio.Event()

        async def silent_while_the_disk_fails(action: str, payload: Tree, call: Call) -> Tree:
            _forbid_writes(bus, forbidden)
            raise silence()

        async def sleep(seconds: float) -> None:
            await late.wait()

        bus.pipeline._journal._sleep = sleep
        bus.his.does("Lock", silent_while_the_disk_fails)
        bus.his.does("Find", {"Code": "3"}, gate)
        first = await bus.lock()
        await gate.entered.wait()
        forbidden.clear()
        bus.store.engine.dispose()
        gate.open.set()
        await bus.until(first.exchange, "done")
        late.set()
        await until(lambda: asyncio.sleep(0, not bus.pipeline._journal._late))
        await bus.store._writer.do(lambda connection: None)
        again = await bus.lock()
    assert (first.outcome, again.outcome, again.replayed) == (Outcome.UNKNOWN, Outcome.DONE, True)


async def test_a_commit_that_seemed_to_fail_leaves_no_key_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13: the answer to a commit is lost; the client was told that nothing was kept and comes again."""
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        transact = bus.store.open

        async def committed_and_lost(row: Row) -> Any:
            await transact(row)
            raise StoreError("the connection was lost")

        monkeypatch.setattr(bus.store, "open", committed_and_lost)
        first = await bus.lock()
        monkeypatch.undo()
        await bus.until(first.exchange, "unavailable")
        second = await bus.lock()
    assert (first.outcome, first.code) == (Outcome.UNAVAILABLE, "store_unavailable")
    assert (second.outcome, bus.his.count("Lock")) == (Outcome.DONE, 1)
