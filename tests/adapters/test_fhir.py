"""FHIR requests as they go out, answers as they are judged, pages as they are followed, mappings as they are linted."""

from __future__ import annotations

import json as stdlib
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import fhir
from adapters.fhir import actions, answers
from esb.http import HttpAnswer
from esb.spi import AdapterError, ConfigError, Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.suite import make_call


def build(action: str, payload: Any, **more: str) -> actions.Request:
    return actions.build(actions.parse(action, "R4"), payload, "representation", **more)


# requests


@pytest.mark.parametrize(
    ("action", "payload", "method", "path"),
    [
        ("read Patient", {"id": "p-1.2"}, "GET", "Patient/p-1.2"),
        ("read Patient", {"id": "p", "_elements": "id,name"}, "GET", "Patient/p?_elements=id%2Cname"),
        ("vread Patient", {"id": "p", "versionId": "7"}, "GET", "Patient/p/_history/7"),
        ("search Slot", None, "GET", "Slot"),
        (
            "search Slot",
            {"start": ["ge2026-01-16", "lt2026-01-17"], "status": "free", "x": None, "ok": True},
            "GET",
            "Slot?start=ge2026-01-16&start=lt2026-01-17&status=free&ok=true",
        ),
        ("search Patient", {"name": "张 三&x=1"}, "GET", "Patient?name=%E5%BC%A0+%E4%B8%89%26x%3D1"),
        ("create Patient", {"active": True}, "POST", "Patient"),
        ("update Slot", {"id": "s", "status": "busy"}, "PUT", "Slot/s"),
        ("update Slot", {"status": "busy", "_search": {"identifier": "a|b"}}, "PUT", "Slot?identifier=a%7Cb"),
        ("delete Slot", {"id": "s"}, "DELETE", "Slot/s"),
        ("transaction", {"entry": []}, "POST", ""),
        ("operation $ping", {}, "POST", "$ping"),
        ("operation Slot/$find", {"parameters": None}, "POST", "Slot/$find"),
        ("operation Slot/$hold", {"id": "s"}, "POST", "Slot/s/$hold"),
        ("capabilities", {}, "GET", "metadata"),
    ],
)
def test_an_action_becomes_the_request_of_the_specification(action: str, payload: Any, method: str, path: str) -> None:
    request = build(action, payload)
    assert (request.method, request.path) == (method, path)


def test_conditions_travel_in_their_headers_and_not_in_the_resource() -> None:
    created = build("create Patient", {"active": True, "_if_none_exist": {"identifier": "urn:x|张"}})
    assert created.headers["If-None-Exist"] == "identifier=urn%3Ax%7C%E5%BC%A0"
    assert created.body == b'{"resourceType":"Patient","active":true}'
    updated = build("update Slot", {"id": "s", "_if_match": "3"})
    assert updated.headers["If-Match"] == 'W/"3"'
    assert build("delete Slot", {"id": "s", "_if_match": '"e"'}).headers["If-Match"] == '"e"'
    assert build("search Slot", {}).headers["Prefer"] == "handling=strict"
    assert created.headers["Prefer"] == "return=representation"


def test_amounts_are_written_with_their_digits() -> None:
    request = build("create Invoice", {"status": "issued", "totalNet": {"value": Decimal("12.00"), "currency": "CNY"}})
    assert b'"value":12.00,' in (request.body or b"")


def test_simple_parameters_become_a_parameters_resource() -> None:
    simple = {
        "orderNo": "L1", "count": 2, "price": Decimal("1.50"), "urgent": False, "gone": None,
        "day": {"valueDate": "2026-01-16"}, "slot": {"resourceType": "Slot", "id": "s"}, "code": ["a", "b"],
    }  # fmt: skip
    assert actions.as_parameters(simple)["parameter"] == [
        {"name": "orderNo", "valueString": "L1"},
        {"name": "count", "valueInteger": 2},
        {"name": "price", "valueDecimal": Decimal("1.50")},
        {"name": "urgent", "valueBoolean": False},
        {"name": "day", "valueDate": "2026-01-16"},
        {"name": "slot", "resource": {"resourceType": "Slot", "id": "s"}},
        {"name": "code", "valueString": "a"},
        {"name": "code", "valueString": "b"},
    ]


