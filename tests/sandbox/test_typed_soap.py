"""The typed SOAP channel called by clients that know nothing of it: zeep, node-soap, PHP's SoapClient."""

from __future__ import annotations

import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import zeep
from lxml import etree
from zeep.transports import Transport

from tests.sandbox_process import Sandbox

PEERS = Path(__file__).resolve().parent.parent / "peers"
ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'


@pytest.fixture
def his(hospital: Sandbox) -> Any:
    with requests.Session() as session:
        yield zeep.Client(hospital.url("/soap/his?wsdl"), transport=Transport(session=session)).service


def free_slot(his: Any, day: str) -> Any:
    return his.ListSchedules(DoctorNo="D001", From=day, To=day).Schedules.Slot[0]


def visit_time(slot: Any) -> str:
    return f"{slot.Date}{slot.Begin}00".replace("-", "").replace(":", "")


def test_the_bench_department_has_fifty_slots_on_any_day(his: Any, tomorrow: str) -> None:
    answer = his.ListSchedules(DeptCode="B0101", From=tomorrow, To=tomorrow)
    assert answer.ResultCode == "0"
    assert len(answer.Schedules.Slot) == 50
    assert {(slot.Fee, slot.Total, slot.Status) for slot in answer.Schedules.Slot} == {(Decimal("15.50"), "5", "1")}


def test_a_lock_can_be_made_repeated_found_and_undone(his: Any, hospital: Sandbox, tomorrow: str) -> None:
    slot = free_slot(his, tomorrow)
    asked = ("O1", "P0000001", slot.SlotNo, visit_time(slot), slot.Fee)
    first, again = his.LockRegistration(*asked), his.LockRegistration(*asked)
    assert (first.ResultCode, first.Lock.Status, first.Lock.No) == ("0", "1", again.Lock.No)
    assert int(free_slot(his, tomorrow).Left) == int(slot.Left) - 1
    assert his.FindRegistration("O1").Lock.SlotNo == slot.SlotNo
    assert [his.UnlockRegistration("O1").ResultCode for _ in range(2)] == ["0", "0"]
    assert his.FindRegistration("O1").Lock.Status == "2"
    assert int(free_slot(his, tomorrow).Left) == int(slot.Left)
    assert [row["operation"] for row in hospital.control.ledger(key="O1")] == ["lock", "release"]


def test_every_documented_refusal_has_its_code(his: Any, hospital: Sandbox, tomorrow: str) -> None:
    slot = free_slot(his, tomorrow)
    other = his.ListSchedules(DoctorNo="D001", From=tomorrow, To=tomorrow).Schedules.Slot[1]
    stopped = his.ListSchedules(DoctorNo="D002", From=tomorrow, To=tomorrow).Schedules.Slot[-1]
    full = his.ListSchedules(DoctorNo="D003", From=tomorrow, To=tomorrow).Schedules.Slot[0]
    assert his.LockRegistration("O1", "P0000001", slot.SlotNo, visit_time(slot), slot.Fee).ResultCode == "0"

    def code(order: str, patient: str, at: Any) -> str:
        return str(his.LockRegistration(order, patient, at.SlotNo, visit_time(at), at.Fee).ResultCode)

    assert (stopped.Status, full.Left) == ("0", "0")
    assert code("O2", "P0000001", full) == "1001"
    assert his.LockRegistration("O2", "P0000001", "R0-0", visit_time(slot), slot.Fee).ResultCode == "1002"
    assert code("O2", "P9999999", slot) == "1003"
    assert his.FindRegistration("O2").ResultCode == his.UnlockRegistration("O2").ResultCode == "1004"
    assert code("O2", "P0000001", stopped) == "1005"
    assert code("O1", "P0000001", other) == "1006"
    hospital.control.fault("soap", "business_error", operation="FindRegistration", code="-999", times=1)
    assert his.FindRegistration("O1").ResultCode == "-999"


def test_a_list_never_shows_a_stale_slot(his: Any, hospital: Sandbox, tomorrow: str) -> None:
    slot = free_slot(his, tomorrow)
    his.LockRegistration("O1", "P0000001", slot.SlotNo, visit_time(slot), slot.Fee)
    assert int(free_slot(his, tomorrow).Left) == int(slot.Left) - 1
    hospital.control.advance(601)
    assert free_slot(his, tomorrow).Left == slot.Left
    hospital.control.doctor_stop("D001", tomorrow)
    assert free_slot(his, tomorrow).Status == "0"


def test_doctors_are_found_by_word_department_and_date(his: Any, tomorrow: str) -> None:
    found = his.SearchDoctors(Keyword="医生甲", DeptCode="0101", Date=tomorrow).Doctors.Doctor
    assert [(d.DoctorNo, d.Name, d.DeptName, d.Fee) for d in found] == [
        ("D001", "医生甲", "心血管内科普通门诊", Decimal("15.00"))
    ]
    nobody = his.SearchDoctors(Keyword="没有这个人")
    assert (nobody.ResultCode, nobody.Doctors) == ("0", None)


def test_the_soap_12_port_answers_in_soap_12(hospital: Sandbox, tomorrow: str) -> None:
    with requests.Session() as session:
        client = zeep.Client(hospital.url("/soap/his?wsdl"), transport=Transport(session=session))
        service = client.bind("HisService", "HisSoap12")
        assert service.FindRegistration("nothing").ResultCode == "1004"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<not closed", "malformed XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "DOCTYPE"),
        (ENVELOPE.format('<Nothing xmlns="urn:sandbox:his"/>').encode(), "unknown operation"),
        (ENVELOPE.format('<ListSchedules xmlns="urn:sandbox:his"/>').encode(), "missing From, To"),
    ],
)
def test_what_cannot_be_served_is_a_soap_fault(hospital: Sandbox, body: bytes, says: str) -> None:
    answer = requests.post(hospital.url("/soap/his"), body, headers={"Content-Type": "text/xml"}, timeout=5)
    fault = etree.fromstring(answer.content).findtext(".//faultstring")
    assert answer.status_code == 500
    assert says in fault


def test_node_soap_reads_the_wsdl_and_the_slots(hospital: Sandbox, tomorrow: str) -> None:
    if not (PEERS / "node_modules" / "soap").exists() or not shutil.which("node"):
        pytest.skip("node-soap is not installed under tests/peers")
    script = """
        require('soap').createClientAsync(process.argv[1]).then(async c => {
            const [a] = await c.ListSchedulesAsync({DeptCode: 'B0101', From: process.argv[2], To: process.argv[2]});
            console.log(JSON.stringify([a.ResultCode, a.Schedules.Slot.length, a.Schedules.Slot[0].Fee]));
        });"""
    command = ["node", "-e", script, hospital.url("/soap/his?wsdl"), tomorrow]
    said = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(said.stdout) == ["0", 50, 15.5]


def test_php_reads_the_wsdl_and_the_slots(hospital: Sandbox, tomorrow: str) -> None:
    if not shutil.which("php") or "soap" not in subprocess.run(["php", "-m"], capture_output=True, text=True).stdout:
        pytest.skip("PHP with its soap extension is not installed")
    script = """
        $c = new SoapClient($argv[1], ['cache_wsdl' => WSDL_CACHE_NONE]);
        $a = $c->ListSchedules(['DeptCode' => 'B0101', 'From' => $argv[2], 'To' => $argv[2]]);
        echo json_encode([$a->ResultCode, count($a->Schedules->Slot), $a->Schedules->Slot[0]->DoctorName]);"""
    command = ["php", "-r", script, "--", hospital.url("/soap/his?wsdl"), tomorrow]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(said.stdout) == ["0", 50, "压测医生甲"]
