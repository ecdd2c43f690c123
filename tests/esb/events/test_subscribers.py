"""Subscribers: each event one exchange, at least once, in order; what fails waits in the ordinary queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from esb.buffer import Where
from esb.errors import Malformed, Outcome, Unavailable
from esb.journal.search import Found, Query, page
from esb.store import Told, cursors, queue, recent
from esb.store.inbox import events_after, inbox
from esb.store.tables import exchange
from tests.esb.events.kit import EVENT, NAME, ORDERED, QUEUED, answers, subscription, telling
from tests.esb.kit import Gate, prune, silence, until

LOCK = {"slot.lock": {"settle": "slot.find", "deliver": "queued"}}


async def test_each_event_becomes_one_exchange_that_is_done_and_in_no_queue(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        await his.tell("R1", "R2", "R3")
        await his.until_position(3)
        assert await his.rows() == [("R1", "done"), ("R2", "done"), ("R3", "done")]
        assert his.seen() == ["R1", "R2", "R3"]
        assert await his.bus.pipeline.buffer.list() == []
        assert his.counted("done") == 3


async def test_the_request_is_made_of_event_and_sender(tmp_path: Path) -> None:
    async with telling(tmp_path, subscription("{orderNo: $exchange.sender}")) as his:
        await his.tell("R1")
        await his.until_position(1)
        assert his.seen() == ["HIS|H1"]


async def test_without_with_the_event_is_the_request(tmp_path: Path) -> None:
    async with telling(tmp_path, subscription()) as his:
        await his.tell("R1")
        await his.until_position(1)
        assert his.seen() == ["R1"]


async def test_events_of_another_name_are_passed_over(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        await his.tell("X1", event="slot.lost")
        await his.tell("R1")
        await his.until_position(2)
        assert his.seen() == ["R1"]


async def test_what_was_just_kept_is_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Told] = []
    upcoming = cursors.upcoming

    def seen(*parts: Any) -> tuple[list[Told], int]:
        found = upcoming(*parts)
        read.extend(found[0])
        return found

    monkeypatch.setattr(cursors, "upcoming", seen)
    async with telling(tmp_path) as his:
        await his.tell("R1", "R2", "R3")
        await his.until_position(3)
        assert (his.seen(), read) == (["R1", "R2", "R3"], [])


async def test_what_is_remembered_no_more_is_read_from_the_inbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_MOST", 2)
    async with telling(tmp_path, routes=ORDERED) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate)
        await his.tell("R1")
        await gate.entered.wait()
        await his.tell(*(f"R{number}" for number in range(2, 12)))
        answers(his.bus)
        gate.open.set()
        await his.until_position(11)
        assert sorted(his.seen()) == sorted(f"R{number}" for number in range(1, 12))


async def test_a_new_subscriber_begins_with_the_next_event_or_with_the_first(tmp_path: Path) -> None:
    late = subscription("{orderNo: $orderNo}", label="late")
    early = subscription("{orderNo: $orderNo}", label="early", from_start=True)
    async with telling(tmp_path, late, early, before=["R1", "R2"]) as his:
        await his.tell("R3")
        await his.until_position(3, f"{EVENT}/late")
        await his.until_position(3, f"{EVENT}/early")
        assert sorted(his.seen()) == ["R1", "R2", "R3", "R3"]


async def test_after_a_restart_it_goes_on_behind_what_it_has_had(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        await his.tell("R1", "R2")
        await his.until_position(2)
    async with telling(tmp_path, before=["R3"]) as his:
        await his.until_position(3)
        assert his.seen() == ["R3"]


async def test_an_event_whose_answer_was_not_kept_is_sent_again_with_the_same_id_and_key(tmp_path: Path) -> None:
    """The process dies between the answer and the commit: the system can tell the second call from another one."""
    async with telling(tmp_path) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate)
        await his.tell("R1")
        await gate.entered.wait()
        first = his.bus.his.calls[0][2]
        for task in his.subscribers._tasks:
            task.cancel()
        await asyncio.gather(*his.subscribers._tasks, return_exceptions=True)
        gate.open.set()
    async with telling(tmp_path) as his:
        await his.until_position(1)
        again = his.bus.his.calls[0][2]
        assert (again.exchange, again.key) == (first.exchange, first.key)
        assert await his.rows() == [("R1", "done")]


async def test_what_cannot_be_reached_waits_in_the_ordinary_queue_and_holds_up_nobody(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:

        async def one_is_down(action: str, payload: Any, call: Any) -> Any:
            if payload["Order"] == "R1":
                raise Unavailable("cannot connect")
            call.wire.sending(b"<sent/>")
            return {"Code": "0", "No": "L1", "Order": payload["Order"]}

        his.bus.his.does("Free", one_is_down)
        await his.tell("R1", "R2", "R3")
        await his.until_position(3)
        assert await his.rows() == [("R1", "accepted"), ("R2", "done"), ("R3", "done")]
        (entry,) = await his.bus.pipeline.buffer.list()
        assert (entry.where, entry.tries, entry.sent, entry.reason) == (
            Where.LATER, 1, False, "unavailable: cannot connect",
        )  # fmt: skip
        assert his.bus.pipeline.buffer.length("his") == 1
        assert his.counted("queued") == 1
        answers(his.bus)
        await deliver_all(his.bus)
        assert await his.rows() == [("R1", "done"), ("R2", "done"), ("R3", "done")]


async def test_the_try_before_it_was_kept_stands_with_the_others(tmp_path: Path) -> None:
    """The row's own wire is that of the delivery that ended it."""

    async def torn(action: str, payload: Any, call: Any) -> Any:
        call.wire.sending(b"<first/>")
        raise Malformed("it ends in the middle", raw=b"<half")

    async with telling(tmp_path) as his:
        his.bus.his.does("Free", torn)
        await his.tell("R1")
        await his.until_position(1)
        (waits,) = await wires(his.bus)
        answers(his.bus)
        await deliver_all(his.bus)
        (ended,) = await wires(his.bus)
    assert [(one.facts["number"], one.facts["code"], one.sent, one.raw) for one in waits.tries] == [
        (1, "malformed_answer", b"<first/>", b"<half")
    ]
    assert (waits.facts["state"], waits.bodies["sent"], waits.bodies["raw"]) == ("accepted", b"", b"")
    assert (ended.facts["state"], ended.bodies["sent"], ended.bodies["raw"]) == ("done", b"<sent/>", b"<received/>")
    assert ended.tries == waits.tries


