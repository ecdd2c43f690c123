"""The AKE (艾科智泊) parking channel, POST /openydt/api/v3/{cmd}?sign=: key sbx, sign v2, amounts in yuan."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from sandbox.clock import local
from sandbox.exact_json import dumps, loads, yuan
from sandbox.faults import Call
from sandbox.hospital import Hospital
from sandbox.http_server import Request, Response
from sandbox.parking import LEAVE_MINUTES, Lot, Payment, Quote
from sandbox.registration import Refusal

KEYS = {"sbx": "SBXAKESECRET", "test": "123456"}
TOLERANCE = timedelta(minutes=10)
RESULT_CODES = {
    "car_absent": 905,
    "bill_missing": 906,
    "bill_synced": 907,
    "parameter": 909,
    "quote_expired": 912,
    "lot_unknown": 904,
}
STATUS_TEXTS = {4: "签名错误", 5: "key无效", 7: "参数错误", 9: "命令不存在"}
REQUIRED = {
    "payParkFee": ("parkingCode", "chargeDate", "payDate", "actPayCharge", "payOrigin", "paymentMode", "billCode"),
    "scanChannelCodeInOut": ("parkCode", "channelSeq", "userUniqCode"),
}


class Wrong(Exception):
    """A call that fails before its business: `status` of the AKE answer."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text or STATUS_TEXTS[status]


def sign_v2(key: str, ts: str, secret: str) -> str:
    return hashlib.md5(f"{key}:{ts}:{secret}".encode(), usedforsecurity=False).hexdigest()


class AkeChannel:
    """Every answer is HTTP 200 with {data, message, resultCode, status}; status 1 is success, 2 a business refusal."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._commands: dict[str, Callable[[dict[str, Any]], Any]] = {
            "getParkFee": self._fee,
            "payParkFee": self._pay,
            "getParkInfo": self._lots,
            "getALLParkInfo": self._lots,
            "getParkList": self._lots,
            "getParkPayBillByCarNosAndPayTime": self._bills,
            "scanChannelCodeInOut": self._scan,
        }

    def read(self, request: Request) -> Call:
        command = request.path.rpartition("/")[2]
        text = request.body.decode("utf-8", "replace")
        decoded = {"query": request.query, "authorization": request.headers.get("authorization", ""), "body": text}
        refuse = partial(_refused, "业务繁忙")
        return Call("rest", command, decoded, lambda: self._perform(command, request), refuse)

    def _perform(self, command: str, request: Request) -> Response:
        try:
            self._check_sign(request)
            handler = self._commands.get(command)
            if handler is None or request.method != "POST":
                raise Wrong(9)
            return _answer(handler(_body(request, command)))
        except Wrong as wrong:
            return _answer(None, wrong.text, 0, wrong.status)
        except Refusal as refusal:
            return _answer(None, refusal.text, RESULT_CODES.get(refusal.reason, 908), 2)
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            return _answer(None, f"参数错误: {error}", 909, 7)

    def _check_sign(self, request: Request) -> None:
        try:
            key, ts = base64.b64decode(request.headers.get("authorization", ""), validate=True).decode().split(":")
            sent = local(ts, "%Y%m%d%H%M%S")
        except ValueError:
            raise Wrong(4, "Authorization无效") from None
        if key not in KEYS:
            raise Wrong(5)
        if dict(request.params()).get("sign") != sign_v2(key, ts, KEYS[key]):
            raise Wrong(4)
        if abs(self._hospital.clock.real_now() - sent) > TOLERANCE:
            raise Wrong(4, "时间戳已过期")

    def _lot(self, code: str) -> Lot:
        lot = self._hospital.parking.lots.get(code)
        if lot is None:
            raise Refusal("lot_unknown", "车场不存在")
        return lot

    def _lots(self, body: dict[str, Any]) -> Any:
        parking = self._hospital.parking
        lots = [self._lot(body["parkCode"])] if body.get("parkCode") else list(parking.lots.values())
        return [
            {
                "parkCode": lot.code,
                "parkName": lot.name,
                "address": lot.address,
                "longitude": lot.longitude,
                "latitude": lot.latitude,
                "gpsx": lot.longitude,
                "gpsy": lot.latitude,
                "totalCarports": str(lot.total),
                "eptCarports": str(parking.free_places(lot)),
                "freeTime": 30,
                "isCharge": 1,
            }
            for lot in lots
        ]

    def _fee(self, body: dict[str, Any]) -> Any:
        if body.get("parkCode"):
            self._lot(body["parkCode"])
        if not body.get("carCode") and not body.get("parkingCode"):
            raise Wrong(7, "carCode和parkingCode至少一个")
        parking = self._hospital.parking
        stay = parking.find(body.get("parkCode", ""), body.get("carCode", ""), body.get("parkingCode", ""))
        return _quoted(parking.quote(stay))

    def _pay(self, body: dict[str, Any]) -> Any:
        if len(body["billCode"]) > 32:
            raise Refusal("parameter", "billCode过长")
        charged = local(body["chargeDate"], "%Y-%m-%d %H:%M:%S")
        amount = Decimal(str(body["actPayCharge"])) * 100
        if amount != int(amount):
            raise Refusal("parameter", "金额有误")
        paid = self._hospital.parking.pay(body["parkingCode"], f"{charged:%Y%m%d%H%M%S}", int(amount), body["billCode"])
        return {"ydtBillCode": paid.number, "timeoutLength": LEAVE_MINUTES}

    def _bills(self, body: dict[str, Any]) -> Any:
        plates = body.get("carNoList") or []
        size, page = min(int(body.get("pageSize", 20)), 100), max(int(body.get("pageNum", 1)), 1)
        found = [paid for paid in self._hospital.parking.payments.values() if paid.plate in plates]
        return {"total": len(found), "billList": [_bill(paid) for paid in found[(page - 1) * size : page * size]]}

    def _scan(self, body: dict[str, Any]) -> Any:
        """Success outside, failure inside when no car stands at the channel: the document's own trap."""
        lot = self._lot(body["parkCode"])
        plate = lot.channels.get(body["channelSeq"])
        if plate is None:
            return {"code": 1801, "msg": "通道无车", "isParkInOut": 1}
        quote = self._hospital.parking.quote(self._hospital.parking.find(lot.code, plate))
        return {
            "code": 0,
            "msg": "ok",
            "passType": 2,
            "isParkInOut": 1,
            "isPaid": int(quote.due == 0),
            "parkingCode": quote.stay.serial,
            "amount": yuan(quote.due),
            "carCode": plate,
            "chargeDate": f"{quote.at:%Y-%m-%d %H:%M:%S}",
        }


