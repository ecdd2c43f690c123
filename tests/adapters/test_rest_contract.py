"""The shared suite for REST."""

from __future__ import annotations

import asyncio

from adapters import rest
from tests.adapters.suite import AdapterContract
from tests.esb.test_http import read_request


class TestRest(AdapterContract):
    action = "POST /openydt/api/v3/{cmd}"
    payload = {
        "path": {"cmd": "getParkFee"},
        "query": {"lot": "P1"},
        "body": {"carCode": "京A12345", "note": "SECRETMARKER"},
    }
    garbage = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
        b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"a":1,"SECRETMARKER"',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xb3\xc9\xb9\xa6",
        b"220 SECRETMARKER ESMTP\r\n",
    ]

    def connect(self, port: int) -> rest.Rest:
        return rest.connect(
            rest.Settings.model_validate(
                {
                    "base_url": f"http://127.0.0.1:{port}",
                    "headers": {"access_token": "SECRETMARKER"},
                    "sign": {
                        "signer": "hmac_sha256",
                        "secret": "SECRETMARKER",
                        "text": "{method}{target}{ts}{body_sha256}",
                        "put": [{"into": "query", "name": "sign"}],
                    },
                }
            )
        )

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        return await read_request(reader)

    def answer(self, request: bytes) -> bytes:
        body = b'{"status":1,"data":{"shouldPayValue":"5.00"}}'
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