async def test_what_our_own_limits_kept_back_was_no_try(tmp_path: Path) -> None:
    async with telling(tmp_path, limits={"breaker": "1 in 60s"}) as his:
        his.bus.his.does("Free", Unavailable("cannot connect"))
        for position, order in enumerate(("R1", "R2"), 1):
            await his.tell(order)
            await his.until_position(position)
        found = await wires(his.bus)
    assert [[one.facts["code"] for one in each.tries] for each in found] == [["unavailable"], []]


async def wires(bus: Any) -> Sequence[Found]:
    """All exchanges with their tries, the oldest first."""
    found: list[Found] = await bus.store.look(lambda connection: page(connection, Query(), bodies=True))
    return found[::-1]


async def test_silence_is_remembered_as_perhaps_arrived(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        his.bus.his.does("Free", silence())
        await his.tell("R1")
        await his.until_position(1)
        (entry,) = await his.bus.pipeline.buffer.list()
        assert (entry.sent, entry.tries) == (True, 1)


async def test_of_one_key_the_order_is_kept_and_others_pass(tmp_path: Path) -> None:
    wanted = subscription("{orderNo: $patient}")
    async with telling(tmp_path, wanted, routes=ORDERED) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "A"})

        async def slowly(action: str, payload: Any, call: Any) -> Any:
            if payload["Order"] == "A" and not gate.open.is_set():
                return await gate(action, payload, call)
            return {"Code": "0", "No": "L1", "Order": payload["Order"]}

        his.bus.his.does("Free", slowly)
        for patient in ("A", "A", "B", "C"):
            await his.tell("R", patient=patient)
        await until(lambda: _true(set(his.seen()) == {"A", "B", "C"}))
        assert his.seen() == ["A", "B", "C"], "the second of A waits for the first"
        gate.open.set()
        await his.until_position(4)
        assert his.seen() == ["A", "B", "C", "A"]


async def test_what_comes_after_a_stuck_one_of_its_key_goes_into_the_queue_behind_it(tmp_path: Path) -> None:
    wanted = subscription("{orderNo: $patient}")
    async with telling(tmp_path, wanted, routes=ORDERED) as his:

        async def refuses_a(action: str, payload: Any, call: Any) -> Any:
            if payload["Order"] == "A":
                raise Unavailable("cannot connect")
            return {"Code": "0", "No": "L1", "Order": payload["Order"]}

        his.bus.his.does("Free", refuses_a)
        for patient in ("A", "A", "B"):
            await his.tell("R", patient=patient)
        await his.until_position(3)
        await his.tell("R", patient="A")
        await his.until_position(4)
        places = [entry.where for entry in await his.bus.pipeline.buffer.list()]
        assert places == [Where.LATER, Where.HELD, Where.HELD]
        assert his.seen() == ["A", "B"], "nobody overtook the first of A"
        answers(his.bus)
        await deliver_all(his.bus)
        assert his.seen()[2:] == ["A", "A", "A"]


