"""Shapes -> Python: one module per mapping with ``action``, ``request`` and ``response``, and no interpreter.

Only names made here and ``repr`` of texts, whole numbers and truths reach the source; all else is bound as a constant.
The code computes what ``evaluate`` computes, or raises anything at all, and then ``evaluate`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from esb.codecs.hl7v2 import Segment
from esb.errors import Outcome
from esb.mapping import values
from esb.mapping.codes import Lookup
from esb.mapping.evaluate import OPERATORS
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
    Part,
    Shape,
    Sheet,
    Structure,
    Use,
    Value,
    With,
    writes_null,
)

_HELPERS: dict[str, Any] = {
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
_FUNCTIONS = ("action", "request", "response", "translation", "part")
_LEFT = f"left = [{values.MAX_ITEMS}]"
_ROOTS = {"request": "req", "answer": "root", "message": "root", "exchange": "exchange", "site": "site"}


class Program:
    """The source of one mapping's or one part's module and the constants it is run with."""

    def __init__(self, whole: Sheet | Part) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self.indent = 1
        self.temporaries = 0
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
        scope: dict[str, Any] = {"__builtins__": _HELPERS, **self.constants}
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
            case ChoiceElement(name):
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


def _words(node: Node) -> tuple[str, ...]:
    """The texts of a list that holds nothing but texts as they are written."""
    items = node.items if isinstance(node, ListOf) else ()
    words = tuple(item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str))
    return words if len(words) == len(items) else ()
