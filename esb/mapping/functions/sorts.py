"""What the annotations of a function say to lint: which sorts its piped value may have, and what it gives.

``value: Numeric`` and ``-> Moment`` are all a function writes; at run time they are ``Tree`` and ``str``. ``list[...]``
around the first means that a list is taken as one value, around the second that a list comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from esb.model import Tree
from esb.types import ANY, Sort, Type

AnyText: TypeAlias = Tree
PlainText: TypeAlias = Tree
Numeric: TypeAlias = Tree
Whole: TypeAlias = Tree
When: TypeAlias = Tree
Stamp: TypeAlias = Tree
Struct: TypeAlias = Tree
Blob: TypeAlias = Tree
Pointer: TypeAlias = Tree

Text: TypeAlias = str
Date: TypeAlias = str
Clock: TypeAlias = str
Moment: TypeAlias = str
Ts: TypeAlias = str
Item: TypeAlias = Tree
Same: TypeAlias = Tree
Groups: TypeAlias = list[Tree]
Numbered: TypeAlias = list[Tree]
Pairs: TypeAlias = list[Tree]
NameParts: TypeAlias = dict[str, Tree]
Link: TypeAlias = dict[str, Tree]

_TEXTS: Final[frozenset[Sort]] = frozenset(("text", "date", "time", "moment", "ts"))

TAKES: Final[Mapping[str, frozenset[Sort]]] = {
    "AnyText": _TEXTS,
    "PlainText": frozenset(("text",)),
    "Numeric": frozenset(("text", "integer", "decimal")),
    "Whole": frozenset(("integer",)),
    "When": frozenset(("text", "date", "moment")),
    "Stamp": frozenset(("text", "ts")),
    "Struct": frozenset(("structure",)),
    "Blob": _TEXTS | {"bytes"},
    "Pointer": frozenset(("text", "structure")),
}
"""Annotation of a piped value -> its sorts; any other annotation, ``Tree`` for one, takes everything."""


def _structure(**fields: Type) -> Type:
    return Type("structure", make=lambda: fields)


def _plain(sort: Sort) -> Callable[[Type], Type]:
    return lambda _: Type(sort)


GIVES: Final[Mapping[str, Callable[[Type], Type]]] = {
    "str": _plain("text"),
    "Text": _plain("text"),
    "int": _plain("integer"),
    "bool": _plain("truth"),
    "Decimal": _plain("decimal"),
    "bytes": _plain("bytes"),
    "Date": _plain("date"),
    "Clock": _plain("time"),
    "Moment": _plain("moment"),
    "Ts": _plain("ts"),
    "Item": lambda given: replace(given, many=False),
    "Same": lambda given: given,
    "Groups": lambda given: replace(_structure(key=ANY, items=replace(given, many=True)), many=True),
    "Numbered": lambda given: replace(_structure(number=Type("integer"), item=replace(given, many=False)), many=True),
    "Pairs": lambda _: replace(_structure(key=Type("text"), value=ANY), many=True),
    "NameParts": lambda _: _structure(family=Type("text"), given=Type("text")),
    "Link": lambda _: _structure(reference=Type("text")),
}
"""Annotation of a result -> the type it has for a piped value of some type; any other annotation gives ``ANY``."""

_CALLABLE = re.compile(r"Callable\[\[(.*?)\], (.*)\]")
_LIST = re.compile(r"list\[(.*)\]")


class Signature(NamedTuple):
    """Sorts of the piped value (none is every sort), whether a list is one value, and what comes out."""

    takes: frozenset[Sort]
    takes_list: bool
    gives: Callable[[Type], Type]


def signature(value: str, result: str) -> Signature:
    """The annotations of the piped value and of the result; those of a prepared function stand in its result."""
    if match := _CALLABLE.fullmatch(result):
        value, result = match.groups()
    listed, many = _LIST.fullmatch(value), _LIST.fullmatch(result.removesuffix(" | None"))
    takes = TAKES.get(listed[1] if listed else value, frozenset[Sort]())
    gives = GIVES.get(many[1] if many else result.removesuffix(" | None"), _plain("any"))
    return Signature(takes, bool(listed), _many(gives) if many else gives)


def _many(gives: Callable[[Type], Type]) -> Callable[[Type], Type]:
    return lambda given: replace(gives(given), many=True)
