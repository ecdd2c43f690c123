"""A TCP proxy that misbehaves as asked, connection by connection (F16, F17, F18; T7).

    async with Proxy(("127.0.0.1", port)) as proxy:
        proxy.script(Reply(delay=0.5), Drop(), Pass())      # the next three connections; then `proxy.usual`
        proxy.usual = Hang()

A plan is looked up when a connection is made and once more for every request on it, so that a peer which keeps its
connections meets the script too. What is a request is told apart by silence: bytes from the client after bytes from
the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, deque
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Pass:
    """Forward both ways."""


@dataclass(frozen=True)
class Refuse:
    """Reset the connection before a byte of the request has gone on: certainly not sent."""


@dataclass(frozen=True)
class Hang:
    """Take the request, forward nothing and never answer."""


@dataclass(frozen=True)
class Drop:
    """Forward the request, and reset the connection when the answer begins to come: it happened, nobody hears it."""


@dataclass(frozen=True)
class Hold:
    """Forward the request and keep the answer back until ``release`` is called, if ever."""


@dataclass(frozen=True)
class Reply:
    """Forward the request and spoil the answer.

    ``delay`` seconds before it, ``drip`` seconds after each of its bytes; only its first ``keep`` bytes and then the
    end of the connection; ``instead`` in its place.
    """

    delay: float = 0.0
    drip: float = 0.0
    keep: int | None = None
    instead: bytes | None = None


Plan: TypeAlias = Pass | Refuse | Hang | Drop | Hold | Reply
_CHUNK = 65536


class Proxy:
    """Listens on a free port of 127.0.0.1. ``seen`` counts plans that were met, ``forwarded`` requests sent on."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.usual: Plan = Pass()
        self.seen: Counter[str] = Counter()
        self.forwarded = 0
        self._script: deque[Plan] = deque()
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def script(self, *plans: Plan) -> None:
        """What the next requests meet, one each."""
        self._script.extend(plans)

    def release(self) -> None:
        """Let go what ``Hold`` keeps back, now and later."""
        self._released.set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def next_plan(self) -> Plan:
        plan = self._script.popleft() if self._script else self.usual
        self.seen[type(plan).__name__] += 1
        return plan

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        link = _Link(self, reader, writer)
        with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await link.run()
        link.close()


class _Link:
    """One connection and its twin to the target."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._far: asyncio.StreamWriter | None = None
        self._answers: asyncio.Task[None] | None = None
        self._plan: Plan = Pass()
        self._in_request = False

    async def run(self) -> None:
        while data := await self._reader.read(_CHUNK):
            if not self._in_request:
                self._in_request = True
                self._plan = self._proxy.next_plan()
                if isinstance(self._plan, Refuse):
                    return _reset(self._writer)
                if not isinstance(self._plan, Hang):
                    self._proxy.forwarded += 1
            if not isinstance(self._plan, Hang):
                await self._forward(data)

    async def _forward(self, data: bytes) -> None:
        if self._far is None:
            far, self._far = await asyncio.open_connection(*self._proxy.target)
            self._answers = asyncio.create_task(self._back(far))
        self._far.write(data)
        await self._far.drain()

    async def _back(self, far: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await far.read(_CHUNK):
                self._in_request = False
                if not await self._answer(data):
                    return
            self._writer.close()

    async def _answer(self, data: bytes) -> bool:
        """False when the connection has ended with it."""
        plan = self._plan
        if isinstance(plan, Drop):
            _reset(self._writer)
            return False
        if isinstance(plan, Hold):
            await self._proxy._released.wait()
        if isinstance(plan, Reply):
            await asyncio.sleep(plan.delay)
            data = data if plan.instead is None else plan.instead
            if plan.drip:
                await self._drip(data, plan.drip)
                return True
            if plan.keep is not None or plan.instead is not None:
                self._writer.write(data[: plan.keep])
                await self._writer.drain()
                self._writer.close()
                return False
        self._writer.write(data)
        await self._writer.drain()
        return True

    async def _drip(self, data: bytes, pause: float) -> None:
        for at in range(len(data)):
            self._writer.write(data[at : at + 1])
            await self._writer.drain()
            await asyncio.sleep(pause)

    def close(self) -> None:
        if self._answers:
            self._answers.cancel()
        for writer in (self._writer, self._far):
            if writer is not None:
                writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with RST, as a firewall or a dead process does."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
