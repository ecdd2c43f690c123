"""What must hold of HL7 v2 whatever bytes come in: a message that keeps them or ``DecodeError``, and nothing else."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from esb.codecs import DecodeError, EncodeError
from esb.codecs.hl7v2 import (
    Batch,
    Framer,
    Joiner,
    Message,
    build,
    decode,
    framed,
    from_tree,
    joined,
    plain_text,
    to_tree,
)
from esb.codecs.hl7v2.structure import structure
from esb.codecs.hl7v2.syntax import syntax
from esb.codecs.hl7v2.validate import validate

MOST_FIELDS = 200
LIMIT = 1 << 16
CHARSETS = ("", "UNICODE UTF-8", "GB 18030-2000", "8859/1", "ASCII~ISO IR87", "8859/1~8859/7", "~KS X 1001")


def message(data: bytes) -> Message | None:
    """Decoded, read everywhere, written as JSON and back."""
    try:
        found = decode(data, CHARSETS[data[-1] % len(CHARSETS)] if data else "")
    except DecodeError:
        return None
    assert found.encode() == data
    for segment in found:
        for field in range(min(len(segment.fields()), MOST_FIELDS) + 1):
            for part in range(3):
                plain_text(segment.get(field, part, part, part) or "")
            for repetition in segment.all(field):
                repetition.tree()
    tree = to_tree(found)
    try:
        again = from_tree(tree)
    except EncodeError:
        assert not _writable(found)
    else:
        assert again.text == found.text
        assert to_tree(again) == tree
    found.truncated()
    return found


def _writable(found: Message) -> bool:
    """A text may be read from bytes that its codec does not write: escape sequences, half of a surrogate."""
    try:
        return found.text.encode(found.charset).decode(found.charset) == found.text
    except UnicodeError:
        return False


def checked(data: bytes) -> None:
    """Laid out without loss, validated, joined."""
    found = message(data)
    if found is None:
        return
    laid_out = structure(found)
    if laid_out is not None:
        assert list(laid_out.root) == list(found)
    for fault in validate(found):
        assert fault.text
        assert fault.location["1"] == fault.segment
    with contextlib.suppress(DecodeError):
        joined([found])


def stream(data: bytes) -> None:
    """A framer gives the same messages however its bytes arrive, and those of a good frame after any rubbish."""
    steps = [1 + byte % 7 for byte in data[:5]] or [1]
    results = []
    for size in (len(data) or 1, *steps[:2]):
        framer, found, failed = Framer(LIMIT), [], False
        try:
            for at in range(0, len(data), size):
                found += framer.feed(data[at : at + size])
            framer.feed(b"")
        except DecodeError:
            failed = True
        assert len(framer.pending) <= LIMIT + len(data)
        if not failed:
            last = framer.finish()
            found += [last] if last is not None else []
        results.append((found, failed))
    for (one, failed), (other, also) in pairwise(results):
        assert failed == also
        assert failed or one == other
    if b"\x0b" not in data and b"\x1c" not in data:
        assert Framer(LIMIT).feed(data + framed(b"MSH|")) == [b"MSH|"]


class Read(NamedTuple):
    """What there is in a stream. ``half_ended``: a message has ended but for its CR."""

    messages: list[bytes]
    failed: bool
    started: bool = False
    half_ended: bool = False


def by_the_book(data: bytes, limit: int) -> Read:
    """The stream read byte by byte, by the docstring of ``Framer`` alone."""
    messages: list[bytes] = []
    inside, at, run, last = False, 0, b"", 0
    while at < len(data):
        byte, following = data[at], data[at + 1 : at + 2]
        at += 1
        if byte == 0x0B:
            inside, run = True, b""
        elif not inside and byte == 0x0D and last == 0x1C:
            return Read(messages, failed=True)
        elif inside and byte == 0x1C and not following:
            return Read(messages, False, started=True, half_ended=True)
        elif inside and byte == 0x1C and following in (b"\r", b"\n", b"\x0b"):
            messages.append(run)
            at += following != b"\x0b"
            inside, run, byte = False, b"", 0
        else:
            run += bytes((byte,))
            if len(run) > limit:
                return Read(messages, failed=True)
        last = byte
    return Read(messages, False, started=inside)


def frames(data: bytes) -> None:
    """A framer alone, with small limits: the same whatever the pieces, within its memory, and as the book has it."""
    if len(data) < 8:
        return
    limit, sizes, data = 1 + data[0] % 48, [1 + byte % 64 for byte in data[1:7]], data[7:]
    expected = by_the_book(data, limit)
    for pieces in (itertools.repeat(len(data) or 1), itertools.repeat(1), itertools.cycle(sizes)):
        framer, found = Framer(limit), list[bytes]()
        for piece in _pieces(data, pieces):
            if framer.failure is not None:
                break
            with contextlib.suppress(DecodeError):
                found += framer.feed(piece)
            assert framer.failure is not None or len(framer.pending) <= limit + framer.half_ended
            assert len(framer.dropped) <= limit
        assert (found, framer.failure is not None) == (expected.messages, expected.failed)
        if expected.failed:
            held = framer.held
            with contextlib.suppress(DecodeError):
                raise AssertionError(framer.feed(b"MSH|"))
            assert framer.held == held
            continue
        assert (framer.started, framer.half_ended) == (expected.started, expected.half_ended)
        assert (framer.finish() is not None) == expected.half_ended


def _pieces(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    place = 0
    for size in sizes:
        if place >= len(data):
            return
        yield data[place : place + size]
        place += size


def batch(data: bytes) -> None:
    """The same messages however a file is read, each of them from it."""
    whole = Batch(io.BytesIO(data), LIMIT)
    found = list(whole)
    pieces = Batch(_Slow(data, 1 + data[0] % 40 if data else 1), LIMIT)
    assert list(pieces) == found
    assert pieces.faults == whole.faults
    joiner = Joiner(LIMIT)
    for one in found:
        assert one.charset or one.raw in data
        try:
            joiner.add(one.message())
        except DecodeError:
            continue


class _Slow(io.BytesIO):
    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most)


def written(data: bytes) -> None:
    """Any text comes back from any field, whatever the delimiters; any escapes have a meaning."""
    text = data[2:].decode("utf-8", "replace")
    marks = syntax("|", ("^~\\&", "^~\\&#", "^~\\", "*+!%")[data[0] % 4 if data else 0], "utf-8")[0]
    marks.unescaped(text)
    assert marks.unescaped(marks.escaped(text)) == text
    charset = CHARSETS[1:][data[1] % (len(CHARSETS) - 1)] if len(data) > 1 else "UNICODE UTF-8"
    try:
        made = build(
            [{"MSH-20": "2.3" if len(data) % 2 else None}, {"PID-5[2].3.2": text, "PID-6": "x"}], charset=charset
        )
    except EncodeError:
        return
    again = decode(made.raw, charset)
    assert again.get("PID", 0, 5, 2, 3, 2) == (text or None)
    assert again.get("PID", 0, 6) == "x"
