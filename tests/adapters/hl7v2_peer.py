"""The far side of an MLLP connection, as the tests tell it to behave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from adapters.hl7v2 import Hl7v2Adapter, Settings, connect
from tests.adapters.suite import Behaviour

ACTION = "QBP^Q22^QBP_Q21"
QUERY = [{"QPD-1.1": "Q22", "QPD-2": "QT1", "QPD-3[1].1": "@PID.5.1", "QPD-3[1].2": "测试患者"}, {"RCP-1": "I"}]

Connect = Callable[..., Hl7v2Adapter]


@contextlib.asynccontextmanager
async def adapters() -> AsyncIterator[Connect]:
    """Makes adapters to a port of 127.0.0.1 and closes them at the end."""
    made: list[Hl7v2Adapter] = []

    def build(port: int, **settings: Any) -> Hl7v2Adapter:
        made.append(connect(Settings(host="127.0.0.1", port=port, **settings)))
        return made[-1]

    yield build
    for one in made:
        await one.close()


def control(request: bytes) -> bytes:
    return request.split(b"|")[9]


def ack(verdict: bytes, of: bytes, rest: bytes = b"", msh: bytes = b"") -> bytes:
    return b"\x0bMSH|^~\\&|HIS||||2026||RSP^K22|R1|P|2.5.1" + msh + b"\rMSA|" + verdict + b"|" + of + rest + b"\r\x1c\r"


def answering(*steps: Callable[[bytes], bytes | None], seen: list[bytes] | None = None) -> Behaviour:
    """One step for each request of a connection; what it returns is written."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in steps:
            request = await reader.readuntil(b"\x1c\r")
            if seen is not None:
                seen.append(request)
            if answer := step(request):
                writer.write(answer)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                if seen is not None:
                    seen.append(data)

    return behave
