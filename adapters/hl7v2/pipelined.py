"""Many calls on one connection, for peers that take the next message before they have answered the last one.

An answer belongs to a call by MSA-2 alone. A call that ends without its answer leaves the connection to the others, and
nobody new begins on it: whoever does not answer one in time may answer all of them late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from adapters.hl7v2.connection import Connection, Line, Pool, ended
from adapters.hl7v2.settings import Settings
from esb.codecs import DecodeError, hl7v2
from esb.spi import AdapterError, Call, OutcomeUnknown, Unavailable

_NEAR = 256


class Shared(Connection):
    """One connection of several calls."""

    def __init__(self, limit: int, dropped: Callable[[int], None]) -> None:
        super().__init__(limit, dropped)
        self._slots: dict[str, Slot] = {}
        self._failed: AdapterError | None = None
        self._frames: list[bytes] = []
        self.under_way = 0
        self.is_stale = False

    def slot(self) -> Slot:
        """A place for one more call."""
        self.under_way += 1
        self.calling = True
        return Slot(self)

    def leave(self, slot: Slot, *, answered: bool) -> None:
        """The call has ended; the connection ends with its last call once one of them had no answer."""
        if self._slots.get(slot.control) is slot:
            del self._slots[slot.control]
        self.under_way -= 1
        self.calling = self.under_way > 0
        self.is_stale = self.is_stale or not answered
        self.last_used = self._loop.time()
        if self.is_stale and not self.under_way:
            self.abort()

    def join(self, slot: Slot) -> None:
        """What answers its id is its."""
        self._slots[slot.control] = slot
        if self._failed is not None:
            slot.fail(self._failed)

    def send(self, frame: bytes) -> None:
        """Frames of calls that begin together leave together."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if not self.closed:
            super().send(b"".join(frames))

    def _arrived(self, messages: list[bytes]) -> None:
        for raw in messages:
            slot = self._slots.get(_answered(raw))
            if slot is None:
                self._dropped(1)
            else:
                slot.put(raw)

    def _fail(self, error: AdapterError) -> None:
        self._failed = self._failed or error
        self.is_stale = True
        super()._fail(error)
        for slot in list(self._slots.values()):
            slot.fail(OutcomeUnknown(error.reason) if len(self._slots) > 1 else error)


class Slot:
    """One call's part of a shared connection, used as if it had the connection for itself."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._messages: deque[bytes] = deque()
        self._error: AdapterError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self.control = ""

    @property
    def closed(self) -> bool:
        """Whether the connection is."""
        return self._shared.closed

    @property
    def pending(self) -> bytes:
        """What has arrived of a message that is not whole yet may be anybody's."""
        return b""

    def undecided(self, event: str) -> AdapterError:
        """What to raise when ``event`` ends the wait."""
        return OutcomeUnknown(f"{event} before the answer")

    def expect(self, control: str) -> None:
        """The MSA-2 of its answers."""
        self.control = control
        self._shared.join(self)

    def send(self, frame: bytes) -> None:
        self._shared.send(frame)

    async def receive(self, seconds: float) -> bytes:
        """The next message that answers this call. Raises when the connection ends instead, or ``TimeoutError``."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await ended(self._waiter, seconds)
            finally:
                self._waiter = None
        return self._messages.popleft()

    def release(self) -> None:
        """The call has its answer."""
        self._end(answered=True)

    def abort(self) -> None:
        """The call has none."""
        self._end(answered=False)

    def put(self, raw: bytes) -> None:
        self._messages.append(raw)
        self._wake()

    def fail(self, error: AdapterError) -> None:
        self._error = self._error or error
        self._wake()

    def _end(self, *, answered: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._shared.leave(self, answered=answered)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _answered(raw: bytes) -> str:
    """MSA-2 of an answer; "" when it has none. An answer as most are is not split for it."""
    begin = raw.find(b"\rMSA|") + 1
    fields = raw[begin : begin + _NEAR].split(b"\r", 1)[0].split(b"|", 3)
    if begin and len(fields) > 2 and raw.startswith(b"MSH|^~\\&|") and fields[2].isalnum() and fields[2].isascii():
        return fields[2].decode("ascii")
    try:
        return hl7v2.decode(raw).get("MSA", 0, 2) or ""
    except DecodeError:
        return ""


class SharedPool(Pool):
    """Lines of shared connections: an idle one first, then a new one, then the least busy one."""

    made = Shared

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._opening = asyncio.Lock()

    async def _line(self, call: Call) -> Line:
        if not self._opening.locked() and (ready := self._free_line()) is not None:
            return ready
        try:
            async with asyncio.timeout(call.remaining()), self._opening:
                line = self._free_line()
                if line is None:
                    opened = await self._opened(call)
                    assert isinstance(opened, Shared)
                    line = opened.slot()
        except TimeoutError:
            raise Unavailable("no connection in time") from None
        return line

    def _free_line(self) -> Slot | None:
        live = [one for one in self._open if isinstance(one, Shared) and not one.closed and not one.is_stale]
        for one in live:
            if not one.under_way and one.usable(self._settings.idle_s):
                return one.slot()
        busy = [one for one in live if 0 < one.under_way < self._settings.in_flight]
        if len(live) < self._settings.connections or not busy:
            return None
        return min(busy, key=lambda one: one.under_way).slot()
