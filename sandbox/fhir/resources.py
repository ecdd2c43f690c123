"""The hospital's things as FHIR R4 resources (dicts with Decimals) and back."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.exact_json import yuan
from sandbox.hospital import HOSPITAL_ID, HOSPITAL_NAME, Hospital
from sandbox.registration import CONFIRMED, LOCKED, OPEN, Lock, Schedule, Slot
from sandbox.reports import Item, Report
from sandbox.seed import Department, Doctor, Patient

Resource = dict[str, Any]
SYSTEMS = {
    "NI": "urn:oid:2.16.156.10011.1.3",
    "PI": "urn:oid:2.16.156.10011.2.5.1.4",
    "HC": "urn:sandbox:health-card",
    "SS": "urn:sandbox:insurance-card",
    "PPN": "urn:sandbox:passport",
    "HM": "urn:sandbox:hk-macau-permit",
    "BCT": "urn:sandbox:birth-certificate",
}
ORDER_SYSTEM = "urn:hub:order"
GENDERS = {"M": "male", "F": "female", "O": "other", "U": "unknown"}
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
CATEGORY = "http://terminology.hl7.org/CodeSystem/v2-0074"
CATEGORIES = {"lab": ("LAB", "检验"), "imaging": ("RAD", "影像")}


def coded(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def patient(person: Patient) -> Resource:
    return {
        "resourceType": "Patient",
        "id": person.id,
        "meta": {"versionId": str(person.version)},
        "identifier": [
            {"system": SYSTEMS.get(kind, kind), "value": value} for kind, value in person.identifiers.items()
        ],
        "active": True,
        "name": [{"text": person.name}],
        "telecom": [{"system": "phone", "value": person.phone}] if person.phone else [],
        "gender": GENDERS.get(person.sex, "unknown"),
        "birthDate": person.birth.isoformat(),
        "address": [{"text": person.address}] if person.address else [],
    }


def organization(dept: Department) -> Resource:
    parent = dept.parent or HOSPITAL_ID
    return {
        "resourceType": "Organization",
        "id": dept.id,
        "active": dept.status == 1,
        "type": [coded("http://terminology.hl7.org/CodeSystem/organization-type", "dept", "科室")],
        "name": dept.name,
        "telecom": [{"system": "phone", "value": dept.phone}],
        "address": [{"text": dept.address}],
        "partOf": {"reference": f"Organization/{parent}"},
    }


def hospital_organization() -> Resource:
    kind = coded("http://terminology.hl7.org/CodeSystem/organization-type", "prov", "医院")
    return {"resourceType": "Organization", "id": HOSPITAL_ID, "active": True, "type": [kind], "name": HOSPITAL_NAME}


def practitioner(doctor: Doctor) -> Resource:
    return {
        "resourceType": "Practitioner",
        "id": doctor.no,
        "active": True,
        "name": [{"text": doctor.name}],
        "gender": {"1": "male", "2": "female"}[doctor.sex],
        "qualification": [{"code": {"text": doctor.title}}],
    }


def schedule(session: Schedule) -> Resource:
    first, last = session.slots[0], session.slots[-1]
    fee = {"url": "urn:sandbox:fee", "valueMoney": {"value": yuan(session.fee), "currency": "CNY"}}
    return {
        "resourceType": "Schedule",
        "id": session.no,
        "extension": [fee],
        "active": session.status == OPEN,
        "serviceType": [{"text": {1: "普通", 2: "专家", 3: "急诊"}[session.level]}],
        "actor": [{"reference": f"Practitioner/{session.doctor}"}, {"reference": f"Organization/{session.dept}"}],
        "planningHorizon": {"start": first.begin.isoformat(), "end": last.end.isoformat()},
    }


def slot_status(slot: Slot) -> str:
    if slot.schedule.status != OPEN:
        return "busy-unavailable"
    if slot.left > 0:
        return "free"
    return "busy-tentative" if slot.held else "busy"


def slot(one: Slot) -> Resource:
    left = {"url": "urn:sandbox:left", "valueInteger": one.left}
    return {
        "resourceType": "Slot",
        "id": one.no,
        "meta": {"versionId": str(one.version)},
        "extension": [left, {"url": "urn:sandbox:total", "valueInteger": one.total}],
        "schedule": {"reference": f"Schedule/{one.schedule.no}"},
        "status": slot_status(one),
        "start": one.begin.isoformat(),
        "end": one.end.isoformat(),
    }


def appointment(lock: Lock, hospital: Hospital) -> Resource:
    status = {LOCKED: "pending", CONFIRMED: "booked"}.get(lock.status, "cancelled")
    actors = [f"Practitioner/{lock.slot.schedule.doctor}"]
    if lock.patient:
        actors.insert(0, f"Patient/{lock.patient}")
    expires = {"url": "urn:sandbox:expires", "valueDateTime": lock.expires.isoformat()}
    return {
        "resourceType": "Appointment",
        "id": lock.no,
        "extension": [expires] if lock.status == LOCKED else [],
        "identifier": [{"system": ORDER_SYSTEM, "value": lock.order}],
        "status": status,
        "serviceType": [{"text": hospital.departments[lock.slot.schedule.dept].name}],
        "start": lock.slot.begin.isoformat(),
        "end": lock.slot.end.isoformat(),
        "slot": [{"reference": f"Slot/{lock.slot.no}"}],
        "created": lock.created.isoformat(),
        "participant": [{"actor": {"reference": actor}, "status": "accepted"} for actor in actors],
    }


def diagnostic_report(report: Report) -> Resource:
    code, display = CATEGORIES[report.kind]
    resource: Resource = {
        "resourceType": "DiagnosticReport",
        "id": report.id,
        "meta": {"versionId": "1", "lastUpdated": report.issued.isoformat()},
        "status": report.status,
        "category": [coded(CATEGORY, code, display)],
        "code": coded("urn:sandbox:item", report.code, report.name),
        "subject": {"reference": f"Patient/{report.patient}"},
        "effectiveDateTime": report.collected.isoformat(),
        "issued": report.issued.isoformat(),
        "performer": [{"display": report.dept}],
        "resultsInterpreter": [{"display": report.reviewer}],
        "result": [{"reference": f"Observation/{report.id}-{n}"} for n in range(1, len(report.items) + 1)],
    }
    if report.conclusion:
        resource["conclusion"] = report.conclusion
    resource["presentedForm"] = [{"contentType": "application/pdf", "url": f"Binary/{report.id}", "title": report.name}]
    return resource


def observation(report: Report, number: int) -> Resource:
    item = report.items[number - 1]
    resource: Resource = {
        "resourceType": "Observation",
        "id": f"{report.id}-{number}",
        "status": report.status,
        "code": coded("urn:sandbox:item", item.code, item.name),
        "subject": {"reference": f"Patient/{report.patient}"},
        "effectiveDateTime": report.collected.isoformat(),
        **_value(item),
        "referenceRange": [{"text": item.range}],
    }
    if item.flag:
        resource["interpretation"] = [coded(INTERPRETATION, item.flag, item.flag)]
    return resource


def _value(item: Item) -> Resource:
    try:
        return {"valueQuantity": {"value": Decimal(item.result), "unit": item.unit}}
    except InvalidOperation:
        return {"valueString": item.result}


def outcome(code: str, text: str) -> Resource:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": text}]}
