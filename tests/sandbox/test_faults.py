"""Every fault does to the wire what it says, and the ledger tells whether the effect happened."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request

import pytest

from tests.sandbox.test_mllp import book, find
from tests.sandbox_process import Sandbox

LOCK = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><LockRegistration xmlns="urn:sandbox:his">'
    "<OrderNo>{order}</OrderNo><PatientID>P0000001</PatientID><SlotNo>{slot}</SlotNo><VisitTime>{at}</VisitTime>"
    "<Fee>15.00</Fee></LockRegistration></s:Body></s:Envelope>"
)
EFFECTS = {
    "delay": 1,
    "delay_after": 1,
    "hang": 0,
    "hang_after": 1,
    "reset_before": 0,
    "reset_after": 1,
    "business_error": 0,
    "garbage": 1,
    "gbk": 1,
    "gbk_undeclared": 1,
    "truncated": 1,
    "duplicate": 1,
    "html_error": 0,
    "empty": 1,
    "dtd": 1,
    "http_500": 0,
    "slow_drip": 1,
}


def lock_request(hospital: Sandbox, order: str, day: str) -> bytes:
    query = f"{hospital.url('/fhir/r4')}/Schedule?actor=D001&_count=100"
    with urllib.request.urlopen(query, timeout=5) as answer:
        schedules = [entry["resource"] for entry in json.load(answer)["entry"]]
    session = next(s["id"] for s in schedules if s["planningHorizon"]["start"].startswith(day))
    body = LOCK.format(order=order, slot=f"{session}-1", at=day.replace("-", "") + "080000").encode()
    head = f"POST /soap/his HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def exchange(port: int, data: bytes, answers: int = 1, silence: float = 5.0) -> tuple[bytes, str]:
    """Everything the peer sent until so many answers were whole, and how it ended: answered, closed, reset, or silent
    when nothing came for `silence` seconds."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=silence) as peer:
        peer.sendall(data)
        while whole_answers(received) < answers:
            try:
                piece = peer.recv(65536)
            except TimeoutError:
                return received, "silent"
            except ConnectionResetError:
                return received, "reset"
            if not piece:
                return received, "closed"
            received += piece
    return received, "answered"


def whole_answers(data: bytes) -> int:
    if not data.startswith(b"HTTP/"):
        return data.count(b"\x1c\r") + data.count(b"</html>")
    count = 0
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        size = re.search(rb"Content-Length: (\d+)", head)
        if size is None or len(rest) < int(size[1]):
            break
        count, data = count + 1, rest[int(size[1]) :]
    return count


def provoke(port: int, data: bytes, fault: str) -> tuple[bytes, str]:
    return exchange(port, data, 2 if fault == "duplicate" else 1, 0.15 if "hang" in fault else 5.0)


def locks(hospital: Sandbox, at_least: int) -> int:
    """How many locks there are, after giving a promised one a moment to be made."""
    until = time.monotonic() + 20
    while True:
        made = len(hospital.control.ledger(operation="lock"))
        if made >= at_least or time.monotonic() > until:
            return made
        time.sleep(0.02)


@pytest.mark.parametrize("fault", EFFECTS)
def test_a_soap_lock_has_exactly_the_effect_its_fault_promises(hospital: Sandbox, tomorrow: str, fault: str) -> None:
    request = lock_request(hospital, "O1", tomorrow)
    hospital.control.fault("soap", fault, operation="LockRegistration", seconds=0.2, times=1)
    received, end = provoke(hospital.http, request, fault)
    assert locks(hospital, EFFECTS[fault]) == EFFECTS[fault]
    assert check_http(fault, received, end)
    assert hospital.control.state()["faults"] == []
    again, _ = exchange(hospital.http, request)
    assert b"<ResultCode>0</ResultCode>" in again
    assert locks(hospital, 1) == 1


def check_http(fault: str, received: bytes, end: str) -> bool:
    body = received.partition(b"\r\n\r\n")[2]
    ok = b"<ResultCode>0</ResultCode>" in body
    expected = {
        "delay": ok,
        "delay_after": ok,
        "hang": (received, end) == (b"", "silent"),
        "hang_after": (received, end) == (b"", "silent"),
        "reset_before": (received, end) == (b"", "reset"),
        "reset_after": (received, end) == (b"", "reset"),
        "business_error": b"<ResultCode>-999</ResultCode>" in body,
        "garbage": b"not a message" in body,
        "gbk": "成功".encode("gbk") in body and b'encoding="GBK"' in body,
        "gbk_undeclared": "成功".encode("gbk") in body and b'encoding="UTF-8"' in body,
        "truncated": end == "closed" and not body.endswith(b"Envelope>"),
        "duplicate": received.count(b"HTTP/1.1 200 OK") == 2 and body.count(b"<ResultCode>0<") == 2,
        "html_error": b"<html>" in body and b"text/html" in received,
        "empty": body == b"" and b"200 OK" in received,
        "dtd": b"<!DOCTYPE" in body,
        "http_500": received.startswith(b"HTTP/1.1 500"),
        "slow_drip": ok,
    }
    return expected[fault]