async def test_what_comes_after_a_request_of_its_key_that_waits_goes_into_the_queue_behind_it(tmp_path: Path) -> None:
    wanted = subscription("{orderNo: $patient}")
    async with telling(tmp_path, wanted, routes=ORDERED) as his:
        await his.tell("R", patient="A")
        await his.until_position(1)
        assert (await his.bus.ask("slot.free", {"orderNo": "A"}, "K1")).outcome is Outcome.ACCEPTED
        for patient in ("A", "B"):
            await his.tell("R", patient=patient)
        await his.until_position(3)
        places = [entry.where for entry in await his.bus.pipeline.buffer.list()]
        assert places == [Where.READY, Where.HELD]
        assert his.seen() == ["A", "B"], "what came second of A waits behind the request"


async def test_the_queue_is_asked_only_when_something_may_wait_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    has_ordered = queue.has_ordered

    def seen(connection: Any, endpoint: str) -> bool:
        asked.append(endpoint)
        return has_ordered(connection, endpoint)

    monkeypatch.setattr(queue, "has_ordered", seen)
    wanted = subscription("{orderNo: $patient}")
    async with telling(tmp_path, wanted, routes=ORDERED) as his:
        await his.tell("R", patient="A")
        await his.until_position(1)
        before = len(asked)
        await his.tell("R", "R", patient="A")
        await his.until_position(3)
        assert before > 0
        assert his.bus.store.is_shared or len(asked) == before, "another process may have put something there"
        his.bus.his.does("Free", Unavailable("cannot connect"))
        await his.tell("R", patient="A")
        await his.until_position(4)
        await his.tell("R", patient="A")
        await his.until_position(5)
        assert len(asked) > before, "one of its key waits"


async def test_a_once_is_never_sent_before_it_is_kept(tmp_path: Path) -> None:
    wanted = subscription("{orderNo: $orderNo, slotId: S1}", operation="slot.lock")
    async with telling(tmp_path, wanted, routes=LOCK) as his:
        await his.tell("R1")
        await his.until_position(1, f"{EVENT}/slot.lock")
        assert his.seen("Lock") == []
        (entry,) = await his.bus.pipeline.buffer.list()
        assert (entry.where, entry.message.operation) == (Where.READY, "slot.lock")
        assert await his.rows("slot.lock") == [("R1", "accepted")]


async def test_an_event_that_is_no_request_ends_in_the_journal_and_holds_up_nobody(tmp_path: Path) -> None:
    async with telling(tmp_path, subscription("{orderNo: $orderNo}", from_start=True), before=[""]) as his:
        await his.tell("R1")
        await his.until_position(2)
        assert await his.rows() == [("", "refused"), ("R1", "done")]
        assert his.counted("invalid") == 1


async def test_an_event_that_cannot_be_mapped_ends_as_malformed_with_the_place(tmp_path: Path) -> None:
    async with telling(tmp_path, subscription("{orderNo: $patient.id}")) as his:
        await his.tell("R1")
        await his.until_position(1)
        assert await his.rows() == [("R1", "malformed")]
        (row,) = [one for one in [await his.bus.store.find(await only(his))] if one]
        assert (row.code, row.reason) == (
            "mapping_failed", "routes.yaml:1: with.orderNo: $patient.id is missing",
        )  # fmt: skip


async def test_an_event_whose_row_is_damaged_ends_as_malformed_and_holds_up_nobody(tmp_path: Path) -> None:
    async with telling(tmp_path, before=("R1", "R2", "R3")) as his:
        junk = inbox.update().where(inbox.c.position == 2).values(content=b"\1junk")
        await his.bus.store.transact(lambda one: one.execute(junk))
        told = await his.bus.store.look(lambda one: events_after(one, 0, 10))
        assert [one.body == b"" for one in told] == [False, True, False]
    async with telling(tmp_path, subscription("{orderNo: $orderNo}", from_start=True, label="late")) as his:
        await his.until_position(3, f"{EVENT}/late")
        assert his.seen() == ["R1", "R3"]
        query = exchange.select().where(exchange.c.state == "malformed")
        (row,) = await his.bus.store.look(lambda one: one.execute(query).all())
        assert row.reason == "row 2 of the inbox is damaged"


async def test_a_full_queue_holds_the_subscriber_and_loses_nothing(tmp_path: Path) -> None:
    async with telling(tmp_path, limits={"backlog": 2, "concurrency": 2}) as his:
        his.bus.his.does("Free", Unavailable("cannot connect"))
        await his.tell("R1", "R2", "R3", "R4")
        await his.until_position(2)
        await until(lambda: _true(his.bus.pipeline.buffer.length("his") == 2))  # it is counted after the commit
        answers(his.bus)
        await deliver_all(his.bus, 2)
        await his.until_position(4)
        await deliver_all(his.bus)
        assert await his.rows() == [("R1", "done"), ("R2", "done"), ("R3", "done"), ("R4", "done")]


