"""Answers that come later than the call waits: what was sent ends by them and is not sent again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from esb.errors import Malformed, Outcome, Refused, Unavailable
from esb.model import Tree
from esb.spi import Call
from tests.esb.kit import GOOD_LOCK, Bus, running, silence

QUEUED: dict[str, dict[str, Any]] = {"slot.free": {"deliver": "queued", "retry": "3 over 30s"}}


class NothingHeard(Exception):
    """The message that was sent can no longer be built, so nobody can say what its answer is."""


def hears(bus: Bus, *steps: Any) -> list[tuple[str, Tree, Call]]:
    """What is there when the system is looked for an answer, one step a look, the last for ever; the looks."""
    looks: list[tuple[str, Tree, Call]] = []

    async def answered(action: str, payload: Tree, call: Call) -> Tree | None:
        looks.append((action, payload, call))
        step = steps[min(len(looks), len(steps)) - 1]
        if isinstance(step, NothingHeard):
            raise Refused("the payload cannot be written", code="invalid")
        if step is not None:
            call.wire.received = b"<later/>"
        if isinstance(step, Exception):
            raise step
        return step

    bus.his.answered = answered  # type: ignore[attr-defined]
    return looks


async def test_a_once_in_doubt_ends_by_its_answer_and_nobody_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        looks = hears(bus, None, GOOD_LOCK)
        bus.his.does("Lock", silence())
        bus.his.does("Find", Unavailable("down"))
        first = await bus.lock()
        row = await bus.until(first.exchange, "done")
        ((action, payload, sent),) = [one for one in bus.his.calls if one[0] == "Lock"]
    assert (first.outcome, row.answer, row.reason) == (
        Outcome.UNKNOWN,
        b'{"lockId":"L1","orderNo":"R1"}',
        "settled: it was answered later",
    )
    assert row.raw == b"<later/>"
    assert (looks[1][:2], looks[1][2].exchange, looks[1][2].key) == ((action, payload), sent.exchange, sent.key)
    assert bus.his.count("Find") == 1


async def test_a_no_that_comes_later_is_the_end_too(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        hears(bus, {"Code": "1", "Text": "full"})
        bus.his.does("Lock", silence())
        result = await bus.lock()
    assert (result.outcome, result.code, bus.his.count("Find")) == (Outcome.REFUSED, "slot_full", 0)


async def test_a_no_of_the_protocol_that_comes_later_is_the_end_too(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        hears(bus, Refused("the system answered AR", code="slot_full"))
        bus.his.does("Lock", silence())
        result = await bus.lock()
    assert (result.outcome, result.code) == (Outcome.REFUSED, "slot_full")


@pytest.mark.parametrize(
    "answer",
    [
        {"Code": "3"},
        {"Code": "4"},
        {"Code": "77"},
        {"Code": "0", "No": 7, "Order": "R1"},
        Malformed("no MSA-1"),
        KeyError("bug"),
        NothingHeard(),
    ],
    ids=["did nothing", "unknown", "no case", "breaks the contract", "malformed", "bug", "not built"],
)
async def test_what_decides_nothing_is_asked_about(tmp_path: Path, answer: Any) -> None:
    """That the system did nothing may be the answer to an earlier try of the same message."""
    async with running(tmp_path) as bus:
        hears(bus, answer)
        bus.his.does("Lock", silence())
        bus.his.does("Find", GOOD_LOCK)
        result = await bus.lock()
        row = await bus.row(result.exchange)
    assert (result.outcome, row.reason, bus.his.count("Find")) == (Outcome.DONE, "settled: it happened", 1)


async def test_what_decides_nothing_leaves_a_once_in_doubt(tmp_path: Path) -> None:
    async with running(tmp_path) as bus:
        hears(bus, {"Code": "77"})
        bus.his.does("Lock", silence())
        bus.his.does("Find", Unavailable("down"))
        result = await bus.lock()
        row = await bus.row(result.exchange)
        again = await bus.lock()
    assert (result.outcome, row.state, again.outcome) == (Outcome.UNKNOWN, "unknown", Outcome.UNKNOWN)
    assert bus.his.count("Lock") == 1


async def test_who_gives_no_answers_later_is_not_looked_for_one(tmp_path: Path) -> None:
    """Else a mapping that was changed since would be said to decide nothing, of an answer that cannot be there."""
    async with running(tmp_path) as bus:
        bus.his.does("Lock", silence())
        bus.his.does("Find", GOOD_LOCK)
        lane = bus.pipeline.lane("slot.lock")
        assert lane is not None
        lane.mapping = Mock(wraps=lane.mapping)
        result = await bus.lock()
    assert (result.outcome, lane.mapping.build.call_count) == (Outcome.DONE, 1)


async def deliver(bus: Bus) -> None:
    taken = await bus.pipeline.buffer.take("his", 10)
    await asyncio.gather(*map(bus.pipeline.deliver, taken))


async def test_a_queued_message_that_was_answered_between_two_tries_is_not_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path, routes=QUEUED) as bus:
        looks = hears(bus, GOOD_LOCK)
        bus.his.does("Free", silence())
        accepted = await bus.ask("slot.free", {"orderNo": "R1"})
        await deliver(bus)
        assert looks == [], "what was never sent has no answer"
        await bus.clock.sleep(60)
        await deliver(bus)
        row = await bus.until(accepted.exchange, "done")
    assert (bus.his.count("Free"), row.raw, row.answer) == (1, b"<later/>", b'{"lockId":"L1","orderNo":"R1"}')


async def test_a_queued_message_whose_earlier_try_did_nothing_is_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path, routes=QUEUED) as bus:
        hears(bus, {"Code": "3"})
        bus.his.does("Free", silence(), GOOD_LOCK)
        accepted = await bus.ask("slot.free", {"orderNo": "R1"})
        await deliver(bus)
        await bus.clock.sleep(60)
        await deliver(bus)
        await bus.until(accepted.exchange, "done")
    assert bus.his.count("Free") == 2
