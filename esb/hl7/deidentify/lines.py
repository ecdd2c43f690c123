"""A message as lines of fields that can be changed, with everything else kept as it stands."""

from __future__ import annotations

import re
from typing import Final

from esb.codecs.hl7v2 import Message
from esb.codecs.hl7v2.syntax import Syntax

HEADERS: Final = ("MSH", "FHS", "BHS")
_LINE: Final = re.compile(r"([^\r\n]+)([\r\n]*)")
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)


class Line:
    """One segment as on the wire. ``done`` holds the numbers of the fields that are dealt with."""

    def __init__(self, text: str, end: str, syntax: Syntax) -> None:
        self._fields = text.split(syntax.field)
        self._mark, self._end = syntax.field, end
        self.name = self._fields[0].strip().upper()
        self._shift = self.name in HEADERS
        self.done: set[int] = {1, 2} if self._shift else set()
        self.dropped = False

    @property
    def is_segment(self) -> bool:
        """Whether it has a segment's name; a text that was broken into lines has not."""
        return _SEGMENT.fullmatch(self.name) is not None

    def numbers(self) -> range:
        """The numbers of its fields; 0, the name, is one of those of a line that is no segment."""
        first = 3 if self._shift else 1 if self.is_segment else 0
        return range(first, len(self._fields) + self._shift)

    def __getitem__(self, number: int) -> str:
        """A field as on the wire, "" past the last."""
        at = number - self._shift
        return self._fields[at] if at < len(self._fields) else ""

    def __setitem__(self, number: int, wire: str) -> None:
        self._fields[number - self._shift] = wire

    @property
    def text(self) -> str:
        """What is on the wire now, its end included."""
        return "" if self.dropped else self._mark.join(self._fields) + self._end


def split(message: Message) -> tuple[str, list[Line]]:
    """What stands before MSH, and the lines."""
    start = message.text.index("MSH")
    return message.text[:start], [Line(text, end, message.syntax) for text, end in _LINE.findall(message.text[start:])]


def leaf(wire: str, syntax: Syntax) -> str:
    """The first component of the first repetition, and its first sub-component, with escapes decoded."""
    for mark in (syntax.repetition, syntax.component, syntax.subcomponent):
        wire = wire.partition(mark)[0]
    return syntax.unescaped(wire)
