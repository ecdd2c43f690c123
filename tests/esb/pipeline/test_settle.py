"""Settle and recovery: silence after a once is answered by a question, never by sending again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from esb.errors import ConfigError, Malformed, Outcome, Refused, Unavailable
from esb.model import Tree
from esb.spi import Call
from tests.esb.kit import ABSENT, GOOD_LOCK, FakeClock, Gate, failing_at, running, silence

LATER = {"Code": "3"}


async def test_a_lock_is_not_resent_after_silence(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", GOOD_LOCK)
        result = await bus.lock()
        row = await bus.row(result.exchange)
        again = await bus.lock()
    assert (result.outcome, result.body) == (Outcome.DONE, {"lockId": "L1", "orderNo": "R1"})
    assert (row.state, row.sent) == ("done", b"<sent/>")
    assert (again.replayed, bus.his.count("Lock"), bus.his.count("Find")) == (True, 1, 1)


async def test_an_answer_about_another_order_settles_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", {**GOOD_LOCK, "Order": "R2"}, GOOD_LOCK)
        first = await bus.lock()
        settled = await bus.until(first.exchange, "done")
    assert first.outcome is Outcome.UNKNOWN
    assert (settled.answer, bus.his.count("Lock")) == (b'{"lockId":"L1","orderNo":"R1"}', 1)


async def test_the_question_is_an_exchange_of_its_own_that_names_its_cause(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", GOOD_LOCK)
        result = await bus.lock()
        question = await bus.row(bus.his.calls[1][2].exchange)
    assert (question.operation, question.cause, question.request) == ("slot.find", result.exchange, b'{"orderNo":"R1"}')


async def test_until_it_is_settled_the_caller_hears_unknown_and_so_does_a_repeat(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", silence())
        bus.his.does("Find", LATER, gate)
        first = await bus.lock()
        await gate.entered.wait()
        again, found = await bus.lock(), await bus.pipeline.find(first.exchange)
        assert bus.value("unknown_open") == 1
        gate.open.set()
        await bus.until(first.exchange, "done")
        settled = await bus.lock()
    assert (first.outcome, first.code) == (Outcome.UNKNOWN, "outcome_unknown")
    assert first.retry_after
    assert (again.outcome, again.exchange, again.replayed) == (Outcome.UNKNOWN, first.exchange, True)
    assert found is not None
    assert found.outcome is Outcome.UNKNOWN
    assert (settled.outcome, settled.replayed, bus.his.count("Lock")) == (Outcome.DONE, True, 1)


async def test_a_malformed_answer_to_a_lock_is_settled_and_its_raw_answer_kept(tmp_path: Path) -> None:
    async def garbage(action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"<sent/>")
        call.wire.received = b"<html>502"
        raise Malformed("not XML", raw=b"<html>502")

    async with running(tmp_path) as bus:
        bus.his.does("Lock", garbage, {"Code": "77"}, {"Code": "0"})
        bus.his.does("Find", GOOD_LOCK)
        results = [await bus.lock(key) for key in ("K1", "K2", "K3")]
        row = await bus.row(results[0].exchange)
    assert [one.outcome for one in results] == [Outcome.DONE] * 3
    assert (row.raw, bus.his.count("Lock"), bus.his.count("Find")) == (b"<html>502", 3, 3)


async def test_a_malformed_before_anything_left_is_no_doubt(tmp_path: Path) -> None:
    async def unwritable(action: str, payload: Tree, call: Call) -> Tree:
        raise Malformed("cannot be written in GBK")

    async with running(tmp_path) as bus:
        bus.his.does("Lock", unwritable, GOOD_LOCK)
        first, again = await bus.lock(), await bus.lock()
    assert (first.outcome, again.outcome) == (Outcome.MALFORMED, Outcome.DONE)
    assert bus.his.count("Find") == 0


async def test_absence_is_believed_only_at_the_last_interval(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence(), GOOD_LOCK)
        bus.his.does("Find", ABSENT)
        first = await bus.lock()
        row = await bus.until(first.exchange, "unavailable")
        asked = bus.his.count("Find")
        again = await bus.lock()
    assert bus.clock.slept == [0.5, 1, 2, 5, 10, 30]
    assert (asked, row.code) == (7, "not_happened")
    assert (again.outcome, again.replayed, bus.his.count("Lock")) == (Outcome.DONE, False, 2)


async def test_a_lock_that_appears_late_is_done_and_not_sold_again(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", ABSENT, ABSENT, Unavailable("down"), silence(), GOOD_LOCK)
        first = await bus.lock()
        await bus.until(first.exchange, "done")
    assert bus.his.count("Lock") == 1


async def test_a_protocols_404_is_no_proof_of_absence(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[Refused("HTTP 404", code="not_found")] * 8, GOOD_LOCK)
        first = await bus.lock()
        await bus.until(first.exchange, "done")


async def test_an_answer_that_is_no_lock_decides_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", {"Code": "0", "No": 5, "Order": "R1"}, GOOD_LOCK)
        first = await bus.lock()
        assert first.outcome is Outcome.UNKNOWN
        await bus.until(first.exchange, "done")


async def test_what_stays_in_doubt_is_asked_for_ever_more_slowly_and_stays_in_the_metrics(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", silence())
        bus.his.does("Find", *[LATER] * 70, gate)
        first = await bus.lock()
        await gate.entered.wait()
        assert bus.value("unknown_open") == 1
        row, again = await bus.row(first.exchange), await bus.lock()
        gate.open.set()
        await bus.until(first.exchange, "done")
    assert (row.state, again.outcome, bus.his.count("Lock")) == ("unknown", Outcome.UNKNOWN, 1)
    assert bus.clock.slept == [0.5, 1, 2, 5, 10, 30] + [60.0] * 60 + [600.0] * 4


async def test_a_mistake_of_ours_in_a_question_does_not_end_the_asking(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", LATER, GOOD_LOCK, GOOD_LOCK)
        journal = bus.pipeline._journal
        journal.end = failing_at(2, journal.end)  # type: ignore[method-assign]
        first = await bus.lock()
        await bus.until(first.exchange, "done")
    assert (first.outcome, bus.his.count("Find"), bus.his.count("Lock")) == (Outcome.UNKNOWN, 3, 1)


async def test_a_question_gets_no_more_than_what_remains_of_the_deadline(tmp_path: Path) -> None:
    clock = FakeClock()

    async def slow(action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"<sent/>")
        clock.at = call.deadline - 0.25
        raise silence()

    async with running(tmp_path, clock=clock, routes={"slot.lock": {"settle": "slot.find", "timeout": "4s"}}) as bus:
        bus.his.does("Lock", slow)
        bus.his.does("Find", GOOD_LOCK)
        await bus.lock()
    lock, find = [call for _, _, call in bus.his.calls]
    assert lock.deadline == find.deadline


async def test_without_time_left_the_question_comes_later(tmp_path: Path) -> None:
    clock = FakeClock()

    async def late(action: str, payload: Tree, call: Call) -> Tree:
        call.wire.sending(b"<sent/>")
        clock.at = call.deadline
        raise silence()

    async with running(tmp_path, clock=clock) as bus:
        bus.his.does("Lock", late)
        bus.his.does("Find", GOOD_LOCK)
        first = await bus.lock()
        await bus.until(first.exchange, "done")
    assert first.outcome is Outcome.UNKNOWN
    assert clock.slept == [0.5]


_CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.esb.kit import running

async def main(folder, operation, point):
    async def die(*_):
        os._exit(137)

    async with running(Path(folder)) as bus:
        if point == "before_sending":
            bus.store.sent = die
        bus.his.does("Lock", die)
        bus.his.does("Free", die)
        request = {"orderNo": "R1", "slotId": "S1"} if operation == "slot.lock" else {"orderNo": "R1"}
        exchange = bus.begin(operation, request, "K1")
        print(exchange.id, flush=True)
        await bus.pipeline.run(exchange)

asyncio.run(main(*sys.argv[1:]))
"""


