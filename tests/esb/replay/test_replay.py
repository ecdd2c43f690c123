"""Replay: the same exchange under the same key, never a second effect (I2), rated, audited, resumable (F40)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb import audit
from esb.buffer import Where
from esb.replay import Judged, Performer, Verdict, rehearse
from esb.store import Fate
from esb.store.engines import transaction
from tests.esb.replay.kit import LOCK, LOCK_REQUEST, UNLOCK, Hospital, hospital


def really(bus: Hospital, *ids: str, rate: float = 1000.0) -> list[Judged]:
    performer = Performer(bus.url, bus.plan, bus.clock, "the system is back", rate)
    return [one for chunk in performer.perform(ids) for one in chunk]


def verdicts(done: list[Judged]) -> list[str]:
    return [str(one.verdict) for one in done]


@pytest.mark.parametrize(
    ("operation", "state", "fate", "values", "verdict"),
    [
        (UNLOCK, "unavailable", Fate.RELEASE, {"code": "unavailable"}, "again"),
        (UNLOCK, "unavailable", Fate.RELEASE, {"code": "expired", "key": "K1"}, "again"),
        (UNLOCK, "unknown", Fate.AGAIN, {"code": "outcome_unknown", "key": "K1"}, "again"),
        (UNLOCK, "malformed", Fate.AGAIN, {"code": "malformed_answer", "key": "K1"}, "again"),
        (LOCK, "unavailable", Fate.RELEASE, {"code": "not_sent", "key": "K1"}, "again"),
        (LOCK, "malformed", Fate.RELEASE, {"code": "mapping_failed", "key": "K1"}, "again"),
        (LOCK, "malformed", Fate.KEEP, {"code": "malformed_answer", "key": "K1", "sent": b"MSH"}, "settling"),
        (LOCK, "malformed", Fate.KEEP, {"code": "malformed_answer", "key": "K1", "raw": b"MSH"}, "settling"),
        (LOCK, "unknown", Fate.KEEP, {"code": "outcome_unknown", "key": "K1"}, "settling"),
        (UNLOCK, "done", Fate.KEEP, {"key": "K1", "answer": b"{}"}, "answered"),
        (UNLOCK, "refused", Fate.KEEP, {"key": "K1", "code": "not_found"}, "answered"),
        (UNLOCK, "sent", Fate.KEEP, {"key": "K1"}, "under_way"),
        (UNLOCK, "unavailable", Fate.RELEASE, {"cause": "an event"}, "again"),
        ("schedule.list", "unavailable", Fate.RELEASE, {"request": {"doctorId": "D001"}}, "read"),
        (UNLOCK, "unavailable", Fate.RELEASE, {"request": {"order": "R1"}}, "invalid"),
        ("no.such", "unavailable", Fate.RELEASE, {"request": {"order": "R1"}}, "no_route"),
    ],
)
async def test_only_what_did_not_happen_or_may_be_sent_again_is_accepted_again(
    tmp_path: Path, operation: str, state: str, fate: Fate, values: dict[str, Any], verdict: str
) -> None:
    async with hospital(tmp_path) as bus:
        exchange = await bus.ended(operation, state, fate, **values)
        (done,) = really(bus, exchange)
        entry, row = await bus.buffer.find(exchange), await bus.store.find(exchange)
        (twice,) = really(bus, exchange)
    assert row is not None
    assert done.verdict == verdict
    if verdict == "again":
        assert (row.state, row.code, row.finished) == ("accepted", "", "")
        assert entry is not None
        assert (entry.where, entry.tries, entry.sent) == (
            Where.LATER,
            0,
            state != "unavailable" and operation == UNLOCK,
        )
        assert twice.verdict is Verdict.UNDER_WAY
    else:
        assert (entry, row.state, twice.verdict) == (None, state, done.verdict)


async def test_a_parked_one_is_released_and_a_second_run_finds_it_on_its_way(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        exchange = await bus.parked(UNLOCK)
        assert verdicts([*really(bus, exchange), *really(bus, exchange)]) == ["release", "under_way"]
        entry = await bus.buffer.find(exchange)
    assert entry is not None
    assert (entry.where, entry.tries) == (Where.LATER, 0)
    assert entry.reason.endswith(": the system is back")


async def test_what_its_key_was_used_for_since_is_left_alone(tmp_path: Path) -> None:
    """I2: the client asked again under the same key and that was done."""
    async with hospital(tmp_path) as bus:
        first = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE, key="K1")
        second = await bus.ended(UNLOCK, "done", Fate.KEEP, key="K1", answer=b"{}")
        (done,) = really(bus, first)
        row = await bus.store.find(first)
    assert (done.verdict, done.why) == (Verdict.OTHER, f"{second} has its key")
    assert row is not None
    assert row.state == "unavailable"


async def test_what_was_given_the_answer_of_another_is_left_alone(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        first = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE)
        second = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE, cause=first)
        assert [(one.verdict, one.why) for one in really(bus, second)] == [(Verdict.OTHER, f"{first} answered it")]


async def test_what_is_replayed_holds_its_key_again(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        first = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE, key="K1")
        really(bus, first)
        earlier = await bus.store.open(bus.row(UNLOCK, key="K1"))
    assert earlier is not None
    assert (earlier.exchange, earlier.same, earlier.state) == (first, True, "accepted")


async def test_five_thousand_dead_letters_are_spread_over_time_audited_and_resumed(tmp_path: Path) -> None:
    """F40: cut short after 2,000 and begun again with the same list; nothing twice, nothing left out, one rate."""
    async with hospital(tmp_path) as bus:
        ids = [(await bus.ended(UNLOCK, "unavailable", Fate.RELEASE, request={"orderNo": f"R{n}"})) for n in range(5)]
        template = await bus.store.find(ids[0])
        assert template is not None
        await bus.store.transact(lambda connection: _copies(connection, ids[0], 4995))
        ids = await bus.store.look(lambda one: list(one.scalars(sa.text("SELECT id FROM exchange ORDER BY id"))))
        assert len(ids) == 5000
        performer = Performer(bus.url, bus.plan, bus.clock, "the system is back", 100.0)
        begun = performer.perform(ids)
        first = [one for _ in range(20) for one in next(begun)]
        begun.close()
        again = really(bus, *ids, rate=100.0)
        dues = await bus.store.look(lambda one: list(one.scalars(sa.text("SELECT due FROM queue ORDER BY due"))))
        with transaction(bus.url, writes=False) as connection:
            acts = list(audit.entries(connection, action="replay"))
            assert audit.verify(connection).broken is None
    assert (len(first), verdicts(first).count("again"), verdicts(again).count("again")) == (2000, 2000, 3000)
    assert verdicts(again).count("under_way") == 2000
    assert len(set(dues)) == 5000
    assert 49_000 <= dues[-1] - dues[0] <= 51_000
    assert (sorted(act.object for act in acts), {act.reason for act in acts}) == (sorted(ids), {"the system is back"})


def _copies(connection: sa.Connection, exchange: str, number: int) -> None:
    columns = [
        one["name"] for one in sa.inspect(connection).get_columns("exchange") if one["name"] not in ("id", "key")
    ]
    names = ", ".join(columns)
    for at in range(number):
        new = f"{exchange[:-6]}{at:06d}Z"
        connection.exec_driver_sql(
            f"INSERT INTO exchange (id, key, {names}) SELECT ?, ?, {names} FROM exchange WHERE id = ?",
            (new, new, exchange),
        )


async def test_a_queue_is_filled_up_to_its_bound_and_no_further(tmp_path: Path) -> None:
    """I10."""
    async with hospital(tmp_path) as bus:
        ids = [await bus.ended(UNLOCK, "unavailable", Fate.RELEASE) for _ in range(5)]
        limits = bus.plan.routes.endpoints["his"].limits.model_copy(update={"backlog": 3})
        bus.plan.routes.endpoints["his"] = bus.plan.routes.endpoints["his"].model_copy(update={"limits": limits})
        assert verdicts(really(bus, *ids)) == ["again"] * 3 + ["full"] * 2


async def test_those_of_one_order_key_go_one_after_another(tmp_path: Path) -> None:
    """I9."""
    async with hospital(tmp_path) as bus:
        route = bus.plan.routes.routes[UNLOCK].model_copy(update={"deliver": "queued", "ordered": "$orderNo"})
        bus.plan.routes.routes[UNLOCK] = route
        ids = [await bus.ended(UNLOCK, "unavailable", Fate.RELEASE) for _ in range(3)]
        really(bus, *ids)
        places = [entry.where for one in ids if (entry := await bus.buffer.find(one))]
    assert places == [Where.LATER, Where.HELD, Where.HELD]


async def test_a_damaged_row_is_said_and_the_others_are_replayed(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        ids = [await bus.ended(UNLOCK, "unavailable", Fate.RELEASE) for _ in range(3)]
        await bus.store.transact(lambda one: one.exec_driver_sql(
            "UPDATE exchange SET request = ? WHERE id = ?", (b"\x00{", ids[0])
        ))  # fmt: skip
        await bus.store.transact(lambda one: one.exec_driver_sql(
            "UPDATE exchange SET state = 'nonsense' WHERE id = ?", (ids[1],)
        ))  # fmt: skip
        assert verdicts(really(bus, *ids, "NOBODY")) == ["unreadable", "unreadable", "again", "missing"]


async def test_the_rehearsal_groups_what_would_be_sent_otherwise_by_field_and_masks(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        sent = b"<Envelope><Body><LockRegistration><Fee>24.00</Fee></LockRegistration></Body></Envelope>"
        ids = [
            await bus.ended(LOCK, "unavailable", Fate.RELEASE, key=f"K{at}", sent=sent) for at in range(3)
        ]  # fmt: skip
        first = await bus.ended(LOCK, "unavailable", Fate.RELEASE, key="K9")
        found = rehearse(lambda: transaction(bus.url, writes=False), [*ids, first], bus.plan)
        rows = [await bus.store.find(one) for one in ids]
    assert {row.state for row in rows if row} == {"unavailable"}
    assert (found.exchanges, found.carried_out) == (4, 4)
    group, fresh = found.groups
    assert (group.exchanges, group.examples, fresh.first) == (3, ids, True)
    names = {one.field: (one.then, one.now) for one in group.changed}
    patient = next(name for name in names if name.endswith("PatientID"))
    assert names[patient] == (None, "x9999999")
    assert LOCK_REQUEST["patientId"] not in str(found)


async def test_what_was_sent_alike_then_is_found_alike(tmp_path: Path) -> None:
    async with hospital(tmp_path) as bus:
        exchange = await bus.ended(UNLOCK, "unavailable", Fate.RELEASE)
        row = await bus.store.find(exchange)
        assert row is not None
        from esb.replay.previewing import preview
        from esb.spi import Call

        endpoint, mapping = bus.plan.endpoints["his"], bus.plan.mappings[UNLOCK]
        context = {"id": row.id, "key": row.key, "operation": UNLOCK, "now": row.received}
        action, payload = mapping.build({"orderNo": "R1"}, context, dict(endpoint.site))
        call = Call(UNLOCK, row.id, row.key, bus.plan.contract.operations[UNLOCK].effect, 9e9, bus.clock)
        wire = endpoint.preview(action, payload, call).encode()
        same = preview(bus.plan, row, {"orderNo": "R1"}, wire)
        other = preview(bus.plan, row, {"orderNo": "R2"}, wire)
    assert (same.changed, same.first, same.error) == ((), False, "")
    assert len(other.changed) == 1
