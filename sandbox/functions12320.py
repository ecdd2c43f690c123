"""The functions of the 12320 style over the hospital; field lists of the version 3.3 document, amounts in fen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import TypeAlias

from sandbox.clock import local
from sandbox.hospital import HOSPITAL_ID, Hospital
from sandbox.registration import CONFIRMED, EXPIRED, LOCKED, RELEASED, Lock, Refusal, Schedule, Slot
from sandbox.reports import Report
from sandbox.seal12320 import Rejected
from sandbox.seed import Patient

Res: TypeAlias = "str | dict[str, Res] | list[Res]"

REG_FEE = 100
SEXES = {"M": "1", "F": "0", "U": "2", "O": "3"}
TIME_FLAGS = {"S": "1", "X": "2", "Y": "3"}
WEEKDAYS = "一二三四五六日"
ID_TYPES = {"1": "NI", "2": "HM", "5": "PPN", "7": "BCT", "10": "SS"}
ORDER_STATUS = {LOCKED: "2", CONFIRMED: "2", RELEASED: "4", EXPIRED: "4"}
FLAGS = {"H": "↑", "L": "↓", "HH": "↑↑", "LL": "↓↓", "A": "*"}
REQUIRED = {
    "1001": ("HOS_ID", "IP"),
    "1002": ("HOS_ID", "NAME", "SEX", "BIRTHDAY", "MOBILE", "PASSWORD"),
    "1003": ("HOS_ID", "NAME", "SEX", "BIRTHDAY"),
    "2001": ("HOS_ID", "DEPT_ID"),
    "2002": ("HOS_ID", "DEPT_ID", "DOCTOR_ID"),
    "2003": ("HOS_ID", "DEPT_ID", "DOCTOR_ID", "START_DATE", "END_DATE"),
    "2004": ("HOS_ID", "DEPT_ID", "DOCTOR_ID", "REG_DATE", "TIME_FLAG"),
    "2005": (
        "LOCK_ID",
        "CHANNEL_ID",
        "REG_ID",
        "HOS_ID",
        "DEPT_ID",
        "DOCTOR_ID",
        "REG_DATE",
        "TIME_FLAG",
        "REG_FEE",
        "TREAT_FEE",
    ),
    "2006": ("HOS_ID", "LOCK_ID"),
    "2007": (
        "ORDER_ID",
        "CHANNEL_ID",
        "IS_REG",
        "REG_ID",
        "HOS_ID",
        "REG_FEE",
        "TREAT_FEE",
        "REG_TYPE",
        "NAME",
        "SEX",
        "BIRTHDAY",
    ),
    "2012": ("HOS_ID", "ORDER_ID"),
    "8001": ("HOS_ID", "PATIENT_NAME", "BEGIN_DATE", "END_DATE"),
    "8002": ("HOS_ID", "REPORT_ID"),
}


class Functions:
    """`call` gives the RES tree; Rejected carries a six-digit or an envelope code, ValueError means code 1."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._functions: dict[str, Callable[[dict[str, str]], Res]] = {
            "1001": self._net_test,
            "1002": self._create_patient,
            "1003": self._find_patient,
            "2001": self._departments,
            "2002": self._doctors,
            "2003": self._schedules,
            "2004": self._slots,
            "2005": self._lock,
            "2006": self._unlock,
            "2007": self._order,
            "2012": self._orders,
            "8001": self._reports,
            "8002": self._report,
        }

    def call(self, function: str, fields: dict[str, str]) -> Res:
        handler = self._functions.get(function)
        if handler is None:
            raise Rejected("5", "功能编码错误")
        missing = [name for name in REQUIRED[function] if not fields.get(name)]
        if missing:
            raise Rejected("1", f"参数缺失: {','.join(missing)}")
        if fields["HOS_ID"] != HOSPITAL_ID:
            raise Rejected("1", "医院编码错误")
        return handler(fields)

    def _net_test(self, fields: dict[str, str]) -> Res:
        return {"SYSDATE": f"{self._hospital.clock.now():%Y-%m-%d %H:%M:%S}"}

    def _create_patient(self, fields: dict[str, str]) -> Res:
        kind = ID_TYPES.get(fields.get("ID_TYPE", ""))
        identifiers = {kind: fields["ID_NO"]} if kind and fields.get("ID_NO") else {}
        sex = next((ours for ours, theirs in SEXES.items() if theirs == fields["SEX"]), "U")
        birth = date.fromisoformat(fields["BIRTHDAY"])
        patient, _ = self._hospital.create_patient(
            fields["NAME"], sex, birth, fields["MOBILE"], fields.get("ADDRESS", ""), identifiers, "12320"
        )
        if patient.name != fields["NAME"]:
            raise Rejected("100202", "证件号已有其他姓名的档案，请到窗口处理")
        return {"HOSP_PATIENT_ID": patient.id, "IDCARD_TYPE": "8", "CARD_NO": _card(patient)}

    def _find_patient(self, fields: dict[str, str]) -> Res:
        number = fields.get("HOSP_PATIENT_ID") or fields.get("ID_NO") or None
        kind = "PI" if fields.get("HOSP_PATIENT_ID") else ID_TYPES.get(fields.get("ID_TYPE", ""))
        found = self._hospital.find_patients(number, kind, fields["NAME"], date.fromisoformat(fields["BIRTHDAY"]))
        if not found:
            raise Rejected("100301", "患者未在本院建档")
        patient = found[0]
        created = f"{patient.created:%Y-%m-%d %H:%M:%S}"
        card: Res = {
            "HOSP_PATIENT_ID": patient.id,
            "CARD_TYPE": "8",
            "CARD_NO": _card(patient),
            "CARD_STATUS": "0",
            "CARD_TIME": created,
            "LAST_TIME": created,
        }
        rest: dict[str, Res] = {"MOBILE": patient.phone, "ADDRESS": patient.address}
        return {"CREATE_TIME": created, "HOSP_PATIENT_ID": patient.id, "CARD_INFO": [card], **rest}

    def _departments(self, fields: dict[str, str]) -> Res:
        asked = fields["DEPT_ID"]
        listed: list[Res] = [
            {
                "DEPT_ID": d.id,
                "DEPT_NAME": d.name,
                "PARENT_ID": d.parent or "-1",
                "DESC": d.intro,
                "LEVEL": str(d.level),
                "ADDRESS": d.address,
                "STATUS": str(d.status),
            }
            for d in self._hospital.departments.values()
            if asked == "-1" or asked == d.id or (asked == "0" and d.level == 1) or asked == d.parent
        ]
        if not listed:
            raise Rejected("200101", "未找到科室")
        return {"HOS_ID": HOSPITAL_ID, "DEPT_LIST": listed}

    def _doctors(self, fields: dict[str, str]) -> Res:
        listed: list[Res] = [
            {
                "DEPT_ID": d.dept,
                "DOCTOR_ID": d.no,
                "NAME": d.name,
                "DESC": d.intro,
                "SPECIAL": d.specialty,
                "JOB_TITLE": d.title,
                "REG_FEE": str(d.fee),
                "STATUS": "1",
                "SEX": {"1": "1", "2": "0"}[d.sex],
            }
            for d in self._hospital.search_doctors(dept=_all(fields["DEPT_ID"]))
            if fields["DOCTOR_ID"] in ("-1", d.no)
        ]
        if not listed:
            raise Rejected("200202", "未找到医生")
        return {"HOS_ID": HOSPITAL_ID, "DOCTOR_LIST": listed}

    def _schedules(self, fields: dict[str, str]) -> Res:
        first, last = date.fromisoformat(fields["START_DATE"]), date.fromisoformat(fields["END_DATE"])
        slots = self._hospital.find_slots(_all(fields["DEPT_ID"]), _all(fields["DOCTOR_ID"]), first, last)
        grouped: dict[str, dict[date, list[Schedule]]] = {}
        for schedule in {slot.schedule.no: slot.schedule for slot in slots}.values():
            grouped.setdefault(schedule.doctor, {}).setdefault(schedule.date, []).append(schedule)
        if not grouped:
            raise Rejected("200303", "未找到排班")
        listed: list[Res] = [self._doctor_days(doctor, days) for doctor, days in grouped.items()]
        return {"HOS_ID": HOSPITAL_ID, "DEPT_ID": fields["DEPT_ID"], "REG_DOCTOR_LIST": listed}

    def _doctor_days(self, doctor: str, days: dict[date, list[Schedule]]) -> Res:
        known = self._hospital.doctors[doctor]
        listed: list[Res] = [
            {
                "REG_DATE": day.isoformat(),
                "REG_WEEKDAY": f"星期{WEEKDAYS[day.weekday()]}",
                "REG_TIME_LIST": [_session(schedule) for schedule in schedules],
            }
            for day, schedules in days.items()
        ]
        return {"DOCTOR_ID": doctor, "NAME": known.name, "JOB_TITLE": known.title, "REG_LIST": listed}

    def _slots(self, fields: dict[str, str]) -> Res:
        day = date.fromisoformat(fields["REG_DATE"])
        listed: list[Res] = [
            {
                "TIME_FLAG": TIME_FLAGS[slot.schedule.session],
                "BEGIN_TIME": f"{slot.begin:%H:%M}",
                "END_TIME": f"{slot.end:%H:%M}",
                "TOTAL": str(slot.total),
                "OVER_COUNT": str(slot.left),
                "REG_ID": slot.schedule.no,
            }
            for slot in self._hospital.find_slots(_all(fields["DEPT_ID"]), _all(fields["DOCTOR_ID"]), day, day)
            if fields["TIME_FLAG"] in ("4", TIME_FLAGS[slot.schedule.session])
        ]
        if not listed:
            raise Rejected("200404", "未找到分时号源")
        return {"TIME_REG_LIST": listed}

    def _lock(self, fields: dict[str, str]) -> Res:
        schedule = self._schedule(fields, "2005", 0)
        book = self._hospital.book
        book.expire()
        if fields["LOCK_ID"] in book.locks:
            raise Rejected("200504", "锁号单号已存在")
        slot = self._free_slot(schedule, fields, "200505", "200506")
        try:
            book.lock(fields["LOCK_ID"], slot, None, "12320")
        except Refusal as refusal:
            raise Rejected("200501", refusal.text) from None
        return {}

    def _schedule(self, fields: dict[str, str], family: str, offset: int) -> Schedule:
        """The session of REG_ID; codes family + 01, 02, 03 (moved by offset) for schedule, department, doctor."""
        codes = [f"{family}{n + offset:02d}" for n in (1, 2, 3)]
        schedule = self._hospital.schedules.get(fields["REG_ID"])
        if schedule is None or fields.get("REG_DATE", schedule.date.isoformat()) != schedule.date.isoformat():
            raise Rejected(codes[0], "排班不存在")
        if fields.get("TIME_FLAG", "") not in ("", TIME_FLAGS[schedule.session]):
            raise Rejected(codes[0], "排班时段不符")
        if fields.get("DEPT_ID", schedule.dept) != schedule.dept:
            raise Rejected(codes[1], "科室不符")
        if fields.get("DOCTOR_ID", schedule.doctor) != schedule.doctor:
            raise Rejected(codes[2], "医生不符")
        return schedule

    def _free_slot(self, schedule: Schedule, fields: dict[str, str], full: str, taken: str) -> Slot:
        if schedule.status == 1 and schedule.left <= 0:
            raise Rejected(full, "号源已满")
        begin = fields.get("BEGIN_TIME")
        slots = [slot for slot in schedule.slots if begin in (None, "", f"{slot.begin:%H:%M}")]
        if not slots:
            raise Rejected(taken[:4] + "01", "没有该时段")
        free = next((slot for slot in slots if slot.left > 0), None)
        if free is None and schedule.status == 1:
            raise Rejected(taken, "该时段号源已被占用")
        return free or slots[0]

    def _unlock(self, fields: dict[str, str]) -> Res:
        try:
            self._hospital.book.release(fields["LOCK_ID"], "12320")
        except Refusal as refusal:
            raise Rejected("200601" if refusal.reason == "order_unknown" else "13", refusal.text) from None
        return {}

    def _order(self, fields: dict[str, str]) -> Res:
        book = self._hospital.book
        book.expire()
        order = fields["ORDER_ID"]
        known = book.locks.get(order)
        if known is not None and known.status == CONFIRMED:
            raise Rejected("200708", "订单号已存在")
        schedule = self._schedule(fields, "2007", 4)
        patient = self._order_patient(fields)
        if fields["IS_REG"] != "3":
            if known is not None:
                raise Rejected("200708", "订单号已存在")
            slot = self._free_slot(schedule, fields, "200709", "200710")
            known, _ = book.lock(order, slot, patient.id, "12320")
        if known is None or known.status != LOCKED or known.slot.schedule is not schedule:
            raise Rejected("200710", "号源未锁定或已释放")
        known.patient = patient.id
        return self._ordered(book.confirm(order, "12320"), patient)

    def _order_patient(self, fields: dict[str, str]) -> Patient:
        number = fields.get("HOSP_PATIENT_ID") or fields.get("IDCARD_NO")
        kind = "PI" if fields.get("HOSP_PATIENT_ID") else ID_TYPES.get(fields.get("IDCARD_TYPE", "1"))
        found = self._hospital.find_patients(number, kind) if number else []
        if not found:
            raise Rejected("200703", "患者未建档")
        if found[0].name != fields["NAME"]:
            raise Rejected("200711", "身份信息不符")
        return found[0]

    def _ordered(self, lock: Lock, patient: Patient) -> Res:
        dept = self._hospital.departments[lock.slot.schedule.dept]
        return {
            "HOSP_ORDER_ID": str(lock.booking),
            "HOSP_PATIENT_ID": patient.id,
            "HOSP_SEE_DOCT_ADDR": dept.address,
            "IS_CONCESSIONS": "0",
        }

    def _orders(self, fields: dict[str, str]) -> Res:
        try:
            lock = self._hospital.book.find(fields["ORDER_ID"])
        except Refusal:
            raise Rejected("201201", "未找到订单") from None
        order: Res = {
            "ORDER_ID": lock.order,
            "ORDER_STATUS": ORDER_STATUS[lock.status],
            "HOSP_GETREG_DATE": f"{lock.slot.begin:%Y-%m-%d %H:%M:%S}",
        }
        return {"COUNT": "1", "ORDER_LIST": [order]}

    def _reports(self, fields: dict[str, str]) -> Res:
        number = fields.get("HOSP_PATIENT_ID") or fields.get("PATIENT_IDCARD_NO") or None
        found = self._hospital.find_patients(number, None, fields["PATIENT_NAME"])
        if not found:
            raise Rejected("800101", "未找到患者")
        first, last = _day(fields["BEGIN_DATE"]).date(), _day(fields["END_DATE"]).date()
        kinds = {"0": ("lab",), "2": ("imaging",), "1": ()}.get(fields.get("REPORT_TYPE", ""), ("lab", "imaging"))
        listed: list[Res] = [
            _report_line(report)
            for report in self._hospital.reports.values()
            if report.patient == found[0].id
            and report.status != "preliminary"
            and report.kind in kinds
            and first <= report.issued.date() <= last
        ]
        if not listed:
            raise Rejected("800102", "未找到报告")
        return {"HOS_ID": HOSPITAL_ID, **self._person(found[0]), "REPORT_LIST": {"REPORT_INFO": listed}}

    def _report(self, fields: dict[str, str]) -> Res:
        report = self._hospital.reports.get(fields["REPORT_ID"])
        if report is None or report.kind != "lab" or report.status == "preliminary":
            raise Rejected("800201", "未找到报告")
        info: Res = {**self._person(self._hospital.patients[report.patient]), **_report_facts(report)}
        details: list[Res] = [
            {
                "CHECK_NAME": item.name,
                "RESULT": item.result,
                "UNIT": item.unit,
                "NORMAL_FLAG": FLAGS.get(item.flag, ""),
                "REFERENCE_VALUE": item.range,
            }
            for item in report.items
        ]
        return {"HOS_ID": HOSPITAL_ID, "REPORT_INFO": [info], "CHECK_LIST": {"DETAIL": details}}

    def _person(self, patient: Patient) -> dict[str, Res]:
        age = self._hospital.clock.today().year - patient.birth.year
        return {
            "HOSP_PATIENT_ID": patient.id,
            "PATIENT_NAME": patient.name,
            "PATIENT_SEX": SEXES[patient.sex],
            "PATIENT_AGE": str(age),
            "MEDICAL_INSURANNCE_TYPE": "自费",
        }


