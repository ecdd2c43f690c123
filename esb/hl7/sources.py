"""Files, folders and standard input -> the messages in them, one at a time, whatever they are packed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Message, decode
from esb.model import Tree

STDIN: Final = "-"
_CHUNK: Final = 1 << 20
_CUT: Final = re.compile(
    rb"(?<![^\r\n\x0b])(?:(?:MSH|FHS|BHS)(?=[^A-Za-z0-9\s])|[BF]TS(?![A-Za-z0-9]))"
    rb"|\x1c(?=[\r\n\x0b]|\Z)|(?:(?<=\x1c)|(?<=\x1c[\r\n])|(?<=\x1c\r\n))\x0b"
)
_VT: Final = b"\x0b"
_LEAD: Final = b"\xef\xbb\xbf \t\r\n"
_AROUND: Final = re.compile(rb"[\x0b\x1c\s]*")
_ENVELOPE: Final = re.compile(rb"[\xef\xbb\xbf\s]*(?:[BF]HS[^A-Za-z0-9\s]|[BF]TS(?![A-Za-z0-9]))[^\r\n]*[\r\n]*")
_ENDS: Final = re.compile(rb"[\r\n]+")


class Piece(NamedTuple):
    """Bytes of a file, in order and without gaps. ``number`` counts messages from 1 and is 0 for what is around them.

    What is around are the headers and trailers of batches and the bytes of MLLP; ``odd`` says that it is neither.
    """

    file: str
    offset: int
    raw: bytes
    number: int
    odd: bool = False


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
    """The pieces of a stream: single messages, several in one file, batches, dumps of MLLP. Memory is that of one."""
    number, offset = 0, 0
    for raw, kind in _kinds(stream):
        kind = "message" if kind == "odd" and not offset else kind
        number += kind == "message"
        yield Piece(name, offset, raw, number if kind == "message" else 0, kind == "odd")
        offset += len(raw)
    if not offset:
        yield Piece(name, 0, b"", 1)


def read(piece: Piece, charset: str = "") -> Message | Unreadable:
    """The message of a piece, or why there is none. ``charset`` wins over MSH-18."""
    if piece.odd:
        return Unreadable("belongs to no message", piece.offset)
    try:
        return decode(piece.raw, charset)
    except DecodeError as error:
        at = error.offset or 0
        return Unreadable(error.reason, piece.offset + at, _field(piece.raw, at) if error.offset is not None else "")


def _kinds(stream: BinaryIO) -> Iterator[tuple[bytes, str]]:
    """``message``, ``around`` or ``odd``. Blanks belong to what follows them."""
    lead, framed = b"", False
    for cut in _cut(stream):
        raw, lead = lead + cut, b""
        if raw.startswith(_VT):
            yield _VT, "around"
            raw, framed = raw[1:], True
        if not raw.strip(_LEAD):
            lead = raw
        elif envelope := _ENVELOPE.match(raw):
            yield envelope[0], "around"
            if rest := raw[envelope.end() :]:
                yield rest, "odd"
        else:
            around = _AROUND.fullmatch(raw) is not None
            is_message = raw.lstrip(_LEAD).startswith(b"MSH") or framed
            yield raw, "around" if around else "message" if is_message else "odd"
            framed = framed and around
    if lead:
        yield lead, "odd" if lead.strip() else "around"


def _cut(stream: BinaryIO) -> Iterator[bytes]:
    """The stream before and after each place where something begins."""
    buffer, seen = b"", 1
    while data := stream.read(_CHUNK):
        buffer += data
        start = 0
        for match in _CUT.finditer(buffer, seen):
            if match.end() + 1 >= len(buffer):
                break
            yield buffer[start : match.start()]
            start = match.start()
        buffer = buffer[start:]
        seen = max(1, len(buffer) - 4)
    start = 0
    for match in _CUT.finditer(buffer, 1):
        yield buffer[start : match.start()]
        start = match.start()
    if buffer[start:]:
        yield buffer[start:]


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
