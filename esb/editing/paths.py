"""Leaves as the mapping language writes them: paths of expressions and names of targets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from esb.editing.leaves import Leaf

_NAME = re.compile(r"@?\w+|#text")
_FIRST = re.compile(r"@?\w+")

Chain = tuple[tuple[str, ...], ...]


def ours_as_path(leaf: Leaf) -> str:
    """A field of the canonical request or of the exchange: ``$slot.start``."""
    return "$" + ".".join(leaf.path)


def target(leaf: Leaf, style: str) -> str:
    """The name of a field that is sent: of HL7 v2 ``PID-3.1``, otherwise the last step."""
    if style != "segments":
        return leaf.path[-1]
    segment, field, *rest = leaf.path
    return f"{segment}-{'.'.join((field, *rest))}"


def theirs_as_path(leaf: Leaf, names: Mapping[tuple[str, ...], str], hl7: bool) -> str:
    """A field of their answer, from the loop that it stands in: ``$s.Title``, ``$p-5.1``, ``$category[0].code``.

    ``names`` are the variables of the lists that are gone through. Of another list the first item is taken.
    """
    size, start = max(
        ((len(path), name) for path, name in names.items() if leaf.path[: len(path)] == path), default=(0, "")
    )
    rest = leaf.path[size:]
    if hl7:
        return _hl7(start, rest)
    text = f"${start}" if start else ""
    for at, step in enumerate(rest, size + 1):
        text += _step(step, first=not text) + ("[0]" if at in leaf.lists else "")
    return text


def _step(step: str, first: bool) -> str:
    if first:
        return f"${step}" if _FIRST.fullmatch(step) else f"$answer{_step(step, first=False)}"
    return f".{step}" if _NAME.fullmatch(step) else f".'{step}'"


def _hl7(start: str, rest: tuple[str, ...]) -> str:
    head = start or rest[0]
    field = rest if start else rest[1:]
    return f"${head}-{'.'.join(field)}"