def _all(value: str) -> str:
    return "" if value == "-1" else value


def _card(patient: Patient) -> str:
    return patient.identifiers.get("HC", f"K{patient.id[1:]}")


def _day(text: str) -> datetime:
    return local(text[:10], "%Y-%m-%d")


def _session(schedule: Schedule) -> Res:
    return {
        "REG_ID": schedule.no,
        "TIME_FLAG": TIME_FLAGS[schedule.session],
        "REG_STATUS": str(schedule.status),
        "TOTAL": str(schedule.total),
        "OVER_COUNT": str(schedule.left),
        "REG_LEVEL": str(schedule.level),
        "REG_FEE": str(REG_FEE),
        "TREAT_FEE": str(schedule.fee - REG_FEE),
        "ISTIME": "1",
    }


def _report_facts(report: Report) -> dict[str, Res]:
    return {
        "DIAGNOSIS": "待查",
        "ITEM_NAME": report.name,
        "SPECIMEN_NAME": report.specimen,
        "SPECIMEN_ID": report.barcode,
        "REPORT_TIME": f"{report.issued:%Y-%m-%d %H:%M:%S}",
        "DEPT_NAME": report.dept,
        "DOCTOR_NAME": report.doctor,
    }


def _report_line(report: Report) -> Res:
    kind = {"lab": "0", "imaging": "2"}[report.kind]
    return {"REPORT_ID": report.id, **_report_facts(report), "REPORT_TYPE": kind}
