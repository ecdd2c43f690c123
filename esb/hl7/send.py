"""An MLLP client for bench tests: so many connections, so many messages in flight on each, at a rate."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import select
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Framer, Message, framed
from esb.hl7.acks import Verdict, verdict
from esb.hl7.address import Address
from esb.hl7.tally import Tally

_CHUNK: Final = 65536
_LIMIT: Final = 64 * 1024 * 1024
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.2
_GRACE_S: Final = 0.25
_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)


class Outgoing(NamedTuple):
    """A message with its MSH-10 and what stands before and after that.

    ``twice``: its sender waits for an application's answer after the commit (CA).
    """

    raw: bytes
    control: str
    around: tuple[bytes, bytes] = (b"", b"")
    twice: bool = False


def outgoing(message: Message) -> Outgoing:
    """As it is to be sent."""
    head, end, rest = _header(message.text)
    fields = head.split(message.syntax.field)
    fields += [""] * (10 - len(fields))
    before, after = message.syntax.field.join([*fields[:9], ""]), message.syntax.field.join(["", *fields[10:]])
    around = (before.encode(message.charset), (after * (len(fields) > 10) + end + rest).encode(message.charset))
    twice = message.get("MSH", 0, 16) == "AL" and message.get("MSH", 0, 15) is not None
    return Outgoing(message.raw, message.get("MSH", 0, 10, 1, 1) or "", around, twice)


def renumbered(messages: Iterable[Outgoing]) -> Iterator[Outgoing]:
    """The same messages, each with an MSH-10 that no other has."""
    stem = secrets.token_hex(4).upper()
    for number, message in enumerate(messages, 1):
        control = f"{stem}{number}"
        before, after = message.around
        yield message._replace(raw=before + control.encode("ascii") + after, control=control)


def _header(text: str) -> tuple[str, str, str]:
    """All up to the end of MSH, that end, and the rest."""
    match = re.compile(r"[\r\n]").search(text, text.index("MSH"))
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


@dataclass(frozen=True, slots=True)
class Load:
    """``rate`` in messages a second over all connections, 0 for as fast as it goes; ``timeout`` in seconds.

    ``each`` messages go over a connection, then a new one is opened; 0 for all that it takes.
    """

    connections: int = 1
    pipelined: int = 1
    rate: float = 0.0
    timeout: float = 30.0
    each: int = 0


class Flight(NamedTuple):
    """A message under way."""

    message: Outgoing
    sent_at: float


async def send(
    target: Address,
    messages: Iterator[Outgoing],
    load: Load,
    tally: Tally,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Send every message once and count in ``tally`` what came of it.

    An answer belongs to a message by MSA-2; one without MSA-2 to the oldest. A message whose connection is lost, or
    that is not answered in time, is not sent again: it may have been taken. When nobody listens any more the rest is
    counted as not sent. Raises nothing for what the peer does.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    source = _paced(messages, load.rate, started, loop.time)
    senders = [_Sender(target, source, load, tally, tls) for _ in range(load.connections)]
    try:
        await asyncio.gather(*(sender.run() for sender in senders))
    finally:
        tally.seconds = loop.time() - started
    tally.unsent += sum(1 for _ in messages) if all(sender.gave_up for sender in senders) else 0


def _paced(
    messages: Iterator[Outgoing], rate: float, started: float, now: Callable[[], float]
) -> Iterator[tuple[Outgoing, float]]:
    """Messages with how many seconds each is too early."""
    for number, message in enumerate(messages):
        yield message, max(0.0, started + number / rate - now()) if rate else 0.0


class _Sender:
    """One connection at a time, opened again when it is lost."""

    def __init__(
        self,
        target: Address,
        source: Iterator[tuple[Outgoing, float]],
        load: Load,
        tally: Tally,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._target, self._source, self._load, self._tally, self._tls = target, source, load, tally, tls
        self._held: Outgoing | None = None
        self.gave_up = False

    async def run(self) -> None:
        """Until there are no more messages, or nobody to send them to."""
        while (message := await self._next()) is not None:
            connection = await self._connect()
            if connection is None:
                self.gave_up = True
                self._tally.unsent += 1
                return
            self._held = message
            await self._use(*connection)

    async def _next(self) -> Outgoing | None:
        """The next message at its time; the one that a lost connection could not take first."""
        if self._held is not None:
            message, self._held = self._held, None
            return message
        found = next(self._source, None)
        if found is None:
            return None
        await asyncio.sleep(found[1]) if found[1] else None
        return found[0]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S * attempt)
            try:
                async with asyncio.timeout(self._load.timeout):
                    streams = await asyncio.open_connection(*self._target, ssl=self._tls, limit=_CHUNK)
            except (OSError, TimeoutError):
                continue
            self._tally.connections += 1
            return streams
        return None

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send on this connection until it is lost or there is nothing more."""
        answers = _Answers(reader, self._load, self._tally)
        listening = asyncio.create_task(answers.listen())
        count = 0
        try:
            while not (self._load.each and count == self._load.each) and (message := await self._next()) is not None:
                if not await answers.room() or _left(writer):
                    self._held = message
                    break
                count += 1
                self._tally.sent += 1
                answers.expect(message)
                writer.write(framed(message.raw))
                await writer.drain()
            await answers.all()
        except OSError:
            answers.ended = True
        finally:
            listening.cancel()
            answers.close()
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


