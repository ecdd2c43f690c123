"""What an expression gives before there is any data: types from the contract and from the systems' own schemas.

Everything is judged by what is certain: a type that is not known fits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from esb.codecs.yaml import PathTuple, nearest
from esb.mapping.codes import Lookup
from esb.mapping.facts import NOTHING, Facts
from esb.mapping.functions import FUNCTIONS
from esb.mapping.nodes import (
    Both,
    Choice,
    Compare,
    Component,
    Default,
    Either,
    Field,
    Index,
    Key,
    ListOf,
    Literal,
    Node,
    Not,
    Path,
    Pipe,
    Step,
)
from esb.mapping.shape import Expression
from esb.types import ANY, Lost, Sort, Type

Names: TypeAlias = Mapping[str, Type]
"""Root or variable -> its type."""

WORDS: Final[Mapping[Sort, str]] = {
    "any": "anything",
    "structure": "a structure",
    "text": "text",
    "integer": "a whole number",
    "decimal": "a number",
    "truth": "true or false",
    "date": "a date",
    "time": "a time of day",
    "moment": "a time",
    "ts": "an HL7 time stamp",
    "bytes": "bytes",
}

_WHOLES: Final = {"request": "the contract's request", "answer": "the answer", "message": "the message"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem is: a node of a document, a character of its text, or its key."""

    file: str
    path: PathTuple
    text: str = ""
    offset: int = 0
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What cannot be right, wherever the data comes from."""

    place: Place
    message: str
    hint: str = ""


class Typist:
    """Types of expressions; ``problems`` are what it found wrong."""

    def __init__(self, resources: Callable[[str], Type]) -> None:
        self.resources = resources
        self.problems: dict[Problem, None] = {}
        self.general = False
        """Inside a part, which serves several types: there only what no use of it can have is wrong."""
        self.facts: Facts = NOTHING

    @contextmanager
    def inside(self, facts: Facts, *, general: bool = False) -> Iterator[None]:
        """Where ``facts`` hold, and no others."""
        outside = self.facts, self.general
        self.facts, self.general = facts, self.general or general
        yield
        self.facts, self.general = outside

    def of(self, expression: Expression, names: Names) -> Type:
        """The type of an expression where these names are known."""
        return _Reading(self, expression, names).of(expression.node)

    def condition(self, expression: Expression, names: Names) -> None:
        """The same of a condition, which is true or false, or asks with ``$path?`` whether something is there."""
        _Reading(self, expression, names).condition(expression.node)

    def add(self, place: Place, message: str, hint: str = "") -> None:
        self.problems.setdefault(Problem(place, message, hint))


@dataclass(frozen=True, slots=True)
class _Reading:
    typist: Typist
    expression: Expression
    names: Names

    def of(self, node: Node) -> Type:
        match node:
            case Literal():
                return literal(node.value)
            case ListOf(items):
                return replace(_either([self.of(item) for item in items]), many=True)
            case Path():
                return self._path(node)
            case Pipe():
                return self._pipe(node)
            case Default(value, otherwise):
                return _either([self.of(value), self.of(otherwise)])
            case Compare():
                self._compare(node)
            case Both(left, right) | Either(left, right):
                self.condition(left)
                with self.typist.inside(self.typist.facts.after(left, isinstance(node, Both))):
                    self.condition(right)
            case Not(value):
                self.condition(value)
        return Type("truth")

    def condition(self, node: Node) -> None:
        found = self.of(node)
        asks = isinstance(node, Path) and node.optional
        if not asks and (found.many or found.sort not in ("truth", "any")):
            what = "a list" if found.many else WORDS[found.sort]
            offset = node.offset if isinstance(node, Path | Pipe) else 0
            self._wrong(
                offset, f"a condition is true or false, not {what}", "compare it, or ask with '$path?' if it is there"
            )

    def _wrong(self, offset: int, message: str, hint: str = "") -> None:
        at = self.expression
        self.typist.add(Place(at.file, at.path, at.text, offset), message, hint)

    def _path(self, path: Path) -> Type:
        found = self.names.get(path.root, ANY)
        for step in path.steps:
            if found.many and found.sort != "any" and isinstance(step, Key | Choice):
                hint = "go over it with $each, or take one with [0] or '| first'"
                self._wrong(path.offset, f"'{path.text}': a list has no '{step.name}'", hint)
                return ANY
            inner = _step(found, step)
            if isinstance(inner, Lost) and self.typist.general and path.optional:
                return ANY
            if isinstance(inner, Lost):
                hint = nearest(inner.step, inner.known)
                whole = _WHOLES.get(path.root, "what it is taken from")
                self._wrong(path.offset, f"'{path.text}': {whole} has no '{inner.step}'", hint)
                return ANY
            found = inner
        words = self.typist.facts.words(path.text, found.words) if found.sort in ("text", "any") else found.words
        return replace(found, required=not path.optional, words=words)

    def _pipe(self, pipe: Pipe) -> Type:
        given = self.of(pipe.value)
        for argument in pipe.arguments:
            self.of(argument)
        lookup = pipe.call if isinstance(pipe.call, Lookup) else getattr(pipe.call, "__self__", None)
        if isinstance(lookup, Lookup):
            return self._lookup(pipe, lookup, given)
        function = FUNCTIONS[pipe.name]
        takes_list, _ = function.many
        if given.many and not takes_list and function.takes:
            self._wrong(
                pipe.offset, f"'{pipe.name}' takes one value, not a list", "take one with '| first', or use $each"
            )
        elif not function.fits(given.sort):
            self._wrong(pipe.offset, f"'{pipe.name}' does not take {WORDS[given.sort]}")
        if pipe.name == "resources" and isinstance(pipe.arguments[0], Literal):
            return replace(self.typist.resources(pipe.arguments[0].value), many=True)
        return function.result(given)

    def _lookup(self, pipe: Pipe, lookup: Lookup, given: Type) -> Type:
        if given.many or given.sort in ("structure", "truth"):
            what = "a list" if given.many else WORDS[given.sort]
            self._wrong(pipe.offset, f"'{pipe.name}' takes a word, not {what}")
        if lookup.broken:
            return Type("text")
        missing = [word for word in given.words if word not in lookup]
        if missing and lookup.default is None and not pipe.may_miss:
            hint = f"add it to mappings/codes/{lookup.table}.yaml, give the table a default, or write '{pipe.name}?'"
            self._wrong(pipe.offset, f"code table '{lookup.table}' has nothing for {_list(missing)}", hint)
        results = {lookup[word] for word in given.words if word in lookup} if given.words else set(lookup.values())
        default = () if lookup.default is None else (lookup.default,)
        return Type("text", words=tuple(dict.fromkeys([*sorted(results), *default])))

    def _compare(self, node: Compare) -> None:
        left, right = self._compared(node.left), self._compared(node.right)
        for value, other in ((node.left, right), (node.right, left)):
            if isinstance(value, Literal):
                self._never(node, value, other)
            elif isinstance(value, ListOf) and value.items and all(isinstance(item, Literal) for item in value.items):
                for item in value.items:
                    self._never(node, item, other)

    def _compared(self, node: Node) -> Type:
        """The type of one side; a condition may ask again what those before it have settled."""
        if not isinstance(node, Path):
            return self.of(node)
        with self.typist.inside(replace(self.typist.facts, never={})):
            return self._path(node)

    def _never(self, node: Compare, value: Node, other: Type) -> None:
        """A constant that the other side cannot be is a condition that never holds, or always fails."""
        assert isinstance(value, Literal)
        mine = literal(value.value)
        if other.many and node.operator != "in":
            self._wrong(node.offset, "a list is not compared", "count it: '| count == 0'")
        elif other.sort in _APART.get(mine.sort, ()):
            self._wrong(node.offset, f"compares {WORDS[other.sort]} with {WORDS[mine.sort]}")
        elif other.words and not self.typist.general and mine.sort == "text" and value.value not in other.words:
            hint = nearest(str(value.value), other.words) or f"it is one of {_list(other.words)}"
            self._wrong(node.offset, f"it is never '{value.value}'", hint)


_APART: Final[Mapping[Sort, tuple[Sort, ...]]] = {
    "text": ("integer", "decimal", "truth", "structure", "bytes"),
    "integer": ("text", "date", "time", "moment", "ts", "truth", "structure", "bytes"),
    "decimal": ("text", "date", "time", "moment", "ts", "truth", "structure", "bytes"),
    "truth": ("text", "integer", "decimal", "date", "time", "moment", "ts", "structure", "bytes"),
}
"""What a constant of a sort is never equal to."""


def literal(value: object) -> Type:
    """The type of a constant."""
    if isinstance(value, bool):
        return Type("truth", required=True)
    if isinstance(value, int):
        return Type("integer", required=True)
    if isinstance(value, str):
        return Type("text", required=True, words=(value,))
    return ANY if value is None else Type("decimal", required=True)


def _step(found: Type, step: Step) -> Type | Lost:
    match step:
        case Index():
            return replace(found, many=False)
        case Key(name):
            return found.at([name])
        case Choice(name):
            return found.at([f"{name}[x]"])
        case Field(field, repetition, component, sub):
            inner = found.at([str(number) for number in (field, component, sub) if number])
            return inner if isinstance(inner, Lost) else _whole(inner, many=repetition == 0, apart=not component)
        case Component(component, sub):
            inner = found.at([str(number) for number in (component, sub) if number])
            return inner if isinstance(inner, Lost) else _whole(inner, many=False, apart=False)


def _whole(found: Type, *, many: bool, apart: bool) -> Type:
    """An HL7 value: a text, of numbers too, with its delimiters; unless it is a list of repetitions taken apart."""
    if many and apart:
        return replace(found, many=True)
    return replace(found, many=many, sort=found.sort if found.sort in ("any", "ts") else "text", make=None)


def _either(types: Iterable[Type]) -> Type:
    """What is true of all of them."""
    found = list(types)
    if not found or any(one.sort != found[0].sort or one.many != found[0].many for one in found):
        return ANY
    words = tuple(dict.fromkeys(word for one in found for word in one.words))
    return replace(found[0], words=words if all(one.words for one in found) else ())


def _list(words: Iterable[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return ", ".join(quoted[:8]) + (f" and {len(quoted) - 8} more" if len(quoted) > 8 else "")