@pytest.mark.parametrize(
    ("action", "payload", "words"),
    [
        ("read Patient", {}, "'id' is missing"),
        ("read Patient", {"id": "../Slot/1"}, "not a FHIR id"),
        ("read Patient", {"id": "a?b=c"}, "not a FHIR id"),
        ("read Patient", {"id": ".."}, "not a FHIR id"),
        ("read Patient", {"id": 7}, "not a FHIR id"),
        ("read Patient", [], "is an object, not a list"),
        ("vread Patient", {"id": "a"}, "'versionId' is missing"),
        ("create Patient", {"resourceType": "Slot"}, "another resource type"),
        ("create Patient", {"_if_none_exist": {}}, "would match everything"),
        ("create Patient", {"_if_none_exist": {"identifier": None}}, "would match everything"),
        ("create Patient", {"_if_none_exist": ""}, "would match everything"),
        ("update Patient", {"_search": {}}, "would match everything"),
        ("update Patient", {}, "'id' is missing"),
        ("update Patient", {"id": "a", "_if_match": 'x"\r\nX: y'}, "neither a versionId nor an ETag"),
        ("search Patient", {"name": {"x": 1}}, "cannot be written"),
        ("create Patient", {"x": 1.5}, "float has no JSON form"),
        ("transaction", {"type": "batch"}, "takes a Bundle of type transaction"),
        ("operation $x", {"id": "a", "params": {}}, "not 'params'"),
        ("operation $x", {"parameters": {"a": {"b": 1}}}, "neither a resource nor a value"),
        ("operation $x", {"parameters": "a"}, "is a Parameters resource or an object"),
        ("fetch Patient", {}, "'fetch' is not a FHIR action"),
        ("read Patientt", {}, "did you mean 'Patient'?"),
    ],
)
async def test_what_makes_no_request_is_refused_and_nothing_is_sent(action: str, payload: Any, words: str) -> None:
    adapter = fhir.connect(fhir.Settings(base_url="http://127.0.0.1:1/fhir"))
    call = make_call()
    with pytest.raises(Refused) as refused:
        await adapter.call(action, payload, call)
    assert words in refused.value.reason
    assert refused.value.code == "invalid"
    assert not call.wire.left
    await adapter.close()


def test_a_preview_shows_the_request_and_no_secret() -> None:
    auth = {"kind": "bearer", "token": "SECRETMARKER"}
    settings = fhir.Settings(base_url="http://127.0.0.1:1/fhir", auth=auth, headers={"X-Key": "SECRETMARKER"})  # type: ignore[arg-type]
    adapter, call = fhir.connect(settings), make_call()
    text = adapter.preview("create Slot", {"status": "free", "_if_none_exist": {"identifier": "a|b"}}, call)
    assert text.splitlines() == [
        "POST http://127.0.0.1:1/fhir/Slot",
        "X-Key: ***",
        "Accept: application/fhir+json",
        "Prefer: return=representation",
        "If-None-Exist: identifier=a%7Cb",
        "Content-Type: application/fhir+json",
        f"X-Request-Id: {call.exchange}",
        "Authorization: ***",
        "",
        '{"resourceType":"Slot","status":"free"}',
    ]
    assert not call.wire.left
    assert adapter.preview("search Slot", {"status": "free"}, call).startswith(
        "GET http://127.0.0.1:1/fhir/Slot?status=free\n"
    )
    with pytest.raises(Refused, match="'id' is missing"):
        adapter.preview("read Slot", {}, call)


# lint


