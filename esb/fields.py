"""Two trees by field: what differs, under which name, and how the values may be shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from esb.codecs import json
from esb.model import Tree
from esb.observe import mask

SAMPLES: Final = 3
"""How many exchanges a difference shows."""
NOTHING: Final[Any] = object()
"""The value of a field that is not there."""
EVERYTHING: Final = frozenset({""})
"""Hides every field."""

_HIDDEN: Final = "***"
_INDEX: Final = re.compile(r"\[[^\]]*]")
_HL7: Final = re.compile(r"[A-Z][A-Z0-9]{2}(\[\d+])?-\d")
_SEGMENT: Final = re.compile(r"^(\w{3})\[\d+]-")


@dataclass(frozen=True, slots=True)
class Sample:
    """One exchange in which a field differs, the values as they may be shown; None is not there."""

    exchange: str
    before: str | None
    after: str | None


@dataclass(slots=True)
class Difference:
    """A field that differs, by its name, in ``exchanges`` of the ``compared`` of its operation.

    ``side`` is ``sends``, or ``answers`` for what is understood.
    """

    operation: str
    side: str
    name: str
    exchanges: int = 0
    compared: int = 0
    samples: list[Sample] = field(default_factory=list)


def changes(before: Mapping[str, Tree], after: Mapping[str, Tree]) -> Iterator[tuple[str, Tree, Tree]]:
    """The name of each field that differs, once, with its first two values: the items of a list are one field.

    The paths are those of ``flat``.
    """
    seen: set[str] = set()
    for path in dict.fromkeys((*before, *after)):
        one, other = before.get(path, NOTHING), after.get(path, NOTHING)
        name = named(path)
        if name not in seen and one is not other and not _equal(one, other):
            seen.add(name)
            yield name, one, other


def shown(value: Tree, *, hidden: bool) -> str | None:
    """A value for people: by its form alone where it is a patient's; None where it is not there."""
    if value is NOTHING:
        return None
    text = value if isinstance(value, str) else json.encode(value).decode()
    return form(text) if hidden else mask(text)


def within(name: str, names: Collection[str]) -> bool:
    """Whether a field is one of these or lies below one."""
    return any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in names)


def form(text: str) -> str:
    """Digits as 9 and letters as x where there are digits; nothing of a word, whose length alone may tell it."""
    if not any(character.isdigit() for character in text):
        return _HIDDEN if text else ""
    shape = ("9" if each.isdigit() else "x" if each.isalpha() else each for each in text[:40])
    return "".join(shape) + ("..." if len(text) > 40 else "")


def named(path: str) -> str:
    """The field of a path, whichever item of a list or segment of its kind it is in."""
    return _SEGMENT.sub(r"\1[]-", path) if _HL7.match(path) else _INDEX.sub("[]", path)


def dotted(path: Collection[str]) -> str:
    """A path of the contract, ``*`` for every item, as the name of a field: ``items[].patient.name``."""
    return "".join("[]" if step == "*" else f".{step}" for step in path).removeprefix(".")


def flat(tree: Tree, path: str = "") -> dict[str, Tree]:
    """Every plain value by its path: ``items[0].fee``; of a list of HL7 segments by the field: ``PID-3.1``."""
    if isinstance(tree, list) and not path and all(isinstance(one, dict) for one in tree):
        return _segments(tree)
    found: dict[str, Tree] = {}
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            found |= flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list) and tree:
        for at, value in enumerate(tree):
            found |= flat(value, f"{path}[{at}]")
    elif path:
        found[path] = tree
    return found


def _segments(rows: list[dict[str, Any]]) -> dict[str, Tree]:
    """A second segment of the same name is counted, as in a path: ``OBX[1]-5``."""
    found: dict[str, Tree] = {}
    for row in rows:
        for name, value in row.items():
            segment, _, rest = str(name).partition("-")
            at = next(at for at in range(len(rows) + 1) if f"{segment}{f'[{at}]' if at else ''}-{rest}" not in found)
            found |= flat(value, f"{segment}{f'[{at}]' if at else ''}-{rest}")
    return found


def _equal(one: Tree, other: Tree) -> bool:
    numbers = (int, Decimal)
    alike = type(one) is type(other) or (isinstance(one, numbers) and isinstance(other, numbers))
    return alike and bool(one == other)
