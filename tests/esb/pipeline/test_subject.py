"""S23: whom a row of the journal is about, by what the contract says of an operation's fields."""

from __future__ import annotations

from typing import Any

import pytest

from esb.blind import parse
from esb.contract import Operation, load_contract
from esb.model import Effect
from esb.pipeline.subject import Subject
from tests.esb.configured import ROOT

KEYS = parse("k1 " + "ab" * 32)
CONTRACT = load_contract(ROOT / "schemas").operations


def operation(request: dict[str, Any], answer: dict[str, Any], **more: Any) -> Operation:
    def of(fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": fields}

    return Operation("a.b", "POST", "/a", Effect.READ, 200, "", of(request), of(answer), **more)


ID, PAPER = {"type": "string", "x-phi": "patient_id"}, {"type": "string", "x-phi": "document"}


@pytest.mark.parametrize(
    ("name", "request_", "answer", "value"),
    [
        ("registration.lock", {"patientId": "P1", "slotId": "S"}, None, "P1"),
        ("report.list", {"patientId": "P1"}, {"items": []}, "P1"),
        ("report.get", {"reportId": "R1"}, {"id": "R1", "patientId": "P3"}, "P3"),
        ("patient.find", {"documentNumber": "11010519491231002X", "name": "x"}, None, "11010519491231002X"),
        ("department.list", {}, {"items": []}, ""),
    ],
)
def test_the_patient_of_an_operation_of_the_contract(name: str, request_: Any, answer: Any, value: str) -> None:
    assert Subject.of(CONTRACT[name], KEYS).mark(request_, answer) == KEYS.of(value)


def test_the_request_counts_before_the_answer_and_an_owner_before_other_fields() -> None:
    both = operation({"payer": ID, "owner": ID}, {"id": ID}, owner=("owner",))
    assert Subject.of(both, KEYS).mark({"payer": "P1", "owner": "P2"}, {"id": "P3"}) == KEYS.of("P2")
    without = operation({"owner": ID}, {"id": ID})
    assert Subject.of(without, KEYS).mark({}, {"id": "P3"}) == KEYS.of("P3")


def test_an_answer_about_several_people_is_about_nobody() -> None:
    listing = operation({}, {"items": {"type": "array", "items": {"type": "object", "properties": {"id": ID}}}})
    subject = Subject.of(listing, KEYS)
    assert subject.mark({}, {"items": [{"id": "P1"}, {"id": "P2"}]}) == ""
    assert subject.mark({}, {"items": [{"id": "P1"}, {"id": "P1"}]}) == KEYS.of("P1")


@pytest.mark.parametrize("tree", [None, [], "x", {"id": {"a": 1}}, {"id": True}, {"id": None}])
def test_what_is_no_number_is_nobody(tree: Any) -> None:
    assert Subject.of(operation({"id": ID}, {"id": ID}), KEYS).mark(tree, tree) == ""


def test_without_keys_there_is_no_mark() -> None:
    assert Subject.of(CONTRACT["registration.lock"], None).mark({"patientId": "P1"}) == ""
