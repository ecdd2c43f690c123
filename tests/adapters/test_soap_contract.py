import asyncio
from typing import ClassVar

from adapters.soap import Settings, connect
from esb.spi import Adapter, Tree
from tests.adapters.soap_peer import WSDL, http, read_http
from tests.adapters.suite import AdapterContract

ANSWER = (
    '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<FindSlotsResponse xmlns="urn:test:his"><ResultCode>0</ResultCode><Slots><Slot><SlotNo>S1</SlotNo></Slot></Slots>'
    "</FindSlotsResponse></s:Body></s:Envelope>"
)


class TestSoap(AdapterContract):
    action: ClassVar[str] = "FindSlots"
    payload: ClassVar[Tree] = {"DeptCode": "SECRETMARKER"}
    garbage: ClassVar[list[bytes]] = [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http("<html><body>SECRETMARKER</body></html>", "404 Not Found", "text/html"),
        http("<!DOCTYPE html><html/>", kind="text/html"),
        http("SECRETMARKER"),
        http("<SECRETMARKER/>"),
        http(ANSWER[:-30]),
        http(ANSWER.replace("<s:Body>", "<s:Body").encode()),
        http(f"<!DOCTYPE x [<!ENTITY y 'z'>]>{ANSWER.partition('?>')[2]}"),
        http('<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>'),
        http(ANSWER.replace("S1", "张").encode("gbk")),
        http(ANSWER, "301 Moved Permanently"),
        http(ANSWER.encode(), kind="multipart/related; boundary=x"),
    ]

    def connect(self, port: int) -> Adapter:
        return connect(Settings(wsdl=WSDL, address=f"http://127.0.0.1:{port}/his"))

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        return await read_http(reader)

    def answer(self, request: bytes) -> bytes:
        return http(ANSWER)
