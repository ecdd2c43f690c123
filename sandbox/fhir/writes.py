"""What changes something: creating patients and appointments, holding and booking slots, transactions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from sandbox.fhir import resources, search
from sandbox.fhir.resources import ORDER_SYSTEM, SYSTEMS, Resource
from sandbox.hospital import Hospital
from sandbox.registration import CONFIRMED, LOCKED, Lock, Refusal, Slot


class Failed(Exception):
    """An answer that is an OperationOutcome: HTTP status, issue code, text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


REFUSALS = {
    "slot_full": (409, "conflict"),
    "session_stopped": (409, "conflict"),
    "order_conflict": (409, "duplicate"),
    "order_confirmed": (409, "conflict"),
    "slot_taken": (409, "conflict"),
    "slot_unknown": (404, "not-found"),
    "patient_unknown": (422, "not-found"),
    "order_unknown": (404, "not-found"),
}


def failed(refusal: Refusal) -> Failed:
    status, code = REFUSALS.get(refusal.reason, (422, "processing"))
    return Failed(status, code, refusal.text)


class Writes:
    """Every method gives (status, resource) or raises Failed or Refusal."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital

    def create(self, kind: str, body: Resource, if_none_exist: str) -> tuple[int, Resource]:
        if body.get("resourceType") != kind:
            raise Failed(400, "invalid", f"the body is no {kind}")
        if if_none_exist:
            found = search.matching(self._hospital, kind, parse_qsl(if_none_exist))
            if len(found) > 1:
                raise Failed(412, "multiple-matches", "If-None-Exist matches more than one")
            if found:
                return 200, found[0]
        if kind == "Patient":
            return 201, self._create_patient(body)
        if kind == "Appointment":
            return 201, self._create_appointment(body)
        raise Failed(405, "not-supported", f"{kind} cannot be created")

    def _create_patient(self, body: Resource) -> Resource:
        kinds = {system: kind for kind, system in SYSTEMS.items()}
        identifiers = {kinds[i["system"]]: i["value"] for i in body.get("identifier", []) if i.get("system") in kinds}
        identifiers.pop("PI", None)
        name = (body.get("name") or [{}])[0]
        text = name.get("text") or name.get("family", "") + "".join(name.get("given", []))
        if not text or not body.get("birthDate"):
            raise Failed(422, "required", "name and birthDate are required")
        sex = next((ours for ours, theirs in resources.GENDERS.items() if theirs == body.get("gender")), "U")
        phone = next((t["value"] for t in body.get("telecom", []) if t.get("system") == "phone"), "")
        address = next((a["text"] for a in body.get("address", []) if a.get("text")), "")
        birth = date.fromisoformat(body["birthDate"])
        made, fresh = self._hospital.create_patient(text, sex, birth, phone, address, identifiers, "fhir")
        if not fresh:
            raise Failed(409, "duplicate", f"an identifier belongs to Patient/{made.id}")
        return resources.patient(made)

    def _create_appointment(self, body: Resource) -> Resource:
        """Status booked confirms; proposed and pending hold for ten minutes."""
        slot = self._slot_of((body.get("slot") or [{}])[0])
        patient = next((p for p in map(_actor, body.get("participant", [])) if p.startswith("Patient/")), "")
        lock = self._hold(slot, _order(body), patient.removeprefix("Patient/"))
        if body.get("status") == "booked":
            lock = self._hospital.book.confirm(lock.order, "fhir")
        return resources.appointment(lock, self._hospital)

    def _slot_of(self, reference: Resource) -> Slot:
        return self._hospital.slot(str(reference.get("reference", "")).removeprefix("Slot/"))

    def _hold(self, slot: Slot, order: str, patient: str) -> Lock:
        person = self._hospital.patient(patient) if patient else None
        return self._hospital.book.lock(order, slot, person.id if person else None, "fhir")[0]

    def update(self, kind: str, no: str, body: Resource, if_match: str) -> tuple[int, Resource]:
        if body.get("resourceType") != kind or body.get("id", no) != no:
            raise Failed(400, "invalid", f"the body is no {kind} {no}")
        if kind == "Slot":
            return 200, self._update_slot(no, body, if_match)
        if kind == "Appointment":
            return 200, self._update_appointment(no, body)
        if kind == "Patient":
            return 200, self._update_patient(no, body, if_match)
        raise Failed(405, "not-supported", f"{kind} cannot be updated")

    def _update_slot(self, no: str, body: Resource, if_match: str) -> Resource:
        """To busy-tentative takes one place under the order `slot-<id>-v<version>`; needs If-Match."""
        slot = self._hospital.slot(no)
        check_version(if_match, slot.version, required=True)
        if body.get("status") == "busy-tentative":
            self._hold(slot, f"slot-{no}-v{slot.version}", "")
        elif body.get("status") != resources.slot_status(slot):
            raise Failed(422, "business-rule", "only busy-tentative may be set")
        return resources.slot(slot)

    def _update_appointment(self, no: str, body: Resource) -> Resource:
        lock = self._appointment(no)
        status = body.get("status")
        if status == "cancelled":
            lock = self._hospital.book.cancel(lock.order, "fhir")
        elif status == "booked":
            lock = self._hospital.book.confirm(lock.order, "fhir")
        elif (status, lock.status) not in (("pending", LOCKED), ("booked", CONFIRMED)):
            raise Failed(422, "business-rule", f"status {status} is not possible")
        return resources.appointment(lock, self._hospital)

    def _appointment(self, no: str) -> Lock:
        for lock in self._hospital.book.locks.values():
            if lock.no == no:
                return lock
        raise Failed(404, "not-found", f"no Appointment/{no}")

    def _update_patient(self, no: str, body: Resource, if_match: str) -> Resource:
        person = self._hospital.patients.get(no)
        if person is None:
            raise Failed(404, "not-found", f"no Patient/{no}")
        check_version(if_match, person.version, required=False)
        phone = next((t["value"] for t in body.get("telecom", []) if t.get("system") == "phone"), person.phone)
        address = next((a["text"] for a in body.get("address", []) if a.get("text")), person.address)
        person.phone, person.address, person.version = phone, address, person.version + 1
        self._hospital.ledger.add("fhir", "patient_updated", no)
        return resources.patient(person)

    def operate(self, no: str, name: str, body: Resource) -> tuple[int, Resource]:
        """$hold and $book of a Slot with parameters `order` and `patient`; $book confirms what was held."""
        given = {p.get("name"): next((v for k, v in p.items() if k != "name"), None) for p in body.get("parameter", [])}
        order, patient = given.get("order"), given.get("patient")
        if isinstance(order, dict):
            order = order.get("value")
        if isinstance(patient, dict):
            patient = patient.get("reference") or patient.get("value")
        if not order or not patient or name not in ("$hold", "$book"):
            raise Failed(400, "required", "parameters order and patient are required by $hold and $book")
        lock = self._hold(self._hospital.slot(no), str(order), str(patient).removeprefix("Patient/"))
        if name == "$book":
            lock = self._hospital.book.confirm(lock.order, "fhir")
        return 200, resources.appointment(lock, self._hospital)

    def snapshot(self) -> Any:
        hospital = self._hospital
        people = {no: replace(person) for no, person in hospital.patients.items()}
        return hospital.book.snapshot(), people, hospital.ledger.mark()

    def restore(self, kept: Any) -> None:
        book, people, mark = kept
        self._hospital.book.restore(book)
        self._hospital.patients.clear()
        self._hospital.patients.update(people)
        self._hospital.ledger.undo_to(mark)


def check_version(if_match: str, version: int, required: bool) -> None:
    if not if_match and required:
        raise Failed(412, "conflict", "If-Match is required")
    if if_match and if_match.strip().removeprefix("W/").strip('"') != str(version):
        raise Failed(412, "conflict", f"the version is {version} now")


def _actor(participant: Resource) -> str:
    return str((participant.get("actor") or {}).get("reference", ""))


def _order(body: Resource) -> str:
    for item in body.get("identifier", []):
        if item.get("system") == ORDER_SYSTEM and item.get("value"):
            return str(item["value"])
    raise Failed(422, "required", f"an identifier of {ORDER_SYSTEM} is required")
