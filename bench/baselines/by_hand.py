"""The transformations as a careful programmer writes them, without a mapping language.

Codes that are not in a table, amounts that are not whole fen and times that do not exist raise, as in the mappings.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from esb.clock import SHANGHAI
from esb.codecs.hl7v2 import Message

GENDERS = {"unknown": "0", "male": "1", "female": "2", "other": "9"}
DOCUMENTS = {
    "id_card": "01",
    "household": "02",
    "passport": "03",
    "officer": "04",
    "driving": "05",
    "hk_macau": "06",
    "taiwan": "07",
    "other": "99",
}
SESSIONS = {"S": "morning", "X": "afternoon", "Y": "evening"}
STATUSES = {"1": "open", "0": "stopped", "2": "unreleased"}
LEVELS = {"1": "ordinary", "2": "expert", "3": "emergency"}
FLAGS = {
    "N": "normal",
    "H": "high",
    "L": "low",
    "AA": "critical",
    "A": "abnormal",
    "HH": "critical",
    "LL": "critical",
}


def registration(request: dict[str, Any]) -> dict[str, Any]:
    """Twelve flat fields."""
    patient, slot, fee = request["patient"], request["slot"], request["fee"]
    return {
        "OrderNo": request["orderNo"],
        "PatientID": patient["id"],
        "PatientName": patient["name"],
        "Sex": GENDERS[patient["gender"]],
        "IDType": DOCUMENTS[patient["documentType"]],
        "IDNo": patient["documentNo"],
        "Phone": patient["phone"],
        "DeptCode": slot["departmentId"],
        "DoctorNo": slot["doctorId"],
        "SlotNo": slot["slotId"],
        "VisitTime": digits(slot["start"]),
        "Fee": yuan(fee),
    }


def schedule(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The slots of a SOAP answer."""
    if answer["ResultCode"] != "0":
        return None
    return {"items": [_slot(slot) for slot in answer["Schedules"]["Slot"]]}


def _slot(slot: dict[str, Any]) -> dict[str, Any]:
    date, left, status = slot["Date"], slot["Left"], slot["Status"]
    result = {
        "slotId": slot["SlotNo"],
        "scheduleId": slot["ScheduleNo"],
        "doctorId": slot["DoctorNo"],
        "doctorName": slot["DoctorName"],
        "departmentId": slot["DeptCode"],
        "departmentName": slot["DeptName"],
        "date": date,
        "session": SESSIONS[slot["Session"]],
        "start": f"{date}T{slot['Begin']}:00+08:00",
        "end": f"{date}T{slot['End']}:00+08:00",
        "total": int(slot["Total"]),
        "left": int(left),
        "fee": fen(slot["Fee"]),
        "status": "full" if status == "1" and left == "0" else STATUSES[status],
    }
    if title := slot.get("Title"):
        result["doctorTitle"] = title
    if level := slot.get("Level"):
        result["level"] = LEVELS[level]
    return result


def digits(time: str) -> str:
    """A time with any offset as fourteen digits in Shanghai."""
    return datetime.fromisoformat(time).astimezone(SHANGHAI).strftime("%Y%m%d%H%M%S")


def issued(digits: str) -> str:
    """Fourteen digits in Shanghai as a time."""
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI).isoformat()


def yuan(fen: int) -> str:
    """Whole fen as yuan with two places."""
    return f"{fen // 100}.{fen % 100:02d}"


def fen(yuan: str) -> int:
    """Yuan as whole fen."""
    amount = Decimal(yuan) * 100
    if amount != int(amount):
        raise ValueError("not whole fen")
    return int(amount)


def report(message: Message) -> dict[str, Any] | None:
    """The results of an ORU."""
    header, patient, order = (message.segments(name)[0] for name in ("MSH", "PID", "OBR"))
    status = order.get(25)
    if header.get(9, component=1) != "ORU" or status not in ("F", "C"):
        return None
    return {
        "id": order.get(3, component=1),
        "kind": "lab",
        "name": order.get(4, component=2),
        "status": "corrected" if status == "C" else "final",
        "issuedAt": issued(order.get(22) or ""),
        "patientId": patient.get(3, component=1),
        "items": [_result(segment) for segment in message.segments("OBX") if segment.get(11) in ("F", "C")],
    }


def _result(segment: Any) -> dict[str, Any]:
    result = {
        "code": segment.get(3, component=1),
        "name": segment.get(3, component=2),
        "result": segment.get(5),
    }
    if unit := segment.get(6):
        result["unit"] = unit
    if limits := segment.get(7):
        result["range"] = limits
    if flag := segment.get(8):
        result["flag"] = FLAGS.get(flag, "abnormal")
    return result


def report_of_json(tree: dict[str, Any]) -> dict[str, Any] | None:
    """The same, of the message as JSON."""
    order = tree["OBR"]
    status = order["25"]
    if tree["MSH"]["9"]["1"] != "ORU" or status not in ("F", "C"):
        return None
    return {
        "id": order["3"]["1"],
        "kind": "lab",
        "name": order["4"]["2"],
        "status": "corrected" if status == "C" else "final",
        "issuedAt": issued(order["22"]),
        "patientId": tree["PID"]["3"]["1"],
        "items": [_result_of_json(fields) for fields in tree["OBX"] if fields["11"] in ("F", "C")],
    }


def _result_of_json(fields: dict[str, Any]) -> dict[str, Any]:
    result = {"code": fields["3"]["1"], "name": fields["3"]["2"], "result": fields["5"]}
    if unit := fields.get("6"):
        result["unit"] = unit
    if limits := fields.get("7"):
        result["range"] = limits
    if flag := fields.get("8"):
        result["flag"] = FLAGS.get(flag, "abnormal")
    return result
