"""MLLP as a server: frames in, answers out in the order of the frames, each after its message is durable."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from dataclasses import replace
from functools import partial
from typing import cast

from adapters.hl7v2.acknowledge import Writer, answers, commit_wanted
from adapters.hl7v2.later import Courier, parted
from adapters.hl7v2.listening import ListenerSettings, server_context
from adapters.hl7v2.reply import respond
from adapters.hl7v2.settings import tls_context
from esb.codecs import DecodeError, hl7v2
from esb.codecs.hl7v2 import Framer, Message
from esb.spi import Clock, Flaw, Inbound, Intake, SystemClock

GRACE_S = 0.1
"""How long after FS a CR is waited for; some senders never send it."""
_TICK_S = 1.0
_RESUME_S = 0.02
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)
_STRAY_BYTES = 4096
"""So much before any VT is no slip of a sender but another protocol."""
_KEPT_BYTES = 64 * 1024
"""So much of what is no frame is kept."""
_NO_MESSAGE = b"MSH|^~\\&|||||||||P|2.5.1\r"


class MllpListener:
    """One address. Its connections share the intake and its back-pressure."""

    def __init__(self, settings: ListenerSettings, clock: Clock | None = None) -> None:
        """Raises ``ConfigError``."""
        self.settings = settings
        self.peers: set[Peer] = set()
        self.unfinished = 0
        self.is_closing = False
        self._tls = server_context(settings.tls) if settings.tls else None
        self._answer_tls = tls_context(settings.answer_tls) if settings.answer_tls else None
        self.courier: Courier | None = None
        self._clock = clock or SystemClock()
        self._second, self._stamp = -1, ""
        self._prefix = f"L{int(self._clock.now().timestamp()):x}"
        self._written = 0
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.settings.address

    @property
    def same_id_s(self) -> float:
        return self.settings.same_id_s

    async def serve(self, sock: socket.socket, intake: Intake) -> None:
        """See ``esb.spi.Listener``."""
        self.intake = intake
        settings, loop = self.settings, asyncio.get_running_loop()
        if settings.answer_to:
            self.courier = Courier(settings.answer_address, settings.answer_for_s, self._answer_tls, intake.count)
        self._server = await loop.create_server(lambda: Peer(self), sock=sock, ssl=self._tls, backlog=1024)
        self._ticking = loop.call_later(_TICK_S, self._tick)

    async def close(self, seconds: float) -> None:
        """See ``esb.spi.Listener``; a frame that is not whole is left to its sender, who has no answer."""
        self.is_closing = True
        if self._ticking:
            self._ticking.cancel()
        if self._server:
            self._server.close()
        peers = list(self.peers)
        for peer in peers:
            peer.finish()
        if peers:
            await asyncio.wait([peer.gone for peer in peers], timeout=seconds)
        for peer in peers:
            peer.abort()
        if self.courier is not None:
            await self.courier.close(seconds)

    def hold(self, peer: Peer, more: int) -> None:
        """Count bytes that a connection keeps for a frame that has not ended; over the budget one has to go."""
        self.unfinished += more
        if more > 0 and self.unfinished > self.settings.max_unfinished_bytes:
            share = self.settings.max_unfinished_bytes // len(self.peers)
            (peer if peer.held > share else max(self.peers, key=lambda one: one.held)).crowded_out()

    def read(self, raw: bytes, address: str) -> tuple[Inbound, Writer, str, str]:
        """What a frame says, and what is needed to acknowledge it: a writer, MSH-15 and MSH-16."""
        try:
            message = hl7v2.decode(raw, self.settings.charset, default=self.settings.default_charset)
        except DecodeError as error:
            flaw = Flaw("unreadable", f"the message {error.reason}")
            return Inbound(raw, peer=address, flaw=flaw), self.writer(hl7v2.decode(_NO_MESSAGE)), "", ""
        fields = message.segments("MSH")[0].fields()
        fields += [""] * (17 - len(fields))
        kind = fields[9].split(message.syntax.repetition, 1)[0].split(message.syntax.component)
        flaw_ = None if fields[10] else Flaw("id_missing", "MSH-10 is missing", "MSH-10")
        sender = f"{fields[3]}|{fields[4]}"
        sequence = int(fields[13]) if self.settings.sequence and _NUMBER.fullmatch(fields[13]) else None
        writer, reply = self.writer(message), None
        if kind[0][:1] == "Q":
            reply = partial(respond, writer, message, self.settings.acknowledge, fields[15])
        inbound = Inbound(raw, sender, fields[10], "^".join(kind[:2]), address, message, flaw_, sequence, reply)
        return inbound, writer, fields[15], fields[16]

    def writer(self, message: Message) -> Writer:
        """For acknowledgements to ``message``, with the present time and an id of their own."""
        now = self._clock.now()
        if now.second != self._second:
            self._second, self._stamp = now.second, now.strftime("%Y%m%d%H%M%S")
        self._written += 1
        own_id = f"{self._prefix}{self._written:x}"
        return Writer(message, self._stamp, own_id, "AL" if self.courier else "NE")

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for peer in list(self.peers):
            peer.look(loop.time())
        self._ticking = loop.call_later(_TICK_S, self._tick)


class Peer(asyncio.Protocol):
    """One connection. What arrives in one go is handed on in one go; answers that are due together leave together."""

    def __init__(self, listener: MllpListener) -> None:
        self._listener, self._settings, self._intake = listener, listener.settings, listener.intake
        self._framer = Framer(listener.settings.max_frame_bytes)
        self._due: deque[asyncio.Future[bytes]] = deque()
        self._parted: set[asyncio.Future[bytes]] = set()
        self._loop = asyncio.get_running_loop()
        self._last = self._began = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._is_paused = self._is_ending = False
        self._address = ""
        self.held = 0
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        listener = self._listener
        if listener.is_closing or len(listener.peers) >= self._settings.max_connections:
            self._intake.count("refused_connections")
            self._transport.abort()
            return
        listener.peers.add(self)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _keep_alive(sock)
        self._intake.count("connections")

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.peers.discard(self)
        self._is_ending = True
        if self._framer.started:
            self._intake.count("half_frames")
        self._hold(0)
        if not self.gone.done():
            self.gone.set_result(None)

    def eof_received(self) -> bool:
        """A sender may close its half and still read: the answers that are due are sent first."""
        self._complete()
        self._is_ending = True
        return bool(self._due) and self._settings.tls is None

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        framer = self._framer
        self._last = self._loop.time()
        if not framer.started:
            self._began = self._last
        try:
            messages = framer.feed(data)
        except DecodeError as error:
            self._broken(error.reason)
            return
        for raw in messages:
            self._message(raw)
        if framer.failure:
            self._broken(framer.failure.reason)
        elif framer.half_ended:
            self._loop.call_later(GRACE_S, self._complete)
        elif not messages or framer.dropped:
            self._strays()
        elif framer.started:
            self._began = self._last
        if self.held or framer.started:
            self._hold(self._framer.held)

    # for the listener

    def look(self, now: float) -> None:
        """Close what is too slow or too silent."""
        pending = self._framer.held if self._framer.started else 0
        if pending and now - self._began > self._settings.frame_s + pending / self._settings.bytes_per_s:
            self._broken("a frame does not end")
        elif self._settings.idle_s and not self._due and now - self._last > self._settings.idle_s:
            self._intake.count("closed_idle")
            self.finish()

    def crowded_out(self) -> None:
        """The frames of all connections need more memory than there is for them, and this one takes most."""
        self._intake.count("crowded_out")
        self._broken(f"frames that have not ended need more than {self._settings.max_unfinished_bytes} bytes together")

    def finish(self) -> None:
        """Read no more; close once the answers that are due have been sent."""
        self._is_ending = True
        self._pause()
        self._end_if_done()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # what arrives

    def _message(self, raw: bytes) -> None:
        inbound, writer, accept, application = self._listener.read(raw, self._address)
        if self._settings.later_answers and self._is_answer(inbound, writer, accept):
            return
        if inbound.kind.startswith("ACK"):
            self._intake.count("stray_acks")
            return
        if inbound.message is None:
            self._take(inbound, partial(self._to_unreadable, writer))
            if self._settings.unreadable == "close":
                self.finish()
            return
        mode = self._settings.acknowledge
        self._take(inbound, partial(answers, writer, mode, accept, application))
        if self._listener.courier is not None and commit_wanted(mode, accept, application) is not None:
            self._parted.add(self._due[-1])

    def _is_answer(self, inbound: Inbound, writer: Writer, accept: str) -> bool:
        """Whether it is an application's answer to a message of ours; who wants to hear that it is kept hears it."""
        control = inbound.message.get("MSA", 0, 2) if inbound.message is not None else None
        if not control:
            return False
        question = (self._settings.later_answers, control)
        answer = replace(inbound, flaw=None, sequence=None, reply=None, answers=question)
        self._take(answer, partial(_to_answer, writer, accept))
        return True

    def _take(self, inbound: Inbound, answer: partial[bytes]) -> None:
        self._queue(self._intake.take(inbound, answer))

    def _queue(self, done: asyncio.Future[bytes]) -> None:
        self._due.append(done)
        done.add_done_callback(self._answer)
        if len(self._due) >= self._settings.in_flight or self._intake.full:
            self._pause()

    def _to_unreadable(self, writer: Writer, flaw: Flaw | None, expected: int | None = None) -> bytes:
        return writer.write("AR", flaw) if self._settings.unreadable == "reject" else b""

    def _complete(self) -> None:
        """A frame that ended with FS alone."""
        if self._settings.framing == "lenient" and (message := self._framer.finish()) is not None:
            self._message(message)

    def _strays(self) -> None:
        """Bytes outside of frames are counted and kept, so that nobody has to ask the sender what was missing."""
        dropped = self._framer.dropped
        if dropped:
            if self._settings.framing == "strict":
                self._broken("there are bytes outside of a frame")
                return
            self._unreadable(bytes(dropped), "bytes outside of a frame")
            dropped.clear()
        if not self._framer.started and len(self._framer.pending) > _STRAY_BYTES:
            self._broken("this is no MLLP")

    def _broken(self, reason: str) -> None:
        """The stream is lost: what is there is kept, its sender told if it wrote HL7, the connection closed."""
        rest = (bytes(self._framer.dropped) + self._framer.pending)[:_KEPT_BYTES]
        self._framer = Framer(self._settings.max_frame_bytes)
        self._hold(0)
        self._unreadable(rest, reason, is_answered=True)
        self.finish()

    def _hold(self, held: int) -> None:
        more, self.held = held - self.held, held
        if more:
            self._listener.hold(self, more)

    def _unreadable(self, data: bytes, reason: str, *, is_answered: bool = False) -> None:
        self._intake.count("framing_errors")
        if not data:
            return
        writer = self._writer_of(data) if is_answered else None
        flaw = Flaw("unreadable", reason)
        answer = partial(self._to_unreadable, writer) if writer else partial(_silence)
        self._take(Inbound(data[:_KEPT_BYTES], peer=self._address, flaw=flaw), answer)

    def _writer_of(self, data: bytes) -> Writer | None:
        try:
            return self._listener.writer(hl7v2.decode(data[data.find(b"MSH") :][:_KEPT_BYTES].split(b"\r", 1)[0]))
        except DecodeError:
            return None

    # what is answered

    def _answer(self, _: asyncio.Future[bytes]) -> None:
        due, ready = self._due, []
        while due and due[0].done():
            done = due.popleft()
            ready.append(self._commit(done) if done in self._parted else done.result())
        if ready and self._transport is not None and not self._transport.is_closing():
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            if data:
                self._transport.write(data)
        if self._is_ending:
            self._end_if_done()
        elif self._is_paused:
            self._resume()

    def _commit(self, done: asyncio.Future[bytes]) -> bytes:
        """What goes back here at once; the rest is brought where the sender wants it."""
        self._parted.discard(done)
        commit, later = parted(done.result())
        for message in later:
            cast(Courier, self._listener.courier).bring(message)
        return commit

    def _end_if_done(self) -> None:
        if not self._due and self._transport is not None:
            self._transport.close()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_ending or not self._is_paused or len(self._due) > self._settings.in_flight // 2:
            return
        if self._intake.full:
            self._loop.call_later(_RESUME_S, self._resume)
            return
        self._is_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


def listen(settings: ListenerSettings) -> MllpListener:
    """A listener that does not listen yet. Raises ``ConfigError`` when a certificate or key cannot be used."""
    return MllpListener(settings)


def _to_answer(writer: Writer, accept: str, flaw: Flaw | None, expected: int | None = None) -> bytes:
    if flaw is None:
        return writer.write("CA", None) if accept in ("AL", "SU") else b""
    return writer.write("CE", flaw) if accept in ("AL", "ER") else b""


def _silence(flaw: Flaw | None, expected: int | None = None) -> bytes:
    return b""


def _keep_alive(sock: socket.socket) -> None:
    """A peer that vanished is found within three minutes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
