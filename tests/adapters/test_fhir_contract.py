"""The FHIR adapter against whatever the network does."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from adapters import fhir
from esb.spi import Adapter, Tree
from tests.adapters.suite import AdapterContract


def http(body: bytes, status: str = "200 OK", kind: str = "application/fhir+json", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


async def read_http(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


GARBAGE = [
    b"\x00\x01garbage\xff\xfe\r\n\r\n",
    http(b"<html><body>502 Bad Gateway</body></html>", kind="text/html"),
    http(b"<html><body>No such page</body></html>", "404 Not Found", "text/html"),
    http(b'{"resourceType":"Patient","id":"p1"', kind="application/fhir+json"),
    http(b'{"id":"p1"}'),
    http(b'[{"resourceType":"Patient"}]'),
    http('{"resourceType":"Patient","name":[{"text":"张三"}]}'.encode("gbk")),
    http(b'{"resourceType":"Bundle","type":"searchset"}'),
    http(b"moved", "302 Found", "text/plain", "Location: http://127.0.0.1:1/elsewhere\r\n"),
    http(b'{"resourceType":"Patient","id":"a","id":"b"}'),
    http(b'{"error":"no"}', "400 Bad Request", "application/json"),
]


class _Contract(AdapterContract):
    garbage = GARBAGE

    def connect(self, port: int) -> Adapter:
        return fhir.connect(fhir.Settings(base_url=f"http://127.0.0.1:{port}/fhir/r4"))

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        return await read_http(reader)


class TestReading(_Contract):
    action: ClassVar[str] = "read Patient"
    payload: ClassVar[Tree] = {"id": "SECRETMARKER"}

    def answer(self, request: bytes) -> bytes:
        return http(b'{"resourceType":"Patient","id":"SECRETMARKER","active":true}')


class TestCreating(_Contract):
    action: ClassVar[str] = "create Patient"
    payload: ClassVar[Tree] = {"name": [{"text": "SECRETMARKER"}], "_if_none_exist": {"identifier": "urn:x|1"}}

    def answer(self, request: bytes) -> bytes:
        return http(b'{"resourceType":"Patient","id":"1","name":[{"text":"SECRETMARKER"}]}', "201 Created")


class TestSearching(_Contract):
    action: ClassVar[str] = "search Patient"
    payload: ClassVar[Tree] = {"identifier": "urn:x|SECRETMARKER"}
    garbage: ClassVar[list[bytes]] = [blob for blob in GARBAGE if b'"Bundle"' not in blob]

    def answer(self, request: bytes) -> bytes:
        return http(b'{"resourceType":"Bundle","type":"searchset","total":0}')
