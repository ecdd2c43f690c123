"""HL7 v2 over MLLP, as a client; as a server see ``adapters.hl7v2.server``.

Action: ``QBP^Q22^QBP_Q21`` (MSH-9). Payload: a list of segments, each a dict of field paths of that one segment, and of
lists of them, as ``esb.codecs.hl7v2.build`` takes them; MSH is made from the settings, and an item with MSH paths
overrides it. Answer: the application's ``Message``, or the CA when MSH-16 asks for no other answer. AA and AE come
back, so that a mapping can tell a full slot by ``$MSA-1`` and ``$ERR``; AR, CE and CR say that the message was not
processed and raise ``Refused``. An answer belongs to a call by MSA-2 only, never by its place.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from adapters.hl7v2 import lint
from adapters.hl7v2.connection import Line, Pool
from adapters.hl7v2.listening import ListenerSettings, ServerTls
from adapters.hl7v2.pipelined import SharedPool
from adapters.hl7v2.sequence import Sequence as Numbers
from adapters.hl7v2.server import listen
from adapters.hl7v2.settings import Settings, Tls
from esb.codecs import DecodeError, EncodeError, hl7v2
from esb.codecs.hl7v2 import Message
from esb.spi import Call, Description, Malformed, OutcomeUnknown, Refused, Tree, Unavailable, Wire

__all__ = ["Hl7v2Adapter", "ListenerSettings", "ServerTls", "Settings", "Tls", "connect", "decode", "listen"]

_NOT_PROCESSED = ("AR", "CE", "CR")


class Hl7v2Adapter:
    """One system behind MLLP."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._usual = settings, _usual_header(settings)
        self._pool = Pool(settings) if settings.in_flight == 1 else SharedPool(settings)
        self._numbers, self._in_turn = (Numbers() if settings.sequence else None), asyncio.Lock()

    @property
    def late_answers(self) -> int:
        """How many messages arrived that answered no call under way, mostly calls that had ended at their deadline."""
        return self._pool.late

    async def call(self, action: str, payload: Tree, call: Call) -> Message:
        """See the module and ``esb.spi.Adapter``."""
        message = self._message(action, payload, call)
        if self._settings.later_answers:
            return await self._answered_later(message, call)
        if self._numbers is not None:
            return await self._counted(self._numbers, action, payload, call)
        return _judged(await self._exchanged(message, call))

    async def answered(self, action: str, payload: Tree, call: Call) -> Message | None:
        """See ``esb.spi.AnsweredLater``."""
        word = self._settings.later_answers
        if not word or call.answers is None:
            return None
        raw = await call.answers.newest(word, _own(self._message(action, payload, call)).control)
        return None if raw is None else _judged(self._read(raw, call))

    async def _answered_later(self, message: Message, call: Call) -> Message:
        """The application's answer, which a listener hears."""
        if call.answers is None:
            raise Unavailable("nobody hears the answers that come later")
        async with call.answers.expecting(self._settings.later_answers, _own(message).control) as later:
            answer = await self._exchanged(message, call)
            if answer.get("MSA", 0, 1) != "CA":
                return _judged(answer)
            try:
                async with asyncio.timeout(call.remaining()):
                    return _judged(self._read(await later, call))
            except TimeoutError:
                raise OutcomeUnknown("it was accepted, and the application did not answer in time") from None

    async def _counted(self, numbers: Numbers, action: str, payload: Tree, call: Call) -> Message:
        async def ask(number: int) -> Message:
            own = {"MSH-10": f"{control_id(call, action)[:19]}S", "MSH-13": number}
            message = hl7v2.build([self._header(action, call) | own], charset=self._settings.charset)
            return await self._exchanged(message, replace(call, wire=Wire()))

        async def send(number: int) -> Message:
            return await self._exchanged(self._message(action, payload, call, number), call)

        try:
            async with asyncio.timeout(call.remaining()):
                await self._in_turn.acquire()
        except TimeoutError:
            raise Unavailable("another message was under way until the deadline") from None
        try:
            return _judged(await numbers.converse(ask, send))
        finally:
            self._in_turn.release()

    async def _exchanged(self, message: Message, call: Call) -> Message:
        own = _own(message)
        connection = await self._pool.take(call)
        try:
            answer = await self._converse(connection, message, own, call)
            self._confirm(connection, own, answer, call)
            connection.release()
        except BaseException:
            connection.abort()
            raise
        finally:
            self._pool.give(connection)
        return answer

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """The message, a segment a line."""
        return self._message(action, payload, call).text.replace("\r", "\n")

    async def probe(self, call: Call) -> None:
        """An open connection is life; otherwise one is opened and kept."""
        if not self._pool.alive():
            self._pool.give(await self._pool.take(call))

    async def close(self) -> None:
        """Abort every connection."""
        await self._pool.close()

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """Actions of the form ``MSG^EVT^STRUCTURE`` of a message type that HL7 knows, and paths that can be set."""
        return lint.check(action, fields, self._settings.version)

    def describe(self, action: str) -> Description:
        """By HL7's own tables, in the version of the settings; see ``esb.spi.Described``."""
        return lint.describe(action, self._settings.version)

    def _message(self, action: str, payload: Tree, call: Call, number: int | None = None) -> Message:
        header = self._header(action, call)
        if number is not None:
            header["MSH-13"] = number
        body = []
        try:
            for segment in hl7v2.flat([payload]):
                if str(next(iter(segment))).startswith("MSH"):
                    header = _overridden(header, segment)
                else:
                    body.append(segment)
            message = hl7v2.build([header, *body], charset=self._settings.charset)
        except EncodeError as error:
            raise Refused(f"the message cannot be written: {error}", code="invalid") from None
        if not _own(message).control:
            raise Refused("the message cannot be written: MSH-10 is empty", code="invalid")
        return message

    def _header(self, action: str, call: Call) -> dict[str, Tree]:
        now = call.clock.now().isoformat()[:19].translate(_NO_MARKS)
        return {**self._usual, **_parts("MSH-9", action), "MSH-7": now, "MSH-10": control_id(call, action)}

    async def _converse(self, connection: Line, message: Message, own: _Own, call: Call) -> Message:
        frame = hl7v2.framed(message.raw)
        if connection.closed:
            raise Unavailable("the connection was closed before anything was sent")
        wanted = own.control
        commit_is_final = own.application_ack == "NE" or bool(self._settings.later_answers)
        connection.expect(wanted)
        call.wire.sending(frame)
        connection.send(frame)
        try:
            while True:
                answer = self._read(await connection.receive(call.remaining()), call)
                if answer.get("MSA", 0, 2) != wanted:
                    self._pool.late += 1
                elif answer.get("MSA", 0, 1) != "CA" or commit_is_final:
                    return answer
        except TimeoutError:
            call.wire.received += connection.pending
            raise connection.undecided("the deadline passed") from None
        except (OutcomeUnknown, Malformed) as error:
            call.wire.received = call.wire.received or error.raw or b""
            raise

    def _read(self, raw: bytes, call: Call) -> Message:
        call.wire.received += hl7v2.framed(raw)
        if len(call.wire.received) > self._settings.max_frame_bytes + 3:
            raise Malformed("the answers to other messages do not end", raw=raw)
        try:
            answer = hl7v2.decode(raw, self._settings.answer_charset, default=self._settings.charset)
        except DecodeError as error:
            raise Malformed(f"the answer is no HL7 v2: it {error.reason}", raw=raw) from None
        if answer.get("MSA", 0, 1) is None:
            raise Malformed("the answer has no MSA-1", raw=raw)
        return answer

    def _confirm(self, connection: Line, own: _Own, answer: Message, call: Call) -> None:
        """In enhanced mode the answer is a message of its own, whose sender may wait for our commit."""
        if not own.accept_ack and not own.application_ack:
            return
        asked = answer.get("MSH", 0, 15) in ("AL", "SU") and answer.get("MSA", 0, 1) != "CA"
        if asked and not connection.closed:
            changed = {"MSH-10": f"{own.control[:19]}C", "MSH-15": None, "MSH-16": None}
            commit = {"MSA-1": "CA", "MSA-2": answer.get("MSH", 0, 10)}
            ack = hl7v2.build([self._header("ACK", call) | changed, commit], charset=self._settings.charset)
            connection.send(hl7v2.framed(ack.raw))


