"""A HIS that takes its time and nothing else: ``python -m bench.slow_his SECONDS``; its port is its first line.

It shares no code with the bus or the sandbox. Any SOAP request is answered after SECONDS as an unlock that went well.
``GET /`` says how many were asked for, and how many different order numbers were among them.
"""

from __future__ import annotations

import asyncio
import re
import sys

_ORDER = re.compile(rb"OrderNo>([^<]*)<")
_ANSWER = (
    b'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    b'<UnlockRegistrationResponse xmlns="urn:sandbox:his">'
    b"<ResultCode>0</ResultCode><ResultMsg>ok</ResultMsg></UnlockRegistrationResponse></soap:Body></soap:Envelope>"
)


class SlowHis:
    """Connections are kept open; each has one request under way."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._orders: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the client goes."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                kind, answer = await self._answer(body)
                start = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(answer))
                writer.write(start + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, body: bytes) -> tuple[bytes, bytes]:
        if not body:
            return b"text/plain", b"%d %d" % (len(self._orders), len(set(self._orders)))
        self._orders += _ORDER.findall(body)
        await asyncio.sleep(self._seconds)
        return b"text/xml; charset=utf-8", _ANSWER


async def main() -> None:
    server = await asyncio.start_server(SlowHis(float(sys.argv[1])).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
