"""HL7 v2 bytes -> a lazy, lossless message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import charsets
from esb.codecs.hl7v2.repetition import NULL, Repetition, piece
from esb.codecs.hl7v2.syntax import NEVER, STANDARD, Syntax, syntax

MOST_FIELDS: Final = 1000
MOST_TRUNCATED: Final = 1000
HEADERS = frozenset(("MSH", "FHS", "BHS"))
_UNDIVIDED = Syntax(*(NEVER,) * 5, "", "ascii")


class Segment:
    """One segment. Fields are split when the first one is asked for, 1,000 of them: more are found by ``fields``."""

    __slots__ = ("_fields", "_syntax", "name", "text")

    def __init__(self, name: str, text: str, syntax: Syntax) -> None:
        self.name = name
        self.text = text
        self._syntax = syntax
        self._fields: list[str] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} segment>"

    def get(self, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0) -> str | None:
        """A value with its escapes decoded, or None when it is absent or empty; the HL7 null is the text ``""``.

        All counted from 1. ``component`` 0 is the whole repetition, ``subcomponent`` 0 the whole component and
        ``repetition`` 0 the whole field, with the delimiters inside as they stand. Formatting escapes stay.
        """
        fields = self._fields or self._split()
        if field >= len(fields):
            return None
        text = fields[field]
        if not text:
            return None
        syntax = self._syntax
        if repetition:
            if syntax.repetition in text:
                text = piece(text, syntax.repetition, repetition)
            elif repetition > 1:
                return None
        if component:
            if syntax.component in text:
                text = piece(text, syntax.component, component)
            elif component > 1:
                return None
            if subcomponent:
                if syntax.subcomponent in text:
                    text = piece(text, syntax.subcomponent, subcomponent)
                elif subcomponent > 1:
                    return None
        if syntax.escape in text:
            text = syntax.unescaped(text)
        return text or None

    def first(self, field: int, component: int = 0) -> str | None:
        """``get`` of the first repetition, for those who read much: the HL7 null is None too."""
        fields = self._fields or self._split()
        if field >= len(fields):
            return None
        text = fields[field]
        syntax = self._syntax
        if syntax.repetition in text:
            text = text[: text.index(syntax.repetition)]
        if component:
            if syntax.component in text:
                text = piece(text, syntax.component, component)
            elif component > 1:
                return None
        if syntax.escape in text:
            text = syntax.unescaped(text)
        return text if text and text != NULL else None

    def repetitions(self, field: int) -> int:
        """How many repetitions a field has; 0 when it is absent or empty."""
        fields = self._fields or self._split()
        return fields[field].count(self._syntax.repetition) + 1 if field < len(fields) and fields[field] else 0

    def all(self, field: int) -> list[Repetition]:
        """Every repetition of a field in order, an empty one too; none when the field is absent or empty."""
        fields = self._fields or self._split()
        if field >= len(fields) or not fields[field]:
            return []
        syntax = self._syntax
        return [Repetition(wire, syntax) for wire in fields[field].split(syntax.repetition)]

    def fields(self) -> list[str]:
        """The fields as they stand on the wire; the index is the HL7 field number, 0 the name."""
        fields = list(self._fields or self._split())
        return fields if len(fields) < MOST_FIELDS else self._every_field()

    def cut(self, most: int = -1) -> list[str]:
        """The fields as they stand on the wire, the first ``most`` apart and the others in one piece behind them."""
        return self.text.split(self._syntax.field, most)

    def _every_field(self) -> list[str]:
        return self.cut()

    def _split(self) -> list[str]:
        fields = self._fields = self.cut(MOST_FIELDS + 1)
        del fields[MOST_FIELDS + 1 :]
        return fields


class Header(Segment):
    """MSH, FHS or BHS, whose first two fields are the delimiters themselves."""

    __slots__ = ()

    def get(self, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0) -> str | None:
        if field > 2:
            return super().get(field, repetition, component, subcomponent)
        fields = self._fields or self._split()
        first = repetition < 2 and component < 2 and subcomponent < 2
        return (fields[field] or None) if first and field < len(fields) else None

    def first(self, field: int, component: int = 0) -> str | None:
        return super().first(field, component) if field > 2 else self.get(field, 1, component)

    def all(self, field: int) -> list[Repetition]:
        """The delimiters are one component, whatever they are."""
        if field > 2:
            return super().all(field)
        text = self.get(field)
        return [Repetition(text, _UNDIVIDED)] if text else []

    def _every_field(self) -> list[str]:
        name, *rest = super()._every_field()
        return [name, self._syntax.field, *rest]

    def _split(self) -> list[str]:
        fields = super()._split()
        fields.insert(1, self._syntax.field)
        return fields


class ByName:
    """Segments read by their name: what a message and a group of one have in common."""

    __slots__ = ()

    _index: Mapping[str, list[Segment]] | None

    def _split(self) -> Mapping[str, list[Segment]]:
        raise NotImplementedError

    def get(
        self, segment: str, occurrence: int, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0
    ) -> str | None:
        """The value in the ``occurrence``-th (from 0) segment of that name, or None; see ``Segment.get``."""
        found = (self._index or self._split()).get(segment)
        if found is None or occurrence >= len(found):
            return None
        return found[occurrence].get(field, repetition, component, subcomponent)

    def __getitem__(self, name: str) -> list[Segment]:
        """The segments of that name; raises ``KeyError`` when there is none."""
        if found := self.segments(name):
            return found
        raise KeyError(name)

    def segments(self, name: str) -> list[Segment]:
        """Every segment of that name, in order."""
        return list((self._index or self._split()).get(name, ()))


class Message(ByName):
    """A message that keeps its bytes and is split when first asked. Never changes.

    ``raw`` is what ``encode`` gives back; ``text`` the same decoded; ``charset`` the Python codec that read it;
    ``deviations`` what did not follow the standard, for operators, without data.
    """

    __slots__ = ("_index", "_order", "charset", "deviations", "raw", "syntax", "text")

    def __init__(self, raw: bytes, text: str, syntax: Syntax, deviations: tuple[str, ...] = ()) -> None:
        self.raw = raw
        self.text = text
        self.syntax = syntax
        self.charset = syntax.codec
        self.deviations = deviations
        self._index: dict[str, list[Segment]] | None = None
        self._order: list[Segment] = []

    def __repr__(self) -> str:
        return f"<HL7 v2 message, {len(self.raw)} bytes>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __iter__(self) -> Iterator[Segment]:
        """Every segment in order."""
        if self._index is None:
            self._split()
        return iter(self._order)

    def truncated(self) -> list[str]:
        """The paths of values that their sender cut short: they end with the truncation mark that MSH-2 defines.

        The first 1,000.
        """
        return list(islice(truncated(self), MOST_TRUNCATED)) if self.syntax.truncation else []

    def encode(self) -> bytes:
        """The bytes it was read from or built as."""
        return self.raw

    def _split(self) -> Mapping[str, list[Segment]]:
        index: dict[str, list[Segment]] = {}
        order = self._order = []
        syntax = self.syntax
        mark = syntax.field
        for line in _lines(self.text):
            at = line.find(mark)
            if at < 0 and (not line or line.isspace()):
                continue
            name = line[:at] if at >= 0 else line
            segment = (Header if name in HEADERS else Segment)(name, line, syntax)
            order.append(segment)
            if name in index:
                index[name].append(segment)
            else:
                index[name] = [segment]
        self._index = index
        return index


def segment_of(line: str, syntax: Syntax) -> Segment:
    """The segment that is written so."""
    name = line.partition(syntax.field)[0]
    return (Header if name in HEADERS else Segment)(name, line, syntax)


def truncated(message: Message) -> Iterator[str]:
    """Those of a message whose MSH-2 has a fifth character. A mark that is meant is written as an escape."""
    marks, seen = message.syntax, Counter[str]()
    levels = (marks.repetition, marks.component, marks.subcomponent)
    for segment in message:
        occurrence = f"[{seen[segment.name]}]" if seen[segment.name] else ""
        seen[segment.name] += 1
        for number, field in enumerate(segment.fields()):
            if number and marks.truncation in field and not (number == 2 and isinstance(segment, Header)):
                for place in _cut_short(field, levels, marks.truncation):
                    yield f"{segment.name}{occurrence}-{number}{place}"


def _cut_short(text: str, marks: tuple[str, ...], truncation: str) -> Iterator[str]:
    if not marks:
        if text.endswith(truncation):
            yield ""
        return
    parts = text.split(marks[0])
    for number, part in enumerate(parts, 1):
        if len(marks) == 3:
            step = f"[{number}]" if number > 1 else ""
        else:
            step = f".{number}" if len(parts) > 1 else ""
        for place in _cut_short(part, marks[1:], truncation):
            yield step + place


def decode(data: bytes, charset: str | None = None, *, default: str = "") -> Message:
    """The message in ``data``, which is decoded whole before it is split.

    ``charset`` (an MSH-18 value) wins over what MSH-18 says, ``default`` stands in for an empty MSH-18; when neither
    fits UTF-8 is tried, then GB18030, and ``deviations`` says so. A BOM, blank lines before MSH, blanks at the very
    end and CR, LF or CRLF ends are read. Raises ``DecodeError`` when no charset fits, when the text does not begin
    with MSH or its delimiters are none.
    """
    charset, odd = charset or "", ""
    if charset and charsets.codec(charset) is None:
        raise DecodeError(f"'{charset[:20]}' is no charset")
    if len(data) > LARGE:
        from esb.codecs.hl7v2 import large

        return large.decode(data, charset, default)
    if data.isascii() and 27 not in data and 0 not in data[:2]:
        text = data.decode("ascii")
        codec = codec_of_escapes(data, charset, default)
    else:
        text, codec, odd = charsets.read(data, charset, default)
    return of_text(data, text, codec, odd)


LARGE: Final = 1 << 20
"""Messages of more bytes are kept as bytes, see ``large``."""


def of_text(data: bytes, text: str, codec: str, odd: str = "") -> Message:
    """The message in ``text``, which ``codec`` made of ``data``. Raises ``DecodeError``."""
    if text.startswith("MSH|^~\\&|"):
        return Message(data, text, _standard(codec), (odd,) if odd else ())
    marks, strange = delimiters(text, codec)
    return Message(data, text, marks, tuple(filter(None, (odd, strange))))


def codec_of_escapes(data: bytes, charset: str, default: str) -> str:
    """Bytes within ASCII need their charset for ``\\X..\\`` only."""
    usual = data.startswith(b"MSH|^~\\&")
    if not usual or (data.find(b"\\", 9) > 0 and b"\\X" in data):
        return charsets.codec(charset or charsets.declared(data) or default) or "utf-8"
    return "ascii"


def _standard(codec: str) -> Syntax:
    return syntax("|", STANDARD, codec)[0]


def delimiters(text: str, codec: str) -> tuple[Syntax, str]:
    """The syntax of the message that begins so, and what is odd about it; see ``syntax``. Raises ``DecodeError``."""
    line = text.lstrip("\ufeff\r\n\t ")[:200]
    if line[:3] in ("FHS", "BHS"):
        raise DecodeError("is a batch, not one message", 0)
    if line[:3] != "MSH":
        raise DecodeError("does not begin with MSH", 0)
    mark = line[3:4]
    if not mark or mark.isalnum() or mark <= " " or mark.isspace():
        raise DecodeError("MSH-1 is no field separator", 3)
    marks = line[4:].replace("\n", "\r").split("\r", 1)[0].split(mark, 1)[0]
    return syntax(mark, marks, codec)


def _lines(text: str) -> list[str]:
    if text[0] != "M":
        text = text.lstrip("\ufeff\r\n\t ")
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    return text.rstrip(" \t\r\n").split("\r")
