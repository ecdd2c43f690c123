"""The AKE parking channel: its signature (published vectors), yuan, repeats, expiry."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from sandbox import ake
from tests.sandbox.conftest import SHANGHAI
from tests.sandbox_process import ROOT, Sandbox

VECTORS = ROOT.parent / "shared" / "specs" / "parking.vectors.json"


def call(
    hospital: Sandbox, command: str, *, key: str = "sbx", secret: str = "SBXAKESECRET", age: int = 0, **body: Any
) -> Any:
    ts = f"{datetime.now(SHANGHAI) - timedelta(seconds=age):%Y%m%d%H%M%S}"
    sign = hashlib.md5(f"{key}:{ts}:{secret}".encode()).hexdigest()
    answer = requests.post(
        hospital.url(f"/openydt/api/v3/{command}?sign={sign}"),
        json.dumps(body).encode(),
        headers={
            "Authorization": base64.b64encode(f"{key}:{ts}".encode()).decode(),
            "Content-Type": "application/json",
        },
        timeout=5,
    )
    assert answer.status_code == 200
    return json.loads(answer.text, parse_float=str)


def pay(hospital: Sandbox, quote: dict[str, Any], bill: str, amount: float) -> Any:
    fields = {"parkingCode": quote["parkingCode"], "chargeDate": quote["chargeDate"], "payDate": quote["chargeDate"]}
    return call(hospital, "payParkFee", **fields, actPayCharge=amount, payOrigin=9, paymentMode=4, billCode=bill)


def test_the_published_sign_vectors_hold_for_the_sandbox_s_own_check() -> None:
    if not VECTORS.exists():
        pytest.skip("the shared vectors are not beside this checkout")
    vectors = json.loads(VECTORS.read_text())["ake_openydt"]
    for vector in (vectors["published_v2"], vectors["own_v2"]):
        assert ake.sign_v2(vector["key"], vector["ts"], vector["secret"]) == vector["sign"]
        assert ake.KEYS[vector["key"]] == vector["secret"]


def test_a_fee_is_quoted_in_yuan_with_two_places(hospital: Sandbox) -> None:
    answer = call(hospital, "getParkFee", parkCode="P1", carCode="京A12345")
    data = answer["data"]
    assert (answer["status"], data["parkingFee"], data["shouldPayValue"], data["paidValue"]) == (
        1,
        "15.00",
        "15.00",
        "0.00",
    )
    assert call(hospital, "getParkFee", parkCode="P1", carCode="粤B00001")["data"]["shouldPayValue"] == "0.00"


def test_bad_keys_signs_times_commands_and_parameters_have_their_status(hospital: Sandbox) -> None:
    assert call(hospital, "getParkFee", secret="WRONG")["status"] == 4
    assert call(hospital, "getParkFee", age=660)["status"] == 4
    assert call(hospital, "getParkFee", key="nobody")["status"] == 5
    assert call(hospital, "getNothing")["status"] == 9
    assert call(hospital, "getParkFee", parkCode="P1")["status"] == 7
    absent = call(hospital, "getParkFee", parkCode="P1", carCode="测B00000")
    assert (absent["status"], absent["resultCode"]) == (2, 905)


def test_a_bill_is_paid_once_and_its_repeat_is_907(hospital: Sandbox) -> None:
    quote = call(hospital, "getParkFee", parkCode="P1", carCode="京A12345")["data"]
    assert pay(hospital, quote, "B1", 14.99)["resultCode"] == 909
    first, again = pay(hospital, quote, "B1", 15.0), pay(hospital, quote, "B1", 15.0)
    assert (first["status"], first["data"]["timeoutLength"]) == (1, 15)
    assert (again["status"], again["resultCode"]) == (2, 907)
    assert len(hospital.control.ledger(operation="parking_paid")) == 1
    assert call(hospital, "getParkFee", carCode="京A12345")["data"]["shouldPayValue"] == "0.00"
    bills = call(hospital, "getParkPayBillByCarNosAndPayTime", carNoList=["京A12345"], pageNum=1, pageSize=10)["data"]
    assert [(b["billCode"], Decimal(b["payValue"])) for b in bills["billList"]] == [("B1", Decimal(15))]


def test_a_quote_is_void_after_ten_minutes(hospital: Sandbox) -> None:
    quote = call(hospital, "getParkFee", parkCode="P1", carCode="京A12345")["data"]
    hospital.control.advance(601)
    assert pay(hospital, quote, "B1", 15.0)["resultCode"] == 912
    assert hospital.control.ledger() == []


def test_a_scan_may_succeed_outside_and_fail_inside(hospital: Sandbox) -> None:
    gate = {"parkCode": "P1", "userUniqCode": "u1"}
    car = call(hospital, "scanChannelCodeInOut", channelSeq="P1-OUT1", **gate)
    empty = call(hospital, "scanChannelCodeInOut", channelSeq="P1-OUT2", **gate)
    assert (car["status"], car["data"]["code"], car["data"]["carCode"], car["data"]["amount"]) == (
        1,
        0,
        "京A12345",
        "15.00",
    )
    assert (empty["status"], empty["data"]["code"]) == (1, 1801)


def test_lots_tell_their_free_places_as_text(hospital: Sandbox) -> None:
    lots = call(hospital, "getALLParkInfo")["data"]
    assert [lot["parkCode"] for lot in lots] == ["P1", "P2", "P3"]
    assert int(lots[0]["eptCarports"]) < int(lots[0]["totalCarports"]) == 200
