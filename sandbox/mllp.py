"""The MLLP server, on python-hl7's streams: frames as bytes, for every message may have its own character set."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from hl7.mllp import InvalidBlockError, start_hl7_server
from hl7.mllp.streams import CARRIAGE_RETURN, END_BLOCK, START_BLOCK

from sandbox import faults as fault_menu
from sandbox.faults import Fault
from sandbox.hl7v2 import Answer
from sandbox.http_server import HTML_PAGE, reset

if TYPE_CHECKING:
    from sandbox.app import Sandbox

FRAME_LIMIT = 16 * 1024 * 1024


class MllpWire:
    """One connection as the fault menu sees it."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader, self._writer = reader, writer

    def send(self, answer: Any) -> None:
        self.send_raw(self.encode(answer))

    def send_raw(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    def encode(self, answer: Any) -> bytes:
        data = answer if isinstance(answer, bytes) else answer.encoded()
        if data.startswith(b"<html"):
            return bytes(data)
        return bytes(START_BLOCK + data + END_BLOCK + CARRIAGE_RETURN)

    def spoil(self, fault: Fault, answer: Answer) -> Any:
        return spoiled(fault, answer)

    def reset(self) -> None:
        reset(self._writer.transport)

    def close(self) -> None:
        self._writer.close()

    async def gone(self) -> None:
        while await self._reader.read(65536):
            pass


def spoiled(fault: Fault, answer: Answer) -> Answer | bytes:
    """The answer, or the bytes sent in its place; delays and business errors leave it as it is."""
    if fault.fault == "garbage":
        return b"\x00\xff\xfe<<{]]\x07 not a message"
    if fault.fault == "empty":
        return b""
    if fault.fault in ("html_error", "dtd"):
        return HTML_PAGE.encode()
    if fault.fault == "http_500":
        return answer.as_reject()
    if fault.fault == "gbk":
        return answer.in_charset("GB 18030-2000")
    if fault.fault == "gbk_undeclared":
        return answer.text.encode("gb18030")
    return answer


async def serve_mllp(sandbox: Sandbox, host: str, port: int) -> asyncio.Server:
    """Listen; each connection is served one message after the other until the peer closes or breaks the framing."""

    async def connected(reader: Any, writer: Any) -> None:
        try:
            await _serve(sandbox, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, InvalidBlockError):
            pass
        except Exception:
            logging.exception("an MLLP connection failed")
        finally:
            writer.close()

    server: asyncio.Server = await start_hl7_server(connected, host, port, limit=FRAME_LIMIT)
    return server


async def _serve(sandbox: Sandbox, reader: Any, writer: Any) -> None:
    wire = MllpWire(reader, writer)
    while True:
        frame = await reader.readblock()
        call = sandbox.hl7.read(frame)
        fault = sandbox.faults.take("hl7", call.operation)
        sandbox.requests.add("hl7", call.operation, call.decoded, fault.fault if fault else None)
        if fault is not None:
            await fault_menu.play(fault, call, wire, sandbox.faults.cleared)
        else:
            wire.send(call.perform())
        await writer.drain()
