"""The typed SOAP channel, /soap/his: document/literal wrapped, namespace urn:sandbox:his, money in yuan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from xml.sax.saxutils import escape

from sandbox.clock import local
from sandbox.faults import Call
from sandbox.hospital import Hospital
from sandbox.http_server import Request, Response
from sandbox.registration import CONFIRMED, EXPIRED, LOCKED, RELEASED, Lock, Refusal, Slot
from sandbox.seed import Doctor
from sandbox.soap_wire import SOAP11, SoapCall, SoapError, envelope, fault, read, wsdl

NAMESPACE = "urn:sandbox:his"
CODES = {
    "slot_full": "1001",
    "slot_unknown": "1002",
    "patient_unknown": "1003",
    "order_unknown": "1004",
    "order_confirmed": "1004",
    "session_stopped": "1005",
    "order_conflict": "1006",
}
LOCK_STATUS = {LOCKED: "1", RELEASED: "2", EXPIRED: "3", CONFIRMED: "4"}
REQUIRED = {
    "SearchDoctors": (),
    "ListSchedules": ("From", "To"),
    "LockRegistration": ("OrderNo", "PatientID", "SlotNo", "VisitTime", "Fee"),
    "FindRegistration": ("OrderNo",),
    "UnlockRegistration": ("OrderNo",),
}


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def elements(**texts: str) -> str:
    return "".join([f"<{name}>{escape(text)}</{name}>" for name, text in texts.items()])


class SoapChannel:
    """Understands a request, then performs it. Rendered slots are kept until the slot changes, whole lists until
    anything in the book does."""

    def __init__(self, hospital: Hospital, port: Callable[[], int]) -> None:
        self._hospital = hospital
        self._port = port
        self._operations: dict[str, Callable[[dict[str, str]], bytes]] = {
            "SearchDoctors": self._search_doctors,
            "ListSchedules": self._list_schedules,
            "LockRegistration": self._lock,
            "FindRegistration": self._find,
            "UnlockRegistration": self._unlock,
        }
        self._slot_texts: dict[str, tuple[int, str]] = {}
        self._lists: dict[tuple[str, str, str, str], bytes] = {}
        self._lists_revision = -1

    def read(self, request: Request) -> Call:
        if request.method == "GET":
            return self._served("WSDL", Response(200, wsdl("his.wsdl", self._port()), "text/xml; charset=utf-8"))
        try:
            call = read(request)
            self._check(call)
        except SoapError as error:
            return self._served("malformed", fault(error.version, str(error)))
        version, name, fields = call.version, call.name, call.fields
        return Call("soap", name, fields, lambda: self._perform(version, name, fields), _refusal(version, name))

    def _served(self, operation: str, answer: Response) -> Call:
        return Call("soap", operation, None, lambda: answer, lambda code: fault(SOAP11, f"error {code}", client=False))

    def _check(self, call: SoapCall) -> None:
        if call.namespace != NAMESPACE or call.name not in self._operations:
            raise SoapError(call.version, f"unknown operation {{{call.namespace}}}{call.name}")
        missing = [name for name in REQUIRED[call.name] if not call.fields.get(name)]
        if missing:
            raise SoapError(call.version, f"missing {', '.join(missing)}")

    def _perform(self, version: str, name: str, fields: dict[str, str]) -> Response:
        try:
            return envelope(version, self._operations[name](fields))
        except Refusal as refusal:
            return envelope(version, _result(name, CODES.get(refusal.reason, "-1"), refusal.text))
        except ValueError as error:
            return fault(version, f"bad value: {error}")

    def _search_doctors(self, fields: dict[str, str]) -> bytes:
        day = date.fromisoformat(fields["Date"]) if fields.get("Date") else None
        found = self._hospital.search_doctors(fields.get("Keyword", ""), fields.get("DeptCode", ""), day)
        listed = "".join(self._doctor(doctor) for doctor in found)
        return _result("SearchDoctors", "0", "成功", f"<Doctors>{listed}</Doctors>")

    def _doctor(self, doctor: Doctor) -> str:
        texts = elements(
            DoctorNo=doctor.no,
            Name=doctor.name,
            Title=doctor.title,
            DeptCode=doctor.dept,
            DeptName=self._hospital.departments[doctor.dept].name,
            Specialty=doctor.specialty,
            Intro=doctor.intro,
            Sex=doctor.sex,
            Fee=yuan(doctor.fee),
        )
        return f"<Doctor>{texts}</Doctor>"

    def _list_schedules(self, fields: dict[str, str]) -> bytes:
        key = (fields.get("DeptCode", ""), fields.get("DoctorNo", ""), fields["From"], fields["To"])
        book = self._hospital.book
        book.expire()
        if self._lists_revision != book.revision:
            self._lists.clear()
            self._lists_revision = book.revision
        known = self._lists.get(key)
        if known is None:
            first, last = date.fromisoformat(key[2]), date.fromisoformat(key[3])
            slots = self._hospital.find_slots(key[0], key[1], first, last)
            listed = "".join([self._slot(slot) for slot in slots])
            known = _result("ListSchedules", "0", "成功", f"<Schedules>{listed}</Schedules>")
            self._lists[key] = known
        return known

    def _slot(self, slot: Slot) -> str:
        kept = self._slot_texts.get(slot.no)
        if kept is not None and kept[0] == slot.version:
            return kept[1]
        schedule = slot.schedule
        doctor = self._hospital.doctors[schedule.doctor]
        texts = elements(
            SlotNo=slot.no,
            ScheduleNo=schedule.no,
            DoctorNo=doctor.no,
            DoctorName=doctor.name,
            Title=doctor.title,
            DeptCode=schedule.dept,
            DeptName=self._hospital.departments[schedule.dept].name,
            Date=schedule.date.isoformat(),
            Session=schedule.session,
            Begin=f"{slot.begin:%H:%M}",
            End=f"{slot.end:%H:%M}",
            Total=str(slot.total),
            Left=str(slot.left),
            Fee=yuan(schedule.fee),
            Status=str(schedule.status),
            Level=str(schedule.level),
        )
        self._slot_texts[slot.no] = (slot.version, f"<Slot>{texts}</Slot>")
        return self._slot_texts[slot.no][1]

    def _lock(self, fields: dict[str, str]) -> bytes:
        hospital = self._hospital
        patient = hospital.patient(fields["PatientID"])
        slot = hospital.slot(fields["SlotNo"])
        if local(fields["VisitTime"], "%Y%m%d%H%M%S") != slot.begin:
            raise Refusal("slot_unknown", "就诊时间与号源不符")
        lock, _ = hospital.book.lock(fields["OrderNo"], slot, patient.id, "soap")
        return _result("LockRegistration", "0", "成功", _lock_text(lock))

    def _find(self, fields: dict[str, str]) -> bytes:
        return _result("FindRegistration", "0", "成功", _lock_text(self._hospital.book.find(fields["OrderNo"])))

    def _unlock(self, fields: dict[str, str]) -> bytes:
        self._hospital.book.release(fields["OrderNo"], "soap")
        return _result("UnlockRegistration", "0", "成功")


def _lock_text(lock: Lock) -> str:
    texts = elements(
        No=lock.no,
        OrderNo=lock.order,
        SlotNo=lock.slot.no,
        Fee=yuan(lock.fee),
        Expires=f"{lock.expires:%Y%m%d%H%M%S}",
        Status=LOCK_STATUS[lock.status],
    )
    return f"<Lock>{texts}</Lock>"


def _result(name: str, code: str, text: str, rest: str = "") -> bytes:
    head = elements(ResultCode=code, ResultMsg=text)
    return f'<{name}Response xmlns="{NAMESPACE}">{head}{rest}</{name}Response>'.encode()


def _refusal(version: str, name: str) -> Callable[[str | None], Response]:
    return lambda code: envelope(version, _result(name, code or "-999", "业务繁忙，请稍后再试"))
