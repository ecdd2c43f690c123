"""What a sender hears: which acknowledgements are due in which mode (HL7 chapter 2), and their bytes.

An acknowledgement is written in the sender's version, charset and delimiters, so that whoever wrote the message can
read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from esb.codecs import hl7v2
from esb.codecs.hl7v2 import Message
from esb.codecs.hl7v2.syntax import Syntax
from esb.spi import Flaw

Mode = Literal["by_message", "original", "enhanced"]


class _Code(NamedTuple):
    """An error in HL7 table 0357, and whether the message is rejected (AR, CR) rather than in error (AE)."""

    code: str
    text: str
    rejects: bool = False


_CODES: Final = {
    "unreadable": _Code("100", "Segment sequence error", rejects=True),
    "id_missing": _Code("101", "Required field missing"),
    "unwanted": _Code("200", "Unsupported message type", rejects=True),
    "unwanted_event": _Code("201", "Unsupported event code", rejects=True),
    "field_missing": _Code("101", "Required field missing"),
    "field_wrong": _Code("102", "Data type error"),
    "code_unknown": _Code("103", "Table value not found"),
    "misplaced": _Code("100", "Segment sequence error"),
}
_PLACES: Final = {"misplaced": "MSH-13", "unwanted": "MSH-9.1", "unwanted_event": "MSH-9.2", "conflict": "MSH-10"}
_INTERNAL: Final = _Code("207", "Application internal error")
_MAX_TEXT = 200


class Writer:
    """Writes acknowledgements to one message. ``stamp`` is MSH-7 and ``own_id`` MSH-10 of what it writes.

    ``asks`` is MSH-15 of an application acknowledgement in enhanced mode.
    """

    def __init__(self, message: Message, stamp: str, own_id: str, asks: str = "NE") -> None:
        self._asks = asks
        header = message.segments("MSH")[0]
        self._fields = header.fields()
        self._syntax: Syntax = message.syntax
        self._codec = message.charset if message.charset != "ascii" else "utf-8"
        self._stamp, self._own_id = stamp, own_id
        self.version = self._field(12).split(self._syntax.component)[0]

    def write(self, verdict: str, flaw: Flaw | None, suffix: str = "", expected: int | None = None) -> bytes:
        """One framed acknowledgement; ``suffix`` tells the ids of two to the same message apart."""
        lines = [self.header(self._type(), suffix), self.acknowledgement(verdict, flaw, expected)]
        if flaw:
            lines.append(self.error(flaw))
        return self.framed(lines, "replace")

    def framed(self, lines: Sequence[str], errors: str) -> bytes:
        """A frame of these segments; ``errors`` is what happens to characters that the sender's charset lacks."""
        return hl7v2.framed(("\r".join(lines) + "\r").encode(self._codec, errors))

    def joined(self, *fields: str) -> str:
        """A segment of fields that are written already."""
        mark = self._syntax.field
        return mark.join(fields).rstrip(mark)

    def acknowledgement(self, verdict: str, flaw: Flaw | None, expected: int | None = None) -> str:
        """MSA."""
        text = self._escaped(flaw.text) if flaw else ""
        return self.joined("MSA", verdict, self._field(10), text, "" if expected is None else str(expected))

    def header(self, kind: str, suffix: str, lines: Sequence[str] = ()) -> str:
        """MSH of a message of that kind (MSH-9). UTF-8 is declared to a sender that declares nothing when ``lines``,
        the segments to come, need it.
        """
        field = self._field
        declared = field(18)
        if not declared and self._codec == "utf-8" and not all(map(str.isascii, lines)):
            declared = "UNICODE UTF-8"
        begin = ["MSH", self._fields[2] if len(self._fields) > 2 else "^~\\&", field(5), field(6), field(3), field(4)]
        rest = [self._stamp, "", kind, self._own_id + suffix, field(11) or "P", field(12)]
        charset = ["", "", "", "", "", declared] if declared else []
        if suffix:
            charset = ["", "", self._asks, "NE", "", declared]
        return self.joined(*begin, *rest, *charset)

    def message_type(self, code: str, event: str, structure: str) -> str:
        """MSH-9: type alone in 2.1, with the event up to 2.3, with the structure since."""
        if self.version == "2.1" or not event:
            return code
        parts = (code, event) if self.version in ("2.2", "2.3") else (code, event, structure)
        return self._syntax.component.join(parts)

    def _type(self) -> str:
        event = self._field(9).split(self._syntax.repetition)[0].split(self._syntax.component)
        return self.message_type("ACK", event[1] if len(event) > 1 else "", "ACK")

    def error(self, flaw: Flaw) -> str:
        """ERR as of 2.5, or its one field of before."""
        code, sub, mark = _code(flaw), self._syntax.subcomponent, self._syntax.field
        segment, *numbers = _place(flaw.path or _PLACES.get(flaw.code, ""))
        if self.version < "2.5":
            coded = sub.join([code.code, code.text, "HL70357"])
            field = numbers[0] if numbers else ""
            return mark.join(["ERR", self._parts([segment, "1" if segment else "", field, coded])])
        place = [segment, "1", numbers[0], "1", *numbers[1:]] if numbers else [segment]
        coded = self._parts([code.code, code.text, "HL70357"])
        return mark.join(["ERR", "", self._parts(place), coded, "E", "", "", "", self._escaped(flaw.text)])

    def _parts(self, parts: list[str]) -> str:
        return self._syntax.component.join(parts)

    def _escaped(self, text: str) -> str:
        return self._syntax.escaped(text[:_MAX_TEXT])

    def _field(self, number: int) -> str:
        return self._fields[number] if number < len(self._fields) else ""


