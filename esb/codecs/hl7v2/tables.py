"""What HL7 itself says of messages, segments and fields, of every version from 2.1 to 2.8.2.

The source is hl7apy's tables, which are read when they are first asked for, a version at a time. Where hl7apy is not
installed nothing is known: every type is ``ANY`` and there are no names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, TypeAlias

from esb.types import ANY, Sort, Type

Path: TypeAlias = tuple[str, ...]
"""Segment, field, component, sub-component: ``("PID", "3", "4", "2")``."""

VERSIONS: Final = ("2.8.2", "2.8.1", "2.8", "2.7", "2.6", "2.5.1", "2.5", "2.4", "2.3.1", "2.3", "2.2", "2.1")
"""The newest first."""

_SORTS: Final[Mapping[str, Sort]] = {
    "DT": "ts",
    "TM": "ts",
    "TS": "ts",
    "DTM": "ts",
    "NM": "decimal",
    "SI": "integer",
    "varies": "any",
}
_SUCCESSORS: Final[Mapping[str, str]] = {
    "AD": "XAD",
    "CE": "CWE",
    "CK": "CX",
    "CN": "XCN",
    "CNE": "CWE",
    "CNN": "XCN",
    "PN": "XPN",
    "TN": "XTN",
}
"""Data types that later versions replaced by one with the same first components and more."""

_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
_LATER: Final = frozenset(("CTR", "DEV", "DST", "OH1", "OH2", "OH3", "OH4"))
"""Segments of HL7 2.9, which hl7apy does not have."""

_BY_AGREEMENT: Final[Mapping[Path, int]] = {("QPD",): 3, ("RDT",): 1}
"""Segments whose fields after this one are what a query says they are: its parameters, the columns of its answer."""

_LOCAL: Final = re.compile(r"Z[A-Z0-9]{2}", re.ASCII)


class _Child(NamedTuple):
    """A field or component as one version has it, or a segment in a message."""

    reference: Any
    required: bool = False
    many: bool = False


@lru_cache(256)
def message_type(structure: str, version: str, *, header: bool = True) -> Type:
    """The message as its segments by name, their fields, components and sub-components by number as text.

    ``structure`` is ``ADT_A01`` or MSH-9 with or without it (``ADT^A08^ADT_A01``, ``ADT^A08``); of an event alone, all
    structures of its message type are taken together, and of what is unknown every segment. ``required`` and ``many``
    are those of ``version`` (the newest that is not newer, where the tables do not have it). Reality is wider, and so
    is this: a segment or field is there if any version has it, a component also if its data type or what replaced that
    has it in any version; every segment whose name begins with Z is there, of which, as of those new in 2.9, nothing is
    known. Groups are left out: a segment in one that repeats is ``many``. Without ``header`` no field of MSH is
    required, nor MSH itself.
    """
    if not installed():
        return ANY
    version = known_version(version)
    return Type("structure", make=partial(_Segments, structure, version, header), title=structure)


@lru_cache(16)
def segments(version: str) -> frozenset[str]:
    """The names of a version's segments."""
    known = library(known_version(version)).SEGMENTS if installed() else {}
    return frozenset(
        name for name, reference in known.items() if _SEGMENT.fullmatch(name) and reference[0] == "sequence"
    )


def has_segment(name: str, version: str) -> bool:
    """Whether any version has it; ``version`` is looked at first."""
    return name in _LATER or any(name in segments(one) for one in _order(version))


@lru_cache(16)
def message_codes(version: str) -> frozenset[str]:
    """The message types (MSH-9.1) of a version: those of its structures and of HL7 table 0076."""
    if not installed():
        return frozenset()
    known = library(known_version(version))
    table = getattr(known, "TABLES", {}).get("HL70076", ("", ()))[1]
    return frozenset(name[:3] for name in (*known.MESSAGES, *table) if _SEGMENT.fullmatch(name[:3]))


def has_message(code: str, version: str) -> bool:
    """Whether any version has that message type; ``version`` is looked at first."""
    return any(code in message_codes(one) for one in _order(version))


class _Segments(Mapping[str, Type]):
    """The segments of a message. Iterates those of its structure and of its version; has those of every version."""

    def __init__(self, structure: str, version: str, header: bool) -> None:
        self._version, self._header = version, header
        self._here = _structure(structure, version)

    def __getitem__(self, name: str) -> Type:
        if _LOCAL.fullmatch(name) or name in _LATER:
            return Type(many=True)
        if not _SEGMENT.fullmatch(name) or not (name in self._here or has_segment(name, self._version)):
            raise KeyError(name)
        child = self._here.get(name, _Child(None, many=True))
        strict = self._header or name != "MSH"
        make = partial(_Parts, (name,), self._version, strict)
        return Type("structure", many=child.many, required=child.required and strict, make=make)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._here, *sorted(segments(self._version)))))

    def __len__(self) -> int:
        return len(segments(self._version) | set(self._here))


class _Parts(Mapping[str, Type]):
    """What is in a segment, field or component.

    Iterates what its version has, or the first that has any; has what any version has.
    """

    def __init__(self, path: Path, version: str, strict: bool) -> None:
        self._path, self._version, self._strict = path, version, strict

    def __getitem__(self, number: str) -> Type:
        last = _BY_AGREEMENT.get(self._path)
        if last is not None and number.isdecimal() and int(number) > last:
            return Type(many=True)
        found = _type((*self._path, number), self._version, self._strict)
        if found is None:
            raise KeyError(number)
        return found

    def __iter__(self) -> Iterator[str]:
        parts = (_inner(child.reference) for _, child in _places(self._path, self._version))
        return iter([name.rpartition("_")[2] for name, *_ in next(filter(None, parts), ())])

    def __len__(self) -> int:
        return len(list(iter(self)))


