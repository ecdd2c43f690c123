"""The HL7 v2 channel called by python-hl7's own client and by bare frames."""

from __future__ import annotations

import socket

import hl7
import pytest
from hl7.client import MLLPClient

from tests.sandbox_process import Sandbox


def message(kind: str, control: str, *segments: str, charset: str = "UNICODE UTF-8") -> str:
    head = f"MSH|^~\\&|HUB|WX|HIS|H1|20260115093000||{kind}|{control}|P|2.5.1|||AL|AL|CHN|{charset}"
    return "\r".join([head, *segments]) + "\r"


def find(control: str, name: str = "患者一", number: str = "110101190001011236", **more: str) -> str:
    query = f"QPD|Q22^Find Candidates^HL7|QT1|@PID.3.1^{number}~@PID.5.1^{name}"
    return message("QBP^Q22^QBP_Q21", control, query, "RCP|I|10^RD", **more)


def book(control: str, order: str, day: str, at: str = "0830", patient: str = "P0000001") -> str:
    start = day.replace("-", "") + at + "00"
    return message(
        "SRM^S01",
        control,
        f"ARQ|{order}|||||ROUTINE|||30|min|{start}",
        f"PID|1||{patient}^^^HIS^PI",
        "RGS|1|A",
        f"AIS|1|A|010101^心血管内科普通门诊|{start}",
        "AIP|1|A|D001^^医生甲",
    )


def order_only(kind: str, control: str, order: str) -> str:
    return message(kind, control, f"ARQ|{order}")


def send(hospital: Sandbox, text: str, encoding: str = "utf-8") -> hl7.Message:
    with MLLPClient("127.0.0.1", hospital.mllp, encoding=encoding) as client:
        answer = client.send_message(text)
    return hl7.parse(answer.strip(b"\x0b\x1c\r").decode(encoding) + "\r")


def test_a_patient_is_found_by_number_and_name(hospital: Sandbox) -> None:
    answer = send(hospital, find("M1"))
    assert (str(answer["MSH.9"]), answer["MSA.1"], answer["MSA.2"]) == ("RSP", "AA", "M1")
    assert (answer["QAK.2"], answer["PID.3.1.1"], answer["PID.5.1.1"]) == ("OK", "P0000001", "患者一")
    assert "110101190001011236^^^GA^NI" in str(answer.segment("PID")(3))


def test_a_name_that_does_not_fit_the_number_finds_nobody(hospital: Sandbox) -> None:
    answer = send(hospital, find("M1", name="别人"))
    assert (answer["MSA.1"], answer["QAK.2"]) == ("AA", "NF")


def test_gb18030_comes_and_goes_and_a_name_with_a_pipe_byte_survives(hospital: Sandbox) -> None:
    asked = message("QBP^Q22^QBP_Q21", "M1", "QPD|Q22|QT1|@PID.5.1^患者珅", charset="GB 18030-2000")
    assert b"|" in "珅".encode("gb18030")
    answer = send(hospital, asked, encoding="gb18030")
    assert (answer["QAK.2"], answer["PID.5.1.1"], answer["MSH.18"]) == ("OK", "患者珅", "GB 18030-2000")


def test_a_booking_is_made_queried_and_cancelled(hospital: Sandbox, tomorrow: str) -> None:
    booked = send(hospital, book("M1", "HUB0001", tomorrow))
    assert (booked["MSA.1"], booked["SCH.1"], booked["SCH.25"]) == ("AA", "HUB0001", "Booked")
    again = send(hospital, book("M2", "HUB0001", tomorrow))
    assert again["SCH.2"] == booked["SCH.2"] != ""
    found = send(hospital, order_only("SQM^S25", "M3", "HUB0001"))
    assert (found["QAK.2"], found["SCH.25"], found["AIP.3.1.1"]) == ("OK", "Booked", "D001")
    assert send(hospital, order_only("SRM^S04", "M4", "HUB0001"))["SCH.25"] == "Cancelled"
    assert send(hospital, order_only("SQM^S25", "M5", "HUB0001"))["SCH.25"] == "Cancelled"
    assert send(hospital, order_only("SQM^S25", "M6", "HUB0009"))["QAK.2"] == "NF"
    operations = [row["operation"] for row in hospital.control.ledger(channel="hl7")]
    assert operations == ["lock", "confirm", "cancel"]


def test_free_slots_are_listed_by_doctor_and_date(hospital: Sandbox, tomorrow: str) -> None:
    day = tomorrow.replace("-", "")
    answer = send(hospital, message("SQM^S25", "M1", f"ARQ|||||||||||{day}000000^{day}235959", "AIP|1|A|D001"))
    assert len(answer.segments("SCH")) == 14
    assert str(answer.segments("SCH")[0](11)) == f"^^^{day}080000^{day}083000"


def test_refusals_are_ae_with_the_code_in_err(hospital: Sandbox, tomorrow: str) -> None:
    unknown = send(hospital, book("M1", "HUB0001", tomorrow, patient="P9999999"))
    nowhere = send(hospital, book("M2", "HUB0001", tomorrow, at="0831"))
    missing = send(hospital, order_only("SRM^S04", "M3", "HUB0009"))
    codes = [(a["MSA.1"], a["ERR.5.1.1"]) for a in (unknown, nowhere, missing)]
    assert codes == [("AE", "1003"), ("AE", "1002"), ("AE", "1004")]
    assert send(hospital, message("ZZZ^Z01", "M4"))["MSA.1"] == "AR"
    assert hospital.control.ledger() == []


def test_the_same_message_sent_again_gets_the_stored_answer_byte_for_byte(hospital: Sandbox, tomorrow: str) -> None:
    asked = book("M1", "HUB0001", tomorrow)
    with MLLPClient("127.0.0.1", hospital.mllp) as client:
        first, second = client.send_message(asked), client.send_message(asked)
    assert first == second
    assert len(hospital.control.ledger(operation="lock")) == 1


def test_a_new_patient_gets_a_file_once(hospital: Sandbox) -> None:
    pid = "PID|1||44030019040229003X^^^GA^NI||患者新||19040229|F|||测试路9号||13000000099"
    assert send(hospital, message("ADT^A28", "M1", pid))["MSA.3"] == "P0000051 created"
    assert send(hospital, message("ADT^A28", "M2", pid))["MSA.3"] == "P0000051 known"
    assert send(hospital, find("M3", "患者新", "44030019040229003x"))["PID.3.1.1"] == "P0000051"
    assert len(hospital.control.ledger(operation="patient_created")) == 1


@pytest.mark.parametrize("frame", [b"\x0bnot hl7\x1c\r", b"\x0bMSH|\x1c\r"])
def test_what_is_no_message_is_rejected_and_the_connection_lives(hospital: Sandbox, frame: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hospital.mllp), timeout=5) as peer:
        for sent, code in ((frame, b"MSA|AR|"), (b"\x0b" + find("M1").encode() + b"\x1c\r", b"MSA|AA|M1")):
            peer.sendall(sent)
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                answer += peer.recv(65536)
            assert code in answer