def connect(settings: Settings) -> Hl7v2Adapter:
    """An adapter with no connection yet. Raises ``ConfigError`` when a certificate or key cannot be used."""
    return Hl7v2Adapter(settings)


def decode(text: str) -> Message:
    """The message of a mapping's example; line ends end segments. Raises ``Malformed``."""
    try:
        return hl7v2.decode(text.encode(), "UTF-8")
    except DecodeError as error:
        raise Malformed(f"the answer is no HL7 v2: it {error.reason}", raw=text.encode()) from None


def control_id(call: Call, action: str) -> str:
    """MSH-10 in 20 characters: the end of the exchange's id and 4 that tell its messages apart.

    The same message sent again by a retry has the same id, as the standard wants; the query that settles it has
    another.
    """
    digest = hashlib.sha256(f"{call.exchange}/{call.operation}/{action}".encode()).hexdigest()
    return f"{call.exchange[-16:]}{digest[:4].upper()}"


class _Own(NamedTuple):
    """What the header of our message says: MSH-10, MSH-15 and MSH-16."""

    control: str
    accept_ack: str
    application_ack: str


def _own(message: Message) -> _Own:
    """Of a message that we wrote; nothing else of it is split."""
    text = message.text
    fields = [*text[: text.find("\r")].split("|", 16), *[""] * 16]
    own = _Own(fields[9], fields[14], fields[15])
    return own if _marked("".join(own)) is None else _Own(*[message.get("MSH", 0, at) or "" for at in (10, 15, 16)])


