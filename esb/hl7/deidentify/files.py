"""Captured files -> the same files about other people, in another folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from esb.codecs.hl7v2 import Message, charsets
from esb.hl7.deidentify.engine import Deidentifier
from esb.hl7.sources import Piece, Unreadable, expanded, pieces, read

_LINE: Final = re.compile(rb"[^\r\n]*[\r\n]+|[^\r\n]+")


@dataclass(slots=True)
class Summary:
    """``problems`` are (file, what) of what was left out because it could not be read."""

    files: int = 0
    messages: int = 0
    changed: int = 0
    problems: list[tuple[str, Unreadable]] = field(default_factory=list)


def deidentify(paths: Iterable[Path], into: Path, work: Deidentifier, charset: str = "") -> Summary:
    """Read every file twice and write what it becomes. What cannot be read is never written.

    A file keeps its place below its folder, and its name but for what is known of its people. Headers of batches and
    the bytes of MLLP around messages are kept. Raises ``OSError``, and ``FileExistsError`` when ``into`` is not empty.
    """
    if into.exists() and any(into.iterdir()):
        raise FileExistsError(f"{into} is not empty")
    found = [(file, place) for path in paths for file, place in _placed(path)]
    for file, _ in found:
        for _, message in _messages(file, charset):
            if isinstance(message, Message):
                work.learn(message)
    summary = Summary()
    for file, place in found:
        summary.files += 1
        _file(file, into / place, work, charset, summary)
    return summary


def _placed(path: Path) -> Iterator[tuple[Path, Path]]:
    """Files and their places in the new folder."""
    for file in expanded([path]):
        yield file, file.relative_to(path) if path.is_dir() else Path(file.name)


def _messages(file: Path, charset: str) -> Iterator[tuple[Piece, Message | Unreadable | None]]:
    """Of UTF-16 the file is taken as one message, so that it stays in UTF-16."""
    with file.open("rb") as stream:
        whole = charsets.wide(stream.read(4))
        stream.seek(0)
        found = [Piece(str(file), 0, stream.read(), "message", 1)] if whole else pieces(str(file), stream)
        for piece in found:
            yield piece, None if piece.kind in ("around", "other") else read(piece, charset)


def _file(file: Path, target: Path, work: Deidentifier, charset: str, summary: Summary) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{summary.files}.part")
    name = target.name
    with part.open("wb") as out:
        for _ in _written(_messages(file, charset), out, work, summary):
            name = work.file_name(name)
    part.replace(_free(target.with_name(name)))


def _written(
    found: Iterable[tuple[Piece, Message | Unreadable | None]], out: BinaryIO, work: Deidentifier, summary: Summary
) -> Iterator[Message]:
    """What stands around messages waits for the first of them, which says whose it is."""
    waiting: list[Piece] = []
    last: Message | None = None
    for piece, message in found:
        if message is None:
            waiting += [piece] if piece.kind == "around" else []
        elif isinstance(message, Unreadable):
            summary.problems.append((piece.file, message))
        else:
            last = message
            out.writelines(_around(waiting, message, work))
            waiting.clear()
            new = work.apply(message)
            summary.messages += 1
            summary.changed += new != message.raw
            out.write(new)
            yield message
    out.writelines(_around(waiting, last, work))


def _around(waiting: Iterable[Piece], message: Message | None, work: Deidentifier) -> Iterator[bytes]:
    for piece in waiting:
        for line in _LINE.findall(piece.raw):
            if message is None or b"S" not in line:
                yield line
                continue
            text = line.decode(message.charset, "replace")
            new = work.envelope(text, message)
            yield line if new == text else new.encode(message.charset, "replace")


def _free(path: Path) -> Path:
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
