"""What the SOAP tests share: a loopback server that answers each request with the next scripted answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from adapters.soap import Settings, Soap, connect
from tests.adapters.suite import Peer, peer

WSDL = Path(__file__).parent / "soap" / "his.wsdl"
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"


def envelope(body: str, namespace: str = SOAP11, declaration: str = "") -> str:
    return f'{declaration}<s:Envelope xmlns:s="{namespace}"><s:Body>{body}</s:Body></s:Envelope>'


def http(body: bytes | str, status: str = "200 OK", kind: str = "text/xml; charset=utf-8", more: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def read_http(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
    return head + await reader.readexactly(length)


@contextlib.asynccontextmanager
async def answering(
    answer: bytes | Callable[[bytes], bytes], **settings: Any
) -> AsyncIterator[tuple[Soap, list[bytes]]]:
    """An adapter for a server that gives this answer, and the requests that the server saw."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_http(reader))
            writer.write(answer if isinstance(answer, bytes) else answer(seen[-1]))
            await writer.drain()

    async with peer(behave) as (_, port):
        values: dict[str, Any] = {"wsdl": WSDL, "address": f"http://127.0.0.1:{port}/his"} | settings
        adapter = connect(Settings(**values))
        try:
            yield adapter, seen
        finally:
            await adapter.close()


__all__ = ["SOAP11", "SOAP12", "WSDL", "Peer", "answering", "envelope", "http", "read_http"]
