"""Whether a message is as HL7, or a profile, has it. Never on the way of a message unless a route asks for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Final

from esb.codecs.hl7v2 import faults, rules, tables
from esb.codecs.hl7v2.faults import Fault
from esb.codecs.hl7v2.message import Header, Message, Segment
from esb.codecs.hl7v2.profile import Profile
from esb.codecs.hl7v2.repetition import NULL
from esb.codecs.hl7v2.rules import PartRule, Parts, SegmentRule
from esb.codecs.hl7v2.structure import MOST_SEGMENTS, Branch, Structure, structure, too_many, version_of
from esb.codecs.hl7v2.syntax import Syntax

MOST: Final = 1000
"""Findings of one message, and repetitions of one field that are looked at."""

_TIME = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,4})?)?)?"
_ZONE = r"(?:[+-](?:0\d|1[0-4])[0-5]\d)?"
_DATE = r"\d{4}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12]\d|3[01])%s)?)?"
_MOMENT: Final = re.compile(_DATE % f"(?:{_TIME})?" + _ZONE, re.ASCII)
_FORMS: Final = {
    "NM": re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)", re.ASCII),
    "SI": re.compile(r"\d{1,10}", re.ASCII),
    "DT": re.compile(_DATE % "", re.ASCII),
    "TM": re.compile(_TIME + _ZONE, re.ASCII),
    "TS": _MOMENT,
    "DTM": _MOMENT,
}
_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST_FORM: Final = 64
_FREE: Final = frozenset(("", "varies", "TX", "FT", "GTS", "SNM", "TN", "CM"))


def validate(message: Message, version: str = "", profile: Profile | None = None) -> list[Fault]:
    """What is wrong with a message by the tables of ``version`` (else of MSH-12, the newest that is not newer).

    With a ``profile`` that says what must be where instead. Segments and groups in their order, what is missing, data
    types, codes of HL7's own tables, lengths and repetitions. Segments whose names begin with Z are looked at only if
    the profile has them. At most the first 1,000 findings; of more than 20,000 segments it is the only one that nobody
    looked. Needs hl7apy unless there is a profile: raises
    ``LookupError`` without.
    """
    if profile is None and not tables.installed():
        raise LookupError("validation by HL7's own tables needs hl7apy: pip install hospital-esb[hl7]")
    return list(islice(_all(message, version, profile), MOST))


def _all(message: Message, version: str, profile: Profile | None) -> Iterator[Fault]:
    known = version_of(message, version)
    if too_many(message):
        yield Fault("MSH", 0, faults.OTHER, f"has more than {MOST_SEGMENTS:,} segments behind it: nobody looked")
        return
    laid_out = structure(message, known, profile.rule if profile else None)
    yield from _header(message, known, laid_out, profile)
    if laid_out:
        yield from laid_out.faults
    by_segment = dict(_rules(laid_out.root)) if laid_out else {}
    seen: Counter[str] = Counter()
    for segment in laid_out.root if laid_out else message:
        occurrence = seen[segment.name]
        seen[segment.name] += 1
        rule = by_segment.get(id(segment))
        parts = rule.fields if rule else None
        if parts is None and not profile:
            parts = rules.fields(segment.name, known)
        if parts is not None:
            for fault in _segment(segment, parts, message.syntax, known):
                yield replace(fault, segment=segment.name, occurrence=occurrence) if occurrence else fault
        elif not laid_out and not profile and not tables.has_segment(segment.name, known) and segment.name[:1] != "Z":
            yield Fault(segment.name[:10], occurrence, faults.SEQUENCE, "is no segment of HL7")
    for path in message.truncated():
        yield Fault(path, 0, faults.TOO_LONG, "was cut short by its sender", severity="W")


def _rules(branch: Branch) -> Iterator[tuple[int, SegmentRule]]:
    for child, place in zip(branch.children, branch.places, strict=True):
        if isinstance(child, Branch):
            yield from _rules(child)
        elif place >= 0:
            rule = branch.rule.children[place]
            if isinstance(rule, SegmentRule) and rule.name != rules.ANY_SEGMENT:
                yield id(child), rule


def _header(message: Message, version: str, laid_out: Structure | None, profile: Profile | None) -> Iterator[Fault]:
    said = message.get("MSH", 0, 12, 1, 1) or ""
    if said and said != version and said not in tables.VERSIONS:
        yield Fault(
            "MSH", 0, faults.VERSION, f"is no version of HL7 that is known, read as {version}", 12, severity="W"
        )
    code, event = (message.get("MSH", 0, 9, 1, number) or "" for number in (1, 2))
    if profile and profile.code and (code, event) != (profile.code, profile.event or event):
        yield Fault("MSH", 0, faults.MESSAGE_TYPE, f"is not {profile.code}^{profile.event}", 9)
    elif laid_out is None and code and code[:1] != "Z":
        if tables.has_message(code, version):
            yield Fault("MSH", 0, faults.EVENT, f"is no event of {code} in {version}", 9, component=2)
        else:
            yield Fault("MSH", 0, faults.MESSAGE_TYPE, f"is no message type of {version}", 9, component=1)


def _segment(segment: Segment, parts: Parts, syntax: Syntax, version: str) -> Iterator[Fault]:
    """Its faults, as those of the first of that name."""
    header = isinstance(segment, Header)
    fields = segment.cut(len(parts) + 1)
    if header:
        fields.insert(1, syntax.field)
    for number, rule in enumerate(parts, 1):
        if header and number < 3:
            continue
        wire = fields[number] if number < len(fields) else ""
        if rule.data_type == "varies" and segment.name == "OBX" and number == 5 and len(fields) > 2:
            rule = _varying(rule, fields[2], version)
        if wire or rule.usage == "R":
            yield from _field(rule, wire, Fault(segment.name, 0, 0, "", number), syntax)
    if any(rest.strip(syntax.field) for rest in fields[len(parts) + 1 :]):
        text = f"is more than {segment.name} has in {version}"
        yield Fault(segment.name, 0, faults.OTHER, text, len(parts) + 1, severity="W")


@lru_cache(512)
def _varying(rule: PartRule, data_type: str, version: str) -> PartRule:
    """OBX-5 is of the type that OBX-2 names."""
    return rule._replace(data_type=data_type[:10], parts=rules.components(data_type[:10], version))


def _field(rule: PartRule, wire: str, at: Fault, syntax: Syntax) -> Iterator[Fault]:
    if not wire:
        yield replace(at, code=faults.REQUIRED, text=f"{rule.title} is missing")
        return
    if rule.usage in ("W", "X"):
        if rule.usage == "X":
            yield replace(at, code=faults.OTHER, text=f"{rule.title} must not be there")
        return
    many = wire.count(syntax.repetition) + 1
    if rule.most != -1 and many > rule.most:
        yield replace(at, code=faults.CARDINALITY, text=f"{rule.title} is there {many} times, {rule.most} at most")
    elif many < rule.least:
        yield replace(at, code=faults.CARDINALITY, text=f"{rule.title} is there {many} times, {rule.least} at least")
    for number, repetition in enumerate(wire.split(syntax.repetition, MOST)[:MOST], 1):
        marks = (syntax.component, syntax.subcomponent)
        yield from _value(rule, repetition, replace(at, repetition=number), marks, syntax)


def _value(rule: PartRule, wire: str, at: Fault, marks: Sequence[str], syntax: Syntax) -> Iterator[Fault]:
    if wire in ("", NULL) or rule.usage == "W":
        return
    if rule.parts and marks:
        yield from _parts(rule, wire, at, marks, syntax)
    elif rule.data_type not in _FREE or rule.longest >= 0 or rule.constant:
        if not rule.parts and rule.data_type not in _FREE and any(mark in wire for mark in marks):
            text = f"{rule.title} has parts, but {rule.data_type} has none"
            yield replace(at, code=faults.DATA_TYPE, text=text, severity="W")
            wire = wire.split(marks[0], 1)[0]
        yield from _leaf(rule, wire, at, syntax)


def _parts(rule: PartRule, wire: str, at: Fault, marks: Sequence[str], syntax: Syntax) -> Iterator[Fault]:
    pieces = wire.split(marks[0], len(rule.parts))
    shallow = len(marks) == 2
    for number, part in enumerate(rule.parts, 1):
        piece = pieces[number - 1] if number <= len(pieces) else ""
        if not piece and part.usage != "R":
            continue
        here = replace(at, component=number) if shallow else replace(at, subcomponent=number)
        if not piece:
            yield replace(here, code=faults.REQUIRED, text=f"{part.title} is missing")
        elif part.usage == "X":
            yield replace(here, code=faults.OTHER, text=f"{part.title} must not be there")
        else:
            yield from _value(part, piece, here, marks[1:], syntax)
    if len(pieces) > len(rule.parts) and pieces[-1]:
        number = len(rule.parts) + 1
        here = replace(at, component=number) if shallow else replace(at, subcomponent=number)
        yield replace(here, code=faults.DATA_TYPE, text=f"is more than {rule.data_type} has", severity="W")


def _leaf(rule: PartRule, wire: str, at: Fault, syntax: Syntax) -> Iterator[Fault]:
    value = syntax.unescaped(wire) if syntax.escape in wire else wire
    if 0 <= rule.longest < len(value):
        yield replace(
            at, code=faults.TOO_LONG, text=f"{rule.title} has {len(value)} characters, {rule.longest} at most"
        )
    if rule.constant and value != rule.constant:
        yield replace(at, code=faults.TABLE, text=f"{rule.title} is not {rule.constant}")
    if not _well_formed(rule.data_type, value):
        yield replace(at, code=faults.DATA_TYPE, text=f"{rule.title} is no {rule.data_type}")
    elif rule.data_type == "ID" and rule.table:
        codes = rules.values(rule.table)
        if codes is not None and value not in codes:
            yield replace(at, code=faults.TABLE, text=f"{rule.title} is not in table {rule.table.removeprefix('HL7')}")


def _well_formed(data_type: str, value: str) -> bool:
    form = _FORMS.get(data_type)
    if form is None:
        return True
    if not form.fullmatch(value[:_LONGEST_FORM]) or len(value) > _LONGEST_FORM:
        return False
    return data_type not in ("DT", "TS", "DTM") or _on_the_calendar(value)


def _on_the_calendar(value: str) -> bool:
    digits = re.split(r"[.+-]", value, maxsplit=1)[0]
    if len(digits) < 8:
        return True
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= _MONTHS[month - 1] and (leap or month != 2 or day < 29)