def _left(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer has closed; the kernel knows before the loop does."""
    sock = writer.get_extra_info("socket")
    if writer.is_closing() or sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), _HANGUP)
    return bool(poll.poll(0))


class _Answers:
    """The reading half of a connection, and what is under way on it."""

    def __init__(self, reader: asyncio.StreamReader, load: Load, tally: Tally) -> None:
        self._reader, self._load, self._tally = reader, load, tally
        self._flights: deque[Flight] = deque()
        self._changed = asyncio.Event()
        self._framer = Framer(_LIMIT)
        self._now = asyncio.get_running_loop().time
        self.ended = False

    def expect(self, message: Outgoing) -> None:
        """A message is going out."""
        self._flights.append(Flight(message, self._now()))

    async def room(self) -> bool:
        """Wait until one more may be under way; False when the connection is of no use any more."""
        return await self._until(self._load.pipelined - 1)

    async def all(self) -> bool:
        """Wait until nothing is under way."""
        return await self._until(0)

    def close(self) -> None:
        """What is still under way now is lost, with the connection."""
        self._tally.lost += len(self._flights)
        self._tally.dropped_connections += bool(self._flights)
        self._flights.clear()

    async def listen(self) -> None:
        """Read answers until the peer ends or says what is no MLLP."""
        try:
            while data := await self._read():
                for raw in self._framer.feed(data):
                    self._take(raw)
        except (OSError, DecodeError):
            pass
        finally:
            self.ended = True
            self._changed.set()

    async def _read(self) -> bytes:
        """Some peers never send the CR after FS: then what is there is taken after a moment."""
        while self._framer.half_ended:
            try:
                async with asyncio.timeout(_GRACE_S):
                    return await self._reader.read(_CHUNK)
            except TimeoutError:
                if (raw := self._framer.finish()) is not None:
                    self._take(raw)
        return await self._reader.read(_CHUNK)

    async def _until(self, most: int) -> bool:
        while len(self._flights) > most and not self.ended:
            self._changed.clear()
            left = self._flights[0].sent_at + self._load.timeout - self._now()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                if self._expired():
                    return False
        return not self.ended

    def _expired(self) -> bool:
        """Whether the oldest got no answer; a late one would confuse what follows, so the connection ends with it."""
        if not self._flights or self._now() < self._flights[0].sent_at + self._load.timeout:
            return False
        self._flights.popleft()
        self._tally.silent += 1
        return True

    def _take(self, raw: bytes) -> None:
        found = verdict(raw)
        if found is None:
            self._tally.unreadable += 1
            return
        flight = self._flight(found.control)
        if flight is None:
            self._tally.mismatched += 1
        elif found.code != "CA" or not flight.message.twice:
            self._settle(flight, found)

    def _flight(self, control: str) -> Flight | None:
        if not control:
            return self._flights[0] if self._flights else None
        return next((flight for flight in self._flights if flight.message.control == control), None)

    def _settle(self, flight: Flight, found: Verdict) -> None:
        self._flights.remove(flight)
        self._tally.verdicts[found.code] += 1
        if found.error and found.code not in ("AA", "CA"):
            self._tally.errors[found.error] += 1
        self._tally.latencies.add(self._now() - flight.sent_at)
        self._changed.set()
