"""The reference evaluator: what a mapping means, one node at a time. It runs only to say what went wrong, and in tests.

Compiled mappings give the same results; where they fail, this finds the field, the path and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from esb.errors import Outcome
from esb.mapping import values
from esb.mapping.nodes import (
    Both,
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
from esb.mapping.nodes import Choice as ChoiceElement
from esb.mapping.shape import (
    Case,
    Choice,
    Constant,
    Expression,
    Items,
    Loop,
    Shape,
    Structure,
    Use,
    Value,
    With,
    writes_null,
)
from esb.mapping.values import FunctionError
from esb.model import Tree

OPERATORS: dict[str, Callable[[Tree, Tree], bool]] = {
    "==": values.equal,
    "!=": values.unequal,
    "<": values.less,
    "<=": values.less_or_equal,
    ">": values.more,
    ">=": values.more_or_equal,
    "in": values.member,
}


class Failure(Exception):
    """An expression that could not be computed. ``target`` grows at each use of a part that it passes."""

    def __init__(self, expression: Expression, path: str, reason: str) -> None:
        super().__init__(reason)
        self.expression, self.path, self.reason = expression, path, reason
        self.target = expression.target


class Evaluator:
    """Evaluates over ``roots``: request, answer, exchange, site."""

    def __init__(self, roots: dict[str, Tree]) -> None:
        self.roots = dict(roots)
        self.path = ""
        self.left = [values.MAX_ITEMS]

    def shape(self, shape: Shape) -> Tree:
        """The tree a shape gives; None where it is left out."""
        match shape:
            case Constant():
                return shape.value
            case Expression():
                return self.compute(shape)
            case Structure():
                return self._structure(shape)
            case Value():
                return self.shape(shape.value) if self._holds(shape.when) else None
            case Items():
                return self._kept([item for part in shape.parts for item in self._items(part)], shape.prune)
            case Loop():
                return self._kept(list(self._loop(shape, 0)), shape.prune)
            case Choice():
                return next((self.shape(option) for when, option in shape.options if self._holds(when)), None)
            case With():
                for name, expression in shape.names:
                    self.roots[name] = self.compute(expression)
                return self.shape(shape.body)
            case Use():
                return self._use(shape)

    def case(self, case: Case) -> tuple[Tree, Tree, Tree, Tree] | None:
        """Body, code, message and details of a case that holds, otherwise None."""
        if not self._holds(case.when):
            return None
        body = self.whole(case.body)
        code = self.checked(case.code, values.refusal_code) if case.outcome is Outcome.REFUSED else ""
        message = self.checked(case.message, values.message)
        return body, code, message, self.shape(case.details) if case.details else {}

    def whole(self, shape: Shape) -> Tree:
        """A shape that must not come out missing."""
        if not isinstance(shape, Expression):
            return self.shape(shape)
        return self.checked(shape, lambda value: values.absent() if value is None else value)

    def checked(self, shape: Shape, check: Callable[[Tree], Any]) -> Any:
        """A shape's value, checked with the blame on its expression."""
        value = self.shape(shape)
        try:
            return check(value)
        except FunctionError as error:
            if not isinstance(shape, Expression):
                raise
            raise Failure(shape, self.path, error.reason) from None

    def compute(self, expression: Expression) -> Tree:
        """The value of an expression; raises ``Failure``."""
        self.path = ""
        try:
            return self.node(expression.node)
        except FunctionError as error:
            raise Failure(expression, self.path, error.reason) from None
        except Exception as error:
            raise Failure(expression, self.path, f"cannot be computed: {type(error).__name__}") from None

    def node(self, node: Node) -> Tree:
        match node:
            case Literal():
                return node.value
            case ListOf():
                return [item for item in map(self.node, node.items) if item is not None]
            case Path():
                return self._path(node)
            case Pipe():
                return self._pipe(node)
            case Default():
                value = self.node(node.value)
                return self.node(node.otherwise) if value is None else value
            case Compare():
                left, right = self.node(node.left), self.node(node.right)
                return OPERATORS[node.operator](left, right)
            case Both():
                return self.condition(node.left) and self.condition(node.right)
            case Either():
                return self.condition(node.left) or self.condition(node.right)
            case Not():
                return not self.condition(node.value)

    def condition(self, node: Node) -> bool:
        """A node as a condition; a bare path with ``?`` asks whether it is there."""
        value = self.node(node)
        if isinstance(node, Path) and node.optional:
            return value is not None
        return values.truth(value)

    def _path(self, path: Path) -> Tree:
        self.path = path.text
        value = self.roots[path.root]
        for step in path.steps:
            value = self._step(value, step)
        if value is None and not path.optional:
            raise values.Absent("is missing")
        return value

    def _step(self, value: Tree, step: Any) -> Tree:
        match step:
            case Key(name):
                return values.key(value, name)
            case Index(index):
                return values.item(value, index)
            case Field():
                return values.hl7(value, *step)
            case Component(component, sub):
                return values.component(value, component, sub)
            case ChoiceElement(name):
                return values.choice(value, name)

    def _pipe(self, node: Pipe) -> Tree:
        if (value := self.node(node.value)) is None:
            return None
        path, arguments = self.path, []
        for argument in node.arguments:
            if (found := self.node(argument)) is None:
                return None
            arguments.append(found)
        self.path = path
        try:
            return node.call(value, *arguments)
        except FunctionError as error:
            raise FunctionError(f"{node.name}: {error.reason}") from None

    def _holds(self, when: Expression | None) -> bool:
        if when is None:
            return True
        self.path = ""
        try:
            return self.condition(when.node)
        except FunctionError as error:
            raise Failure(when, self.path, error.reason) from None
        except Exception as error:
            raise Failure(when, self.path, f"cannot be computed: {type(error).__name__}") from None

    def _structure(self, shape: Structure) -> Tree:
        if not self._holds(shape.when):
            return None
        found = ((name, part, self.field(name, part)) for name, part in shape.fields)
        kept = {name: value for name, part, value in found if value is not None or writes_null(part)}
        return self._kept(kept, shape.prune)

    def field(self, name: str, part: Shape) -> Tree:
        """What a structure holds under a name; None where it is left out."""
        return self.shape(part)

    def _kept(self, value: Tree, prune: bool) -> Tree:
        return value or None if prune else value

    def _use(self, use: Use) -> Tree:
        arguments = []
        for name, argument in zip(use.part.takes, use.arguments, strict=True):
            if (value := self.argument(name, argument)) is None:
                return None
            arguments.append(value)
        return self.inside(use, arguments)

    def argument(self, name: str, argument: Shape) -> Tree:
        """What a part is given under a name; None where it is missing."""
        return self.shape(argument)

    def inside(self, use: Use, arguments: list[Tree]) -> Tree:
        """What a part gives for its arguments."""
        outside = self.roots
        self.roots = {name: outside[name] for name in ("exchange", "site")}
        self.roots.update(zip(use.part.variables, arguments, strict=True))
        try:
            return self.shape(use.part.body)
        except Failure as failure:
            failure.target = use.target + failure.target
            raise
        finally:
            self.roots = outside

    def _items(self, part: Shape) -> Iterator[Tree]:
        if isinstance(part, Loop):
            yield from self._loop(part, 0)
            return
        value = self.shape(part)
        if value is not None or writes_null(part):
            yield value

    def _loop(self, loop: Loop, depth: int) -> Iterator[Tree]:
        if depth == len(loop.sources):
            yield from self._items(loop.body)
            return
        source = loop.sources[depth]
        for item in self._visited(source):
            self.roots[loop.variables[depth]] = item
            yield from self._loop(loop, depth + 1)

    def _visited(self, source: Expression) -> Iterable[Tree]:
        value = self.compute(source)
        try:
            found = values.items(value, may_miss(source.node))
            values.spend(self.left, found)
        except FunctionError as error:
            raise Failure(source, self.path, error.reason) from None
        return found
