"""Another hospital by YAML alone: the same requests, the same answers, other systems."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.bus_process import Bus, start_bus
from tests.journeys.conftest import lock_request, tomorrow
from tests.sandbox_process import Sandbox

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "second_hospital"


@pytest.fixture(scope="module", params=["routes.12320.yaml", "routes.yaml"])
def second(request: pytest.FixtureRequest, shared_hospital: Sandbox) -> Iterator[tuple[str, Bus]]:
    shared_hospital.control.reset()
    with start_bus(shared_hospital, routes=FOLDER / request.param) as bus:
        yield request.param, bus


def open_slots(bus: Bus) -> list[dict[str, Any]]:
    query = f"departmentId=010101&doctorId=D001&from={tomorrow()}&to={tomorrow()}"
    status, _, schedule = bus.call("GET", f"/v1/schedules?{query}")
    assert status == 200, schedule
    return [slot for slot in schedule["items"] if slot["status"] == "open"]


def test_its_departments_and_doctors_read_like_any_others(second: tuple[str, Bus]) -> None:
    _, bus = second
    status, _, departments = bus.call("GET", "/v1/departments")
    assert status == 200
    assert {one["level"] for one in departments["items"]} == {1, 2, 3}
    status, _, doctors = bus.call("GET", f"/v1/doctors?departmentId=010101&keyword={quote('医生甲')}")
    assert (status, doctors["items"][0]["id"]) == (200, "D001")


def test_its_patients_are_found(second: tuple[str, Bus]) -> None:
    _, bus = second
    asked = {"documentType": "id_card", "documentNumber": "110101190001011236", "name": "患者一"}
    status, _, found = bus.call("POST", "/v1/patients/search", asked)
    assert (status, found["items"][0]["id"], found["items"][0]["sex"]) == (200, "P0000001", "male")


def test_its_slots_are_locked_once_found_and_released(second: tuple[str, Bus], shared_hospital: Sandbox) -> None:
    name, bus = second
    order = f"S{name.count('.')}"
    status, _, schedule = bus.call(
        "GET", f"/v1/schedules?departmentId=010101&doctorId=D001&from={tomorrow()}&to={tomorrow()}"
    )
    assert status == 200
    request = lock_request(next(slot for slot in schedule["items"] if slot["status"] == "open"), order)
    for _ in range(2):
        status, _, lock = bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": order})
        assert (status, lock["orderNo"]) == (201, order)
    assert bus.call("GET", f"/v1/registrations/locks/{order}")[2]["lockId"] == lock["lockId"]
    status, headers, released = bus.call("DELETE", f"/v1/registrations/locks/{order}")
    if name == "routes.yaml":
        assert (status, released["outcome"]) == (202, "accepted")
        released = bus.until(headers["location"], lambda body: body["final"])["answer"]
    assert released["status"] == "released"
    assert len(shared_hospital.control.ledger(key=order, operation="lock")) == 1
    assert bus.call("GET", "/v1/registrations/locks/NOBODY")[2]["code"] == "not_found"


def test_a_lost_answer_is_settled_there_too(second: tuple[str, Bus], shared_hospital: Sandbox) -> None:
    name, bus = second
    _, _, schedule = bus.call(
        "GET", f"/v1/schedules?departmentId=010101&doctorId=D001&from={tomorrow()}&to={tomorrow()}"
    )
    request = lock_request([slot for slot in schedule["items"] if slot["status"] == "open"][1], f"T{name.count('.')}")
    channel, operation = ("12320", "2005") if "12320" in name else ("hl7", "SRM^S01")
    shared_hospital.control.fault(channel, "reset_after", operation=operation, times=1)
    status, _, lock = bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": request["orderNo"]})
    assert (status, lock["orderNo"]) == (201, request["orderNo"])
    assert len(shared_hospital.control.ledger(key=request["orderNo"], operation="lock")) == 1


def test_its_reports_are_read(second: tuple[str, Bus]) -> None:
    _, bus = second
    assert bus.call("GET", "/v1/reports/LIS0001")[2]["patientId"] == "P0000001"