def _usual_header(settings: Settings) -> dict[str, Tree]:
    return {
        **_parts("MSH-3", settings.sending_application),
        **_parts("MSH-4", settings.sending_facility),
        **_parts("MSH-5", settings.receiving_application),
        **_parts("MSH-6", settings.receiving_facility),
        **_parts("MSH-11", settings.processing_id),
        **_parts("MSH-12", settings.version),
        "MSH-15": settings.accept_ack,
        "MSH-16": settings.application_ack,
        "MSH-17": settings.country,
    }


_marked = re.compile(r"[~^&\\]").search
_NO_MARKS = str.maketrans("", "", "-:T")


@lru_cache(1024)
def _parts(path: str, text: str) -> Mapping[str, Tree]:
    return {f"{path}.{number}": part for number, part in enumerate(text.split("^"), 1) if part}


def _overridden(header: Mapping[str, Tree], segment: Mapping[str, Tree]) -> dict[str, Tree]:
    """``segment`` over ``header``, field by field: MSH-9.1 takes away the header's whole MSH-9."""
    fields = {path.partition(".")[0].partition("[")[0] for path in segment}
    kept = {path: value for path, value in header.items() if path.partition(".")[0] not in fields}
    return {**kept, **segment}


def _judged(answer: Message) -> Message:
    verdict = answer.get("MSA", 0, 1) or ""
    if verdict in ("AA", "AE", "CA"):
        return answer
    if verdict not in _NOT_PROCESSED:
        raise Malformed("MSA-1 of the answer is none of AA, AE, AR, CA, CE, CR", raw=answer.raw)
    code = answer.get("ERR", 0, 3, 1, 1) or answer.get("ERR", 0, 1, 1, 4, 1) or answer.get("MSA", 0, 6, 1, 1)
    said = answer.get("MSA", 0, 3) or answer.get("ERR", 0, 8) or answer.get("ERR", 0, 3, 1, 2) or ""
    raise Refused(f"the system answered {verdict}", code=code or verdict, message=said, raw=answer.raw)
