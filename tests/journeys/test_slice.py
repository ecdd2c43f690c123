"""Every operation of the contract, over HTTP, through a running bus, to a running hospital and back."""

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.bus_process import Bus
from tests.journeys.conftest import lock_request, open_slot, tomorrow
from tests.sandbox_process import Sandbox


def test_departments_come_from_the_database_in_three_levels(bus: Bus) -> None:
    status, _, body = bus.call("GET", "/v1/departments")
    assert status == 200
    assert {one["level"] for one in body["items"]} == {1, 2, 3}
    first = next(one for one in body["items"] if one["level"] == 1)
    _, _, children = bus.call("GET", f"/v1/departments?parentId={first['id']}")
    assert children["items"]
    assert all(one["parentId"] == first["id"] for one in children["items"])


def test_a_keyword_finds_departments_and_no_wildcard_reaches_the_database(bus: Bus) -> None:
    _, _, found = bus.call("GET", f"/v1/departments?keyword={quote('骨')}")
    assert found["items"]
    assert all("骨" in one["name"] for one in found["items"])
    _, _, wild = bus.call("GET", "/v1/departments?keyword=%25")
    assert wild["items"] == []


def test_doctors_are_found_by_keyword_over_soap(bus: Bus) -> None:
    status, _, body = bus.call("GET", f"/v1/doctors?keyword={quote('医生甲')}")
    assert status == 200
    assert body["items"][0]["name"].startswith("医生甲")
    assert isinstance(body["items"][0]["fee"], int)


def test_schedules_are_slots_of_at_most_an_hour(bus: Bus) -> None:
    status, _, body = bus.call("GET", f"/v1/schedules?departmentId=B0101&from={tomorrow()}&to={tomorrow()}")
    assert status == 200
    assert len(body["items"]) == 50
    assert all(one["start"] < one["end"] and one["date"] == tomorrow() for one in body["items"])


@pytest.mark.parametrize(
    ("number", "name", "found"), [("110101190001011236", "患者一", 1), ("11010119000101999X", "无名", 0)]
)
def test_patients_are_found_over_hl7(bus: Bus, number: str, name: str, found: int) -> None:
    asked = {"documentType": "id_card", "documentNumber": number, "name": name}
    status, _, body = bus.call("POST", "/v1/patients/search", asked)
    assert status == 200
    assert len(body["items"]) == found
    if found:
        assert body["items"][0]["id"] == "P0000001"
        assert {"type": "id_card", "value": number} in body["items"][0]["identifiers"]


def test_a_slot_is_locked_found_and_released(bus: Bus, hospital: Sandbox) -> None:
    request = lock_request(open_slot(bus), "R1")
    status, _, lock = bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": "K-R1"})
    assert (status, lock["status"], lock["orderNo"]) == (201, "locked", "R1")
    assert bus.call("GET", "/v1/registrations/locks/R1")[2] == lock
    for _ in range(2):
        assert bus.call("DELETE", "/v1/registrations/locks/R1")[2] == {"orderNo": "R1", "status": "released"}
    assert [row["operation"] for row in hospital.control.ledger(key="R1")] == ["lock", "release"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda request: request.update(patientId="P9999999"), 422, "patient_unknown"),
        (lambda request: request["slot"].update(slotId="NONE"), 422, "slot_unknown"),
    ],
)
def test_a_refusal_has_its_own_code_and_both_languages(
    bus: Bus, change: Callable[[dict[str, object]], None], status: int, code: str
) -> None:
    request = lock_request(open_slot(bus), "R2")
    change(request)
    got, headers, problem = bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": f"K-{code}"})
    assert (got, problem["code"]) == (status, code)
    assert headers["content-type"].startswith("application/problem+json")
    assert problem["message"]["zh"]
    assert problem["message"]["en"]
    assert problem["exchange"]


def test_a_full_slot_and_a_used_order_number_are_refused(bus: Bus, hospital: Sandbox) -> None:
    slot, other = open_slot(bus), open_slot(bus, skip=1)
    bus.call("POST", "/v1/registrations/locks", lock_request(slot, "R3"), {"Idempotency-Key": "K-R3"})
    conflict = bus.call("POST", "/v1/registrations/locks", lock_request(other, "R3"), {"Idempotency-Key": "K-R3b"})
    assert (conflict[0], conflict[2]["code"]) == (409, "order_conflict")
    hospital.control.set_slot(other["slotId"], sold=other["total"])
    full = bus.call("POST", "/v1/registrations/locks", lock_request(other, "R4"), {"Idempotency-Key": "K-R4"})
    assert (full[0], full[2]["code"]) == (409, "slot_full")


def test_a_lock_that_nobody_has_is_not_found(bus: Bus) -> None:
    for method in ("GET", "DELETE"):
        status, _, problem = bus.call(method, "/v1/registrations/locks/R404")
        assert (status, problem["code"]) == (404, "not_found")


def test_reports_are_listed_and_read_over_fhir(bus: Bus) -> None:
    status, _, reports = bus.call("GET", "/v1/patients/P0000001/reports?kind=lab")
    assert status == 200
    assert {one["status"] for one in reports["items"]} <= {"final", "amended", "corrected"}
    status, _, report = bus.call("GET", "/v1/reports/LIS0001")
    assert status == 200
    assert report["patientId"] == "P0000001"
    assert "high" in {item.get("flag") for item in report["items"]}
    assert bus.call("GET", "/v1/reports/NONE")[2]["code"] == "not_found"


def test_a_parking_fee_is_quoted_in_fen(bus: Bus) -> None:
    status, _, quote_ = bus.call("GET", f"/v1/parking/fees?plate={quote('京A12345')}&lotId=P1")
    assert status == 200
    assert quote_["due"] == quote_["fee"] - quote_["paid"] - quote_["discount"] == 1500
    assert bus.call("GET", f"/v1/parking/fees?plate={quote('京A00000')}")[2]["code"] == "car_unknown"


def test_the_exchange_of_a_read_shows_its_state_and_no_answer(bus: Bus) -> None:
    status, headers, _ = bus.call("GET", "/v1/departments?level=2", headers={"X-Request-Id": "one-read"})
    assert (status, headers["x-request-id"]) == (200, "one-read")
    row = bus.row("department.list", "one-read", "request_id")
    status, _, state = bus.call("GET", f"/v1/exchanges/{row['id']}")
    assert (status, state) == (200, {"id": row["id"], "outcome": "done", "final": True, "version": row["version"]})
