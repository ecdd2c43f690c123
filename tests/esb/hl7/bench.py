"""Our sender and our listener, and far sides that behave as a test tells them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from esb.hl7.address import Address
from esb.hl7.listen import Behaviour, Listener
from esb.hl7.send import Load, Outgoing, send
from esb.hl7.tally import Tally
from tests.esb.hl7.commands import ADT
from tests.esb.kit import FakeClock

LOCAL = Address("127.0.0.1", 0)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def messages(count: int) -> Iterable[Outgoing]:
    for number in range(1, count + 1):
        yield Outgoing(ADT.replace("|C1|", f"|C{number}|").encode(), f"C{number}")


async def sent(at: Address, count: int, tls: ssl.SSLContext | None = None, **load: Any) -> Tally:
    """The tally of so many messages; gives up after 20 s."""
    tally = Tally()
    async with asyncio.timeout(20):
        await send(at, iter(messages(count)), Load(**load), tally, tls)
    return tally


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None, **behaviour: Any) -> AsyncIterator[tuple[Listener, Address]]:
    listener = Listener(Behaviour(**behaviour), FakeClock())
    at = await listener.start(LOCAL, tls)
    try:
        yield listener, at
    finally:
        await listener.close()


@contextlib.asynccontextmanager
async def far_side(talk: Talk) -> AsyncIterator[Address]:
    """A server of 127.0.0.1 that talks like that on each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, *LOCAL)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()


def ack(request: bytes, code: str = "AA", control: bytes | None = None, rest: str = "") -> bytes:
    control = request.split(b"|")[9] if control is None else control
    return f"MSH|^~\\&|L|L|H|H|2026||ACK|A1|P|2.5\rMSA|{code}|".encode() + control + f"{rest}\r".encode()
