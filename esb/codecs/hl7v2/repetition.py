"""One repetition of a field, its components by number."""

from __future__ import annotations

from itertools import count
from typing import Final

from esb.codecs.hl7v2.syntax import Syntax
from esb.model import Tree

NULL: Final = '""'
"""What HL7 writes for a value that is to be deleted."""

_NUMBERS: Final = tuple(map(str, range(1, 65)))


class Repetition(dict[str, str]):
    """The components that have a value: ``{"1": "P1", "4": "HIS&1.2.3"}``, escapes decoded as ``Segment.get`` does.

    A component is whole, with the sub-component marks inside as they stand; one that is empty or HL7's null is not
    there. JSON writes it as a dict.
    """

    __slots__ = ("_parts", "_syntax")

    def __init__(self, wire: str, syntax: Syntax) -> None:
        """Of the repetition as it stands on the wire."""
        parts = wire.split(syntax.component)
        self._parts, self._syntax = parts, syntax
        values = map(syntax.unescaped, parts) if syntax.escape in wire else parts
        numbers = _NUMBERS if len(parts) <= 64 else map(str, count(1))
        super().__init__([pair for pair in zip(numbers, values, strict=False) if pair[1] and pair[1] != NULL])

    def part(self, component: int, subcomponent: int = 0) -> str | None:
        """A sub-component, or None when it has no value; number 0 is the whole component."""
        if not subcomponent:
            return self.get(str(component))
        if not 0 < component <= len(self._parts):
            return None
        syntax = self._syntax
        text = piece(self._parts[component - 1], syntax.subcomponent, subcomponent)
        if syntax.escape in text:
            text = syntax.unescaped(text)
        return text if text and text != NULL else None

    def tree(self) -> dict[str, Tree]:
        """The same with components that have sub-components as dicts of those: what ``build`` writes back."""
        mark = self._syntax.subcomponent
        return {number: self._divided(int(number)) if mark in whole else whole for number, whole in self.items()}

    @property
    def text(self) -> str:
        """The whole repetition with the delimiters inside as they stand; "" when it has no value."""
        text = self._syntax.unescaped(self._syntax.component.join(self._parts))
        return text if text != NULL else ""

    def _divided(self, component: int) -> Tree:
        wire = self._parts[component - 1]
        if self._syntax.subcomponent not in wire:
            return self[str(component)]
        subs = range(1, wire.count(self._syntax.subcomponent) + 2)
        return {str(sub): part for sub in subs if (part := self.part(component, sub)) is not None}


def piece(text: str, mark: str, number: int) -> str:
    """What stands at ``number``, from 1, between the marks; "" past the last."""
    parts = text.split(mark, number)
    return parts[number - 1] if number <= len(parts) else ""
