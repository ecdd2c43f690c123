"""Files of messages, one message at a time: FHS/BHS/BTS/FTS, no envelope at all, or a dump of MLLP frames."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple, Protocol

from esb.codecs.hl7v2 import charsets
from esb.codecs.hl7v2.message import Message, decode

CHUNK: Final = 1 << 18
LIMIT: Final = 16 << 20
"""The longest message, in bytes, unless the caller says another one."""
MOST_FAULTS: Final = 100

_BEGINS: Final = re.compile(
    rb"[\r\n\x0b\x1c](?:\xef\xbb\xbf)?[ \t]{0,16}(?:(MSH|FHS|BHS)(?=[^\w\s])|(BTS|FTS)(?=[^\w\s]|[\r\n\x0b\x1c]|\Z))"
)
_LONGEST_BEGIN: Final = 32
_HEAD: Final = 1 << 12
_FRAME_ENDS: Final = re.compile(rb"\x1c(?=[\r\n\x0b]|\Z)")
_FILLING: Final = b" \t\r\n\x0b\x1c\x1a\0"


class Readable(Protocol):
    """A binary file."""

    def read(self, size: int, /) -> bytes: ...


class Found(NamedTuple):
    """One message of a file: its bytes without frame, where they begin, and which batch and file of files it is in.

    ``number`` is counted from 1, ``offset`` in bytes of the file (of its text in UTF-8 when the file is in UTF-16 or
    UTF-32). ``charset`` is "UTF-8" then, else "".
    """

    number: int
    offset: int
    raw: bytes
    charset: str
    file_header: bytes
    batch_header: bytes

    def message(self, charset: str = "", default: str = "") -> Message:
        """The message; see ``decode``. Raises ``DecodeError``."""
        return decode(self.raw, self.charset or charset, default=default)


@dataclass(frozen=True, slots=True)
class BatchFault:
    """What does not fit in a file, and the byte where it was noticed. The text holds no data."""

    offset: int
    text: str


class Batch:
    """The messages of a file, as an iterator that holds one of them at a time.

    ``limit`` is the longest message in bytes; a longer one is left out and reported. Ends of CR, LF or CRLF, blank
    lines, a BOM and VT and FS between messages are read; so are several files one after another in one stream.
    The counts in BTS-1 and FTS-1 are compared; what differs or does not fit is reported, never raised: ``faults`` has
    the first 100 of ``faulty``. ``messages``, ``batches`` and ``files`` are how many there were so far. Memory is that
    of two messages and two chunks.
    """

    def __init__(self, stream: Readable, limit: int = LIMIT) -> None:
        self._stream = stream
        self._limit = limit
        self._charset = ""
        self._file: bytes | None = None
        self._batch: bytes | None = None
        self._counted = {"messages": 0, "batches": 0}
        self.messages = self.batches = self.files = self.faulty = 0
        self.faults: list[BatchFault] = []

    def __iter__(self) -> Iterator[Found]:
        end = 0
        for piece in _pieces(self._chunks(), self._limit):
            if piece.name == b"MSH":
                if found := self._message(piece):
                    yield found
            else:
                self._envelope(piece)
            end = piece.offset + len(piece.data)
        self._close_file(end)

    def _chunks(self) -> Iterator[bytes]:
        first = self._stream.read(CHUNK)
        while len(first) < 4 and (more := self._stream.read(CHUNK)):
            first += more
        wide = charsets.wide(first)
        reader = codecs.getincrementaldecoder(wide)("replace") if wide else None
        self._charset = "UTF-8" if wide else ""
        while first:
            yield reader.decode(first).encode("utf-8", "replace") if reader else first
            first = self._stream.read(CHUNK)

    def _message(self, piece: _Piece) -> Found | None:
        self.messages += 1
        self._counted["messages"] += 1
        if piece.longer:
            self._fault(piece.offset, f"message {self.messages} is longer than {self._limit} bytes and left out")
            return None
        data = piece.data
        if b"\x1c" in data and (end := _FRAME_ENDS.search(data)):
            self._stray(piece, end.end())
            data = data[: end.start()]
        core = len(data.rstrip(_FILLING))
        raw = data[:core] + _LINE_END.match(data, core)[0]  # type: ignore[index]
        return Found(self.messages, piece.offset, raw, self._charset, self._file or b"", self._batch or b"")

    def _envelope(self, piece: _Piece) -> None:
        head = piece.data.lstrip(b"\xef\xbb\xbf \t\r\n\x0b").splitlines()[0] if piece.name else b""
        if piece.name == b"FHS":
            self._close_file(piece.offset)
            self.files += 1
            self._file = head
        elif piece.name == b"BHS":
            self._close_batch(piece.offset)
            self._batch = head
            self._counted["messages"] = 0
        elif piece.name == b"BTS":
            self._end_batch(head, piece.offset)
        elif piece.name == b"FTS":
            self._end_file(head, piece.offset)
        self._stray(piece, piece.data.find(head) + len(head))

    def _stray(self, piece: _Piece, at: int) -> None:
        if piece.data[at:].strip(_FILLING + b"\xef\xbb\xbf"):
            self._fault(piece.offset + at, f"what follows {piece.name.decode() or 'the beginning'} is no message")

    def _end_batch(self, head: bytes, offset: int) -> None:
        if self._batch is None:
            self._fault(offset, "BTS without BHS")
        self._batch = None
        self._count_batch()
        self._compare("BTS-1", head, "messages", offset)

    def _count_batch(self) -> None:
        self.batches += 1
        self._counted["batches"] += 1

    def _end_file(self, head: bytes, offset: int) -> None:
        self._close_batch(offset)
        if self._file is None:
            self._fault(offset, "FTS without FHS")
        self._file = None
        self._compare("FTS-1", head, "batches", offset)

    def _close_batch(self, offset: int) -> None:
        if self._batch is not None:
            self._fault(offset, "BHS without BTS")
            self._batch = None
            self._count_batch()

    def _close_file(self, offset: int) -> None:
        self._close_batch(offset)
        if self._file is not None:
            self._fault(offset, "FHS without FTS")
        self._file = None
        self._counted = dict.fromkeys(self._counted, 0)

    def _compare(self, what: str, head: bytes, things: str, offset: int) -> None:
        count, self._counted[things] = self._counted[things], 0
        promised = head[4:].split(head[3:4])[0].strip() if head[3:4] else b""
        if promised and not _COUNT.fullmatch(promised):
            self._fault(offset, f"{what} is no number")
        elif promised and int(promised) != count:
            self._fault(offset, f"{what} says {int(promised)}, but there are {count} {things}")

    def _fault(self, offset: int, text: str) -> None:
        self.faulty += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(BatchFault(offset, text))


_COUNT: Final = re.compile(rb"[0-9]{1,18}")
_LINE_END: Final = re.compile(rb"(?:\r\n|\r|\n)?")


class _Piece(NamedTuple):
    """What begins with a header or trailer and ends before the next one; of a ``longer`` one the first bytes only."""

    name: bytes
    offset: int
    data: bytes
    longer: bool


def _pieces(chunks: Iterable[bytes], limit: int) -> Iterator[_Piece]:
    """Each byte is looked at once, but for the last few of a chunk. A line end is thought of before the first."""
    kept, head, name, origin, position, scanned = b"\n", b"", b"", 0, -1, 0
    for chunk in chain(filter(None, chunks), (b"",)):
        kept += chunk
        safe = len(kept) - _LONGEST_BEGIN if chunk else len(kept)
        begin = 0
        for match in _BEGINS.finditer(kept, scanned):
            if match.start() >= safe:
                break
            yield _piece(name, origin, head, kept[begin : match.start() + 1], limit)
            head, name, begin = b"", match[1] or match[2], match.start() + 1
            origin = position + begin
        if len(kept) - begin > limit and safe > begin:
            head = head or kept[begin : begin + _HEAD]
            begin = safe
        kept = kept[begin:]
        position += begin
        scanned = max(0, safe - begin)
    yield _piece(name, origin, head, kept, limit)


def _piece(name: bytes, origin: int, head: bytes, data: bytes, limit: int) -> _Piece:
    longer = bool(head) or len(data) > limit
    return _Piece(name, origin, head or data, longer)


def enveloped(messages: Iterable[bytes], header: Sequence[str] = ()) -> Iterator[bytes]:
    """A file of one batch, piece by piece: FHS, BHS, the messages, BTS and FTS with their counts.

    ``header`` is the fields of FHS and BHS from the third on (sending application and facility, receiving ones, time,
    security, name, comment, control id), as they stand on the wire, in ASCII.
    """
    rest = "".join(f"|{value}" for value in header)
    yield f"FHS|^~\\&{rest}\rBHS|^~\\&{rest}\r".encode("ascii")
    count = 0
    for message in messages:
        count += 1
        yield message if message.endswith((b"\r", b"\n")) else message + b"\r"
    yield f"BTS|{count}\rFTS|1\r".encode("ascii")