@pytest.mark.parametrize(
    ("action", "fields", "findings"),
    [
        ("read Patient", ["id"], []),
        ("search DiagnosticReport", ["patient", "anything", "_include"], []),
        ("create Patient", ["name", "_if_none_exist", "resourceType"], []),
        ("update Slot", ["_search", "status"], []),
        ("transaction", ["entry"], []),
        ("operation Slot/$hold", ["id", "parameters"], []),
        ("capabilities", [], []),
        ("reed Patient", [], ["'reed' is not a FHIR action (did you mean 'read'?)"]),
        ("read patient", ["id"], ["FHIR R4 has no resource 'patient' (did you mean 'Patient'?)"]),
        ("read", ["id"], ["'read' needs a resource type, as in 'read Patient'"]),
        ("read Patient", [], ["'read' needs 'id'"]),
        ("vread Patient", ["id"], ["'vread' needs 'versionId'"]),
        ("update Slot", ["status"], ["'update' needs 'id'"]),
        ("create Patient", ["gendre"], ["'gendre' does not belong to create Patient (did you mean 'gender'?)"]),
        ("transaction", ["entries"], ["'entries' does not belong to transaction (did you mean 'entry'?)"]),
        ("capabilities Patient", [], ["'capabilities' stands alone, without 'Patient'"]),
        ("operation hold", [], ["'operation' needs a name, as in 'operation $name' or 'operation Slot/$hold'"]),
        ("operation Slott/$hold", [], ["FHIR R4 has no resource 'Slott' (did you mean 'Slot'?)"]),
        ("operation Slot/$hold", ["ids"], ["'ids' does not belong to operation Slot/$hold (did you mean 'id'?)"]),
        ("create MedicinalProduct", ["whatever"], []),
    ],
)
def test_lint_names_what_is_wrong_and_the_nearest_word(action: str, fields: list[str], findings: list[str]) -> None:
    adapter = fhir.connect(fhir.Settings(base_url="http://127.0.0.1:1/fhir"))
    assert list(adapter.check(action, fields)) == findings


def test_a_resource_belongs_to_its_release() -> None:
    r5 = fhir.connect(fhir.Settings(base_url="http://127.0.0.1:1/fhir", release="R5"))
    assert list(r5.check("create RequestOrchestration", ["status"])) == []
    (finding,) = r5.check("search RequestGroup", [])
    assert "FHIR R5 has no resource 'RequestGroup'" in finding
    (moved,) = r5.check("create Appointment", ["cancelationReason"])
    assert "did you mean 'cancellationReason'?" in moved


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1/fhir", "127.0.0.1/fhir", "http://user:pass@127.0.0.1/fhir"])
def test_an_address_that_cannot_work_is_a_finding_at_load(base_url: str) -> None:
    with pytest.raises(ConfigError):
        fhir.connect(fhir.Settings(base_url=base_url))


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_page"):
        fhir.Settings(base_url="http://127.0.0.1/fhir", max_page=3)  # type: ignore[call-arg]


# answers


def outcome(code: str = "processing", severity: str = "error", **issue: Any) -> bytes:
    issue = {"severity": severity, "code": code, **issue}
    return stdlib.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


def judge(action: str, status: int, body: bytes, payload: Any = None, **headers: str) -> Any:
    parsed = actions.parse(action, "R4")
    request = actions.build(parsed, {"id": "1"} if payload is None else payload, "")
    answer = HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
    return answers.interpret(parsed, request, answer)


