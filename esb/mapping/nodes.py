"""What an expression is made of, after its names are resolved: frozen nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias


class Key(NamedTuple):
    name: str


class Index(NamedTuple):
    at: int


class Field(NamedTuple):
    """An HL7 field, all counted from 1; repetition 0 is all of them, component and sub 0 the whole."""

    field: int
    repetition: int = 1
    component: int = 0
    sub: int = 0


class Component(NamedTuple):
    """A component and a sub-component of an HL7 repetition, counted from 1; sub 0 is the whole component.

    Of anything else the keys that are written with these digits.
    """

    component: int
    sub: int = 0


class Choice(NamedTuple):
    """A FHIR element whose name ends with its type: ``value[x]`` is ``valueQuantity``, ``valueString`` ..."""

    name: str


Step: TypeAlias = Key | Index | Field | Component | Choice


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """``root`` is request, answer, message, exchange, site or the variable of a loop or an argument."""

    root: str
    steps: tuple[Step, ...]
    optional: bool
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """``call`` takes the value and the arguments. ``words`` are all results it can give, where that is known."""

    value: Node
    name: str
    call: Callable[..., Any]
    arguments: tuple[Node, ...]
    may_miss: bool
    offset: int
    words: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Default:
    value: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: Node
    right: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Both:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Either:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Not:
    value: Node


Node: TypeAlias = Literal | ListOf | Path | Pipe | Default | Compare | Both | Either | Not


def may_miss(node: Node) -> bool:
    """Whether an expression can give nothing."""
    match node:
        case Path():
            return node.optional
        case Literal():
            return node.value is None
        case Pipe():
            return node.may_miss or may_miss(node.value) or any(map(may_miss, node.arguments))
        case Default():
            return may_miss(node.otherwise)
    return False


def left_out(node: Node) -> bool:
    """Whether an expression says itself, by ``?``, that it can give nothing."""
    match node:
        case Path(optional=optional):
            return optional
        case Pipe(value, arguments=arguments):
            return any(map(left_out, (value, *arguments)))
        case Default(_, otherwise):
            return left_out(otherwise)
    return False


def lenient(node: Node) -> Node:
    """The left side of ``??``: what it starts from may be missing."""
    match node:
        case Path():
            return replace(node, optional=True)
        case Pipe():
            return replace(node, value=lenient(node.value))
        case Default():
            return replace(node, otherwise=lenient(node.otherwise))
    return node


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case ListOf():
            return node.items
        case Pipe():
            return (node.value, *node.arguments)
        case Default():
            return (node.value, node.otherwise)
        case Compare() | Both() | Either():
            return (node.left, node.right)
        case Not():
            return (node.value,)
    return ()


def paths(node: Node) -> Iterable[Path]:
    """Every path in an expression."""
    if isinstance(node, Path):
        yield node
    for child in children(node):
        yield from paths(child)


def written(node: Node) -> str:
    """An expression as text, the same for two that mean the same and are spaced differently."""
    match node:
        case Literal(value):
            return _constant(value)
        case ListOf(items):
            return f"[{', '.join(map(written, items))}]"
        case Path(text=text, optional=optional):
            return text + ("?" if optional else "")
        case Pipe(value, name, _, arguments):
            return f"{written(value)} | {name}" + (f"({', '.join(map(written, arguments))})" if arguments else "")
        case Default(value, otherwise):
            return f"{written(value)} ?? {written(otherwise)}"
        case Compare(operator, left, right):
            return f"{written(left)} {operator} {written(right)}"
        case Both(left, right):
            return f"({written(left)} and {written(right)})"
        case Either(left, right):
            return f"({written(left)} or {written(right)})"
        case Not(value):
            return f"not {written(value)}"


def _constant(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
