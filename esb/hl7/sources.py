"""Files, folders and standard input -> the messages in them, one at a time, whatever they are packed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Batch, Message, decode
from esb.model import Tree

STDIN: Final = "-"
LIMIT: Final = 64 * 1024 * 1024
"""The longest message, in bytes."""

_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_AROUND: Final = re.compile(
    rb"(?:[BF]HS[^\w\s][^\r\n]*|[BF]TS(?!\w)[^\r\n]*|[\x0b\x1c\s\x1a\0]|\xef\xbb\xbf)+", re.ASCII
)
_ENDS: Final = re.compile(rb"[\r\n]+")


class Piece(NamedTuple):
    """Bytes of a file. A ``message`` with its number, from 1; what is ``around`` messages (headers and trailers of
    batches, MLLP); ``other`` bytes, which nobody knows; or the ``fault`` that was found at an offset, without bytes.

    All but faults come in order and without gaps, unless the file is in UTF-16: then there are messages only, and
    offsets count bytes of its text in UTF-8.
    """

    file: str
    offset: int
    raw: bytes
    kind: Literal["message", "around", "other", "fault"]
    number: int = 0
    charset: str = ""
    fault: str = ""


class Unreadable(NamedTuple):
    """Why a piece is no message. ``offset`` counts bytes of the file, ``field`` is as in ``PID-5``."""

    reason: str
    offset: int
    field: str = ""

    def tree(self) -> dict[str, Tree]:
        """As JSON; without the segment and field where they are not known."""
        segment, _, number = self.field.partition("-")
        place: dict[str, Tree] = {"segment": segment, "field": int(number)} if self.field else {}
        return {"reason": self.reason, "offset": self.offset, **place}

    def __str__(self) -> str:
        return f"{self.reason} (byte {self.offset}{f', {self.field}' if self.field else ''})"


def expanded(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are; of a folder the files below it, sorted, without hidden ones."""
    for path in paths:
        if str(path) == STDIN or not path.is_dir():
            yield path
            continue
        below = (file for file in sorted(path.rglob("*")) if file.is_file())
        yield from (file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts))


def pieces(name: str, stream: BinaryIO) -> Iterator[Piece]:
    """The pieces of a stream: single messages, several in one file, batches, dumps of MLLP.

    Blank lines belong to the message before them, at the beginning to the first one. What has no message and no batch
    at all is taken for one, which cannot be read. Memory is that of two messages.
    """
    kept = _Kept(stream)
    batch = Batch(kept, LIMIT)
    last: Piece | None = None
    told = 0
    for found in batch:
        if found.charset:
            yield Piece(name, found.offset, found.raw, "message", found.number, found.charset)
            continue
        start, gap = kept.until(found.offset)
        lead, between = _shared(last, name, start, gap)
        yield from between
        yield from _faults(name, batch, told)
        told = len(batch.faults)
        kept.until(found.offset + len(found.raw))
        last = Piece(name, found.offset - len(lead), lead + found.raw, "message", found.number)
    start, rest = kept.until(None)
    if not (batch.messages or batch.batches or batch.files):
        yield Piece(name, start, rest, "message", 1)
        return
    lead, between = _shared(last, name, start, rest)
    yield from between
    if lead:
        yield Piece(name, 0, lead, "around")
    yield from _faults(name, batch, told)


def read(piece: Piece, charset: str = "") -> Message | Unreadable:
    """The message of a piece, or why there is none. ``charset`` wins over MSH-18."""
    if piece.kind == "fault":
        return Unreadable(piece.fault, piece.offset)
    try:
        return decode(piece.raw, piece.charset or charset)
    except DecodeError as error:
        at = error.offset or 0
        return Unreadable(error.reason, piece.offset + at, _field(piece.raw, at) if error.offset is not None else "")


def wanted(found: Iterable[Piece]) -> Iterator[Piece]:
    """Messages and faults."""
    return (piece for piece in found if piece.kind in ("message", "fault"))


class _Kept:
    """A stream that keeps what was read from it until it is taken; of what is too long for a message the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._bytes, self._at = stream, bytearray(), 0

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._bytes += data
        if len(self._bytes) > 2 * LIMIT:
            self.until(self._at + LIMIT)
        return data

    def until(self, offset: int | None) -> tuple[int, bytes]:
        """What was read and not taken before an offset, and where it begins."""
        start, end = self._at, self._at + len(self._bytes) if offset is None else offset
        taken = bytes(self._bytes[: end - start])
        del self._bytes[: end - start]
        self._at = end
        return start, taken


def _shared(last: Piece | None, name: str, start: int, gap: bytes) -> tuple[bytes, list[Piece]]:
    """The bytes between two messages: what the next one has of them, and the pieces before it."""
    blank = _BLANK.match(gap)
    assert blank is not None
    if last is None and blank.end() == len(gap):
        return gap, []
    found = [] if last is None else [last._replace(raw=last.raw + blank[0])]
    at = 0 if last is None else blank.end()
    while at < len(gap):
        around = _AROUND.match(gap, at)
        other = _AROUND.search(gap, at)
        end = around.end() if around else other.start() if other else len(gap)
        found.append(Piece(name, start + at, gap[at:end], "around" if around else "other"))
        at = end
    return b"", found


def _faults(name: str, batch: Batch, told: int) -> Iterator[Piece]:
    return (Piece(name, fault.offset, b"", "fault", fault=fault.text) for fault in batch.faults[told:])


def _field(raw: bytes, offset: int) -> str:
    """The field that a byte of a message is in, "" where that makes no sense."""
    start = raw.find(b"MSH")
    mark = raw[start + 3 : start + 4]
    if start < 0 or offset < start or not mark:
        return ""
    line = _ENDS.split(raw[start : offset + 1])[-1]
    name = line[:3].decode("latin-1")
    number = line.count(mark) + (name == "MSH")
    return f"{name}-{1 if offset == start + 3 else number}" if name.isalnum() and number else ""
