"""Application acknowledgements that go out on another connection than the message came in on.

Those that come in on another one are the listener's (``Inbound.answers``), the client's (``esb.spi.Answers``) and the
store's between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import deque
from collections.abc import Callable

from esb.codecs import DecodeError, hl7v2
from esb.codecs.hl7v2 import Framer

_ACK_S = 10.0
_PAUSES_S = (0.2, 1.0, 3.0, 10.0)
_MOST_WAITING = 10_000
_LONGEST_ANSWER = 1 << 20
_VERDICT = re.compile(rb"\rMSA.(C)[AER]", re.DOTALL)
Address = tuple[str, int]


def parted(frames: bytes) -> tuple[bytes, list[bytes]]:
    """Frames that acknowledge one message: the commit, and the application's answers without their marks."""
    commit, later = b"", []
    for frame in frames.split(b"\x1c\r")[:-1]:
        message = frame[1:]
        if _VERDICT.search(message):
            commit += hl7v2.framed(message)
        else:
            later.append(message)
    return commit, later


class Courier:
    """Brings answers to an address, in order, each until its receiver has acknowledged it or ``seconds`` have passed.

    ``count`` is told ``late_answers_sent``, ``late_answers_refused`` and ``late_answers_lost``. What a crash leaves
    unsent its receiver gets by sending its message again: the stored answer is brought once more.
    """

    def __init__(
        self, address: Address, seconds: float, tls: ssl.SSLContext | None, count: Callable[[str], None]
    ) -> None:
        self._address, self._seconds, self._tls, self._count = address, seconds, tls, count
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def bring(self, message: bytes) -> None:
        """Soon; over 10,000 that wait the newest is lost."""
        if len(self._waiting) >= _MOST_WAITING:
            self._count("late_answers_lost")
            return
        self._waiting.append((message, asyncio.get_running_loop().time() + self._seconds))
        self._idle.clear()
        self._wake.set()

    async def close(self, seconds: float) -> None:
        """Bring what waits, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._hang_up()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                self._count(f"late_answers_{await self._bring(*self._waiting[0])}")
                self._waiting.popleft()
            self._idle.set()
            self._wake.clear()
            await self._wake.wait()

    async def _bring(self, message: bytes, end: float) -> str:
        tries = 0
        while True:
            try:
                async with asyncio.timeout(_ACK_S):
                    return await self._send(message)
            except (OSError, DecodeError, TimeoutError):
                self._hang_up()
            pause = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
            if asyncio.get_running_loop().time() + pause > end:
                return "lost"
            tries += 1
            await asyncio.sleep(pause)

    async def _send(self, message: bytes) -> str:
        """Raises ``OSError`` or ``DecodeError`` when the connection ends or breaks before the acknowledgement."""
        if self._writer is None or self._reader is None or self._reader.at_eof():
            self._hang_up()
            self._reader, self._writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        self._writer.write(hl7v2.framed(message))
        framer, own = Framer(_LONGEST_ANSWER), hl7v2.decode(message).get("MSH", 0, 10)
        while data := await self._reader.read(65536):
            for raw in framer.feed(data):
                heard = hl7v2.decode(raw)
                if heard.get("MSA", 0, 2) == own:
                    return "sent" if heard.get("MSA", 0, 1) in ("CA", "AA") else "refused"
        raise ConnectionError("closed before the acknowledgement")

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
