"""The real schemas/: one document, a table of operations, and checks that name every wrong field."""

from __future__ import annotations

import json as plain_json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest

from esb.codecs import json
from esb.contract import Contract, load_contract
from esb.model import Effect

ROOT = Path(__file__).parents[3]
NAUGHTY = ROOT.parent / "shared" / "corpus" / "naughty-strings"
OPERATIONS = {
    "department.list": (Effect.READ, "GET", "/v1/departments", 200),
    "doctor.search": (Effect.READ, "GET", "/v1/doctors", 200),
    "schedule.list": (Effect.READ, "GET", "/v1/schedules", 200),
    "patient.find": (Effect.READ, "POST", "/v1/patients/search", 200),
    "registration.lock": (Effect.ONCE, "POST", "/v1/registrations/locks", 201),
    "registration.find": (Effect.READ, "GET", "/v1/registrations/locks/{orderNo}", 200),
    "registration.unlock": (Effect.IDEMPOTENT, "DELETE", "/v1/registrations/locks/{orderNo}", 200),
    "report.list": (Effect.READ, "GET", "/v1/patients/{patientId}/reports", 200),
    "report.get": (Effect.READ, "GET", "/v1/reports/{reportId}", 200),
    "parking.fee": (Effect.READ, "GET", "/v1/parking/fees", 200),
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(ROOT / "schemas")


def example(contract: Contract, name: str) -> Any:
    operation = contract.operations[name]
    node: Any = contract.document["paths"][operation.path][operation.method.lower()]
    return node["responses"][str(operation.success_status)]["content"]["application/json"]["example"]


def lock(contract: Contract) -> dict[str, Any]:
    post: Any = contract.document["paths"]["/v1/registrations/locks"]["post"]
    body: dict[str, Any] = plain_json.loads(json.encode(post["requestBody"]["content"]["application/json"]["example"]))
    return body


def codes(contract: Contract, name: str, tree: Any) -> dict[str, str]:
    return {error.pointer: error.code for error in contract.operations[name].check_request(tree)}


def test_the_operations_of_the_slice_are_all_there(contract: Contract) -> None:
    shown = {one.name: (one.effect, one.method, one.path, one.success_status) for one in contract.operations.values()}
    assert {name: shown[name] for name in OPERATIONS} == OPERATIONS
    assert list(contract.own) == ["exchange.find"]


def test_openapi_spec_validator_accepts_the_merged_document(contract: Contract) -> None:
    openapi_spec_validator.validate(plain_json.loads(json.encode(contract.document)))


def test_every_operation_declares_the_answers_that_the_facade_gives(contract: Contract) -> None:
    for operation in contract.operations.values():
        responses = contract.document["paths"][operation.path][operation.method.lower()]["responses"]
        wanted = {"400", "409", "413", "414", "422", "429", "431", "500", "502", "503", str(operation.success_status)}
        wanted |= {str(refusal.status) for refusal in operation.refusals.values()}
        wanted |= {"202"} if operation.effect is not Effect.READ else set()
        wanted |= {"408", "415"} if operation.has_body else set()
        assert wanted == set(responses), operation.name


def test_every_operation_says_which_requirement_it_serves(contract: Contract) -> None:
    for operation in contract.operations.values():
        assert operation.requirement, operation.name
        assert all(len(one) == 3 and one[0] == "R" for one in operation.requirement)


def test_descriptions_are_in_chinese_and_english(contract: Contract) -> None:
    for operation in contract.operations.values():
        node = contract.document["paths"][operation.path][operation.method.lower()]
        for text in (node["summary"], node["description"]):
            assert " / " in text
            assert not text.isascii()


def test_every_wrong_field_is_named_at_once(contract: Contract) -> None:
    tree = lock(contract)
    tree["fee"] = -1
    tree["patientId"] = ""
    tree["slot"]["start"] = "2026-02-30T08:30:00+08:00"
    tree["slot"]["slotID"] = tree["slot"].pop("slotId")
    del tree["orderNo"]
    assert codes(contract, "registration.lock", tree) == {
        "/fee": "too_small",
        "/patientId": "wrong_pattern",
        "/slot/start": "wrong_format",
        "/slot/slotID": "unknown_field",
        "/slot/slotId": "missing",
        "/orderNo": "missing",
    }


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("2026-01-16T08:30:00Z", "too_short"),
        ("2026-01-16T08:30:00+09:00", "wrong_pattern"),
        ("2026-01-16 08:30:00+08:00", "wrong_format"),
        ("2026-13-16T08:30:00+08:00", "wrong_format"),
        (20260116083000, "wrong_type"),
        (None, "wrong_type"),
    ],
)
def test_a_time_is_rfc_3339_in_the_hospitals_zone(contract: Contract, value: Any, code: str) -> None:
    tree = lock(contract)
    tree["slot"]["start"] = value
    found = [error.code for error in contract.operations["registration.lock"].check_request(tree)]
    assert code in found


