"""Field paths as HL7 writes them: ``PID-3[1].4.2``, counted from 1; ``OBX[2]-5`` is the third OBX."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from esb.codecs.hl7v2.groups import Group
from esb.codecs.hl7v2.message import HEADERS, Message
from esb.codecs.hl7v2.repetition import piece

_PATH = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[(\d{1,5})\])?-([1-9]\d{0,2})(?:\[([1-9]\d{0,3})\])?(?:\.([1-9]\d{0,2})(?:\.([1-9]\d{0,2}))?)?"
)


class Path(NamedTuple):
    """Occurrence from 0, field and repetition from 1, component and sub-component from 1 or 0 for the whole."""

    segment: str
    occurrence: int
    field: int
    repetition: int
    component: int
    subcomponent: int


@lru_cache(8192)
def parse(text: str) -> Path:
    """The path; raises ``ValueError`` that says what a path looks like."""
    match = _PATH.fullmatch(text)
    if not match:
        raise ValueError(f"'{text[:40]}' is no field path: write SEG-field[repetition].component.subcomponent from 1")
    segment, occurrence, field, repetition, component, subcomponent = match.groups()
    return Path(
        segment, int(occurrence or 0), int(field), int(repetition or 1), int(component or 0), int(subcomponent or 0)
    )


@lru_cache(8192)
def path(text: str) -> Callable[[Message | Group], str | None]:
    """A reader of that field in any message or group; the same text gives the same reader. Raises ``ValueError``."""
    place = parse(text)
    delimiters = place.segment in HEADERS and place.field < 3
    if delimiters or place.occurrence or place.repetition > 1 or place.subcomponent:
        return lambda message: message.get(*place)
    name, field, component = place.segment, place.field, place.component

    def read(message: Message | Group) -> str | None:
        """``Segment.get`` of the first repetition in the first segment, without the calls on the way there."""
        found = (message._index or message._split()).get(name)
        if not found:
            return None
        segment = found[0]
        fields = segment._fields or segment._split()
        if field >= len(fields):
            return None
        text = fields[field]
        marks = segment._syntax
        if marks.repetition in text:
            text = text[: text.index(marks.repetition)]
        if component:
            if marks.component in text:
                text = piece(text, marks.component, component)
            elif component > 1:
                return None
        if marks.escape in text:
            text = marks.unescaped(text)
        return text or None

    return read
