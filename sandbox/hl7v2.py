"""The HL7 v2 channel: patients (QBP^Q22, ADT^A28) and appointments (SRM^S01, SRM^S04, SQM^S25)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

from sandbox.faults import Call
from sandbox.hl7_text import Answer, Incoming, answer, decode, escape, read_time, segment
from sandbox.hospital import Hospital
from sandbox.registration import CONFIRMED, EXPIRED, LOCKED, RELEASED, Lock, Refusal, Slot
from sandbox.seed import Patient
from sandbox.soap import CODES

AUTHORITIES = {"PI": "HIS", "NI": "GA", "SS": "YB", "HC": "WJW"}
SCH_STATUS = {LOCKED: "Pending", CONFIRMED: "Booked", RELEASED: "Cancelled", EXPIRED: "Deleted"}
ANSWERS_KEPT = 10_000
KINDS = {
    "QBP^Q22": "RSP^K22^RSP_K21",
    "SRM^S01": "SRR^S01",
    "SRM^S04": "SRR^S04",
    "SQM^S25": "SQR^S25",
    "ADT^A28": "ACK^A28^ACK",
}

__all__ = ["Answer", "Hl7Channel"]


class Hl7Channel:
    """The same bytes under the same control id get the stored first answer and no second effect."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._numbers = 0
        self._answered: OrderedDict[tuple[str, str, bytes], Answer] = OrderedDict()
        self._operations: dict[str, Callable[[Incoming], Answer]] = {
            "QBP^Q22": self._find_patients,
            "SRM^S01": self._book,
            "SRM^S04": self._cancel,
            "SQM^S25": self._query,
            "ADT^A28": self._create_patient,
        }

    def read(self, frame: bytes) -> Call:
        try:
            request = decode(frame)
        except ValueError as error:
            reject = Answer(f"MSH|^~\\&|HIS|H1|||||ACK|R0|P|2.4\rMSA|AR||{escape(str(error))}\r", "UNICODE UTF-8")
            return Call("hl7", "malformed", frame.hex(), lambda: reject, lambda code: reject)
        key = (request.get("MSH", 3), request.get("MSH", 10), sha256(frame).digest())
        refuse = self._refuser(request)
        return Call("hl7", request.kind, request.text, lambda: self._once(key, request), refuse)

    def _once(self, key: tuple[str, str, bytes], request: Incoming) -> Answer:
        known = self._answered.get(key)
        if known is None:
            known = self._answered[key] = self._perform(request)
            if len(self._answered) > ANSWERS_KEPT:
                self._answered.popitem(last=False)
        return known

    def _perform(self, request: Incoming) -> Answer:
        operation = self._operations.get(request.kind)
        if operation is None:
            return self._answer(request, [], "AR", f"unsupported message {request.kind}")
        try:
            return operation(request)
        except Refusal as refusal:
            return self._refusal(request, CODES.get(refusal.reason, "-1"), refusal.text)
        except ValueError as error:
            return self._refusal(request, "102", str(error))

    def _answer(self, request: Incoming, segments: list[str], code: str = "AA", text: str = "") -> Answer:
        self._numbers += 1
        kind = KINDS.get(request.kind, "ACK")
        return answer(request, kind, f"R{self._numbers:08d}", self._hospital.clock.now(), segments, code, text)

    def _refusal(self, request: Incoming, code: str, text: str) -> Answer:
        said = escape(text)
        err = segment(
            "ERR",
            {1: f"^^^{code}&{said}", 3: "207^Application internal error^HL70357", 4: "E", 5: f"{code}^{said}", 8: said},
        )
        return self._answer(request, [err], "AE", text)

    def _refuser(self, request: Incoming) -> Callable[[str | None], Answer]:
        return lambda code: self._refusal(request, code or "-999", "业务繁忙，请稍后再试")

    def _find_patients(self, request: Incoming) -> Answer:
        asked: dict[str, str] = {}
        for n in range(1, request.repetitions("QPD", 3) + 1):
            asked[request.get("QPD", 3, 1, n)] = request.get("QPD", 3, 2, n)
        birth = read_time(asked["@PID.7"]).date() if asked.get("@PID.7") else None
        found = self._hospital.find_patients(
            asked.get("@PID.3.1") or None, asked.get("@PID.3.5") or None, asked.get("@PID.5.1") or None, birth
        )
        qak = segment(
            "QAK",
            {
                1: escape(request.get("QPD", 2)),
                2: "OK" if found else "NF",
                3: "Q22^Find Candidates^HL7",
                4: str(len(found)),
                5: str(len(found)),
                6: "0",
            },
        )
        people = [_pid(person, n) for n, person in enumerate(found, 1)]
        return self._answer(request, [qak, request.raw("QPD"), *people])

    def _create_patient(self, request: Incoming) -> Answer:
        names = [request.get("PID", field, part) for field, part in ((5, 1), (5, 2), (9, 1))]
        identifiers = {
            request.get("PID", 3, 5, n): request.get("PID", 3, 1, n)
            for n in range(1, request.repetitions("PID", 3) + 1)
            if request.get("PID", 3, 5, n) not in ("", "PI")
        }
        name = max(names, key=len)
        if not name:
            raise ValueError("PID-5 is required")
        patient, fresh = self._hospital.create_patient(
            name,
            request.get("PID", 8) or "U",
            read_time(request.get("PID", 7)).date(),
            request.get("PID", 13),
            request.get("PID", 11),
            identifiers,
            "hl7",
        )
        return self._answer(request, [], text=f"{patient.id} {'created' if fresh else 'known'}")

    def _book(self, request: Incoming) -> Answer:
        order = self._order(request)
        patient = self._patient(request)
        begin = read_time(request.get("ARQ", 11) or request.get("AIS", 4))
        slot = self._hospital.slot_at(request.get("AIP", 3), request.get("AIS", 3), begin)
        book = self._hospital.book
        book.lock(order, slot, patient.id, "hl7")
        return self._booked(request, book.confirm(order, "hl7"))

    def _cancel(self, request: Incoming) -> Answer:
        return self._booked(request, self._hospital.book.cancel(self._order(request), "hl7"))

    def _query(self, request: Incoming) -> Answer:
        if request.get("ARQ", 1):
            try:
                lines = self._lock_segments(self._hospital.book.find(request.get("ARQ", 1)))
            except Refusal:
                lines = []
        else:
            lines = [line for slot in self._free_slots(request) for line in self._slot_segments(slot)]
        tag = request.get("QRD", 4) or request.get("MSH", 10)
        qak = segment("QAK", {1: escape(tag), 2: "OK" if lines else "NF"})
        return self._answer(request, [qak, *lines])

    def _free_slots(self, request: Incoming) -> list[Slot]:
        first = read_time(request.get("ARQ", 11))
        last = read_time(request.get("ARQ", 11, 2)) if request.get("ARQ", 11, 2) else first + timedelta(days=1)
        found = self._hospital.find_slots(request.get("AIS", 3), request.get("AIP", 3), first.date(), last.date())
        return [slot for slot in found if slot.schedule.status == 1 and slot.left and first <= slot.begin <= last]

    def _order(self, request: Incoming) -> str:
        order = request.get("ARQ", 1)
        if not order:
            raise ValueError("ARQ-1 is required")
        return order

    def _patient(self, request: Incoming) -> Patient:
        for n in range(1, request.repetitions("PID", 3) + 1):
            number, kind = request.get("PID", 3, 1, n), request.get("PID", 3, 5, n)
            found = self._hospital.find_patients(number=number, kind=kind) if number else []
            if found:
                return found[0]
        raise Refusal("patient_unknown", "患者不存在")

    def _booked(self, request: Incoming, lock: Lock) -> Answer:
        return self._answer(request, self._lock_segments(lock))

    def _lock_segments(self, lock: Lock) -> list[str]:
        sch = _sch(lock.order, lock.booking or lock.no, lock.slot, SCH_STATUS[lock.status])
        person = [] if lock.patient is None else [_pid(self._hospital.patients[lock.patient], 1)]
        return [sch, *person, *self._resources(lock.slot)]

    def _slot_segments(self, slot: Slot) -> list[str]:
        return [_sch("", slot.no, slot, "Free"), *self._resources(slot)]

    def _resources(self, slot: Slot) -> list[str]:
        schedule, begin = slot.schedule, f"{slot.begin:%Y%m%d%H%M%S}"
        dept, doctor = self._hospital.departments[schedule.dept], self._hospital.doctors[schedule.doctor]
        ais = segment("AIS", {1: "1", 2: "A", 3: f"{dept.id}^{escape(dept.name)}", 4: begin})
        aip = segment("AIP", {1: "1", 2: "A", 3: f"{doctor.no}^^{escape(doctor.name)}"})
        return ["RGS|1|A", ais, aip]


def _sch(placer: str, filler: str, slot: Slot, status: str) -> str:
    begin, end = f"{slot.begin:%Y%m%d%H%M%S}", f"{slot.end:%Y%m%d%H%M%S}"
    minutes = str(int((slot.end - slot.begin).total_seconds() // 60))
    return segment("SCH", {1: escape(placer), 2: filler, 9: minutes, 10: "min", 11: f"^^^{begin}^{end}", 25: status})


def _pid(person: Patient, number: int) -> str:
    cards = "~".join(
        f"{escape(value)}^^^{AUTHORITIES.get(kind, 'HIS')}^{kind}" for kind, value in person.identifiers.items()
    )
    return segment(
        "PID",
        {
            1: str(number),
            3: cards,
            5: escape(person.name),
            7: f"{person.birth:%Y%m%d}",
            8: person.sex,
            11: escape(person.address),
            13: escape(person.phone),
        },
    )
