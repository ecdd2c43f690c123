"""One MLLP connection and the pool of them. A connection carries one call at a time."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from adapters.hl7v2.settings import Settings, tls_context
from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Framer
from esb.spi import AdapterError, Call, Malformed, OutcomeUnknown, Unavailable

GRACE_S = 0.25
"""How long after FS a CR is waited for; some peers never send it."""


class Line(Protocol):
    """What a call has for itself: a connection, or its part of one."""

    @property
    def closed(self) -> bool: ...

    @property
    def pending(self) -> bytes: ...

    def expect(self, control: str) -> None: ...

    def send(self, frame: bytes) -> None: ...

    async def receive(self, seconds: float) -> bytes: ...

    def undecided(self, event: str) -> AdapterError: ...

    def release(self) -> None: ...

    def abort(self) -> None: ...


class Connection(asyncio.Protocol):
    """Messages in order of arrival. What arrives while no call is on is dropped; ``dropped`` is told how many."""

    def __init__(self, limit: int, dropped: Callable[[int], None]) -> None:
        self._dropped = dropped
        self._framer = Framer(limit)
        self._messages: deque[bytes] = deque()
        self._failure: AdapterError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.calling = False
        self.closed = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.last_used = self._loop.time()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._framer.feed(data)
        except DecodeError as error:
            self._fail(Malformed(f"the answer is no MLLP: {error.reason}", raw=self._framer.pending))
            return
        if self._framer.half_ended:
            self._loop.call_later(GRACE_S, self._finish)
        self._arrived(messages)

    def eof_received(self) -> bool:
        self._finish()
        self._fail(self.undecided("the connection was closed"))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(self.undecided("the connection was reset" if error else "the connection was closed"))
        self.lost.set_result(None)

    # for the pool and the adapter

    def usable(self, idle_s: float) -> bool:
        """Whether it can be used once more: open, not idle for long, and with nothing to read, not even its end."""
        return not self.closed and self._loop.time() - self.last_used < idle_s and not self._readable()

    def expect(self, control: str) -> None:
        """The MSA-2 of the answers to come; here every message is for the one call that is on."""

    def send(self, frame: bytes) -> None:
        """Write a frame. The first one of a call begins it."""
        assert self._transport is not None
        self.calling = True
        self._transport.write(frame)

    async def receive(self, seconds: float) -> bytes:
        """The next message. Raises ``Malformed`` or ``OutcomeUnknown`` when the connection ends instead, and
        ``TimeoutError`` when nothing came in time.
        """
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            try:
                await ended(self._waiter, seconds)
            finally:
                self._waiter = None
        return self._messages.popleft()

    def release(self) -> None:
        """The call has its answer."""
        self.calling = False
        self.last_used = self._loop.time()
        self._dropped(len(self._messages))
        self._messages.clear()

    @property
    def pending(self) -> bytes:
        """What arrived of a message that is not whole yet."""
        return self._framer.pending

    def undecided(self, event: str) -> AdapterError:
        """What to raise when ``event`` ends the wait: bytes without VT were an answer, only not one in MLLP."""
        rest = self._framer.pending
        if rest.strip() and not self._framer.started:
            return Malformed("the answer is no MLLP: it does not begin with VT", raw=rest)
        where = "in the middle of the answer" if rest.strip() else "before the answer"
        return OutcomeUnknown(f"{event} {where}", raw=rest)

    def abort(self) -> None:
        """Close at once, without waiting for the other side."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _arrived(self, messages: list[bytes]) -> None:
        if not self.calling:
            self._dropped(len(messages))
            return
        self._messages.extend(messages)
        if messages:
            self._wake()

    def _finish(self) -> None:
        message = self._framer.finish()
        if message is not None:
            self._arrived([message])

    def _fail(self, error: AdapterError) -> None:
        self._failure = self._failure or error
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _readable(self) -> bool:
        """A close by the peer may be in the kernel while the loop has not seen it."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))


async def ended(waiter: asyncio.Future[None], seconds: float) -> None:
    """Wait for it; raises ``TimeoutError``. ``asyncio.timeout`` would cost 3 us more for every call."""
    timer = waiter.get_loop().call_later(seconds, _too_late, waiter)
    try:
        await waiter
    finally:
        timer.cancel()


def _too_late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class Pool:
    """Connections opened when needed, the one used last used next. ``late`` counts messages that nobody waited for."""

    made: type[Connection] = Connection

    def __init__(self, settings: Settings) -> None:
        """Raises ``ConfigError``."""
        self._settings = settings
        self._tls = tls_context(settings.tls) if settings.tls else None
        self._free = asyncio.Semaphore(settings.connections * settings.in_flight)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self.late = 0

    def alive(self) -> bool:
        """Whether an open connection shows that the system is there."""
        return any(one.calling or one.usable(self._settings.idle_s) for one in self._open if not one.closed)

    async def take(self, call: Call) -> Line:
        """A line for this call alone, to be given back. Raises ``Unavailable``; nothing was sent then."""
        self._refuse_late(call)
        if self._free.locked():
            await self._place(call)
        else:
            await self._free.acquire()  # does not wait
        try:
            return await self._line(call)
        except BaseException:
            self._free.release()
            raise

    async def _place(self, call: Call) -> None:
        try:
            async with asyncio.timeout(call.remaining()):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("every connection was busy until the deadline") from None

    def give(self, line: Line) -> None:
        """Take it back; a closed one is forgotten."""
        if isinstance(line, Connection) and not line.closed and not self._closed:
            self._idle.append(line)
        self._free.release()

    async def _line(self, call: Call) -> Line:
        return self._reused() or await self._opened(call)

    async def close(self) -> None:
        """Abort every connection; calls on them end with ``OutcomeUnknown``."""
        self._closed = True
        self._idle.clear()
        open_ones = list(self._open)
        for connection in open_ones:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in open_ones))

    def _refuse_late(self, call: Call) -> None:
        if self._closed:
            raise Unavailable("the adapter is closed")
        if call.remaining() <= 0:
            raise Unavailable("the deadline passed before anything was sent")

    def _reused(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(self._settings.idle_s):
                return connection
            connection.abort()
        return None

    async def _opened(self, call: Call) -> Connection:
        settings = self._settings
        name = settings.tls.server_name if settings.tls else None
        connect = asyncio.get_running_loop().create_connection
        try:
            async with asyncio.timeout(min(settings.connect_timeout_s, call.remaining())):
                _, connection = await connect(
                    lambda: self.made(settings.max_frame_bytes, self._count),
                    settings.host,
                    settings.port,
                    ssl=self._tls,
                    server_hostname=name,
                )
        except TimeoutError:
            raise Unavailable("no connection in time") from None
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"cannot connect: {_why(error)}") from None
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        if self._closed:
            connection.abort()
            raise Unavailable("the adapter is closed")
        return connection

    def _count(self, late: int) -> None:
        self.late += late


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
