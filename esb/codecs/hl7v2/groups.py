"""The groups of a message: an order with its results, a resource with its notes, without the message's structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esb.codecs.hl7v2.message import ByName, Message, Segment

# A list of words reads better in rows than one a line.
# ruff: noqa: SIM905
HOLDERS: Final = frozenset(
    """CSP CSS CTD ECD EVN FAC FT1 GOL IPR MFE NK1 OBR ORC PAC PCR PEO PES PID PM1 PR1 PRB PSG PSL PSS PTH PV1 QRD RGS
    RXA RXG RXV SAC SCH SHP SPM VND""".split()
)
"""Segments that begin, in some structure of some version, a repeating group which holds other groups."""


class Group(ByName):
    """Segments of one message that belong together, read as a ``Message`` is. They are shared, not copied."""

    __slots__ = ("_index", "_order")

    def __init__(self, segments: list[Segment]) -> None:
        self._order = segments
        self._index: dict[str, list[Segment]] | None = None

    def __repr__(self) -> str:
        return f"<group of {len(self._order)} HL7 v2 segments>"

    def __iter__(self) -> Iterator[Segment]:
        """Every segment in order."""
        return iter(self._order)

    def _split(self) -> dict[str, list[Segment]]:
        index: dict[str, list[Segment]] = {}
        for segment in self._order:
            index.setdefault(segment.name, []).append(segment)
        self._index = index
        return index


def groups(source: Message | Group, *anchors: str) -> list[Group]:
    """The groups that begin at segments of these names, in order.

    ``anchors`` are the names in the order in which they stand inside of one group, each at most once: with ``ORC`` and
    ``OBR``, a group that has its OBR ends before the next of either, and ``ORC TQ1 OBR`` stays together. A group ends
    too where what holds it begins again: at a segment that HL7 has as the beginning of larger groups and that stood
    before the first anchor, such as the PID of the next patient. What stands outside of every group is left out.
    """
    place = {name: at for at, name in enumerate(anchors)}
    ends: set[str] = set()
    found: list[list[Segment]] = []
    current: list[Segment] | None = None
    last = -1
    for segment in source:
        name = segment.name
        at = place.get(name)
        if at is not None:
            if current is None or at <= last:
                current = []
                found.append(current)
            last = at
        elif current is None:
            if not found and name in HOLDERS:
                ends.add(name)
        elif name in ends:
            current = None
        if current is not None:
            current.append(segment)
    return [Group(segments) for segments in found]