@pytest.mark.parametrize("fault", EFFECTS)
def test_an_hl7_booking_has_exactly_the_effect_its_fault_promises(hospital: Sandbox, tomorrow: str, fault: str) -> None:
    frame = b"\x0b" + book("M1", "O1", tomorrow).encode() + b"\x1c\r"
    hospital.control.fault("hl7", fault, operation="SRM^S01", seconds=0.2, times=1)
    received, end = provoke(hospital.mllp, frame, fault)
    assert locks(hospital, EFFECTS[fault]) == EFFECTS[fault]
    assert check_mllp(fault, received, end)
    again, _ = exchange(hospital.mllp, frame)
    assert b"MSA|AA|M1" in again
    assert locks(hospital, 1) == 1


def check_mllp(fault: str, received: bytes, end: str) -> bool:
    whole = received.startswith(b"\x0b") and received.endswith(b"\x1c\r")
    ok = whole and b"MSA|AA|M1" in received
    expected = {
        "delay": ok,
        "delay_after": ok,
        "hang": (received, end) == (b"", "silent"),
        "hang_after": (received, end) == (b"", "silent"),
        "reset_before": (received, end) == (b"", "reset"),
        "reset_after": (received, end) == (b"", "reset"),
        "business_error": whole and b"MSA|AE|M1" in received and b"-999" in received,
        "garbage": whole and b"not a message" in received,
        "gbk": ok and "医生甲".encode("gb18030") in received and b"GB 18030-2000" in received,
        "gbk_undeclared": ok and "医生甲".encode("gb18030") in received and b"UNICODE UTF-8" in received,
        "truncated": end == "closed" and not whole,
        "duplicate": ok and received.count(b"MSA|AA|M1") == 2,
        "html_error": received.startswith(b"<html>"),
        "empty": received == b"\x0b\x1c\r",
        "dtd": received.startswith(b"<html>"),
        "http_500": whole and b"MSA|AR|M1" in received,
        "slow_drip": ok,
    }
    return expected[fault]


@pytest.mark.parametrize(("fault", "made"), [("hold", 0), ("hold_after", 1)])
def test_what_is_held_is_answered_when_the_faults_are_cleared(
    hospital: Sandbox, tomorrow: str, fault: str, made: int
) -> None:
    request = lock_request(hospital, "O1", tomorrow)
    hospital.control.fault("soap", fault, operation="LockRegistration", times=1)
    with socket.create_connection(("127.0.0.1", hospital.http), timeout=0.15) as peer:
        peer.sendall(request)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        assert locks(hospital, made) == made
        hospital.control.clear_faults()
        peer.settimeout(10)
        assert b"200 OK" in peer.recv(65536)
    assert len(hospital.control.ledger(operation="lock")) == 1


def test_the_effect_of_a_fault_can_be_set_against_its_habit(hospital: Sandbox, tomorrow: str) -> None:
    request = lock_request(hospital, "O1", tomorrow)
    hospital.control.fault("soap", "http_500", effect="done", code=503)
    received, _ = exchange(hospital.http, request)
    assert received.startswith(b"HTTP/1.1 503")
    assert locks(hospital, 1) == 1


def test_a_fault_counts_down_touches_its_operation_only_and_can_be_cleared(hospital: Sandbox) -> None:
    hospital.control.fault("hl7", "empty", operation="SRM^S01")
    frame = b"\x0b" + find("M1").encode() + b"\x1c\r"
    assert b"QAK|QT1|OK" in exchange(hospital.mllp, frame)[0]
    hospital.control.fault("hl7", "empty", times=2)
    empties = [exchange(hospital.mllp, frame)[0] == b"\x0b\x1c\r" for _ in range(3)]
    assert empties == [True, True, False]
    hospital.control.fault("fhir", "http_500")
    hospital.control.clear_faults()
    with urllib.request.urlopen(hospital.url("/fhir/r4/Patient/P0000001"), timeout=5) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "body", [{}, {"channel": "soap"}, {"channel": "soap", "fault": "flood"}, {"channel": "x", "fault": "hang"}]
)
def test_a_fault_nobody_knows_is_refused_in_words(hospital: Sandbox, body: dict[str, str]) -> None:
    request = urllib.request.Request(hospital.url("/control/faults"), json.dumps(body).encode(), method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value:
        assert refused.value.code == 400
        assert "one of" in json.load(refused.value)["error"]


def test_the_request_list_shows_what_came_decoded_and_what_befell_it(hospital: Sandbox, tomorrow: str) -> None:
    request = lock_request(hospital, "O1", tomorrow)
    hospital.control.fault("soap", "reset_after", times=1)
    exchange(hospital.http, request)
    exchange(hospital.mllp, b"\x0b" + find("M1").encode() + b"\x1c\r")
    soap = hospital.control.requests(channel="soap")
    assert [(r["operation"], r["decoded"]["OrderNo"], r["fault"]) for r in soap] == [
        ("LockRegistration", "O1", "reset_after")
    ]
    assert "@PID.3.1" in hospital.control.requests(operation="QBP^Q22")[0]["decoded"]
