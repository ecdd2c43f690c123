"""The 12320 channel: the published vectors, the return codes of bad envelopes, the functions over one order."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests
import zeep
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from lxml import etree
from zeep.transports import Transport

from sandbox import seal12320
from tests.sandbox_process import ROOT, Sandbox

VECTORS = Path(ROOT).parent / "shared" / "specs" / "his-envelopes.vectors.json"


def pad(data: bytes) -> bytes:
    size = 16 - len(data) % 16
    return data + bytes([size]) * size


class Platform:
    """A caller written from the document alone: seals, sends with zeep, checks the answer's signature, opens it."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def send(self, function: str, **changes: str) -> tuple[str, dict[str, str]]:
        fields = {"FUN_CODE": function, "USER_ID": "HUB", "SIGN_TYPE": "MD5", "REQ_ENCRYPTED": self.seal("<REQ/>")}
        fields |= {name: value for name, value in changes.items() if name != "KEY"}
        signed = {k: fields[k] for k in sorted(fields) if k not in ("SIGN", "SIGN_TYPE")} | {
            "KEY": changes.get("KEY", "SBXMD5KEY")
        }
        text = "&".join(f"{k}={v}" for k, v in signed.items())
        fields.setdefault("SIGN", hashlib.md5(text.encode()).hexdigest())
        body = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
        answer = etree.fromstring(self._service.HisInterface(f"<ROOT>{body}</ROOT>").encode())
        return self._opened({child.tag: child.text or "" for child in answer})

    def _opened(self, answer: dict[str, str]) -> tuple[str, dict[str, str]]:
        names = ("RES_ENCRYPTED", "RETURN_CODE", "RETURN_MSG")
        text = "&".join(f"{name}={answer[name]}" for name in names) + "&KEY=SBXMD5KEY"
        assert answer["SIGN"] == hashlib.md5(text.encode()).hexdigest()
        cipher = Cipher(algorithms.AES(b"SbxAesKey1234567"), modes.ECB()).decryptor()
        data = cipher.update(base64.b64decode(answer["RES_ENCRYPTED"]))
        return answer["RETURN_CODE"], {"RES": data[: -data[-1]].decode()}

    @staticmethod
    def seal(text: str) -> str:
        cipher = Cipher(algorithms.AES(b"SbxAesKey1234567"), modes.ECB()).encryptor()
        return base64.b64encode(cipher.update(pad(text.encode()))).decode()

    def call(self, function: str, **fields: str) -> tuple[str, Any]:
        body = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in {"HOS_ID": "1001", **fields}.items())
        code, answer = self.send(function, REQ_ENCRYPTED=self.seal(f"<REQ>{body}</REQ>"))
        return code, etree.fromstring(answer["RES"].encode()) if answer["RES"] else None


@pytest.fixture
def platform(hospital: Sandbox) -> Any:
    with requests.Session() as session:
        yield Platform(zeep.Client(hospital.url("/soap/12320?wsdl"), transport=Transport(session=session)).service)


def test_the_published_vectors_hold_for_the_sandbox_s_own_seal() -> None:
    if not VECTORS.exists():
        pytest.skip("the shared vectors are not beside this checkout")
    vector = json.loads(VECTORS.read_text())["jkt_12320"]
    answer = vector["response"]
    assert seal12320.encrypt(vector["req_plain"]) == vector["REQ_ENCRYPTED"]
    assert seal12320.decrypt(vector["REQ_ENCRYPTED"]) == vector["req_plain"]
    assert seal12320.request_sign("2001", vector["REQ_ENCRYPTED"], "SBX") == vector["SIGN"]
    assert seal12320.encrypt(answer["res_plain"]) == answer["RES_ENCRYPTED"]
    assert seal12320.response_sign(answer["RES_ENCRYPTED"], "0", "成功") == answer["SIGN"]
    envelope = f"<ROOT><FUN_CODE>2001</FUN_CODE><USER_ID>SBX</USER_ID><SIGN_TYPE>MD5</SIGN_TYPE><SIGN>{vector['SIGN_upper']}</SIGN><REQ_ENCRYPTED>{vector['REQ_ENCRYPTED']}</REQ_ENCRYPTED></ROOT>"  # noqa: E501
    assert seal12320.open_request(envelope).fields == {"HOS_ID": "1001", "DEPT_ID": "-1"}


def test_each_wrong_envelope_has_its_return_code(platform: Platform) -> None:
    assert platform.send("1001", SIGN="0" * 32)[0] == "7"
    assert platform.send("1001", KEY="OTHER")[0] == "7"
    assert platform.send("1001", SIGN_TYPE="SM3")[0] == "8"
    assert platform.send("1001", USER_ID="NOBODY")[0] == "4"
    assert platform.send("1001", REQ_ENCRYPTED="AAAA")[0] == "9"
    assert platform.send("1001", REQ_ENCRYPTED=platform.seal("<REQ>"))[0] == "2"
    assert platform.send("9999")[0] == "5"
    assert platform.send("2001")[0] == "1"
    assert platform.send("1001", SIGN="")[0] == "7"


