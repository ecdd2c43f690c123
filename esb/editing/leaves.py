"""Types flattened: every plain value that a request or an answer can hold, with the lists it stands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from esb.codecs.hl7v2 import Message, Segment
from esb.model import Tree
from esb.types import Sort, Type

MAX_DEPTH = 7
MAX_LEAVES = 2000
MAX_COMPONENTS = 30
_CARRIERS = ("MSH", "MSA", "ERR")
_LIST = re.compile(r"(?i)(list|entries|rows|records)$")
_DATE = re.compile(r"[12]\d{3}-\d\d-\d\d")
_MOMENT = re.compile(r"[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A plain value. ``lists`` are the lengths of those beginnings of ``path`` that are lists.

    ``titles`` are what its type and those around it are called, ``called`` its name where the path's last step is
    none; ``value`` is one that a sample holds.
    """

    path: tuple[str, ...]
    type: Type
    titles: tuple[str, ...] = ()
    lists: tuple[int, ...] = ()
    required: bool = False
    value: Tree = None
    called: str = ""

    @property
    def chain(self) -> tuple[tuple[str, ...], ...]:
        """The lists that it stands in, outermost first."""
        return tuple(self.path[:size] for size in self.lists)


Skip = Callable[[tuple[str, ...]], bool]


def leaves(type_: Type, sample: Tree = None, depth: int = MAX_DEPTH, skip: Skip = lambda path: False) -> list[Leaf]:
    """Every plain value of a type with its value in ``sample``, at most ``MAX_LEAVES`` and ``depth`` names deep.

    Paths that are to ``skip`` are left out, and all that is below them. A type without fields has none.
    """
    found: list[Leaf] = []
    for leaf in _leaves(Leaf((), type_, required=True, value=sample), depth, skip):
        found.append(leaf)
        if len(found) == MAX_LEAVES:
            break
    return found


def _leaves(at: Leaf, depth: int, skip: Skip) -> Iterator[Leaf]:
    if not at.type.fields:
        if at.path:
            yield at
        return
    for name, inner in at.type.fields.items() if len(at.path) < depth else ():
        path = (*at.path, name)
        if skip(path):
            continue
        lists = (*at.lists, len(path)) if inner.many else at.lists
        value = _first(at.value, name)
        required = at.required and inner.required
        called = at.path[-1] if name == "#text" and at.path else ""  # text with attributes is what its element is
        leaf = Leaf(path, inner, (*at.titles, inner.title), lists, required, value, called)
        yield from _leaves(leaf, depth, skip)


def _first(tree: Tree, name: str) -> Tree:
    """The child of that name; of a list the first item's that has it."""
    for item in tree if isinstance(tree, list) else [tree]:
        if isinstance(item, Mapping) and item.get(name) is not None:
            return item[name]
    return None


def type_of(tree: Tree, name: str = "", alone: str = "") -> Type:
    """What a sample says of the type of its like: names, lists, and the look of its values.

    One entry of a list looks like none in XML: what is named a list, or stands alone in the plural of its name, is one.
    """
    if isinstance(tree, list):
        inner = type_of(_merged(tree))
        return Type(inner.sort, many=True, required=True, make=inner.make)
    if isinstance(tree, Mapping):
        only = name if len(tree) == 1 else ""
        many = bool(_LIST.search(name) and not only) or (alone != name and alone.startswith(name[:-1]) and bool(alone))
        return Type(
            "structure",
            many=many,
            required=True,
            open=True,
            make=lambda: {key: type_of(value, key, only) for key, value in tree.items()},
        )
    return Type(_look(tree), required=True)


def _merged(items: list[Tree]) -> Tree:
    """One item that has what any of them has."""
    if not all(isinstance(item, Mapping) for item in items):
        return items[0] if items else None
    merged: dict[str, Any] = {}
    for item in items:
        merged |= {name: value for name, value in item.items() if merged.get(name) in (None, "")}
    return merged


def _look(value: Tree) -> Sort:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, Decimal):
        return "decimal"
    if isinstance(value, str):
        return "date" if _DATE.fullmatch(value) else "moment" if _MOMENT.match(value) else "text"
    return "any"


def message_leaves(message: Message, described: Type) -> list[Leaf]:
    """Every valued field of an HL7 v2 message by component, each segment once, with what the tables call it.

    A path is segment, field, component; of a field that repeats ``3[2]`` is the second.
    """
    found: list[Leaf] = []
    names = [segment.name for segment in message]
    for segment in {segment.name: segment for segment in reversed(list(message))}.values():
        if segment.name in _CARRIERS:
            continue
        for field in range(1, len(segment.fields())):
            found += _components(segment, field, described)
    return sorted(found, key=lambda leaf: names.index(leaf.path[0]))


def _components(segment: Segment, field: int, described: Type) -> Iterator[Leaf]:
    repeats = segment.repetitions(field)
    for at in range(1, repeats + 1):
        label = f"{field}[{at}]" if repeats > 1 else str(field)
        parts = {number: segment.get(field, at, number) for number in range(1, MAX_COMPONENTS + 1)}
        type_ = described.at((segment.name, str(field)))
        plain = segment.get(field, at) == parts[1] and not (isinstance(type_, Type) and type_.sort == "structure")
        for number, value in [(0, parts[1])] if plain else parts.items():
            if value:
                steps = (segment.name, str(field), *([str(number)] if number else []))
                yield _valued_field(steps, (segment.name, label, *steps[2:]), value, described)


def _valued_field(steps: tuple[str, ...], path: tuple[str, ...], value: str, described: Type) -> Leaf:
    """Every segment is a list: whether it comes once or more is the message's business."""
    found = [described.at(steps[: size + 1]) for size in range(len(steps))]
    types = [one if isinstance(one, Type) else Type("text") for one in found]
    last = replace(types[-1], sort="text") if types[-1].sort == "structure" else types[-1]
    return Leaf(path, last, tuple(one.title for one in types), (1,), value=value)