def _body(request: Request, command: str) -> dict[str, Any]:
    try:
        body = loads(request.body)
    except json.JSONDecodeError:
        raise Wrong(7, "请求体不是JSON") from None
    if not isinstance(body, dict):
        raise Wrong(7, "请求体不是对象")
    missing = [name for name in REQUIRED.get(command, ()) if body.get(name) in (None, "")]
    if missing:
        raise Wrong(7, f"缺少参数{','.join(missing)}")
    return body


def _quoted(quote: Quote) -> dict[str, Any]:
    stay = quote.stay
    return {
        "parkingCode": stay.serial,
        "parkCode": stay.lot,
        "carCode": stay.plate,
        "enterDate": f"{stay.entered:%Y-%m-%d %H:%M:%S}",
        "chargeDate": f"{quote.at:%Y-%m-%d %H:%M:%S}",
        "parkingTime": int((quote.at - stay.entered).total_seconds() // 60),
        "parkingFee": yuan(quote.fee),
        "paidValue": yuan(stay.paid),
        "discountedValue": yuan(0),
        "currDisValue": yuan(0),
        "shouldPayValue": yuan(quote.due),
        "carChargeDesc": "首30分钟免费，之后每小时5元，24小时封顶40元",
        "otherAttr": {"chargeBillNumber": quote.bill, "timeoutLength": LEAVE_MINUTES},
    }


def _bill(paid: Payment) -> dict[str, Any]:
    return {
        "parkingCode": paid.serial,
        "carCode": paid.plate,
        "payValue": yuan(paid.value),
        "disValue": yuan(0),
        "billCode": paid.bill,
        "ydtBillCode": paid.number,
        "payDate": f"{paid.at:%Y-%m-%d %H:%M:%S}",
        "payOrigin": 9,
        "paymentMode": 4,
    }


def _answer(data: Any, message: str = "成功", code: int = 0, status: int = 1) -> Response:
    return Response(200, dumps({"data": data, "message": message, "resultCode": code, "status": status}))


def _refused(text: str, code: str | None) -> Response:
    return _answer(None, text, int(code or 908), 2)