def answers(
    writer: Writer, mode: Mode, accept: str, application: str, flaw: Flaw | None, expected: int | None = None
) -> bytes:
    """Every frame that is due. ``accept`` and ``application`` are MSH-15 and MSH-16 of the message."""
    wanted = commit_wanted(mode, accept, application)
    if wanted is None:
        return writer.write(verdict(flaw), flaw, expected=expected)
    frames = b""
    commit = commit_verdict(flaw)
    if _is_due(wanted, is_good=commit == "CA"):
        frames = writer.write(commit, None if commit == "CA" else flaw, expected=expected)
    if commit == "CA" and _is_due(application, is_good=flaw is None):
        frames += writer.write(verdict(flaw), flaw, "A", expected)
    return frames


def commit_wanted(mode: Mode, accept: str, application: str) -> str | None:
    """When a sender wants to hear that a message is kept (AL, NE, ER, SU); None in original mode."""
    if mode == "original" or (mode == "by_message" and not accept and not application):
        return None
    return accept if accept or application else "AL"


def verdict(flaw: Flaw | None) -> str:
    """The application acknowledgement."""
    return "AA" if flaw is None else "AR" if _code(flaw).rejects else "AE"


def commit_verdict(flaw: Flaw | None) -> str:
    """CA says that it is kept: whatever else is wrong with it is for the application to say."""
    if flaw is not None and _code(flaw).rejects:
        return "CR"
    return "CE" if flaw is not None and flaw.code in ("not_kept", "misplaced") else "CA"


def _is_due(condition: str, *, is_good: bool) -> bool:
    return condition == "AL" or (condition == "SU" and is_good) or (condition == "ER" and not is_good)


def _code(flaw: Flaw) -> _Code:
    return _CODES.get(flaw.code, _INTERNAL)


def _place(path: str) -> list[str]:
    """``PID-3.1`` as segment, field and component; ``[""]`` where it is none."""
    try:
        place = hl7v2.parse(path)
    except ValueError:
        return [path if len(path) == 3 and path.isalnum() else ""]
    numbers = [place.field, place.component, place.subcomponent]
    return [place.segment, *(str(number) for number in numbers if number)]