def test_a_number_is_locked_ordered_queried_and_unlocked(platform: Platform, hospital: Sandbox, tomorrow: str) -> None:
    code, res = platform.call("2003", DEPT_ID="010101", DOCTOR_ID="D001", START_DATE=tomorrow, END_DATE=tomorrow)
    session = res.find(".//REG_TIME_LIST")
    assert (code, session.findtext("REG_STATUS"), session.findtext("TREAT_FEE")) == ("0", "1", "1400")
    lock = {
        "LOCK_ID": "L1",
        "CHANNEL_ID": "1",
        "REG_ID": session.findtext("REG_ID"),
        "DEPT_ID": "010101",
        "DOCTOR_ID": "D001",
        "REG_DATE": tomorrow,
        "TIME_FLAG": "1",
        "BEGIN_TIME": "08:30",
        "END_TIME": "09:00",
        "REG_FEE": "100",
        "TREAT_FEE": "1400",
    }
    assert platform.call("2005", **lock)[0] == "0"
    assert platform.call("2005", **lock)[0] == "200504"
    assert platform.call("2005", **{**lock, "LOCK_ID": "L2", "REG_ID": "R0"})[0] == "200501"
    assert platform.call("2005", **{**lock, "LOCK_ID": "L2", "DOCTOR_ID": "D009"})[0] == "200503"
    asked = {"HOSP_ORDER_ID": "", "BEGIN_DATE": tomorrow, "END_DATE": tomorrow, "PAGE_CURRENT": "1", "PAGE_SIZE": "10"}
    assert platform.call("2012", ORDER_ID="L1", **asked)[1].findtext(".//ORDER_STATUS") == "2"
    assert platform.call("2012", ORDER_ID="L9", **asked)[0] == "201201"
    assert [platform.call("2006", LOCK_ID="L1")[0] for _ in range(2)] == ["0", "0"]
    assert platform.call("2006", LOCK_ID="L9")[0] == "200601"
    assert platform.call("2012", ORDER_ID="L1", **asked)[1].findtext(".//ORDER_STATUS") == "4"
    assert [row["operation"] for row in hospital.control.ledger(key="L1")] == ["lock", "release"]


def test_a_full_slot_and_a_full_session_are_told_apart(platform: Platform, hospital: Sandbox, tomorrow: str) -> None:
    where = {"DEPT_ID": "010102", "DOCTOR_ID": "D003"}
    res = platform.call("2004", **where, REG_DATE=tomorrow, TIME_FLAG="1")[1]
    rows = [(row.findtext("REG_ID"), row.findtext("BEGIN_TIME")) for row in res.iter("TIME_REG_LIST")]
    fees = {"CHANNEL_ID": "1", "REG_FEE": "100", "TREAT_FEE": "4900", "REG_DATE": tomorrow, "TIME_FLAG": "1", **where}
    taken = platform.call("2005", LOCK_ID="L1", REG_ID=rows[0][0], BEGIN_TIME=rows[0][1], **fees)
    for number in range(1, len(rows) + 1):
        slot = f"{rows[0][0]}-{number}"
        hospital.control.set_slot(slot, sold=3)
    full = platform.call("2005", LOCK_ID="L2", REG_ID=rows[0][0], BEGIN_TIME=rows[1][1], **fees)
    assert (taken[0], full[0]) == ("200506", "200505")


def test_reports_and_patients_are_found_and_preliminary_results_stay_inside(platform: Platform) -> None:
    person = {"HOSP_PATIENT_ID": "P0000001", "NAME": "患者一", "SEX": "1", "BIRTHDAY": "1900-01-01"}
    assert platform.call("1003", **person)[1].findtext("CARD_INFO/CARD_NO") == "HC00000001"
    assert platform.call("1003", **{**person, "NAME": "别人"})[0] == "100301"
    asked = {
        "PATIENT_NAME": "患者一",
        "HOSP_PATIENT_ID": "P0000001",
        "BEGIN_DATE": "2000-01-01",
        "END_DATE": "2099-01-01",
    }
    listed = [e.text for e in platform.call("8001", **asked)[1].iter("REPORT_ID")]
    assert len(listed) == 27
    assert "LIS0004" not in listed
    detail = platform.call("8002", REPORT_ID="LIS0001")[1].find(".//DETAIL")
    assert (detail.findtext("RESULT"), detail.findtext("NORMAL_FLAG")) == ("11.20", "↑")
    assert platform.call("8002", REPORT_ID="LIS0004")[0] == "800201"
