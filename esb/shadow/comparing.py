"""What a shadow answers beside what the caller was answered, by field of the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
    live: Answered, shadow: Answered, operation: Operation, ignored: Collection[str] = ()
) -> list[Differs]:  # fmt: skip
    """Every field that differs and is not ignored, once; the outcome alone where that differs."""
    if live.outcome is not shadow.outcome:
        return [Differs("outcome", *(_said(one) for one in (live, shadow)))]
    if live.outcome is not Outcome.DONE:
        return [] if live.code == shadow.code else [Differs("code", live.code, shadow.code)]
    of_patients = {dotted(path) for path in operation.answer_phi}
    before, after = aligned(live.body, shadow.body)
    return [
        Differs(name, *(_shown(name, value, of_patients) for value in values))
        for name, *values in changes(before, after)
        if not within(name, ignored)
    ]


def aligned(one: Tree, other: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Both by path, as ``fields.flat``; the items of a list by their id where they have one, so that order is nothing.

    An item is known by its ``id``, else by the first of its fields ending in ``Id`` or ``No`` that every item of both
    lists has, no two alike in one list. Without such a field the items are compared in their order. What one side alone
    has is one path, whatever it holds.
    """
    found: tuple[dict[str, Tree], dict[str, Tree]] = ({}, {})
    for path, *values in _leaves(one, other, ""):
        for side, value in zip(found, values, strict=True):
            if value is not NOTHING:
                side[path] = value
    return found


def _leaves(one: Tree, other: Tree, path: str) -> Iterator[tuple[str, Tree, Tree]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys((*one, *other)):
            below = f"{path}.{name}" if path else str(name)
            yield from _leaves(one.get(name, NOTHING), other.get(name, NOTHING), below)
    elif isinstance(one, list) and isinstance(other, list):
        items, others = _by_id(one, other)
        for key in dict.fromkeys((*items, *others)):
            yield from _leaves(items.get(key, NOTHING), others.get(key, NOTHING), f"{path}[{key}]")
    else:
        yield path, one, other


def _by_id(one: list[Tree], other: list[Tree]) -> tuple[dict[Any, Tree], dict[Any, Tree]]:
    name = _id_of([one, other])
    if name is None:
        return dict(enumerate(one)), dict(enumerate(other))
    return tuple({str(item[name]).replace("]", ""): item for item in items} for items in (one, other))  # type: ignore[return-value]


def _id_of(lists: list[list[Tree]]) -> str | None:
    items = [item for each in lists for item in each]
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    ids = [name for name in items[0] if name == "id" or name.endswith(("Id", "No"))]
    names = sorted(ids, key=lambda one: one != "id")
    return next((name for name in names if all(_tells_apart(each, name) for each in lists)), None)


def _tells_apart(items: list[Tree], name: str) -> bool:
    values = [item.get(name) for item in items]
    return all(isinstance(value, str | int) for value in values) and len(set(map(str, values))) == len(values)


def _said(answered: Answered) -> str:
    return f"{answered.outcome} ({answered.code})" if answered.code else str(answered.outcome)


def _shown(name: str, value: Tree, of_patients: Collection[str]) -> str | None:
    if isinstance(value, Mapping | list):
        return "(there)"
    return shown(value, hidden=within(name, of_patients))