async def test_a_subscriber_whose_cursor_another_took_writes_nothing(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate, {"Code": "0", "No": "L1", "Order": "R1"})
        await his.tell("R1")
        await gate.entered.wait()
        await his.bus.store.transact(lambda one: cursors.take(one, NAME))
        gate.open.set()
        await his.until_position(1)
        assert his.seen() == ["R1", "R1"], "it began again from the position that was kept"
        assert await his.rows() == [("R1", "done")]


async def test_events_that_a_subscriber_has_not_had_are_not_pruned(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate, {"Code": "0", "No": "L1", "Order": "R1"})
        await his.tell("R1", "R2")
        await gate.entered.wait()
        await prune(his.bus.store, his.clock.now() + timedelta(hours=1))
        assert len(await his.bus.store.events(0)) == 2
        gate.open.set()
        await his.until_position(2)
        await prune(his.bus.store, his.clock.now() + timedelta(hours=1))
        assert len(await his.bus.store.events(0)) == 1, "the last one keeps its position"


async def test_a_reload_changes_a_subscriber_where_it_is_and_ends_one_that_is_gone(tmp_path: Path) -> None:
    other = subscription("{orderNo: other}", label="other")
    async with telling(tmp_path, subscription("{orderNo: $orderNo}"), other) as his:
        await his.tell("R1")
        await his.until_position(1)
        await his.until_position(1, f"{EVENT}/other")
        his.subscribers.replace([subscription("{orderNo: changed}")])
        changes = his.subscribers._changes
        await until(lambda: _true(changes is not None and changes.done()))
        await his.tell("R2")
        await his.until_position(2)
        assert (sorted(his.seen()), await his.position(f"{EVENT}/other")) == (["R1", "changed", "other"], 1)


async def test_how_far_behind_each_is_is_counted(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate)
        await his.tell("R1", "R2")
        await gate.entered.wait()
        await his.subscribers._count()
        assert his.bus.value("event_behind", subscriber=NAME) == 2
        gate.open.set()
        await his.until_position(2)
        await his.subscribers._count()
        assert his.bus.value("event_behind", subscriber=NAME) == 0
        assert his.bus.value("event_oldest_seconds", subscriber=NAME) == 0


async def test_closing_keeps_what_has_ended(tmp_path: Path) -> None:
    async with telling(tmp_path) as his:
        gate = Gate({"Code": "0", "No": "L1", "Order": "R1"})
        his.bus.his.does("Free", gate)
        await his.tell("R1")
        await gate.entered.wait()
        closing = asyncio.create_task(his.subscribers.close())
        await asyncio.sleep(0)
        gate.open.set()
        await closing
        assert await his.position() == 1
        assert await his.rows() == [("R1", "done")]


async def test_a_thousand_events_are_all_forwarded_each_once(tmp_path: Path) -> None:
    async with telling(tmp_path, routes=QUEUED, limits={"concurrency": 64}) as his:
        orders = [f"R{number:04d}" for number in range(1000)]
        await asyncio.gather(*(his.tell(order) for order in orders))
        await his.until_position(1000)
        assert sorted(his.seen()) == orders
        assert len(await his.rows()) == 1000


async def only(his: Any) -> str:
    found = await his.bus.store.look(lambda one: one.execute(exchange.select()).all())
    return str(found[0].id)


async def deliver_all(bus: Any, most: int = 1000) -> None:
    """A worker until the queue is empty, or so many have been delivered; what waits for a later try goes at once."""
    for _ in range(most):
        entries = [one for one in await bus.pipeline.buffer.list() if one.where is not Where.PARKED]
        if not entries:
            return
        now = queue.queue.update().where(queue.queue.c.state == queue.LATER).values(due=0)
        await bus.store.transact(lambda one, now=now: one.execute(now))
        for delivery in await bus.pipeline.buffer.take("his", 1):
            await bus.pipeline.deliver(delivery)


async def _true(value: bool) -> bool:
    return value


async def test_of_two_processes_on_one_store_one_runs_a_subscriber_and_the_other_takes_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with telling(tmp_path / "a") as first:
        await first.tell("R1")
        await first.until_position(1)
        async with telling(tmp_path / "b") as second:
            await second.tell("R2")
            await first.until_position(2)
            assert (first.seen(), second.seen()) == (["R1", "R2"], [])
            await first.subscribers.close()
            await second.tell("R3")
            await second.until_position(3)
            assert second.seen() == ["R3"]
            assert len(await second.rows()) == 3
