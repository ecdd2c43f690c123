"""What a message has to be: its groups and segments, their fields, components and sub-components.

Of HL7 itself, by the tables of hl7apy, or of a message profile; both are the same nouns. A rule knows which segments it
can begin with and which are anywhere in it, so that a message may be laid out by looking at one segment after another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

from esb.codecs.hl7v2 import tables

ANY_SEGMENT: Final = "ANYHL7SEGMENT"
"""What hl7apy's structures call a place for whatever segment."""


class PartRule(NamedTuple):
    """A field, component or sub-component.

    ``usage`` is R (required), O (optional), X (must not be there), W (withdrawn, whatever is in it) or what a profile
    says: RE, C, CE. ``most`` -1 is any number of repetitions, ``longest`` -1 any length. ``constant`` is the only value
    that is allowed, "" any. ``parts`` is empty where the data type has none. ``least`` is how many repetitions there
    must be at least of a field that is there.
    """

    title: str
    usage: str
    data_type: str
    most: int = 1
    table: str = ""
    longest: int = -1
    constant: str = ""
    parts: tuple[PartRule, ...] = ()
    least: int = 0


Parts: TypeAlias = tuple[PartRule, ...]


@dataclass(frozen=True, eq=False)
class SegmentRule:
    """A segment at its place in a message; ``fields`` is None where nothing is known of them."""

    name: str
    least: int
    most: int
    fields_of: Callable[[], Parts | None]
    usage: str = ""

    @cached_property
    def fields(self) -> Parts | None:
        return self.fields_of()

    def begins_with(self, name: str) -> bool:
        return name == self.name or self.name == ANY_SEGMENT

    has = begins_with

    @property
    def first(self) -> str:
        """The segment that is missing when this is."""
        return self.name


@dataclass(frozen=True, eq=False)
class GroupRule:
    """Segments and groups in their order, or with ``choice`` one of them."""

    name: str
    least: int
    most: int
    children: tuple[SegmentRule | GroupRule, ...]
    choice: bool = False
    usage: str = ""

    def begins_with(self, name: str) -> bool:
        """Whether that segment may be the first one."""
        return name in self._beginnings or ANY_SEGMENT in self._beginnings

    def has(self, name: str) -> bool:
        """Whether that segment is anywhere in it."""
        return name in self.names

    @cached_property
    def names(self) -> frozenset[str]:
        """Every segment in it."""
        inside = [{child.name} if isinstance(child, SegmentRule) else child.names for child in self.children]
        return frozenset().union(*inside)

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        found: set[str] = set()
        for child in self.children:
            found |= {child.name} if isinstance(child, SegmentRule) else child._beginnings
            if child.least and not self.choice:
                break
        return frozenset(found)

    @property
    def first(self) -> str:
        """The segment that is missing when this group is."""
        return next((child.first for child in self.children if child.least), self.children[0].first)


Rule: TypeAlias = SegmentRule | GroupRule


def structure_name(code: str, event: str, structure: str, version: str) -> str | None:
    """The structure of MSH-9 in that version: the third component where it is one, else that of the event."""
    messages = tables.library(version).MESSAGES
    shared = _SHARED.get(f"{code}_{event}", "")
    same_code = [name for name in messages if name[:3] == code and len(code) == 3]
    only = same_code[0] if len(same_code) == 1 else ""
    for name in (structure, f"{code}_{event}", shared, code, only):
        if name in messages:
            return name
    return None


