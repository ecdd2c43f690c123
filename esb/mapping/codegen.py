"""Shapes -> Python: one module per mapping with ``action``, ``request`` and ``response``, and no interpreter.

Only names made here and ``repr`` of texts, whole numbers and truths reach the source; all else is bound as a constant.
The code computes what ``evaluate`` computes, or raises anything at all, and then ``evaluate`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from esb.errors import Outcome
from esb.mapping.codelines import HELPERS, Lines
from esb.mapping.nodes import may_miss
from esb.mapping.shape import (
    Case,
    Choice,
    Constant,
    Expression,
    Items,
    Loop,
    Part,
    Shape,
    Sheet,
    Structure,
    Use,
    Value,
    With,
    writes_null,
)
from esb.mapping.values import MAX_ITEMS

_FUNCTIONS = ("action", "request", "response", "translation", "part")
_LEFT = f"left = [{MAX_ITEMS}]"


class Program(Lines):
    """The source of one mapping's or one part's module and the constants it is run with."""

    def __init__(self, whole: Sheet | Part) -> None:
        super().__init__()
        if isinstance(whole, Part):
            parameters = ", ".join(["left", *whole.variables, "exchange", "site"])
            self._function(f"part({parameters})", lambda: self._shape(whole.body))
        elif whole.gives is not None:
            self._translation(whole.gives)
        else:
            self._function("action(req, exchange, site)", lambda: self._checked(whole.action, "action_text"), _LEFT)
            self._function("request(req, exchange, site)", lambda: self._whole(whole.request), _LEFT)
            self._response(whole.cases)

    @property
    def source(self) -> str:
        """The module as Python text."""
        return "\n".join(self.lines) + "\n"

    def run(self, file: str) -> dict[str, Callable[..., Any]]:
        """Compile the module and return its functions by name."""
        scope: dict[str, Any] = {"__builtins__": HELPERS, **self.constants}
        exec(compile(self.source, f"<mapping {file}>", "exec"), scope)
        return {name: scope[name] for name in _FUNCTIONS if name in scope}

    def _function(self, head: str, body: Callable[[], str], *first: str) -> None:
        self.lines.append(f"def {head}:")
        for line in first:
            self._line(line)
        self._line(f"return {body()}")

    def _translation(self, gives: Shape) -> None:
        root = "root = message if type(message) is dict else roots(message)"
        self._function("translation(message, exchange, site)", lambda: self._whole(gives), _LEFT, root)

    def _response(self, cases: list[Case]) -> None:
        self.lines.append("def response(answer, req, exchange, site):")
        self._line(_LEFT)
        self._line("root = answer if type(answer) is dict else roots(answer)")
        for index, case in enumerate(cases):
            with self._when(case.when):
                self._line(f"return {index}, {self._case(case)}")
        self._line("return None")

    def _case(self, case: Case) -> str:
        code = self._checked(case.code, "code_text") if case.outcome is Outcome.REFUSED else "''"
        details = self._shape(case.details) if case.details else "{}"
        return f"{self._whole(case.body)}, {code}, {self._checked(case.message, 'message_text')}, {details}"

    def _checked(self, shape: Shape, check: str) -> str:
        return f"{check}({self._shape(shape)})" if isinstance(shape, Expression) else self._shape(shape)

    def _whole(self, shape: Shape) -> str:
        value = self._shape(shape)
        return self._present(value) if isinstance(shape, Expression) and may_miss(shape.node) else value

    @contextmanager
    def _when(self, when: Expression | None) -> Iterator[None]:
        with self._block(f"if {self._condition(when.node) if when else 'True'}:"):
            yield

    def _shape(self, shape: Shape) -> str:
        """The Python expression of a shape, None where it is left out; lines it needs before it are written."""
        match shape:
            case Constant():
                return self._literal(shape.value)
            case Expression():
                return self._node(shape.node)
            case Structure():
                return self._structure(shape)
            case Value():
                return self._value(shape)
            case Items():
                return self._sequence(shape)
            case Loop():
                name = self._temporary()
                self._line(f"{name} = []")
                self._loop(shape, 0, name)
                return f"({name} or None)" if shape.prune else name
            case Use():
                return self._use(shape)
            case Choice():
                return self._choice(shape)
            case With():
                self._names(shape)
                return self._shape(shape.body)

    def _names(self, shape: With) -> None:
        for name, expression in shape.names:
            self._line(f"{name} = {self._node(expression.node)}")

    def _choice(self, shape: Choice) -> str:
        name = self._temporary()
        self._line(f"{name} = None")
        for at, (when, option) in enumerate(shape.options):
            condition = self._condition(when.node) if when else "True"
            with self._block(f"{'elif' if at else 'if'} {condition}:"):
                self._line(f"{name} = {self._shape(option)}")
        return name

    def _structure(self, shape: Structure) -> str:
        after = " or None" if shape.prune and _may_be_empty(shape) else ""
        if shape.when is None:
            return f"({self._fields(shape.fields)}{after})" if after else self._fields(shape.fields)
        name = self._temporary()
        self._line(f"{name} = None")
        with self._when(shape.when):
            self._line(f"{name} = {self._fields(shape.fields)}{after}")
        return name

    def _use(self, use: Use) -> str:
        arguments, checks = [], []
        misses = any(map(_may_be_none, use.arguments))
        for argument in use.arguments:
            value = self._shape(argument)
            if misses:  # the others too: an error in one comes before a miss of the next
                name = self._temporary()
                checks.append(f"({name} := {value}) is None")
                value = name
            arguments.append(value)
        call = f"{self._constant(part_function(use.part))}({', '.join(['left', *arguments, 'exchange', 'site'])})"
        return f"(None if {' or '.join(checks)} else {call})" if checks else call

    def _fields(self, fields: tuple[tuple[str, Shape], ...]) -> str:
        """A dict display up to the first field that may miss, then one assignment each, so that the order stays."""
        sure = next((index for index, (_, shape) in enumerate(fields) if _may_miss(shape)), len(fields))
        display = ", ".join([f"{key!r}: {self._shape(shape)}" for key, shape in fields[:sure]])
        if sure == len(fields):
            return f"{{{display}}}"
        name = self._temporary()
        self._line(f"{name} = {{{display}}}")
        for key, shape in fields[sure:]:
            self._keep(shape, f"{name}[{key!r}] = %s")
        return name

    def _keep(self, shape: Shape, statement: str) -> None:
        value = self._shape(shape)
        if not _may_miss(shape):
            self._line(statement % value)
            return
        found = self._temporary()
        with self._block(f"if ({found} := {value}) is not None:"):
            self._line(statement % found)

    def _value(self, shape: Value) -> str:
        if shape.when is None:
            return self._shape(shape.value)
        name = self._temporary()
        self._line(f"{name} = None")
        with self._when(shape.when):
            self._line(f"{name} = {self._shape(shape.value)}")
        return name

    def _sequence(self, shape: Items) -> str:
        if shape.parts and not any(isinstance(part, Loop) or _may_miss(part) for part in shape.parts):
            return f"[{', '.join([self._shape(part) for part in shape.parts])}]"
        name = self._temporary()
        self._line(f"{name} = []")
        for part in shape.parts:
            if isinstance(part, Loop):
                self._loop(part, 0, name)
            else:
                self._keep(part, f"{name}.append(%s)")
        return f"({name} or None)" if shape.prune else name

    def _loop(self, loop: Loop, depth: int, name: str) -> None:
        if depth == len(loop.sources):
            self._item(loop.body, name)
            return
        source, found = loop.sources[depth].node, self._temporary()
        self._line(f"{found} = items({self._node(source)}, {may_miss(source)})")
        self._line(f"spend(left, {found})")
        with self._block(f"for {loop.variables[depth]} in {found}:"):
            self._loop(loop, depth + 1, name)

    def _item(self, body: Shape, name: str) -> None:
        if isinstance(body, With):
            self._names(body)
            self._item(body.body, name)
        elif isinstance(body, Structure | Value) and body.when:
            inner = body.value if isinstance(body, Value) else replace(body, when=None)
            with self._when(body.when):
                self._item(inner if _may_miss(inner) or isinstance(body, Structure) else Value(inner), name)
        else:
            self._keep(body, f"{name}.append(%s)")


def part_function(part: Part) -> Callable[..., Any]:
    """The function of a part, compiled once for all that use it."""
    if part.function is None:
        part.function = Program(part).run(f"{part.file} {part.name}")["part"]
    return part.function


def _may_miss(shape: Shape) -> bool:
    """Whether None from a shape means that it is left out."""
    match shape:
        case Expression():
            return may_miss(shape.node) and not writes_null(shape)
        case Structure():
            return shape.when is not None or (shape.prune and _may_be_empty(shape))
        case Items() | Loop():
            return shape.prune
        case Value() | Choice() | Use():
            return True
        case With():
            return _may_miss(shape.body)
    return False


def _may_be_none(shape: Shape) -> bool:
    """Whether None can come from a shape at all, left out or not."""
    null = isinstance(shape, Constant) and shape.value is None
    return null or _may_miss(shape) or (isinstance(shape, Expression) and may_miss(shape.node))


def _may_be_empty(shape: Structure) -> bool:
    return all(_may_miss(field) for _, field in shape.fields)
