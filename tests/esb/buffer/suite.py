"""What every buffer must do. A backend's test module has a fixture ``rig`` and imports these tests.

A rig gives ``buffer``, ``clock`` (a ``FakeClock``), ``crashed()`` (a second buffer on the same data, as a process that
begins after the first was killed) and ``state(exchange)`` (what the journal says).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.buffer import Buffer, Delivery, Lost, Message, Where
from esb.store import Fate, Row, State, queue
from tests import postgres
from tests.esb.kit import FakeClock

HIS, LIS = "his", "lis"


@dataclass
class Rig:
    buffer: Buffer
    clock: FakeClock
    crashed: Callable[[], Awaitable[Buffer]]
    state: Callable[[str], Awaitable[str]]
    lease_s: float


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'esb.db'}"
        return
    with postgres.database() as made:
        yield made


def row(exchange: str, key: str = "", request: bytes = b"{}") -> Row:
    """An accepted exchange as the pipeline journals it."""
    texts = dict.fromkeys(Row._fields, "")
    values: dict[str, Any] = {
        **texts,
        "fingerprint": key.encode(),
        "attempts": 0,
        "sent": b"",
        "raw": b"",
        "answer": b"",
    }
    values |= {"id": exchange, "operation": "slot.free", "endpoint": HIS, "effect": "idempotent", "state": "accepted"}
    return Row(**{**values, "principal": "app", "key": key or exchange, "request": request})


async def accept(buffer: Buffer, *exchanges: str, **more: Any) -> None:
    for exchange in exchanges:
        values = {"endpoint": HIS, "operation": "slot.free", **more}
        assert await buffer.accept(row(exchange), Message(exchange, **values)) is None


async def taken(buffer: Buffer, most: int = 10, endpoint: str = HIS) -> list[str]:
    return [one.message.id for one in await buffer.take(endpoint, most)]


async def one(buffer: Buffer) -> Delivery:
    (delivery,) = await buffer.take(HIS, 1)
    return delivery


def beside(buffer: Any, work: Callable[[sa.Connection], Any]) -> Any:
    """As a person's command does it: on the store, past the buffer that runs."""
    return buffer._store.transact(work)


async def release(buffer: Buffer, exchange: str, reason: str) -> bool:
    """Whether it was parked."""

    def work(connection: sa.Connection) -> bool:
        found = queue.find(connection, exchange)
        return found is not None and queue.release(connection, found, 0, reason)

    done: bool = await beside(buffer, work)
    return done


async def where(buffer: Buffer, exchange: str) -> Where | None:
    entry = await buffer.find(exchange)
    return entry.where if entry else None


