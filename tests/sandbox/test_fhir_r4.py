"""The FHIR channel: reading, paging, conditional writes, holds, transactions; resources accepted by fhir.resources."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from fhir.resources.R4B import get_fhir_model_class

from tests.sandbox_process import Sandbox

ID_CARD = "urn:oid:2.16.156.10011.1.3"


class Fhir:
    def __init__(self, hospital: Sandbox) -> None:
        self.base = hospital.url("/fhir/r4")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = path if path.startswith("http") else f"{self.base}/{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, url, json=body, headers=sent, timeout=5)
        return answer.status_code, answer.json()

    def get(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, body
        return body


@pytest.fixture
def fhir(hospital: Sandbox) -> Fhir:
    return Fhir(hospital)


def free_slot(fhir: Fhir, day: str, n: int = 0) -> Any:
    schedules = fhir.get("Schedule?actor=Practitioner/D001&_count=100")["entry"]
    mine = next(e["resource"]["id"] for e in schedules if e["resource"]["planningHorizon"]["start"].startswith(day))
    found = fhir.get(f"Slot?schedule=Schedule/{mine}&start=ge{day}&status=free")["entry"]
    return found[n]["resource"]


def appointment(slot: Any, order: str = "O1", status: str = "booked", patient: str = "P0000001") -> Any:
    return {
        "resourceType": "Appointment",
        "identifier": [{"system": "urn:hub:order", "value": order}],
        "status": status,
        "slot": [{"reference": f"Slot/{slot['id']}"}],
        "participant": [{"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}],
    }


@pytest.mark.parametrize(
    "path",
    [
        "metadata",
        "Patient/P0000001",
        "Organization/0101",
        "Practitioner/D001",
        "Schedule/R1",
        "Slot/R1-1",
        "DiagnosticReport/LIS0001",
        "DiagnosticReport/PACS0001",
        "Observation/LIS0001-1",
        "Patient?name=患者一",
    ],
)
def test_an_independent_model_accepts_the_resource(fhir: Fhir, path: str) -> None:
    resource = fhir.get(path)
    model = get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert model.get_resource_type() == resource["resourceType"]


def test_paging_by_next_links_gives_every_report_once(fhir: Fhir) -> None:
    seen: list[str] = []
    page = fhir.get("DiagnosticReport?patient=P0000001&_count=10")
    while page:
        assert len(page["entry"]) <= 10
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        page = fhir.get(following[0]) if following else None
    assert len(seen) == len(set(seen)) == 28


def test_reports_are_found_by_date_category_and_id_with_their_results(fhir: Fhir) -> None:
    images = fhir.get("DiagnosticReport?subject=Patient/P0000001&category=RAD")
    assert images["total"] == 3
    found = fhir.get("DiagnosticReport?_id=LIS0001&_include=DiagnosticReport:result")
    modes = [entry["search"]["mode"] for entry in found["entry"]]
    assert (found["total"], modes) == (1, ["match", "include", "include", "include", "include"])
    day = found["entry"][0]["resource"]["effectiveDateTime"][:10]
    same_day = fhir.get(f"DiagnosticReport?patient=P0000001&date=ge{day}&date=le{day}&category=LAB")
    assert "LIS0001" in [entry["resource"]["id"] for entry in same_day["entry"]]
    assert "entry" not in fhir.get("DiagnosticReport?patient=P0000001&date=lt1990-01-01")


def test_decimals_keep_their_trailing_zeros(fhir: Fhir) -> None:
    text = requests.get(f"{fhir.base}/Observation/LIS0001-1", timeout=5).text
    assert json.loads(text, parse_float=str)["valueQuantity"]["value"] == "11.20"


def test_a_patient_is_created_once_by_if_none_exist(fhir: Fhir, hospital: Sandbox) -> None:
    body = {
        "resourceType": "Patient",
        "identifier": [{"system": ID_CARD, "value": "44030019040229003X"}],
        "name": [{"text": "患者新"}],
        "gender": "female",
        "birthDate": "1904-02-29",
    }
    condition = f"identifier={ID_CARD}|44030019040229003X"
    first = fhir.ask("POST", "Patient", body, If_None_Exist=condition)
    again = fhir.ask("POST", "Patient", body, If_None_Exist=condition)
    assert [first[0], again[0], fhir.ask("POST", "Patient", body)[0]] == [201, 200, 409]
    assert first[1]["id"] == again[1]["id"] == "P0000051"
    assert len(hospital.control.ledger(operation="patient_created")) == 1


def test_a_slot_is_taken_by_a_conditional_update_of_the_version_read(
    fhir: Fhir, tomorrow: str, hospital: Sandbox
) -> None:
    slot = free_slot(fhir, tomorrow)
    version = f'W/"{slot["meta"]["versionId"]}"'
    held = fhir.ask("PUT", f"Slot/{slot['id']}", {**slot, "status": "busy-tentative"}, If_Match=version)
    late = fhir.ask("PUT", f"Slot/{slot['id']}", {**slot, "status": "busy-tentative"}, If_Match=version)
    blind = fhir.ask("PUT", f"Slot/{slot['id']}", {**slot, "status": "busy-tentative"})
    assert [held[0], late[0], blind[0]] == [200, 412, 412]
    assert late[1]["resourceType"] == "OperationOutcome"
    assert len(hospital.control.ledger(operation="lock")) == 1


def test_hold_and_book_are_one_order(fhir: Fhir, tomorrow: str, hospital: Sandbox) -> None:
    slot = free_slot(fhir, tomorrow)
    named = [
        {"name": "order", "valueString": "O1"},
        {"name": "patient", "valueReference": {"reference": "Patient/P0000001"}},
    ]
    body = {"resourceType": "Parameters", "parameter": named}
    assert fhir.ask("POST", f"Slot/{slot['id']}/$hold", body)[1]["status"] == "pending"
    assert fhir.ask("POST", f"Slot/{slot['id']}/$book", body)[1]["status"] == "booked"
    found = fhir.get("Appointment?identifier=urn:hub:order|O1&patient=Patient/P0000001")
    assert [entry["resource"]["status"] for entry in found["entry"]] == ["booked"]
    assert [row["operation"] for row in hospital.control.ledger(key="O1")] == ["lock", "confirm"]


def test_an_appointment_is_booked_and_cancelled_and_a_full_slot_is_a_conflict(
    fhir: Fhir, tomorrow: str, hospital: Sandbox
) -> None:
    slot = free_slot(fhir, tomorrow)
    status, made = fhir.ask("POST", "Appointment", appointment(slot))
    assert (status, made["status"]) == (201, "booked")
    hospital.control.set_slot(slot["id"], total=1)
    assert fhir.get(f"Slot/{slot['id']}")["status"] == "busy"
    assert fhir.ask("POST", "Appointment", appointment(slot, "O2"))[0] == 409
    cancelled = fhir.ask("PUT", f"Appointment/{made['id']}", {**made, "status": "cancelled"})
    assert cancelled[1]["status"] == "cancelled"
    assert fhir.get(f"Slot/{slot['id']}")["status"] == "free"


def test_a_transaction_does_all_or_nothing(fhir: Fhir, tomorrow: str, hospital: Sandbox) -> None:
    slot = free_slot(fhir, tomorrow)
    good = {"resource": appointment(slot), "request": {"method": "POST", "url": "Appointment"}}
    bad = {"resource": appointment(slot, "O2", patient="P9999999"), "request": {"method": "POST", "url": "Appointment"}}
    refused = fhir.ask("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [good, bad]})
    assert (refused[0], refused[1]["resourceType"], hospital.control.ledger()) == (422, "OperationOutcome", [])
    assert fhir.get(f"Slot/{slot['id']}") == slot
    done = fhir.ask("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [good]})
    assert (done[0], done[1]["type"], done[1]["entry"][0]["response"]["status"]) == (200, "transaction-response", "201")
    assert len(hospital.control.ledger(key="O1")) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "Patient/P9999999", 404),
        ("GET", "Nothing/1", 404),
        ("GET", "Patient?favourite=blue", 400),
        ("GET", "Slot?start=ge-not-a-date", 400),
        ("POST", "Observation", 400),
        ("DELETE", "Patient/P0000001", 405),
    ],
)
def test_what_cannot_be_done_is_an_operation_outcome(fhir: Fhir, method: str, path: str, status: int) -> None:
    got, body = fhir.ask(method, path)
    assert (got, body["resourceType"]) == (status, "OperationOutcome")
