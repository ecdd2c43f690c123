"""``esb decode hl7v2``: messages as JSON or as the values of some fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from esb.codecs import json
from esb.codecs.hl7v2 import Message, parse, path, to_tree
from esb.hl7.sources import Piece, Unreadable, read, wanted
from esb.model import Tree

_CONTROL: Final = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})


class Lines:
    """What is printed. ``failed`` says afterwards whether something could not be read, ``found`` whether any value was.

    ``get`` are field paths; ``alone`` says that the source is one file, of which a single message is printed whole.
    """

    def __init__(self, get: Sequence[str], charset: str, *, as_json: bool, alone: bool) -> None:
        """Raises ``ValueError`` for what is no path."""
        for one in get:
            parse(one)
        self._get, self._charset, self._as_json, self._alone = list(get), charset, as_json, alone
        self.failed = False
        self.found = False

    def of(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, bool]]:
        """Lines, and whether each is for standard error."""
        left = wanted(pieces)
        first = next(left, None)
        second = next(left, None) if self._alone else None
        single = self._alone and second is None
        if first is None:
            self.failed = True
            yield "there is no message", True
        for piece in _chain(first, second, left):
            result = read(piece, self._charset)
            self.failed = self.failed or isinstance(result, Unreadable)
            if self._get and not self._as_json:
                yield from self._values(piece, result)
            elif single and not self._get:
                yield self._whole(piece, result)
            else:
                yield _text(self._line(piece, result)), False

    def _values(self, piece: Piece, result: Message | Unreadable) -> Iterator[tuple[str, bool]]:
        """A line for every message, so that the n-th line is of the n-th message, whatever happens."""
        if isinstance(result, Unreadable):
            yield f"{piece.file}: {result}", True
        if piece.kind == "message":
            yield "\t".join((value or "").translate(_CONTROL) for value in self._read(result).values()), False

    def _whole(self, piece: Piece, result: Message | Unreadable) -> tuple[str, bool]:
        if isinstance(result, Unreadable):
            return f"{piece.file}: {result}", True
        tree = to_tree(result)
        return (_text(tree) if self._as_json else json.pretty(tree).decode()), False

    def _line(self, piece: Piece, result: Message | Unreadable) -> dict[str, Tree]:
        head: dict[str, Tree] = {"file": piece.file, "number": piece.number, "offset": piece.offset}
        if isinstance(result, Unreadable):
            return {**head, "error": result.tree()}
        return {**head, **({"values": self._read(result)} if self._get else {"message": to_tree(result)})}

    def _read(self, result: Message | Unreadable) -> dict[str, str | None]:
        if isinstance(result, Unreadable):
            return dict.fromkeys(self._get)
        values = {one: path(one)(result) for one in self._get}
        self.found = self.found or any(values.values())
        return values


def _chain(first: Piece | None, second: Piece | None, rest: Iterable[Piece]) -> Iterator[Piece]:
    yield from (piece for piece in (first, second) if piece is not None)
    yield from rest


def _text(tree: Any) -> str:
    return json.encode(tree).decode()
