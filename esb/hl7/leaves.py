"""The values of a segment by field, repetition, component and sub-component, and what of them to leave out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from esb.codecs.hl7v2 import Segment

HEADERS: Final = ("MSH", "FHS", "BHS")
_IGNORED: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:-([1-9]\d{0,2})(?:\.([1-9]\d{0,2}))?)?", re.ASCII)
USUAL: Final = ("MSH-7", "MSH-10")
"""When a message was made and which number it got: different in every message."""


class Place(NamedTuple):
    """All counted from 1."""

    field: int
    repetition: int
    component: int
    subcomponent: int


Leaves = Mapping[Place, str]


class Ignored:
    """Fields that are not compared: ``PID``, ``PID-3`` or ``PID-3.4``, in every segment and repetition."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Raises ``ValueError`` with a sentence."""
        self._found: set[tuple[str, int, int]] = set()
        for path in paths:
            match = _IGNORED.fullmatch(path)
            if not match:
                raise ValueError(f"'{path[:40]}' is no field: write SEG, SEG-field or SEG-field.component")
            self._found.add((match[1], int(match[2] or 0), int(match[3] or 0)))

    def segment(self, name: str) -> bool:
        """Whether all of it is."""
        return (name, 0, 0) in self._found

    def place(self, name: str, place: Place) -> bool:
        return (name, place.field, 0) in self._found or (name, place.field, place.component) in self._found


def leaves(segment: Segment, ignored: Ignored) -> Leaves:
    """Values that are not empty, escapes decoded, so that delimiters and trailing separators do not count."""
    found: dict[Place, str] = {}
    for field in range(3 if segment.name in HEADERS else 1, len(segment.fields())):
        for number, repetition in enumerate(segment.all(field), 1):
            for component, whole in repetition.tree().items():
                parts = whole if isinstance(whole, dict) else {"1": whole}
                for sub, value in parts.items():
                    place = Place(field, number, int(component), int(sub))
                    if not ignored.place(segment.name, place):
                        found[place] = str(value)
    return found


def written(place: Place, *sides: Leaves) -> str:
    """As HL7 writes it; the component only where one of the sides has more than the first."""
    text = f"{place.field}" + (f"[{place.repetition}]" if place.repetition > 1 else "")
    near = [other for side in sides for other in side if other[:2] == place[:2]]
    subs = [other for other in near if other.component == place.component]
    if any(other.component > 1 for other in near) or any(other.subcomponent > 1 for other in subs):
        text += f".{place.component}"
    return text + (f".{place.subcomponent}" if any(other.subcomponent > 1 for other in subs) else "")