def _killed(folder: Path, operation: str, point: str) -> str:
    """The exchange of a process that died ``before_sending`` or in the middle of ``sending``."""
    repository = Path(__file__).parents[3]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), operation, point],
        cwd=repository, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert child.returncode == 137, child.stderr
    return child.stdout.splitlines()[0]


async def test_a_lock_sent_before_a_crash_is_asked_about_and_not_sent_again(tmp_path: Path) -> None:
    exchange = _killed(tmp_path, "slot.lock", "sending")
    async with running(tmp_path) as bus:
        bus.his.does("Find", GOOD_LOCK)
        row = await bus.until(exchange, "done")
        again = await bus.lock()
    assert row.answer == b'{"lockId":"L1","orderNo":"R1"}'
    assert (again.replayed, again.exchange, bus.his.count("Lock")) == (True, exchange, 0)


async def test_a_lock_left_unknown_is_asked_about_again_at_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        gate = Gate(GOOD_LOCK)
        bus.his.does("Lock", silence())
        bus.his.does("Find", LATER, gate)
        first = await bus.lock()
        await gate.entered.wait()
    async with running(tmp_path) as bus:
        bus.his.does("Find", GOOD_LOCK)
        await bus.until(first.exchange, "done")


async def test_a_lock_never_sent_before_a_crash_is_unavailable_and_its_key_free(tmp_path: Path) -> None:
    exchange = _killed(tmp_path, "slot.lock", "before_sending")
    async with running(tmp_path) as bus:
        bus.his.does("Lock", GOOD_LOCK)
        row = await bus.row(exchange)
        again = await bus.lock()
    assert (row.state, row.code) == ("unavailable", "not_sent")
    assert (again.outcome, again.replayed) == (Outcome.DONE, False)
    assert bus.his.count("Find") == 0


async def test_an_idempotent_sent_before_a_crash_may_be_sent_again(tmp_path: Path) -> None:
    exchange = _killed(tmp_path, "slot.free", "sending")
    async with running(tmp_path) as bus:
        bus.his.does("Free", GOOD_LOCK)
        assert (await bus.row(exchange)).state == "unknown"
        again = await bus.ask("slot.free", {"orderNo": "R1"}, "K1")
    assert (again.outcome, again.replayed) == (Outcome.DONE, False)


async def test_a_store_belongs_to_one_process(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(ConfigError, match="another process"):
            async with running(tmp_path):
                pass