async def test_what_is_accepted_is_journalled_taken_and_gone_when_acknowledged(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    assert (await rig.state("E1"), rig.buffer.length(HIS)) == ("accepted", 1)
    delivery = await one(rig.buffer)
    assert delivery.message.id == "E1"
    assert await taken(rig.buffer) == []
    assert await rig.buffer.ack(delivery)
    assert (await where(rig.buffer, "E1"), rig.buffer.length(HIS)) == (None, 0)


async def test_an_acknowledgement_counts_once(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    delivery = await one(rig.buffer)
    assert [await rig.buffer.ack(delivery) for _ in range(3)] == [True, False, False]
    assert rig.buffer.length(HIS) == 0


async def test_messages_come_as_they_were_accepted_and_each_endpoint_has_its_own(rig: Rig) -> None:
    await accept(rig.buffer, "E3", "E1", "E2")
    await accept(rig.buffer, "L1", endpoint=LIS)
    assert await taken(rig.buffer, 2) == ["E3", "E1"]
    assert await taken(rig.buffer) == ["E2"]
    assert await taken(rig.buffer, endpoint=LIS) == ["L1"]


async def test_the_lower_priority_number_goes_first(rig: Rig) -> None:
    await accept(rig.buffer, "low", priority=2)
    await accept(rig.buffer, "normal1", "normal2", priority=1)
    await accept(rig.buffer, "high", priority=0)
    assert await taken(rig.buffer) == ["high", "normal1", "normal2", "low"]


async def test_many_at_once_are_all_there_once_and_in_order(rig: Rig) -> None:
    names = [f"E{number:03}" for number in range(300)]
    messages = [(row(name), Message(name, HIS, "slot.free")) for name in names]
    assert set(await asyncio.gather(*(rig.buffer.accept(*one) for one in messages))) == {None}
    assert await taken(rig.buffer, 1000) == names


async def test_a_key_is_held_by_the_first_that_came_with_it(rig: Rig) -> None:
    message = Message("E1", HIS, "slot.free")
    first = rig.buffer.accept(row("E1", "K"), message)
    second = rig.buffer.accept(row("E2", "K"), message._replace(id="E2"))
    earlier = await asyncio.gather(first, second)
    later = await rig.buffer.accept(row("E3", "K"), message._replace(id="E3"))
    assert earlier[0] is None
    assert [(found.exchange, found.same, found.state) for found in (earlier[1], later) if found] == [
        ("E1", True, State.ACCEPTED),
        ("E1", True, State.ACCEPTED),
    ]
    assert (await taken(rig.buffer), rig.buffer.length(HIS)) == (["E1"], 1)
    assert await rig.state("E2") == ""


async def test_an_order_key_goes_one_after_another_and_others_pass(rig: Rig) -> None:
    await accept(rig.buffer, "A1", "A2", "A3", order_key="a")
    await accept(rig.buffer, "B1", order_key="b")
    await accept(rig.buffer, "N1")
    first, *others = await rig.buffer.take(HIS, 10)
    assert [first.message.id, *(each.message.id for each in others)] == ["A1", "B1", "N1"]
    assert await where(rig.buffer, "A2") is Where.HELD
    await rig.buffer.ack(first)
    assert await taken(rig.buffer) == ["A2"]


@pytest.mark.parametrize("how", ["later", "park", "settling"])
async def test_a_stuck_one_holds_its_key_and_nobody_else(rig: Rig, how: str) -> None:
    await accept(rig.buffer, "A1", "A2", order_key="a")
    await accept(rig.buffer, "B1", "B2", order_key="b")
    for delivery in await rig.buffer.take(HIS, 10):
        if delivery.message.id == "B1":
            await rig.buffer.ack(delivery)
        elif how == "later":
            await rig.buffer.later(delivery, 60, "busy", counts=True)
        elif how == "park":
            await rig.buffer.park(delivery, "broken")
        else:
            await rig.buffer.settling(delivery)
    assert await taken(rig.buffer) == ["B2"]
    assert await where(rig.buffer, "A2") is Where.HELD


async def test_order_is_kept_within_an_endpoint_not_across(rig: Rig) -> None:
    await accept(rig.buffer, "A1", order_key="a")
    await accept(rig.buffer, "L1", order_key="a", endpoint=LIS)
    assert (await taken(rig.buffer), await taken(rig.buffer, endpoint=LIS)) == (["A1"], ["L1"])


async def test_what_is_put_off_comes_back_when_it_is_due_with_its_tries_and_its_reason(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    assert await rig.buffer.later(await one(rig.buffer), 30, "unavailable: down", counts=True, sent=True)
    rig.clock.at += 29
    assert await taken(rig.buffer) == []
    rig.clock.at += 2
    again = await one(rig.buffer)
    assert (again.tries, again.sent, again.reason) == (1, True, "unavailable: down")
    await rig.buffer.later(again, 1, "endpoint_down", counts=False)
    rig.clock.at += 2
    again = await one(rig.buffer)
    assert (again.tries, again.sent, again.reason) == (1, True, "endpoint_down")


async def test_what_may_have_arrived_is_known_after_a_crash(rig: Rig) -> None:
    await accept(rig.buffer, "E1", "E2")
    first, _ = await rig.buffer.take(HIS, 2)
    await rig.buffer.sent(first)
    second = await rig.crashed()
    assert {each.message.id: each.sent for each in await second.take(HIS, 2)} == {"E1": True, "E2": False}


async def test_nothing_is_lost_or_taken_twice_when_the_process_is_killed(rig: Rig) -> None:
    names = [f"E{number}" for number in range(20)]
    await accept(rig.buffer, *names)
    deliveries = await rig.buffer.take(HIS, 10)
    for delivery in deliveries[:5]:
        assert await rig.buffer.ack(delivery)
    second = await rig.crashed()
    again = await second.take(HIS, 100)
    assert [each.message.id for each in again] == names[5:]
    assert [each.lost for each in again] == [1] * 5 + [0] * 10
    assert [await second.ack(each) for each in deliveries[5:]] == [False] * 5
    assert all([await second.ack(each) for each in again])
    assert second.length(HIS) == 0


async def test_a_lease_that_ended_gives_the_message_to_another_and_the_first_can_do_nothing(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    first = await one(rig.buffer)
    rig.clock.at += rig.lease_s + 1
    second = await one(rig.buffer)
    assert (second.message.id, second.lost) == ("E1", 1)
    with pytest.raises(Lost):
        await rig.buffer.sent(first)
    assert not await rig.buffer.ack(first)
    assert not await rig.buffer.later(first, 1, "", counts=True)
    assert not await rig.buffer.park(first, "")
    assert not await rig.buffer.settling(first)
    await rig.buffer.sent(second)
    assert await rig.buffer.ack(second)


async def test_a_renewed_lease_keeps_the_message(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    delivery = await one(rig.buffer)
    for _ in range(5):
        rig.clock.at += rig.lease_s * 0.7
        await rig.buffer.renew([delivery])
        assert await taken(rig.buffer) == []
    assert await rig.buffer.ack(delivery)


async def test_what_is_over_its_time_is_told_wherever_it_waits(rig: Rig) -> None:
    until = int(rig.clock.now().timestamp() * 1000) + 10_000
    await accept(rig.buffer, "A1", "A2", order_key="a", expires=until)
    await accept(rig.buffer, "E1", expires=until)
    await accept(rig.buffer, "E2")
    assert await rig.buffer.expired(10) == []
    first, second, _ = await rig.buffer.take(HIS, 10)
    await rig.buffer.later(first, 3600, "down", counts=True)
    rig.clock.at += 11
    over = await rig.buffer.expired(10)
    assert {each.message.id for each in over} == {"A1", "A2"}
    assert second.message.id == "E1"
    for each in over:
        assert await rig.buffer.ack(each)
    assert await where(rig.buffer, "A2") is None


async def test_a_parked_one_waits_for_a_person_and_is_released_with_all_its_tries(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    await rig.buffer.later(await one(rig.buffer), 0, "down", counts=True)
    await rig.buffer.park(await one(rig.buffer), "mapping_failed: no such field")
    (entry,) = await rig.buffer.list([Where.PARKED])
    assert (entry.message.id, entry.reason, entry.tries) == ("E1", "mapping_failed: no such field", 1)
    assert not await release(rig.buffer, "E2", "")
    second = await rig.crashed()
    assert await taken(second) == []
    assert await release(second, "E1", "mended")
    delivery = await one(second)
    assert (delivery.tries, delivery.reason) == (0, "mended")
    assert not await release(second, "E1", "again")


async def test_released_ones_of_a_key_go_one_after_another_as_they_were_accepted(rig: Rig) -> None:
    """I9: a deployment without their route parked them all."""
    await accept(rig.buffer, "A1", "A2", "A3", order_key="a")
    await accept(rig.buffer, "E1")
    await rig.buffer.route({})
    assert len(await rig.buffer.list([Where.PARKED])) == 4
    for exchange in ("A2", "E1"):
        assert await release(rig.buffer, exchange, "again")
    assert (await taken(rig.buffer), await where(rig.buffer, "A2")) == (["E1"], Where.HELD)
    for exchange in ("A1", "A3"):
        assert await release(rig.buffer, exchange, "again")
    order = []
    while found := await rig.buffer.take(HIS, 10):
        order.append([each.message.id for each in found])
        for each in found:
            assert await rig.buffer.ack(each)
    assert order == [["A1"], ["A2"], ["A3"]]


async def test_a_discarded_one_ends_its_exchange_and_frees_its_key(rig: Rig) -> None:
    await rig.buffer.accept(row("E1", "K"), Message("E1", HIS, "slot.free", order_key="a"))
    await accept(rig.buffer, "E2", order_key="a")
    ended = row("E1", "K")._replace(state="cancelled", reason="asked for twice")
    assert not await beside(rig.buffer, lambda one: queue.discard(one, ended, Fate.RELEASE))
    await rig.buffer.park(await one(rig.buffer), "broken")
    assert await beside(rig.buffer, lambda one: queue.discard(one, ended, Fate.RELEASE))
    await rig.buffer.measure()
    assert (await rig.state("E1"), rig.buffer.length(HIS), await taken(rig.buffer)) == ("cancelled", 1, ["E2"])
    assert await rig.buffer.accept(row("E3", "K"), Message("E3", HIS, "slot.free")) is None


async def test_what_is_settled_is_gone_and_what_did_not_happen_is_tried_again(rig: Rig) -> None:
    await accept(rig.buffer, "E1", "E2")
    for delivery in await rig.buffer.take(HIS, 2):
        await rig.buffer.sent(delivery)
        doubtful = row(delivery.message.id)._replace(effect="once", state="unknown")
        assert await rig.buffer.finish(delivery, doubtful, Fate.KEEP)
        assert await rig.buffer.settling(delivery)
    assert await taken(rig.buffer) == []
    assert await rig.buffer.settled("E1")
    assert not await rig.buffer.settled("E1")
    entry = await rig.buffer.reopen("E2", 5, "it did not happen")
    assert entry is not None
    assert (entry.where, entry.tries, entry.sent) == (Where.LATER, 1, False)
    rig.clock.at += 6
    assert await taken(rig.buffer) == ["E2"]
    for exchange in ("E2", "E9"):
        assert await rig.buffer.reopen(exchange, 5, "asked twice") is None
    assert await where(rig.buffer, "E2") is Where.TAKEN


async def test_what_was_settling_when_the_process_died_is_looked_at_again(rig: Rig) -> None:
    await accept(rig.buffer, "E1")
    delivery = await one(rig.buffer)
    await rig.buffer.sent(delivery)
    await rig.buffer.settling(delivery)
    again = await one(await rig.crashed())
    assert (again.message.id, again.sent, again.lost) == ("E1", True, 0)


async def test_what_waits_moves_with_its_route_and_keeps_its_order(rig: Rig) -> None:
    await accept(rig.buffer, "A1", "A2", order_key="a")
    await accept(rig.buffer, "L1", order_key="a", endpoint=LIS, operation="report.send")
    await accept(rig.buffer, "X1", operation="gone")
    await rig.buffer.route({"slot.free": LIS, "report.send": LIS})
    assert await taken(rig.buffer) == []
    assert (rig.buffer.length(HIS), rig.buffer.length(LIS)) == (1, 3)
    assert await where(rig.buffer, "X1") is Where.PARKED
    order = []
    while found := await rig.buffer.take(LIS, 10):
        order += [each.message.id for each in found]
        for each in found:
            await rig.buffer.ack(each)
    assert order == ["A1", "A2", "L1"]


async def test_waiting_ends_with_news_and_at_the_latest_in_time(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.buffer.wait(HIS, 30))
    await asyncio.sleep(0.01)
    await accept(rig.buffer, "E1")
    async with asyncio.timeout(5):
        await waiting
        await rig.buffer.wait(LIS, 0.01)


async def test_counts_say_how_many_and_since_when(rig: Rig) -> None:
    await accept(rig.buffer, "E1", accepted=100)
    await accept(rig.buffer, "E2", "E3", accepted=200)
    await rig.buffer.park(await one(rig.buffer), "broken")
    assert await rig.buffer.counts() == {(HIS, Where.PARKED): (1, 100), (HIS, Where.READY): (2, 200)}
