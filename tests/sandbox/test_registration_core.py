"""The registration book by itself: never oversold, idempotent by order number, ten minutes."""

from __future__ import annotations

import contextlib
import random

import pytest

from sandbox.clock import Clock
from sandbox.hospital import Hospital
from sandbox.registration import CONFIRMED, EXPIRED, LOCKED, RELEASED, Refusal


@pytest.fixture
def house() -> Hospital:
    return Hospital(Clock(), 1)


def free_slot(house: Hospital):
    return next(house.find_slots(doctor="D001"))


def test_the_same_order_and_slot_repeat_the_first_answer_and_hold_one_place(house: Hospital) -> None:
    slot = free_slot(house)
    first, fresh = house.book.lock("O1", slot, "P0000001", "test")
    again, repeated = house.book.lock("O1", slot, "P0000001", "test")
    assert (first is again, fresh, repeated, slot.held) == (True, True, False, 1)
    assert [row["operation"] for row in house.ledger.rows()] == ["lock"]


def test_an_order_number_is_refused_for_another_slot_or_another_patient(house: Hospital) -> None:
    slots = list(house.find_slots(doctor="D001"))
    house.book.lock("O1", slots[0], "P0000001", "test")
    for slot, patient in ((slots[1], "P0000001"), (slots[0], "P0000002")):
        with pytest.raises(Refusal) as refused:
            house.book.lock("O1", slot, patient, "test")
        assert refused.value.reason == "order_conflict"


def test_a_lock_expires_after_ten_minutes_and_frees_its_place(house: Hospital) -> None:
    slot = free_slot(house)
    house.book.lock("O1", slot, None, "test")
    house.clock.advance(595)
    assert (house.book.find("O1").status, slot.held) == (LOCKED, 1)
    house.clock.advance(6)
    assert (house.book.find("O1").status, slot.held) == (EXPIRED, 0)
    assert house.ledger.rows()[-1]["operation"] == "expire"


def test_release_twice_gives_one_place_back_once(house: Hospital) -> None:
    slot = free_slot(house)
    house.book.lock("O1", slot, None, "test")
    house.book.release("O1", "test")
    assert house.book.release("O1", "test").status == RELEASED
    assert slot.left == slot.total


def test_a_confirmed_order_is_sold_and_only_cancelled_on_purpose(house: Hospital) -> None:
    slot = free_slot(house)
    house.book.lock("O1", slot, None, "test")
    assert house.book.confirm("O1", "test").status == CONFIRMED
    house.clock.advance(3600)
    with pytest.raises(Refusal):
        house.book.release("O1", "test")
    assert (slot.sold, slot.held) == (1, 0)
    house.book.cancel("O1", "test")
    assert slot.left == slot.total


@pytest.mark.parametrize("seed", range(5))
def test_no_slot_is_oversold_and_the_ledger_agrees_whatever_the_order_of_calls(house: Hospital, seed: int) -> None:
    rng = random.Random(seed)
    slots = list(house.find_slots(doctor="D001"))[:3]
    for _ in range(1500):
        order = f"O{rng.randrange(60)}"
        call = rng.choice(("lock", "lock", "lock", "release", "confirm", "cancel", "wait"))
        with contextlib.suppress(Refusal):
            if call == "lock":
                house.book.lock(order, rng.choice(slots), None, "test")
            elif call == "wait":
                house.clock.advance(rng.choice((1, 30, 601)))
            else:
                getattr(house.book, call)(order, "test")
        for slot in slots:
            assert 0 <= slot.left <= slot.total
    taken = {"lock": 1, "release": -1, "expire": -1, "cancel": -1, "confirm": 0}
    for slot in slots:
        assert sum(taken[r["operation"]] for r in house.ledger.rows() if r["slot"] == slot.no) == slot.sold + slot.held


def test_the_same_seed_makes_the_same_hospital_and_another_one_differs() -> None:
    def sold(seed: int) -> list[int]:
        return [slot.sold for slot in Hospital(Clock(), seed).find_slots()]

    assert sold(1) == sold(1) != sold(2)


def test_the_hospital_has_the_size_the_documentation_says(house: Hospital) -> None:
    levels = [d.level for d in house.departments.values() if not d.id.startswith("B")]
    assert [levels.count(n) for n in (1, 2, 3)] == [6, 15, 30]
    assert len([d for d in house.doctors.values() if d.dept != "B0101"]) == 60
    assert len(house.patients) == 50
    assert len({d.name for d in house.doctors.values()}) == 65
    assert house.patients["P0000001"].identifiers["NI"] == "110101190001011236"
    assert all(p.birth.year < 1906 for p in house.patients.values())
