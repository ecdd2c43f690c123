"""Patterns that are matched in linear time: no text can make one slow, because none ever has to go back.

A pattern is a row of single characters or sets of them, ``[A-Z0-9]``, ``[^ ]``, ``.`` and ``\\d``, each followed by
``?``, ``*``, ``+``, ``{2}`` or ``{2,4}`` at will, and alternatives between ``|``. There are no groups. Whatever may
stand more or less often must not be confused with what may follow it: ``[A-Z]+[0-9]*`` is a pattern, ``.*x`` is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from esb.mapping.functions.registry import function, need_text
from esb.mapping.functions.sorts import AnyText
from esb.mapping.values import FunctionError

_LONGEST = 200
_MOST = 1_000
_LAST = 0x10FFFF
_PIECE = re.compile(
    r"(?:(?P<digit>\\d)|\\(?P<escaped>[^\w])|(?P<any>\.)|\[(?P<negated>\^?)(?P<set>(?:\\[^\w]|[^\]\\])+)\]"
    r"|(?P<plain>[^\\\[\](){}*+?|^$.]))(?P<times>\?|\*|\+|\{[0-9]{1,4}(?:,[0-9]{1,4})?\})?",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)
_TIMES = {"": (1, 1), "?": (0, 1), "*": (0, -1), "+": (1, -1)}


class _Piece(NamedTuple):
    """Ranges of characters, first and last, and how often one of them stands; -1 is any number of times."""

    ranges: tuple[tuple[int, int], ...]
    least: int
    most: int

    def text(self) -> str:
        """The piece as a regular expression that gives nothing back."""
        inside = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in self.ranges)
        return f"[{inside}]{{{self.least},{self.most if self.most >= 0 else ''}}}+"

    def meets(self, other: _Piece) -> bool:
        return any(a <= d and c <= b for a, b in self.ranges for c, d in other.ranges)


@function(
    ("'H12345678' | matches('[HM][0-9]{8}|[HM][0-9]{10}')", True),
    ("'粤A12345' | matches('[一-龥][A-Z][A-Z0-9]{5,6}')", True),
    ("'12a' | matches('\\d+')", False),
    prepared=True,
)
def matches(pattern: str) -> Callable[[AnyText], bool]:
    """Whether a whole text has a shape: sets such as [A-Z0-9], \\d and . with ? * + {2,4}, alternatives with |."""
    found = re.compile("|".join(map(_compiled, _alternatives(pattern))))
    return lambda value: found.fullmatch(need_text(value)) is not None


def _alternatives(pattern: str) -> list[list[_Piece]]:
    if not 0 < len(need_text(pattern)) <= _LONGEST:
        raise FunctionError(f"a pattern has 1 to {_LONGEST} characters")
    found: list[list[_Piece]] = [[]]
    at = 0
    while at < len(pattern):
        match = _PIECE.match(pattern, at)
        if match is None and pattern[at] != "|":
            raise FunctionError(f"'{pattern[at]}' at {at + 1} is not part of a pattern here")
        at = match.end() if match else at + 1
        found.append([]) if match is None else found[-1].append(_piece(match))
    return found


def _piece(match: re.Match[str]) -> _Piece:
    least, most = _times(match["times"] or "")
    if match["set"]:
        named = tuple(_ranges(match["set"]))
        ranges = tuple(_others(named)) if match["negated"] else named
        if not ranges:
            raise FunctionError(f"'{match[0]}' leaves no character")
        return _Piece(ranges, least, most)
    if match["digit"]:
        return _Piece(((48, 57),), least, most)
    if match["any"]:
        return _Piece(((0, _LAST),), least, most)
    only = ord(match["plain"] or match["escaped"])
    return _Piece(((only, only),), least, most)


def _times(written: str) -> tuple[int, int]:
    if written in _TIMES:
        return _TIMES[written]
    first, _, second = written[1:-1].partition(",")
    least, most = int(first), int(second or first)
    if not least <= most <= _MOST or not most:
        raise FunctionError(f"'{written}' is not a number of times up to {_MOST}")
    return least, most


def _ranges(written: str) -> Iterator[tuple[int, int]]:
    for first, last in _MEMBER.findall(written):
        if ord(last or first) < ord(first):
            raise FunctionError(f"'{first}-{last}' is not a range")
        yield ord(first), ord(last or first)


def _others(ranges: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    at = 0
    for first, last in sorted(ranges):
        if at < first:
            yield at, first - 1
        at = max(at, last + 1)
    if at <= _LAST:
        yield at, _LAST


def _compiled(pieces: list[_Piece]) -> str:
    for at, piece in enumerate(pieces):
        if piece.least != piece.most:
            _distinct(piece, pieces[at + 1 :])
    return "".join([piece.text() for piece in pieces])


def _distinct(piece: _Piece, following: list[_Piece]) -> None:
    """Refuse a piece of no fixed length that what may follow it could be taken for."""
    for other in following:
        if piece.meets(other):
            raise FunctionError("a pattern cannot tell where a repeated part ends; what follows it must differ from it")
        if other.least:
            return
