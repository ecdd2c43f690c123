"""The transformations that ``bench.mapping`` times: what goes in, what comes out, our mapping and the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from bench.baselines import by_hand
from esb.codecs import hl7v2, xml
from esb.mapping import load_codes, load_mapping
from esb.mapping.examples import EXCHANGE

ROOT = Path(__file__).resolve().parent.parent
_CODES = load_codes(ROOT / "mappings/codes")


@dataclass(frozen=True)
class Transformation:
    """``inputs`` makes that many inputs for ``ours`` and ``by_hand``, ``tree`` one of them for the query languages.

    ``targets`` by contender, as ``harness.row`` writes them.
    """

    name: str
    title: str
    ours: Callable[[Any], Any]
    by_hand: Callable[[Any], Any]
    inputs: Callable[[int], list[Any]]
    tree: Any
    targets: Mapping[str, str]


TARGETS = {"jsonata-python": ">= 100", "JMESPath": ">= 8", "JSONata on Node.js": ">= 3", "by hand": "<= 2.5"}
UNEQUAL = {"jsonata-python": ">= 1", "JMESPath": ">= 1", "JSONata on Node.js": ">= 1", "by hand": "<= 2.5"}
"""Where only we and the hand-written function read the message, and the others are given it read."""


def transformations() -> list[Transformation]:
    """Twelve flat fields, fifty slots, twenty-four results as JSON, the same from the HL7 v2 message."""
    request, answer, message = _registration(), _schedule(), _message()
    as_json = by_name_and_number(hl7v2.decode(message))
    return [
        Transformation(
            "registration",
            "12 flat fields, request to SOAP",
            _request("bench/mappings/registration.yaml"),
            by_hand.registration,
            lambda count: [request] * count,
            request,
            TARGETS,
        ),
        Transformation(
            "schedule",
            "50 slots, SOAP to answer",
            _answer("mappings/his_soap/schedule.list.yaml"),
            by_hand.schedule,
            lambda count: [answer] * count,
            answer,
            TARGETS,
        ),
        Transformation(
            "report",
            "24 results, ORU as JSON to answer",
            _answer("bench/mappings/report_json.yaml"),
            by_hand.report_of_json,
            lambda count: [as_json] * count,
            as_json,
            TARGETS,
        ),
        Transformation(
            "report",
            "24 results, ORU as HL7 v2 to answer",
            _answer("bench/mappings/report.yaml"),
            by_hand.report,
            lambda count: [hl7v2.decode(message) for _ in range(count)],
            as_json,
            UNEQUAL,
        ),
    ]


def by_name_and_number(message: hl7v2.Message) -> dict[str, Any]:
    """A message as JSON that is easy to query: segments by name, valued fields and components by number."""
    tree: dict[str, list[dict[str, Any]]] = {}
    for row in hl7v2.to_tree(message)["segments"]:
        fields = {str(number): _field(value) for number, value in enumerate(row) if number and value not in ("", [])}
        tree.setdefault(row[0], []).append(fields)
    return {name: found[0] if len(found) == 1 else found for name, found in tree.items()}


def _field(value: Any) -> Any:
    return {str(at): part for at, part in enumerate(value, 1)} if isinstance(value, list) else value


def _request(file: str) -> Callable[[Any], Any]:
    mapping = load_mapping(ROOT / file, _CODES)
    return lambda request: mapping.build(request, EXCHANGE, {})[1]


def _answer(file: str) -> Callable[[Any], Any]:
    mapping = load_mapping(ROOT / file, _CODES)
    return lambda answer: mapping.interpret(answer, {}, EXCHANGE, {}).body


def _registration() -> dict[str, Any]:
    return {
        "orderNo": "R202601150001",
        "patient": {
            "id": "P0000001",
            "name": "测试患者",
            "gender": "female",
            "documentType": "passport",
            "documentNo": "E00000001",
            "phone": "13800000000",
        },
        "slot": {"slotId": "S1", "departmentId": "D0101", "doctorId": "D007", "start": "2026-01-16T08:30:00+08:00"},
        "fee": 2550,
    }


def _schedule() -> Any:
    slots = "".join(map(_slot, range(50)))
    wrapped = f"<Answer><ResultCode>0</ResultCode><ResultMsg>ok</ResultMsg><Schedules>{slots}</Schedules></Answer>"
    return xml.decode(wrapped.encode())


def _slot(number: int) -> str:
    day = date(2026, 1, 16) + timedelta(days=number // 10)
    minutes = 480 + number % 10 * 30
    parts = {
        "SlotNo": f"S{number:04d}",
        "ScheduleNo": f"R{number // 10:04d}",
        "DoctorNo": f"D{number // 5:04d}",
        "DoctorName": f"医生{number // 5}",
        "Title": "主任医师" if number % 3 else "",
        "DeptCode": "D0101",
        "DeptName": "心血管内科",
        "Date": f"{day}",
        "Session": "S" if minutes < 720 else "X",
        "Begin": f"{minutes // 60:02d}:{minutes % 60:02d}",
        "End": f"{(minutes + 30) // 60:02d}:{minutes % 60:02d}",
        "Total": "10",
        "Left": str(number % 4),
        "Fee": f"{10 + number % 5}.50",
        "Status": "0" if number % 11 == 0 else "1",
        "Level": str(1 + number % 3),
    }
    return "<Slot>" + "".join(f"<{name}>{value}</{name}>" for name, value in parts.items()) + "</Slot>"


def _message() -> bytes:
    lines = [
        "MSH|^~\\&|LIS|H1|HUB|WX|20260116103000||ORU^R01^ORU_R01|M1|P|2.5.1|||||CHN|UNICODE UTF-8",
        "PID|1||P0000001^^^HIS^PI||测试^患者||19900101|F",
        "ORC|RE|O1|R1001^LIS",
        "OBR|1|O1|R1001^LIS|CBC^血常规^L|||20260116083000|||||||||||||||20260116103000||LAB|F",
    ]
    lines += [_observation(number) for number in range(1, 25)]
    return ("\r".join(lines) + "\r").encode()


def _observation(number: int) -> str:
    unit, limits = ("10*9/L", "3.5-9.5") if number % 6 else ("", "")
    flag = ("N", "H", "L", "N", "N", "")[number % 6]
    return f"OBX|{number}|NM|{6690 + number}-2^项目{number}^LN||{number}.{number % 10}|{unit}|{limits}|{flag}|||F"