_DELIMITERS = (("MSH", "1"), ("MSH", "2"))
"""Required by HL7, but written by the codec and never by a mapping."""


@lru_cache(16384)
def _type(path: Path, version: str, strict: bool) -> Type | None:
    """The field or component, as the first version has it that does."""
    at, child = next(_places(path, version), ("", None))
    if child is None:
        return None
    kind, _, data_type, name, *_ = child.reference
    sort = _SORTS.get(data_type, "structure" if kind == "sequence" else "text")
    required = strict and at == version and child.required and path not in _DELIMITERS
    title = _title(name)
    if sort == "any" or (kind != "sequence" and len(path) == 4):
        return Type(sort, child.many, required, title=title)
    make: Callable[[], Mapping[str, Type]] = partial(_Parts, path, version, strict)
    if kind != "sequence":
        make = partial(_Whole, path, version, strict, _plain(sort, title, deep=4 - len(path)))
    return Type(sort, child.many, required, title=title, make=make)


class _Whole(_Parts):
    """The parts of a value that has none in its version: it is its own first, and others may have more.

    Iterates nothing.
    """

    def __init__(self, path: Path, version: str, strict: bool, whole: Type) -> None:
        super().__init__(path, version, strict)
        self._itself = whole

    def __getitem__(self, number: str) -> Type:
        return self._itself if number == "1" else super().__getitem__(number)

    def __iter__(self) -> Iterator[str]:
        return iter(())


def _plain(sort: Sort, title: str, deep: int) -> Type:
    """A value as its own first part, which has itself as its first part as deep as paths go."""
    return Type(sort, title=title, make=lambda: {"1": _plain(sort, title, deep - 1)} if deep > 1 else {})


def _title(name: str | None) -> str:
    words = (name or "").replace("_", " ").strip().capitalize()
    return re.sub(r"\bid\b", "ID", words, flags=re.IGNORECASE)


@lru_cache(1)
def installed() -> bool:
    """Whether hl7apy is."""
    return find_spec("hl7apy") is not None


def library(version: str) -> Any:
    """hl7apy's tables of one of ``VERSIONS``: SEGMENTS, MESSAGES, DATATYPES_STRUCTS and, from 2.3.1, TABLES."""
    from hl7apy import load_library

    return load_library(version)


def known_version(version: str) -> str:
    """The newest of ``VERSIONS`` that is not newer; of what is no version the newest."""
    try:
        wanted = _numbers(version.partition("^")[0])
    except ValueError:
        return VERSIONS[0]
    return next((one for one in VERSIONS if _numbers(one) <= wanted), VERSIONS[-1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.strip().split(".")))


@lru_cache(16)
def _order(version: str) -> tuple[str, ...]:
    """The version itself, then those before it, which have what was withdrawn, then those after it; each is large."""
    at = VERSIONS.index(known_version(version))
    return (*VERSIONS[at:], *VERSIONS[:at])


def _places(path: Path, version: str) -> Iterator[tuple[str, _Child]]:
    """What stands at a path in each version that has it; then what its data types have in other versions, without one.

    The second is for what was withdrawn, and for senders whose coded fields are newer than their version.
    """
    if len(path) == 1:
        yield from ((one, _Child(found)) for one in _order(version) if (found := library(one).SEGMENTS.get(path[0])))
        return
    data_types: dict[str, None] = {}
    for at, parent in _places(path[:-1], version):
        for name, inner, (least, most), _ in _inner(parent.reference):
            if name.rpartition("_")[2] == path[-1]:
                data_types |= dict.fromkeys((inner[2], _SUCCESSORS.get(inner[2], inner[2])))
                yield at, _Child(inner, least > 0, most != 1)
    for data_type in data_types:
        for one in _order(version):
            parts = getattr(library(one), "DATATYPES_STRUCTS", {}).get(data_type)
            if parts:
                yield "", _Child(("sequence", parts, data_type, None))


def _inner(reference: Any) -> list[Any]:
    """The parts of a reference without those that are withdrawn or only reserved."""
    if reference[0] != "sequence" or len(reference) < 2:
        return []
    return [part for part in reference[1] or () if part[2][1] != 0 and part[1][2] is not None]


@lru_cache(256)
def _structure(structure: str, version: str) -> Mapping[str, _Child]:
    """The segments of a message in their order."""
    *event, name = structure.split("^")
    messages = library(version).MESSAGES
    if name not in messages and event:
        name = f"{event[0]}_{name}"
    if name in messages:
        return _flat(messages[name])
    code = structure[:3]
    return _together([_flat(found) for key, found in messages.items() if key[:3] == code and "_" in key])


def _flat(reference: Any, *, required: bool = True, many: bool = False) -> dict[str, _Child]:
    """The segments of a message or group; one that stands at two places is ``many``, of a choice none is required."""
    found: dict[str, _Child] = {}
    required = required and reference[0] != "choice"
    for name, inner, (least, most), kind in reference[1] if len(reference) > 1 else ():
        child = _Child(None, required and least > 0, many or most != 1)
        below = {name: child} if kind == "SEG" else _flat(inner, required=child.required, many=child.many)
        for segment, one in below.items():
            twice = found.get(segment)
            found[segment] = _Child(None, one.required or twice.required, many=True) if twice else one
    return {name: child for name, child in found.items() if _SEGMENT.fullmatch(name)}


def _together(structures: list[dict[str, _Child]]) -> Mapping[str, _Child]:
    names = dict.fromkeys(name for structure in structures for name in structure)
    absent = _Child(None)
    return {name: _either([one.get(name, absent) for one in structures]) for name in names}


def _either(children: list[_Child]) -> _Child:
    return _Child(None, all(one.required for one in children), any(one.many for one in children))
