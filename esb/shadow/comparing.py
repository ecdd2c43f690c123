"""What a shadow answers beside what the caller was answered, by field of the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from esb.contract import Operation
from esb.errors import Outcome
from esb.fields import NOTHING, changes, dotted, shown, within
from esb.model import Tree


class Answered(NamedTuple):
    """How an exchange ended for who asked: what of it is compared."""

    outcome: Outcome
    code: str
    body: Tree


class Differs(NamedTuple):
    """A field that differs and its values as they may be shown; None where it is not there."""

    field: str
    live: str | None
    shadow: str | None


def differing(
    live: Answered, shadow: Answered, operation: Operation, ignored: Collection[str] = (), match: Sequence[str] = ()
) -> list[Differs]:  # fmt: skip
    """Every field that differs and is not ignored, once; the outcome alone where that differs."""
    if live.outcome is not shadow.outcome:
        return [Differs("outcome", *(_said(one) for one in (live, shadow)))]
    if live.outcome is not Outcome.DONE:
        return [] if live.code == shadow.code else [Differs("code", live.code, shadow.code)]
    of_patients = {dotted(path) for path in operation.answer_phi}
    before, after = aligned(live.body, shadow.body, match)
    return [
        Differs(name, *(_shown(name, value, of_patients) for value in values))
        for name, *values in changes(before, after)
        if not within(name, ignored)
    ]


def aligned(one: Tree, other: Tree, match: Sequence[str] = ()) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Both by path, as ``fields.flat``; the items of a list by their id where they have one, so that order is nothing.

    The id of an item is what it has at ``match``, else its ``id``, else the first of its fields that end in ``Id`` or
    ``No``: one that every item of both lists has, no two alike in one list. Without any the items are compared in their
    order. What one side alone has is one path, whatever it holds.
    """
    found: tuple[dict[str, Tree], dict[str, Tree]] = ({}, {})
    for path, *values in _leaves(one, other, "", match):
        for side, value in zip(found, values, strict=True):
            if value is not NOTHING:
                side[path] = value
    return found


def _leaves(one: Tree, other: Tree, path: str, match: Sequence[str]) -> Iterator[tuple[str, Tree, Tree]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys((*one, *other)):
            below = f"{path}.{name}" if path else str(name)
            yield from _leaves(one.get(name, NOTHING), other.get(name, NOTHING), below, match)
    elif isinstance(one, list) and isinstance(other, list):
        items, others = _by_id(one, other, match)
        for key in dict.fromkeys((*items, *others)):
            yield from _leaves(items.get(key, NOTHING), others.get(key, NOTHING), f"{path}[{key}]", match)
    else:
        yield path, one, other


def _by_id(one: list[Tree], other: list[Tree], match: Sequence[str]) -> tuple[dict[Any, Tree], dict[Any, Tree]]:
    names = _names_of_id([*one, *other], match)
    for ids in names:
        items, others = ({_id(item, ids): item for item in items} for items in (one, other))
        if len(items) == len(one) and len(others) == len(other):
            return items, others
    return dict(enumerate(one)), dict(enumerate(other))


def _names_of_id(items: list[Tree], match: Sequence[str]) -> Iterator[Sequence[str]]:
    """Fields, or several together, that every item has with a plain value."""
    if not items or not all(isinstance(item, Mapping) for item in items):
        return
    ids = [name for name in items[0] if name == "id" or name.endswith(("Id", "No"))]
    for names in (match, *([name] for name in sorted(ids, key=lambda one: one != "id"))):
        if names and all(isinstance(item.get(name), str | int) for item in items for name in names):
            yield names


def _id(item: Mapping[str, Tree], names: Sequence[str]) -> str:
    return " ".join(str(item[name]) for name in names).replace("]", "")


def _said(answered: Answered) -> str:
    return f"{answered.outcome} ({answered.code})" if answered.code else str(answered.outcome)


def _shown(name: str, value: Tree, of_patients: Collection[str]) -> str | None:
    if isinstance(value, Mapping | list):
        return "(there)"
    return shown(value, hidden=within(name, of_patients))