def test_money_with_a_decimal_point_is_no_integer(contract: Contract) -> None:
    for value in (Decimal("2500.0"), Decimal("2500.5"), "2500", True):
        assert codes(contract, "registration.lock", lock(contract) | {"fee": value}) == {"/fee": "wrong_type"}
    assert codes(contract, "registration.lock", lock(contract) | {"fee": 10**30}) == {"/fee": "too_large"}


def test_an_unknown_field_is_told_with_the_nearest_known_one(contract: Contract) -> None:
    (error,) = contract.operations["schedule.list"].check_request(
        {"from": "2026-01-16", "to": "2026-01-17", "departmentID": "D1"}
    )
    assert "did you mean 'departmentId'?" in error.en
    assert "departmentId" in error.zh


def test_errors_never_repeat_the_value_of_a_field(contract: Contract) -> None:
    secret = "110101199003070011<"
    tree = {"documentType": secret, "documentNumber": secret + " ", "name": {secret: secret}}
    for error in contract.operations["patient.find"].check_request(tree):
        assert secret not in error.zh + error.en


def test_an_answer_with_something_that_is_no_json_is_an_error_and_no_crash(contract: Contract) -> None:
    check = contract.operations["schedule.list"].check_answer
    for tree in (b"raw", {"items": [b"raw"]}, {"items": [object()]}, {1: 2}, None, [], "text", float("nan")):
        assert check(tree), tree


def test_many_wrong_items_are_told_up_to_a_bound(contract: Contract) -> None:
    assert len(contract.operations["schedule.list"].check_answer({"items": [{}] * 1000})) == 256


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_answer_with_one_field_too_many_or_too_few_is_refused(contract: Contract, name: str) -> None:
    operation = contract.operations[name]
    answer = example(contract, name)
    assert operation.check_answer(answer) == []
    assert [error.code for error in operation.check_answer({**answer, "extra": 1})] == ["unknown_field"]
    first = next(iter(answer))
    assert [error.code for error in operation.check_answer({k: v for k, v in answer.items() if k != first})] == [
        "missing"
    ]


def test_fifty_slots_are_checked_in_less_than_150_microseconds(contract: Contract) -> None:
    operation = contract.operations["schedule.list"]
    tree = {"items": [dict(example(contract, "schedule.list")["items"][0]) for _ in range(50)]}
    best = float("inf")
    for _ in range(30):
        started = time.perf_counter()
        assert operation.check_answer(tree) == []
        best = min(best, time.perf_counter() - started)
    assert best < 150e-6


def test_paths_of_a_request_can_be_asked_for(contract: Contract) -> None:
    request = contract.operations["registration.lock"].request_type
    assert request.at(["slot", "start"]).sort == "moment"
    assert request.at([]) is request
    assert request.at(["slot", "begin"]).step == "begin"
    assert request.at(["fee", "amount"]).step == "amount"


def test_path_query_and_body_are_one_request_tree(contract: Contract) -> None:
    operation = contract.operations["report.list"]
    assert set(operation.request_schema["properties"]) == {"patientId", "from", "to", "kind"}
    assert operation.request_schema["required"] == ["patientId"]
    assert operation.owner == ("patientId",)
    assert contract.operations["registration.lock"].key_required


def test_patient_data_is_known_by_path(contract: Contract) -> None:
    phi = contract.operations["patient.find"].phi
    assert phi[("documentNumber",)] == "document"
    assert phi[("items", "*", "identifiers", "*", "value")] == "document"
    assert contract.operations["report.list"].request_phi == {("patientId",): "patient_id"}
    assert contract.operations["parking.fee"].request_phi == {("plate",): "plate"}
    assert contract.operations["schedule.list"].phi == {}


@pytest.mark.skipif(not NAUGHTY.is_dir(), reason="the shared corpus is not beside this checkout")
def test_naughty_strings_are_accepted_or_refused_as_text_and_never_crash(contract: Contract) -> None:
    operation = contract.operations["patient.find"]
    lines = [line for line in plain_json.loads((NAUGHTY / "blns-half.json").read_bytes()) if line]
    accepted = 0
    for line in lines:
        errors = operation.check_request({"documentType": "other", "documentNumber": "1", "name": line})
        assert {error.pointer for error in errors} <= {"/name"}
        accepted += not errors
    assert len(lines) > 100
    assert accepted > len(lines) // 2
