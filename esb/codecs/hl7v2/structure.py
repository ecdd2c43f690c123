"""The groups of a message as its structure has them, however much of it the message follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from esb.codecs.hl7v2 import faults, tables
from esb.codecs.hl7v2.faults import Fault
from esb.codecs.hl7v2.groups import Group
from esb.codecs.hl7v2.message import Message, Segment
from esb.codecs.hl7v2.rules import ANY_SEGMENT, GroupRule, SegmentRule, standard, structure_name

Child: TypeAlias = "Segment | Branch"

MOST_SEGMENTS: Final = 20_000


@dataclass(eq=False, slots=True)
class Branch:
    """A message or a group of it: its segments and groups in order.

    ``places`` are the numbers of the rule's children that they stand for, -1 for one that does not belong there.
    """

    name: str
    rule: GroupRule
    children: list[Child] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def groups(self, name: str) -> list[Branch]:
        """Its groups of that name, with or without the structure's in front: ``ORU_R01_PATIENT`` or ``PATIENT``."""
        return [child for child in self.children if isinstance(child, Branch) and _named(child.name, name)]

    def segments(self, name: str) -> list[Segment]:
        """Its own segments of that name, not those of its groups."""
        return [child for child in self.children if isinstance(child, Segment) and child.name == name]

    def __iter__(self) -> Iterator[Segment]:
        """Every segment in it, in order."""
        for child in self.children:
            if isinstance(child, Branch):
                yield from child
            else:
                yield child

    @property
    def group(self) -> Group:
        """The same as ``groups`` gives it, read like a message."""
        return Group(list(self))


def _named(full: str, name: str) -> bool:
    return full == name or full.endswith(f"_{name}")


@dataclass(frozen=True, slots=True)
class Structure:
    """A message laid out. ``faults`` says which segments do not fit, are there too often or are missing."""

    name: str
    root: Branch
    faults: list[Fault]


def too_many(message: Message) -> bool:
    """Whether it has too many segments to be laid out: each costs a hundred times the four bytes that it may have."""
    return bool(max(map(message.raw.count, (b"\r", b"\n"))) > MOST_SEGMENTS)


def name_of(message: Message, version: str = "") -> str | None:
    """The structure that MSH-9 means, by the tables of that version or MSH-12; None when it is unknown."""
    parts = [message.get("MSH", 0, 9, 1, number) or "" for number in (1, 2, 3)]
    return structure_name(parts[0], parts[1], parts[2], version_of(message, version))


def version_of(message: Message, version: str = "") -> str:
    """The tables to use: those of ``version``, of MSH-12, or the newest that are not newer."""
    return tables.known_version(version or message.get("MSH", 0, 12, 1, 1) or "")


def structure(message: Message, version: str = "", rule: GroupRule | None = None) -> Structure | None:
    """The message by groups, as its structure in that version (else MSH-12) has them, or as ``rule`` does.

    A segment that does not fit where it stands is kept there, in the group that was open, and reported; those whose
    names begin with Z, and ADD, may be anywhere. None when the structure is unknown, or the message has more than
    ``MOST_SEGMENTS``. Needs hl7apy unless there is a ``rule``.
    """
    if too_many(message):
        return None
    if rule is None:
        name = name_of(message, version)
        if name is None:
            return None
        rule = standard(name, version_of(message, version))
    root = Branch(rule.name, rule)
    found = [*_laid_out(message, root), *_missing(root, Counter())]
    return Structure(rule.name, root, found)


def _laid_out(message: Message, root: Branch) -> Iterator[Fault]:
    stack = [root]
    seen: Counter[str] = Counter()
    for segment in message:
        if not _place(stack, segment):
            stack[-1].children.append(segment)
            stack[-1].places.append(-1)
            if segment.name[:1] != "Z" and segment.name != "ADD":
                yield _misplaced(segment.name, seen[segment.name], root)
        seen[segment.name] += 1


def _misplaced(name: str, occurrence: int, root: Branch) -> Fault:
    known = root.rule.has(name)
    text = f"is not expected here in {root.name}" if known else f"is no segment of {root.name}"
    return Fault(name[:10], occurrence, faults.SEQUENCE, text)


def _place(stack: list[Branch], segment: Segment) -> bool:
    """Put it into the innermost open group that can take it, first as a beginning, then anywhere in a group."""
    for strict in (True, False):
        for depth in range(len(stack) - 1, -1, -1):
            number = _next(stack[depth], segment.name, strict)
            if number is not None:
                del stack[depth + 1 :]
                _enter(stack, number, segment, strict)
                return True
    return False


def _next(branch: Branch, name: str, strict: bool) -> int | None:
    """The number of the rule's child that takes that segment, not before the last one that took any."""
    rule = branch.rule
    last = next((place for place in reversed(branch.places) if place >= 0), -1)
    if rule.choice and last >= 0:
        return last if rule.children[last].most != 1 and rule.children[last].has(name) else None
    for number in range(max(last, 0), len(rule.children)):
        child = rule.children[number]
        if not (child.begins_with(name) if strict else child.has(name)):
            continue
        if number > last or child.most == -1 or branch.places.count(number) < child.most:
            return number
    return None


def _enter(stack: list[Branch], number: int, segment: Segment, strict: bool) -> None:
    """Open the groups that lead to it."""
    while True:
        branch = stack[-1]
        rule = branch.rule.children[number]
        branch.places.append(number)
        if isinstance(rule, SegmentRule):
            branch.children.append(segment)
            return
        inner = Branch(rule.name, rule)
        branch.children.append(inner)
        stack.append(inner)
        found = _next(inner, segment.name, strict)
        number = found if found is not None else _next(inner, segment.name, False) or 0


def _missing(branch: Branch, seen: Counter[str]) -> Iterator[Fault]:
    """What the rule requires of the groups that are there; ``seen`` counts the segments before."""
    rule = branch.rule
    present = set(branch.places)
    if rule.choice:
        if not any(place >= 0 for place in present) and rule.least:
            yield Fault(rule.children[0].first, 0, faults.SEQUENCE, f"or another of {rule.name} is missing")
    else:
        for number, child in enumerate(rule.children):
            if child.least and number not in present and child.first != ANY_SEGMENT:
                yield Fault(child.first, seen[child.first], faults.SEQUENCE, f"is missing in {rule.name}")
    for inside in branch.children:
        if isinstance(inside, Branch):
            yield from _missing(inside, seen)
        else:
            seen[inside.name] += 1
