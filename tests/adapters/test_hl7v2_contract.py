"""The HL7 v2 adapter keeps the promises of every adapter."""

from __future__ import annotations

import asyncio

from adapters.hl7v2 import Settings, connect
from esb.spi import Adapter
from tests.adapters.suite import AdapterContract


class TestHl7v2(AdapterContract):
    action = "QBP^Q22^QBP_Q21"
    payload = [{"QPD-1.1": "Q22", "QPD-2": "QT1", "QPD-3.1": "@PID.5.1", "QPD-3.2": "SECRETMARKER"}]
    garbage = [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\x0b<html>down for maintenance</html>\x1c\r",
        b"\x0b\x1c\r",
        b"\x0bMSH|^~\\&|A|B|C|D|2026||RSP^K22|R1|P|2.5\rQAK|QT1|OK\r\x1c\r",
        b"MSH|^~\\&|A|B|C|D|2026||ACK|R1|P|2.5\rMSA|AA|SECRETMARKER\r\x1c\r",
        b"\x0bMSH|^~\\&|A|B|C|D|2026||ACK|R1|P|2.5\rMSA|AA|\xff\xff\xff\r\x1c\r",
    ]

    def connect(self, port: int) -> Adapter:
        return connect(Settings(host="127.0.0.1", port=port, receiving_application="HIS"))

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        return await reader.readuntil(b"\x1c\r")

    def answer(self, request: bytes) -> bytes:
        control = request.split(b"|")[9]
        return b"\x0bMSH|^~\\&|HIS||||20260115||RSP^K22|R1|P|2.5.1\rMSA|AA|" + control + b"\rQAK|QT1|OK\r\x1c\r"
