"""The checker finds every kind of broken promise, and none where all were kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history import MESSAGE, Entry, History, Kind, Log, judge

LOCK, UNLOCK = "registration.lock", "registration.unlock"


def asked(at: float, order: str, operation: str = LOCK) -> Entry:
    return Entry(at, "c", Kind.INVOKE, operation, f"{operation}-{order}", order)


def heard(at: float, order: str, kind: Kind, operation: str = LOCK, exchange: str = "") -> Entry:
    return Entry(at, "c", kind, operation, f"{operation}-{order}", order, exchange)


def effects(*rows: tuple[str, str], slot: str = "S1") -> list[dict[str, Any]]:
    return [{"seq": n, "operation": what, "key": order, "slot": slot} for n, (what, order) in enumerate(rows, 1)]


def send(at: float, operation: str, order: str, fault: str | None = None) -> dict[str, Any]:
    moment = f"2026-01-15T09:30:{at:06.3f}+08:00"
    return {"at": moment, "operation": operation, "decoded": {"OrderNo": order}, "fault": fault}


def broken(history: History) -> list[str]:
    return [violation.invariant for violation in judge(history)]


GOOD = History(
    entries=[
        *(asked(1, "A"), heard(2, "A", Kind.OK)),
        *(asked(1, "B"), heard(2, "B", Kind.OK, exchange="X1")),
        *(asked(1, "C"), heard(2, "C", Kind.FAIL)),
        *(asked(1, "D"), heard(2, "D", Kind.INFO), asked(3, "D"), heard(4, "D", Kind.OK)),
        *(asked(5, "A", UNLOCK), heard(6, "A", Kind.OK, UNLOCK, "X2")),
        *(Entry(1, "m", Kind.INVOKE, MESSAGE, "M1"), Entry(2, "m", Kind.OK, MESSAGE, "M1")),
    ],
    ends={"X1": "done", "X2": "done"},
    effects=effects(("lock", "A"), ("lock", "B"), ("release", "A"), ("lock", "D")),
    sends=[send(1, "LockRegistration", "D"), send(2, "FindRegistration", "D"), send(3, "LockRegistration", "D")],
    places={"S1": 2},
    events=["M1"],
)


def changed(**values: Any) -> History:
    return History(**{**vars(GOOD), **values})


def more(*entries: Entry) -> Sequence[Entry]:
    return [*GOOD.entries, *entries]


def test_nothing_is_found_where_every_promise_was_kept() -> None:
    assert judge(GOOD) == []


@pytest.mark.parametrize("end", [None, "accepted", "unknown"])
def test_an_accepted_exchange_that_never_ends_is_lost(end: str | None) -> None:
    ends = {"X2": "done"} if end is None else {"X1": end, "X2": "done"}
    assert broken(changed(ends=ends)) == ["I1"]


def test_a_done_that_the_hospital_does_not_know_is_lost() -> None:
    assert broken(changed(effects=effects(("lock", "A"), ("release", "A"), ("lock", "D")))) == ["I1"]
    assert broken(changed(effects=effects(("lock", "B"), ("release", "A"), ("lock", "D")))) == ["I1"]


def test_an_acknowledged_message_that_is_no_event_is_lost() -> None:
    assert broken(changed(events=[])) == ["I1"]


def test_a_message_that_was_never_acknowledged_may_be_an_event() -> None:
    entries = more(Entry(1, "m", Kind.INVOKE, MESSAGE, "M2"), Entry(2, "m", Kind.INFO, MESSAGE, "M2"))
    assert broken(changed(entries=entries, events=["M1", "M2"])) == []


def test_two_effects_of_one_intent_are_a_violation() -> None:
    rows = effects(("lock", "A"), ("release", "A"), ("lock", "B"), ("lock", "D"), ("lock", "D"))
    assert broken(changed(effects=rows, places={})) == ["I2"]
    assert broken(changed(events=["M1", "M1"])) == ["I2"]


def test_an_effect_that_its_client_was_told_did_not_happen_is_a_violation() -> None:
    rows = [*GOOD.effects, *effects(("lock", "C"))]
    assert broken(changed(effects=rows, places={})) == ["I2"]
    assert broken(changed(ends={"X1": "refused", "X2": "done"})) == ["I2"]


def test_an_effect_that_nobody_asked_for_is_a_violation() -> None:
    rows = [*GOOD.effects, *effects(("release", "Z"))]
    assert broken(changed(effects=rows)) == ["I2"]


def test_an_effect_that_nobody_was_told_of_may_have_happened_or_not() -> None:
    entries = more(asked(1, "E"), heard(2, "E", Kind.INFO))
    assert broken(changed(entries=entries)) == []
    assert broken(changed(entries=entries, effects=[*GOOD.effects, *effects(("lock", "E"))], places={"S1": 3})) == []


def test_more_takers_than_places_at_any_instant_are_a_violation_even_when_they_leave_again() -> None:
    rows = effects(("lock", "A"), ("lock", "B"), ("lock", "D"), ("release", "A"))
    assert broken(changed(effects=rows)) == ["I3"]
    assert broken(changed(places={"S1": 1})) == ["I3", "I3"]


def test_a_second_send_that_nobody_asked_about_is_a_violation() -> None:
    twice = [send(1, "LockRegistration", "D"), send(3, "LockRegistration", "D")]
    assert broken(changed(sends=twice)) == ["I8"]
    other = [twice[0], send(2, "FindRegistration", "B"), twice[1]]
    assert broken(changed(sends=other)) == ["I8"]
    late = [*twice, send(4, "FindRegistration", "D")]
    assert broken(changed(sends=late)) == ["I8"]


def test_a_second_send_after_the_hospitals_own_no_or_our_word_is_none() -> None:
    busy = [send(1, "LockRegistration", "D", "business_error"), send(3, "LockRegistration", "D")]
    assert broken(changed(sends=busy)) == []
    sends = [send(1, "LockRegistration", "D"), send(3, "LockRegistration", "D")]
    zero = 1768440600.0  # 2026-01-15T09:30:00+08:00
    told = more(heard(zero + 2, "D", Kind.FAIL), asked(zero + 2.5, "D"), heard(zero + 4, "D", Kind.OK))
    assert broken(changed(sends=sends, entries=told)) == []
    late = more(heard(zero + 4, "D", Kind.FAIL), heard(zero + 5, "D", Kind.OK))
    assert broken(changed(sends=sends, entries=late)) == ["I8"]


def test_what_happened_in_another_order_than_it_was_accepted_is_a_violation() -> None:
    rows = effects(("release", "A"), ("lock", "A"), ("lock", "B"), ("lock", "D"))
    assert broken(changed(effects=rows, places={})) == ["I9"]


def test_an_accepted_unlock_that_ran_before_its_lock_is_a_violation_though_it_did_nothing() -> None:
    rows = effects(("lock", "A"), ("lock", "B"), ("lock", "D"))
    assert broken(changed(effects=rows, places={}, ends={"X1": "done", "X2": "refused"})) == ["I9"]


def test_what_was_asked_for_at_once_may_happen_in_any_order() -> None:
    entries = [asked(1, "A"), asked(1.5, "A", UNLOCK), heard(2, "A", Kind.OK), heard(2, "A", Kind.OK, UNLOCK)]
    rows = effects(("release", "A"), ("lock", "A"))
    assert broken(History(entries=entries, effects=rows)) == []


@given(st.lists(st.sampled_from("ABCD"), max_size=12), st.integers(1, 3))
def test_it_counts_takers_as_a_reader_of_the_ledger_would(orders: list[str], places: int) -> None:
    """An oracle of another kind: the set of holders after each row."""
    holders: set[str] = set()
    rows: list[tuple[str, str]] = []
    over = 0
    for order in orders:
        rows.append(("release" if order in holders else "lock", order))
        holders ^= {order}
        over += len(holders) > places
    found = [one for one in judge(History(effects=effects(*rows), places={"S1": places})) if one.invariant == "I3"]
    assert len(found) == over


def test_what_a_client_noted_is_read_back(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert log.read() == []
    for entry in GOOD.entries:
        log.add(entry)
    assert log.read() == list(GOOD.entries)
