"""Expressions -> Python: lines of a module, and the expressions in them.

Only names made here and ``repr`` of texts, whole numbers and truths reach the source; all else is bound as a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from esb.codecs.hl7v2 import Segment
from esb.mapping import values
from esb.mapping.codes import Lookup
from esb.mapping.evaluate import OPERATORS
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
    may_miss,
)

HELPERS: dict[str, Any] = {
    "absent": values.absent,
    "action_text": values.action,
    "choice": values.choice,
    "code_text": values.refusal_code,
    "component": values.component,
    "equal": values.equal,
    "field": values.hl7,
    "get": values.key,
    "item": values.item,
    "items": values.items,
    "message_text": values.message,
    "roots": values.Roots,
    "segment": Segment,
    "spend": values.spend,
    "truth": values.truth,
    "dict": dict,
    "str": str,
    "type": type,
    **{f"op{index}": operator for index, operator in enumerate(OPERATORS.values())},
}
_OPERATOR = {symbol: f"op{index}" for index, symbol in enumerate(OPERATORS)}
_ROOTS = {"request": "req", "answer": "root", "message": "root", "exchange": "exchange", "site": "site"}


class Lines:
    """The lines of a module that is being written, ``constants`` by the names that they have in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self.indent = 1
        self.temporaries = 0

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def _temporary(self) -> str:
        self.temporaries += 1
        return f"t{self.temporaries}"

    def _constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self.indent += 1
        yield
        self.indent -= 1

    def _literal(self, value: Any) -> str:
        return repr(value) if value is None or isinstance(value, bool | int | str) else self._constant(value)

    def _present(self, value: str) -> str:
        name = self._temporary()
        return f"({name} if ({name} := {value}) is not None else absent())"

    def _node(self, node: Node) -> str:
        match node:
            case Literal():
                return self._literal(node.value)
            case ListOf():
                return self._list(node)
            case Path():
                return self._path(node)
            case Pipe():
                return self._pipe(node)
            case Default():
                name = self._temporary()
                return f"({name} if ({name} := {self._node(node.value)}) is not None else {self._node(node.otherwise)})"
            case Compare():
                return self._compare(node)
            case Both():
                return f"({self._condition(node.left)} and {self._condition(node.right)})"
            case Either():
                return f"({self._condition(node.left)} or {self._condition(node.right)})"
            case Not():
                return f"(not {self._condition(node.value)})"

    def _condition(self, node: Node) -> str:
        match node:
            case Path(optional=True):
                return f"({self._path(node)} is not None)"
            case Compare() | Both() | Either() | Not():
                return self._node(node)
            case Literal(value=bool()):
                return repr(node.value)
        return f"truth({self._node(node)})"

    def _compare(self, node: Compare) -> str:
        left, right = self._node(node.left), self._node(node.right)
        if node.operator == "==" and isinstance(node.right, Literal) and isinstance(node.right.value, str):
            name = self._temporary()
            return f"(({name} := {left}) == {right} or (type({name}) is not str and equal({name}, {right})))"
        if node.operator == "in" and (words := _words(node.right)):
            name = self._temporary()
            return f"({name} in {words!r} if type({name} := {left}) is str else {_OPERATOR['in']}({name}, {right}))"
        return f"{_OPERATOR[node.operator]}({left}, {right})"

    def _list(self, node: ListOf) -> str:
        parts = []
        for part in node.items:
            found = self._node(part)
            if may_miss(part):
                name = self._temporary()
                found = f"*([] if ({name} := {found}) is None else [{name}])"
            parts.append(found)
        return f"[{', '.join(parts)}]"

    def _pipe(self, node: Pipe) -> str:
        parts = (node.value, *node.arguments)
        values = [self._node(part) for part in parts]
        checks = ""
        if any(map(may_miss, parts)):
            names = [self._temporary() for _ in parts]
            pairs = zip(names, values, strict=True)
            checks = " or ".join([f"({name} := {value}) is None" for name, value in pairs])
            values = names
        call = self._constant(node.call)
        result = f"{call}[{values[0]}]" if isinstance(node.call, Lookup) else f"{call}({', '.join(values)})"
        return f"(None if {checks} else {result})" if checks else result

    def _path(self, path: Path) -> str:
        value, rest = self._base(path)
        for at, step in enumerate(rest):
            if isinstance(step, Key) and any(isinstance(later, Field) for later in rest[at + 1 :]):
                value = f"get({value}, {step.name!r})"
            else:
                value = self._step(value, step, path.optional)
        return value if path.optional else self._present(value)

    def _base(self, path: Path) -> tuple[str, tuple[Any, ...]]:
        """The first access, which can trust its root: roots are read by name without a check of their type."""
        root = _ROOTS.get(path.root, path.root)
        first = path.steps[0] if path.steps else None
        if not isinstance(first, Key) or (root == "root" and first.name.startswith(("@", "#"))):
            return (path.root if root == "root" else root), path.steps
        if path.root in _ROOTS:
            return (f"{root}.get({first.name!r})" if path.optional else f"{root}[{first.name!r}]"), path.steps[1:]
        return root, path.steps

    def _step(self, value: str, step: Any, optional: bool) -> str:
        match step:
            case Index(index):
                return f"item({value}, {index})"
            case Field(field, 1, component, 0) if value.isidentifier():
                wanted = f"{field}, {component}" if component else str(field)
                return f"({value}.first({wanted}) if type({value}) is segment else field({value}, *{(*step,)}))"
            case Field(field, repetition, component, sub):
                return f"field({value}, {field}, {repetition}, {component}, {sub})"
            case Component(component, sub):
                return f"component({value}, {component}, {sub})"
            case Choice(name):
                return f"choice({value}, {name!r})"
        name = repr(step.name)
        if step.name.startswith(("@", "#")):
            return f"get({value}, {name})"
        if not optional:
            return f"{value}[{name}]"
        if value.isidentifier():
            return f"({value}.get({name}) if type({value}) is dict else get({value}, {name}))"
        held = self._temporary()
        return f"({held}.get({name}) if type({held} := {value}) is dict else get({held}, {name}))"


def _words(node: Node) -> tuple[str, ...]:
    """The texts of a list that holds nothing but texts as they are written."""
    items = node.items if isinstance(node, ListOf) else ()
    words = tuple(item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str))
    return words if len(words) == len(items) else ()