_SHARED: Final = {
    f"{structure[:3]}_{event}": structure
    for structure, events in (
        line.split(":")
        for line in """ADT_A01:A04 A08 A13
ADT_A05:A05 A14 A28 A31
ADT_A06:A06 A07
ADT_A09:A09 A10 A11
ADT_A21:A21 A22 A23 A25 A26 A27 A29 A32 A33
ADT_A30:A30 A34 A35 A36 A46 A47 A48 A49
ADT_A39:A39 A40 A41 A42
ADT_A43:A43 A44
ADT_A50:A50 A51
ADT_A52:A52 A53
ADT_A54:A54 A55
ADT_A61:A61 A62
SIU_S12:S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26 S27
SRM_S01:S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
SRR_S01:S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11
MDM_T01:T01 T03 T05 T07 T09 T11
MDM_T02:T02 T04 T06 T08 T10
REF_I12:I12 I13 I14 I15
RRI_I12:I12 I13 I14 I15
RPA_I08:I08 I09 I10 I11
RQA_I08:I08 I09 I10 I11
RQC_I05:I05 I06
RQI_I01:I01 I02 I03 I07
PPR_PC1:PC1 PC2 PC3
PGL_PC6:PC6 PC7 PC8
PPP_PCB:PCB PCC PCD
PPG_PCG:PCG PCH PCJ
PEX_P07:P07 P08
CRM_C01:C01 C02 C03 C04 C05 C06 C07 C08
CSU_C09:C09 C10 C11 C12
PMU_B01:B01 B02
PMU_B04:B04 B05 B06
QBP_Q11:Q11
QBP_Q21:Q21 Q22 Q23 Q24 Q25 K21 K22 K23 K24
RSP_K21:K21 K22
RSP_K23:K23 K24
ORU_R01:R01
ORU_R30:R30 R31 R32
ESU_U01:U01
OML_O21:O21
OMG_O19:O19
VXU_V04:V04
MFN_M02:M02
ADT_A15:A15
ADT_A37:A37""".splitlines()
    )
    for event in events.split()
}
"""Events that share the structure of another one (HL7 table 0354)."""


@lru_cache(128)
def standard(structure: str, version: str) -> GroupRule:
    """The structure as that version has it."""
    return _group(structure, tables.library(version).MESSAGES[structure], (1, 1), version)


def _group(name: str, reference: Any, times: tuple[int, int], version: str) -> GroupRule:
    children: list[Rule] = []
    for child, inner, (least, most), kind in reference[1]:
        if kind == "SEG":
            children.append(SegmentRule(child, least, most, partial(fields, child, version)))
        else:
            children.append(_group(child, inner, (least, most), version))
    return GroupRule(name, *times, tuple(children), reference[0] == "choice")


@lru_cache(2048)
def fields(segment: str, version: str) -> Parts | None:
    """The fields of a segment in that version; None when the version has none of that name."""
    reference = tables.library(version).SEGMENTS.get(segment)
    if reference is None or reference[0] != "sequence" or len(reference) < 2:
        return None
    return _dense(reference[1] or (), version)


@lru_cache(4096)
def components(data_type: str, version: str) -> Parts:
    """The components of a data type; none when it has none."""
    return _dense(tables.library(version).DATATYPES_STRUCTS.get(data_type, ()), version)


_WITHDRAWN: Final = PartRule("", "W", "")
_PARAMETERS: Final = "USER_PARAMETERS_IN_SUCCESSIVE_FIELDS"
"""QPD-3 is as the query says it is, repetitions included."""


def _dense(entries: Any, version: str) -> Parts:
    """Each at its number, which is in its name; hl7apy leaves out some that are withdrawn."""
    found = {int(entry[0].rpartition("_")[2]): _part(entry, version) for entry in entries}
    return tuple([found.get(number, _WITHDRAWN) for number in range(1, max(found, default=0) + 1)])


def _part(entry: Any, version: str) -> PartRule:
    _, reference, (least, most), _ = entry
    kind, _, data_type, title, table, longest = reference
    usage = "W" if most == 0 or data_type is None else "R" if least else "O"
    if data_type == "QIP" or title == _PARAMETERS:
        most = -1
    parts = components(data_type, version) if kind == "sequence" and data_type else ()
    return PartRule(_title(title), usage, data_type or "", most, table or "", longest, "", parts)


def _title(name: str | None) -> str:
    return (name or "").replace("_", " ").strip().capitalize()


_OPEN: Final = re.compile(r"\.\.|<|xxx|#|_| - |^null$")


@lru_cache(2048)
def values(table: str) -> frozenset[str] | None:
    """The codes of an HL7 table in any version; None when it is unknown, empty or open."""
    found: set[str] = set()
    for version in tables.VERSIONS:
        _, codes = getattr(tables.library(version), "TABLES", {}).get(table, ("", ()))
        found.update(codes)
    return None if not found or any(_OPEN.search(code) for code in found - _NOT_OPEN) else frozenset(found)


_NOT_OPEN: Final = frozenset(("<", ">"))