HTML = b"<html><body>Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "code"),
    [
        (400, outcome("invalid", diagnostics="why"), {}, Refused, "invalid"),
        (422, outcome("value", details={"coding": [{"code": "slot-full"}]}), {}, Refused, "value/slot-full"),
        (403, outcome("forbidden"), {}, Refused, "forbidden"),
        (403, HTML, {}, Refused, "forbidden"),
        (404, outcome("processing"), {}, Refused, "not-found"),
        (404, b"", {}, Refused, "not-found"),
        (410, b"", {}, Refused, "deleted"),
        (409, outcome(), {}, Refused, "conflict"),
        (412, outcome("duplicate", details={"coding": [{"code": "taken"}]}), {}, Refused, "conflict/taken"),
        (401, HTML, {}, Refused, "login"),
        (404, HTML, {}, Malformed, ""),
        (400, b'{"resourceType":"Patient"}', {}, Malformed, ""),
        (400, b'{"resourceType":"OperationOutcome","issue":{"a":1}}', {}, Refused, "invalid"),
        (302, b"", {}, Malformed, ""),
        (429, b"", {"Retry_After": "7"}, Unavailable, ""),
        (429, HTML, {}, Unavailable, ""),
        (503, b"", {"Retry_After": "7"}, Unavailable, ""),
        (503, HTML, {}, OutcomeUnknown, ""),
        (500, outcome("exception"), {}, OutcomeUnknown, ""),
        (502, HTML, {}, OutcomeUnknown, ""),
        (504, b"", {}, OutcomeUnknown, ""),
        (408, b"", {}, OutcomeUnknown, ""),
        (200, HTML, {}, Malformed, ""),
        (200, b"", {}, Malformed, ""),
        (204, b"", {}, Malformed, ""),
        (200, outcome("login"), {}, Refused, "login"),
        (200, outcome("informational", "information"), {}, Malformed, ""),
        (200, b'{"resourceType":"Slot"}', {}, Malformed, ""),
    ],
)  # fmt: skip
def test_every_status_has_one_meaning(
    status: int, body: bytes, headers: dict[str, str], error: type[AdapterError], code: str
) -> None:
    with pytest.raises(error) as caught:
        judge("read Patient", status, body, **headers)
    assert type(caught.value) is error
    assert getattr(caught.value, "code", "") == code
    assert caught.value.raw == body
    if headers:
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]


def test_a_refusal_has_the_text_for_people_and_the_reason_does_not() -> None:
    with pytest.raises(Refused) as refused:
        judge("read Patient", 422, outcome("invalid", details={"text": "张三 is a duplicate"}, diagnostics="trace"))
    assert refused.value.message == "张三 is a duplicate"
    assert refused.value.reason == "'read Patient' was answered 422 (invalid)"


def test_a_creation_without_body_needs_to_say_where_it_is() -> None:
    at = "http://h/fhir/Patient/9/_history/2"
    assert judge("create Patient", 201, b"", {}, Location=at) == {
        "resourceType": "Patient", "id": "9", "meta": {"versionId": "2"},
    }  # fmt: skip
    tagged = judge("create Patient", 201, b"", {}, Location="Patient/9", ETag='W/"5"')
    assert tagged["meta"] == {"versionId": "5"}
    for wrong in ({}, {"Location": "http://h/other"}, {"Location": "http://h/fhir/Slot/9"}):
        with pytest.raises(Malformed, match="without a body"):
            judge("create Patient", 201, b"", {}, **wrong)


def _response(*statuses: Any) -> bytes:
    entries = [{"response": {"status": status}} for status in statuses]
    return stdlib.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).encode()


ENTRY = {
    "request": {"method": "PUT", "url": "Patient?identifier=SECRETMARKER"},
    "resource": {"resourceType": "Patient"},
}


@pytest.mark.parametrize(
    ("statuses", "error", "words"),
    [
        (["200 OK"], Malformed, "2 entries were sent and 1 were answered"),
        (["200 OK", "201 Created", "200"], Malformed, "2 entries were sent and 3 were answered"),
        (["200 OK", None], Malformed, "entry 1 was answered without a status"),
        (["200 OK", "412 Precondition Failed"], Malformed, "1 entries stand: entry 1 (PUT Patient): 412 conflict"),
        (["2000", "200"], Malformed, "half done"),
        (["409", "412"], Refused, "entry 0 (PUT Patient): 409 conflict; entry 1"),
    ],
)
def test_a_transaction_is_judged_entry_by_entry(statuses: list[Any], error: type[AdapterError], words: str) -> None:
    with pytest.raises(error) as caught:
        judge("transaction", 200, _response(*statuses), {"entry": [ENTRY, ENTRY]})
    assert words in caught.value.reason
    assert "SECRETMARKER" not in caught.value.reason


def test_the_text_of_an_example_is_decoded_as_an_answer_would_be() -> None:
    assert fhir.decode('{"resourceType":"Invoice","totalNet":{"value":12.00}}')["totalNet"]["value"] == Decimal("12.00")
