"""Baseline B, the floor: raw ASGI, one aiohttp POST, lxml, orjson. No validation, no journal, no limits, no errors.

python -m bench.baselines.floor PORT HIS_URL
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import orjson
import uvicorn
from lxml import etree

NS = "{urn:sandbox:his}"
ENVELOPE = (
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    '<ListSchedules xmlns="urn:sandbox:his">'
    "<DeptCode>{0}</DeptCode><From>{1}</From><To>{2}</To></ListSchedules></soap:Body></soap:Envelope>"
)
SESSIONS = {"S": "morning", "X": "afternoon", "Y": "evening"}


class Floor:
    def __init__(self, url: str) -> None:
        self.url = url
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
        query = parse_qs(scope["query_string"].decode())
        body = ENVELOPE.format(query["departmentId"][0], query["from"][0], query["to"][0]).encode()
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:sandbox:his:ListSchedules"'}
        async with self.session.post(self.url, data=body, headers=headers) as answer:
            root = etree.fromstring(await answer.read())
        items = [self.slot(slot) for slot in root.iter(NS + "Slot")]
        data = orjson.dumps({"items": items})
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": data})

    def slot(self, element: etree._Element) -> dict[str, Any]:
        s = {child.tag[len(NS) :]: child.text or "" for child in element}
        return {
            "slotId": s["SlotNo"],
            "scheduleId": s["ScheduleNo"],
            "doctorId": s["DoctorNo"],
            "doctorName": s["DoctorName"],
            "doctorTitle": s["Title"],
            "departmentId": s["DeptCode"],
            "departmentName": s["DeptName"],
            "date": s["Date"],
            "session": SESSIONS[s["Session"]],
            "start": f"{s['Date']}T{s['Begin']}:00+08:00",
            "end": f"{s['Date']}T{s['End']}:00+08:00",
            "total": int(s["Total"]),
            "left": int(s["Left"]),
            "fee": round(float(s["Fee"]) * 100),
            "status": "open" if s["Status"] == "1" else "stopped",
        }


if __name__ == "__main__":
    uvicorn.run(
        Floor(sys.argv[2]),  # type: ignore[arg-type]
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        lifespan="off",
    )
