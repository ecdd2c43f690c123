"""Messages of megabytes: read from their bytes, segment by segment, so that none of them fills the memory.

A message is held as text with an object for each segment, which costs little for a few kilobytes. Of a long one made of
delimiters, or of one character that makes the whole text four bytes a character, it would cost fifty times its bytes.
"""

from __future__ import annotations

import codecs
import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Final

from esb.codecs.hl7v2 import charsets
from esb.codecs.hl7v2.message import HEADERS, Message, Segment, codec_of_escapes, delimiters, segment_of
from esb.codecs.hl7v2.syntax import Syntax

_CHUNK: Final = 1 << 16
_LINE: Final = re.compile(rb"[^\r\n]+")
_LONG: Final = 1 << 16
"""Bytes of a segment from which on it is cut before it is decoded."""
_FIELDS: Final[Mapping[str, bytes]] = {
    "ascii": rb"[^%(mark)s]*+",
    "utf-8": rb"[^%(mark)s]*+",
    "gb18030": rb"(?:[^%(mark)s\x81-\xfe]++|[\x81-\xfe][0-9].{2}|[\x81-\xfe].)*+",
}
"""A field by charset: the second byte of a character may be that of a delimiter in GB 18030."""
_KEPT: Final = 64
_MOST_NAMES: Final = 256


class LargeMessage(Message):
    """A ``Message`` that keeps its bytes alone. Segments are made when they are asked for, the last few are kept.

    ``text`` is decoded anew each time.
    """

    __slots__ = ("_begin", "_end", "_places", "_recent", "_scanned")

    def __init__(self, raw: bytes, scanned: bytes, syntax: Syntax, deviations: tuple[str, ...]) -> None:
        """``scanned`` is the message in a charset whose bytes below 0x20 are themselves, that of ``syntax``."""
        self.raw = raw
        self.syntax = syntax
        self.charset = syntax.codec
        self.deviations = deviations
        self._scanned = scanned
        self._begin = scanned.find(b"MSH")
        self._end = len(scanned.rstrip(b" \t\r\n"))
        self._index = None
        self._places: dict[str, array[int]] = {}
        self._recent: dict[tuple[str, int], Segment] = {}

    @property
    def text(self) -> str:  # type: ignore[override]
        return self._scanned.decode(self.charset)

    def __iter__(self) -> Iterator[Segment]:
        for match in _LINE.finditer(self._scanned, self._begin, self._end):
            if found := self._made(match):
                yield found

    def get(
        self, segment: str, occurrence: int, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0
    ) -> str | None:
        found = self._nth(segment, occurrence)
        return None if found is None else found.get(field, repetition, component, subcomponent)

    def segments(self, name: str) -> list[Segment]:
        return [found for number in range(len(self._found(name))) if (found := self._nth(name, number))]

    def _split(self) -> Mapping[str, list[Segment]]:
        """For readers of one path: the first segment of each name."""
        return _Firsts(self)

    def _made(self, match: re.Match[bytes] | None) -> Segment | None:
        if match and match.end() - match.start() > _LONG and (found := _long(match, self.syntax, self.charset)):
            return found
        line = match[0].decode(self.charset) if match else ""
        return None if not line or line.isspace() else segment_of(line, self.syntax)

    def _nth(self, name: str, number: int) -> Segment | None:
        places = self._found(name)
        if number >= len(places):
            return None
        found = self._recent.get((name, number))
        if found is None and (found := self._made(_LINE.match(self._scanned, places[number], self._end))):
            if len(self._recent) >= _KEPT:
                del self._recent[next(iter(self._recent))]
            self._recent[name, number] = found
        return found

    def _found(self, name: str) -> array[int]:
        """Where the segments of that name begin."""
        places = self._places.get(name)
        if places is None:
            if len(self._places) >= _MOST_NAMES:
                self._places.clear()
            places = self._places[name] = array("Q", self._search(name))
        return places

    def _search(self, name: str) -> Iterator[int]:
        try:
            wanted, mark = name.encode(self.charset), self.syntax.field.encode(self.charset)
        except UnicodeEncodeError:
            return
        pattern = re.escape(wanted) + rb"(?=" + re.escape(mark) + rb"|[\r\n]|\Z)"
        if re.compile(pattern).match(self._scanned, self._begin, self._end):
            yield self._begin
        for match in re.compile(rb"[\r\n]" + pattern).finditer(self._scanned, self._begin, self._end):
            yield match.start() + 1


class LongSegment(Segment):
    """One that keeps its bytes: one wide character takes four times the bytes of its own field, not of all of them."""

    __slots__ = ("_bytes", "_codec", "_field")

    def __init__(self, name: str, data: memoryview, field: re.Pattern[bytes], syntax: Syntax, codec: str) -> None:
        self.name = name
        self._bytes, self._codec, self._field = data, codec, field
        self._syntax = syntax
        self._fields = None

    @property
    def text(self) -> str:  # type: ignore[override]
        return str(self._bytes, self._codec)

    def cut(self, most: int = -1) -> list[str]:
        found: list[str] = []
        at = 0
        while len(found) != most and (match := self._field.match(self._bytes, at)) and match.end() < len(self._bytes):
            found.append(str(self._bytes[at : match.end()], self._codec))
            at = match.end() + 1
        return [*found, str(self._bytes[at:], self._codec)]


def _long(match: re.Match[bytes], syntax: Syntax, codec: str) -> Segment | None:
    """None for a header, a line without a field and a charset whose delimiters cannot be told from the bytes."""
    if codec not in _FIELDS or not syntax.field.isascii() or syntax.field.isspace():
        return None
    field = re.compile(_FIELDS[codec] % {b"mark": re.escape(syntax.field.encode())}, re.DOTALL)
    data = memoryview(match.string)[match.start() : match.end()]
    first = field.match(data)
    if first is None or first.end() == len(data):
        return None
    name = str(data[: first.end()], codec)
    return None if name in HEADERS else LongSegment(name, data, field, syntax, codec)


class _Firsts(Mapping[str, list[Segment]]):
    def __init__(self, message: LargeMessage) -> None:
        self._message = message

    def __getitem__(self, name: str) -> list[Segment]:
        found = self._message._nth(name, 0)
        if found is None:
            raise KeyError(name)
        return [found]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(segment.name for segment in self._message))

    def __len__(self) -> int:
        return len(list(iter(self)))


def decode(data: bytes, charset: str, default: str) -> Message:
    """The same as for any other message. Raises ``DecodeError``."""
    if charsets.wide(data):
        text, codec, odd = charsets.read(data, charset, default)
        scanned, codec = text.encode(), "utf-8"
        del text
    elif data.isascii() and 27 not in data:
        codec, odd, scanned = codec_of_escapes(data, charset, default), "", data
    else:
        codec, odd = charsets.fitting(data, charset, default)
        scanned = data
    syntax, strange = delimiters(_first_line(scanned, codec), codec)
    return LargeMessage(data, scanned, syntax, tuple(filter(None, (odd, strange))))


def _first_line(data: bytes, codec: str) -> str:
    """MSH, or of another thing its first characters."""
    first = _LINE.search(data, data.find(b"MSH")) if b"MSH" in data else None
    if first is None:
        return data[:_CHUNK].decode("ascii", "ignore")
    if codec.startswith("iso2022_"):
        return data[: first.end()].decode(codec)
    return codecs.getincrementaldecoder(codec)("ignore").decode(data[: min(first.end(), _CHUNK)])
