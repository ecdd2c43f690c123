"""An MLLP listener for bench tests: keeps what it gets, answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from esb.clock import Clock
from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Framer, Message, decode, framed
from esb.hl7.acks import acknowledgement, refusal
from esb.hl7.address import Address

_CHUNK: Final = 65536
_LIMIT: Final = 64 * 1024 * 1024
_GRACE_S: Final = 0.25
_SAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """``ack`` is MSA-1, or "none" for silence; ``delay`` in seconds before each answer.

    ``drop`` percent of the messages, evenly spread, are neither kept nor answered. ``stop_after`` messages it ends by
    itself; 0 for never.
    """

    ack: str = "AA"
    delay: float = 0.0
    drop: float = 0.0
    into: Path | None = None
    stop_after: int = 0


@dataclass(slots=True)
class Received:
    """What came so far."""

    messages: int = 0
    size: int = 0
    dropped: int = 0
    unreadable: int = 0
    broken: int = 0
    connections: int = 0
    open: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """One line; what is zero is left out."""
        answers = "".join(f", {code} {count}" for code, count in sorted(self.answers.items()))
        rest = (("dropped", self.dropped), ("no HL7 v2", self.unreadable), ("connections with no MLLP", self.broken))
        others = "".join(f", {count} {name}" for name, count in rest if count)
        return f"{self.messages} messages, {self.size} bytes on {self.connections} connections{answers}{others}"


class Listener:
    """Listens from ``start`` to ``close``; ``received`` counts. Nothing that a peer sends ends it."""

    def __init__(self, behaviour: Behaviour, clock: Clock) -> None:
        self._behaviour, self._clock = behaviour, clock
        self._owed = 0.0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.received = Received()
        self.done = asyncio.Event()

    async def start(self, at: Address, tls: ssl.SSLContext | None = None) -> Address:
        """The address that it listens on. Raises ``OSError`` when it cannot."""
        if self._behaviour.into:
            self._behaviour.into.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.start_server(self._connected, *at, ssl=tls, limit=_CHUNK)
        return Address(*self._server.sockets[0].getsockname()[:2])

    async def settled(self) -> None:
        """Wait a moment for peers to take their last answers and leave."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_S)

    async def close(self) -> None:
        """Ends every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.received.connections += 1
        self.received.open += 1
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        except DecodeError:
            self.received.broken += 1
        finally:
            self.received.open -= 1
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer(_LIMIT)
        while (messages := await _more(reader, framer)) is not None:
            for raw in messages:
                answer = await self._take(raw)
                if answer is not None:
                    writer.write(framed(answer))
                    await writer.drain()

    async def _take(self, raw: bytes) -> bytes | None:
        """Keep a message and make its answer, None for silence."""
        self.received.messages += 1
        self.received.size += len(raw)
        number = self.received.messages
        if self._behaviour.stop_after and number >= self._behaviour.stop_after:
            asyncio.get_running_loop().call_soon(self.done.set)
        if self._drops():
            return None
        code, reason, message = self._behaviour.ack, "", None
        try:
            message = decode(raw)
        except DecodeError as error:
            self.received.unreadable += 1
            code, reason = "AR", f"the message {error.reason}"
        try:
            await self._keep(number, raw, message)
        except OSError as error:
            code, reason = "AE", f"the message could not be kept: {error.strerror}"
        return await self._answer(message, code, number, reason)

    async def _answer(self, message: Message | None, code: str, number: int, reason: str) -> bytes | None:
        if self._behaviour.delay:
            await asyncio.sleep(self._behaviour.delay)
        if self._behaviour.ack == "none":
            return None
        self.received.answers[code] += 1
        now, control = self._clock.now().strftime("%Y%m%d%H%M%S"), f"L{number}"
        if message is None:
            return refusal(reason, control, now)
        return acknowledgement(message, code, control, now, reason)

    async def _keep(self, number: int, raw: bytes, message: Message | None) -> None:
        """In a file of its own, which is whole or not there."""
        if self._behaviour.into is None:
            return
        control = (message.get("MSH", 0, 10) if message else "") or ""
        file = self._behaviour.into / f"{number:06}-{_SAFE.sub('_', control)[:40] or 'x'}.hl7"
        await asyncio.to_thread(_write, file, raw)

    def _drops(self) -> bool:
        self._owed += self._behaviour.drop
        if self._owed < 100:
            return False
        self._owed -= 100
        self.received.dropped += 1
        return True


async def _more(reader: asyncio.StreamReader, framer: Framer) -> list[bytes] | None:
    """The messages that the next bytes complete; one that ends with FS alone after a moment. None at the end."""
    if framer.half_ended:
        try:
            async with asyncio.timeout(_GRACE_S):
                data = await reader.read(_CHUNK)
        except TimeoutError:
            return [raw for raw in [framer.finish()] if raw is not None]
    else:
        data = await reader.read(_CHUNK)
    if data:
        return framer.feed(data)
    last = framer.finish()
    return None if last is None else [last]


def _write(file: Path, raw: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(raw)
    part.replace(file)


async def report(received: Received, show: Callable[[str], None], every: float = 1.0) -> None:
    """Shows a line when something came, with the rate, until it is cancelled."""
    loop = asyncio.get_running_loop()
    before, at = 0, loop.time()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every)
            now = loop.time()
            if received.messages != before:
                show(f"{received.text()}; {(received.messages - before) / (now - at):.0f}/s, {received.open} open")
            before, at = received.messages, now
