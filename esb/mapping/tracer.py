"""The reference evaluator looked on: every path that is read and every function that is called, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from typing import Literal as OneOf

from esb.codecs.yaml import PathTuple
from esb.mapping.evaluate import Evaluator, Failure
from esb.mapping.nodes import Choice as ChoiceElement
from esb.mapping.nodes import Component, Default, Field, Index, Key, Literal, Node, Path, Pipe, written
from esb.mapping.nodes import Step as PathStep
from esb.mapping.shape import Case, Constant, Expression, Items, Loop, Shape, Structure, Use, With
from esb.mapping.values import FunctionError
from esb.model import Tree

State: TypeAlias = OneOf["made", "left out", "failed"]
Kind: TypeAlias = OneOf["field", "condition", "loop", "name", "argument"]

SAME_ITEMS = frozenset({"where", "list", "sort", "distinct"})
"""Functions whose results are items of what they are given."""


@dataclass(slots=True)
class Read:
    """A path as written, where it led from the root (``answer.Slot[2].Fee``) and what was there.

    ``missing`` is the path up to the first step that was not there. ``error`` says why it could not be followed.
    """

    written: str
    source: str
    value: Tree = None
    missing: str = ""
    error: str = ""


@dataclass(slots=True)
class Called:
    """A function that was called; without a result when there is an ``error``."""

    written: str
    given: Tree
    pipe: Pipe
    result: Tree = None
    error: str = ""


@dataclass(slots=True)
class Line:
    """One thing that a mapping computed. ``target`` counts list items as they came out: ``request.Lock[0].Fee``.

    A ``condition``'s value is true or false, a ``loop``'s the list it goes over, a ``name``'s what ``$with`` named, an
    ``argument``'s what a part is given; the fields of a structure that is given to a part are fields.
    ``parts`` are the parts it stands in, outermost first. A constant has no ``line``, only a ``path`` in ``file``.
    """

    kind: Kind
    target: str
    written: str
    file: str
    line: int
    path: PathTuple = ()
    parts: tuple[str, ...] = ()
    steps: list[Read | Called] = field(default_factory=list)
    value: Tree = None
    state: State = "made"
    reason: str = ""
    expression: Expression | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A case of a response: whether its condition held, and the line of the condition."""

    target: str
    case: Case
    held: bool
    condition: Line | None


def step_text(step: PathStep) -> str:
    """A step of a path as it is written."""
    match step:
        case Key(name):
            return f".{name}"
        case Index(at):
            return f"[{at}]"
        case Field(number, repetition, component, sub):
            ends = "".join(f".{part}" for part in (component, sub) if part)
            return f"-{number}" + ("" if repetition == 1 else f"[{repetition or '*'}]") + ends
        case Component(component, sub):
            return f".{component}" + (f".{sub}" if sub else "")
        case ChoiceElement(name):
            return f".{name}[x]"


def call_text(pipe: Pipe, text: str) -> str:
    """A function as it is called in the ``text`` of its expression: ``time('%Y%m%d')``."""
    quoted, depth = False, 0
    for at in range(pipe.offset, len(text)):
        character = text[at]
        quoted ^= character == "'"
        depth += 0 if quoted else (character == "(") - (character == ")")
        if not quoted and depth == 0 and character == ")":
            return text[pipe.offset : at + 1]
        if depth <= 0 and not quoted and not (character.isalnum() or character == "_"):
            break
    return pipe.name


class Tracer(Evaluator):
    """An evaluator that keeps a ``Line`` for each expression, condition and constant."""

    def __init__(self, roots: dict[str, Tree]) -> None:
        super().__init__(roots)
        self.lines: list[Line] = []
        self._sources = {name: name for name in roots}
        self._target = ""
        self._place: tuple[str, PathTuple] = ("", ())
        self._parts: tuple[str, ...] = ()
        self._open: list[Line] = []
        self._kinds: dict[int, tuple[Kind, str]] = {}
        self._spots: dict[int, tuple[str, ...]] = {}
        self._arguments: dict[str, str] = {}
        self._within = ""
        self._counts: list[int] = []
        self._why = ""

    @contextmanager
    def at(self, target: str, file: str, path: PathTuple) -> Iterator[None]:
        """Where the lines made inside belong, and where a constant there is written."""
        outer = self._target, self._place
        self._target, self._place = target, (file, path)
        yield
        self._target, self._place = outer

    def tried(self, case: Case) -> tuple[Tried, tuple[Tree, Tree, Tree, Tree] | None]:
        """A case, and what it gives if it holds."""
        first, outcome = len(self.lines), (str(case.outcome),)
        self._spots = {id(case.body): outcome}
        for shape, name in ((case.code, "code"), (case.message, "message"), (case.details, "details")):
            self._spots[id(shape)] = (*outcome, name)
        found = self.case(case)
        return Tried(self._target, case, found is not None, self.lines[first] if case.when else None), found

    def blame(self, error: Exception) -> None:
        """Mark the line at which the evaluation ended."""
        if not isinstance(error, Failure):
            return
        line = next((line for line in reversed(self.lines) if line.expression is error.expression), None)
        if line is not None:
            line.state, line.reason = "failed", error.reason

    def shape(self, shape: Shape) -> Tree:
        if id(shape) in self._spots:
            names = self._spots.pop(id(shape))
            with self.at(".".join((self._target, *names)), self._place[0], (*self._place[1], *names)):
                return self.shape(shape)
        match shape:
            case Constant(value):
                if self._target == self._within:
                    self._arguments[self._target] = written(Literal(value))
                elif value not in (None, ""):
                    self._add("field", "", value)
            case Items() | Loop():
                self._counts.append(0)
                value = super().shape(shape)
                self._counts.pop()
                return value
            case With(names=pairs):
                self._kinds.update({id(expression): ("name", name) for name, expression in pairs})
        return super().shape(shape)

    def compute(self, expression: Expression) -> Tree:
        kind, variable = self._kinds.get(id(expression), ("field", ""))
        line = self._add(kind, expression.text, None, expression)
        self._open.append(line)
        try:
            line.value = super().compute(expression)
        finally:
            self._open.pop()
        if line.value is None and kind != "loop":
            line.state, line.reason = "left out", _missing(line)
            self._why = line.reason
        if variable:
            self._sources[variable] = self._origin(expression.node, line)
        elif self._within:
            self._arguments[self._target] = self._origin(expression.node, line)
        return line.value

    def field(self, name: str, part: Shape) -> Tree:
        outer, place = self._target, self._place
        self._target = f"{outer}.{name}"
        self._place = (place[0], (*place[1], f"${name}" if name.startswith("$") else name))
        value = self._seen(part, lambda: super(Tracer, self).field(name, part), self._target)
        self._target, self._place = outer, place
        return value

    def argument(self, name: str, argument: Shape) -> Tree:
        outer = self._target, self._within
        self._target = self._within = f"{self._target}({name})"
        value = super().argument(name, argument)
        self._target, self._within = outer
        if value is None:
            self._why = f"its argument '{name}' is missing"
        return value

    def inside(self, use: Use, arguments: list[Tree]) -> Tree:
        outer = self._sources, self._parts, self._place, self._kinds
        pairs = zip(use.part.variables, use.part.takes, strict=True)
        given = {variable: self._given(f"{self._target}({name})") for variable, name in pairs}
        self._sources = {"exchange": "exchange", "site": "site", **given}
        self._parts = (*self._parts, use.part.name)
        self._place = (use.part.file, (use.part.name.partition(".")[2], "gives"))
        self._kinds = {}
        value = super().inside(use, arguments)
        self._sources, self._parts, self._place, self._kinds = outer
        return value

    def _given(self, argument: str) -> str:
        return self._arguments.get(argument, argument)

    def _structure(self, shape: Structure) -> Tree:
        outer = self._place
        if shape.file:
            self._place = (shape.file, shape.path)
        value = super()._structure(shape)
        self._place = outer
        return value

    def _items(self, part: Shape) -> Iterator[Tree]:
        if isinstance(part, Loop):
            yield from super()._items(part)
            return
        outer = self._target
        self._target = f"{outer}[{self._counts[-1]}]"
        found = self._seen(part, lambda: list(super(Tracer, self)._items(part)), f"{outer}[]")
        self._target = outer
        self._counts[-1] += len(found)
        yield from found

    def _seen(self, part: Shape, evaluate: Callable[[], Any], target: str) -> Any:
        """What a field or an item gives; a line says why it is left out, unless its own expression's does."""
        first = len(self.lines)
        value = evaluate()
        if value in (None, []) and not isinstance(part, Constant):
            said = [line for line in self.lines[first:] if line.target == self._target and line.state != "made"]
            for line in said:
                line.target = target
            if not said and not (value == [] and isinstance(part, Items | Loop)):
                line = self._add("field", "", None)
                line.target, line.state, line.reason = target, "left out", self._why
        return value

    def _kept(self, value: Tree, prune: bool) -> Tree:
        if prune and not value:
            self._why = "nothing is in it"
        return super()._kept(value, prune)

    def _loop(self, loop: Loop, depth: int) -> Iterator[Tree]:
        if depth < len(loop.sources):
            self._kinds[id(loop.sources[depth])] = ("loop", loop.variables[depth])
        yield from super()._loop(loop, depth)

    def _visited(self, source: Expression) -> Iterable[Tree]:
        found = super()._visited(source)
        _, variable = self._kinds[id(source)]
        line = self.lines[-1]
        origin, listed = self._sources[variable], isinstance(line.value, list)
        whole = next((each for each in line.steps if isinstance(each, Read) and each.source == origin), None)
        places = _places(whole.value) if whole and whole.value is not line.value else {}
        for at, item in enumerate(found):
            index = places.get(id(item), at)
            self._sources[variable] = f"{origin}[{index}]" if listed else origin
            yield item

    def _holds(self, when: Expression | None) -> bool:
        if when is None:
            return True
        line = self._add("condition", when.text, None, when)
        self._open.append(line)
        line.value = held = super()._holds(when)
        self._open.pop()
        if not held:
            self._why = f"{when.text} is false"
        return held

    def _path(self, path: Path) -> Tree:
        read = Read(written(path), self._whence(path))
        self._open[-1].steps.append(read)
        try:
            read.value = super()._path(path)
        except FunctionError as error:
            read.error = error.reason
            raise
        finally:
            if read.value is None:
                read.missing = self._until(path)
        return read.value

    def _pipe(self, node: Pipe) -> Tree:
        return super()._pipe(replace(node, call=self._recording(node, self._open[-1])))

    def _recording(self, node: Pipe, line: Line) -> Callable[..., Tree]:
        def call(value: Tree, *arguments: Tree) -> Tree:
            called = Called(call_text(node, line.expression.text if line.expression else ""), value, node)
            line.steps.append(called)
            try:
                called.result = node.call(value, *arguments)
            except FunctionError as error:
                called.error = error.reason
                raise
            except Exception as error:
                called.error = f"cannot be computed: {type(error).__name__}"
                raise
            return called.result

        return call

    def _whence(self, path: Path) -> str:
        return self._given(self._sources.get(path.root, path.root) + "".join(map(step_text, path.steps)))

    def _until(self, path: Path) -> str:
        """The path up to its first step that leads to nothing."""
        value, where = self.roots[path.root], self._sources.get(path.root, path.root)
        for step in path.steps:
            if value is None:
                break
            where += step_text(step)
            try:
                value = self._step(value, step)
            except FunctionError:
                break
        return self._given(where)

    def _origin(self, node: Node, line: Line) -> str:
        """Where the value of a line comes from, as a path."""
        match node:
            case Path():
                return self._whence(node)
            case Pipe(value, name):
                base = self._origin(value, line)
                return base if name in SAME_ITEMS else f"({base}{written(replace(node, value=NOWHERE))})"
            case Default(value, otherwise):
                read = next((each for each in line.steps if isinstance(each, Read) and each.value is None), None)
                missed = isinstance(value, Path) and read is not None and read.written == written(value)
                return self._origin(otherwise if missed else value, line)
        return written(node)

    def _add(self, kind: Kind, text: str, value: Tree, expression: Expression | None = None) -> Line:
        if kind == "field" and expression and self._target == self._within:
            kind = "argument"
        file, path = (expression.file, expression.path) if expression else self._place
        number = expression.line if expression else 0
        line = Line(kind, self._target, text, file, number, path, self._parts, value=value, expression=expression)
        self.lines.append(line)
        return line


NOWHERE = Path("", (), False, "", 0)
"""Stands for a value that is not written out."""


def _places(value: Tree) -> dict[int, int]:
    """The index of each item by its identity; of plain values, which may be the same object, none."""
    items = value if isinstance(value, list) else ()
    return {id(item): at for at, item in enumerate(items) if not isinstance(item, str | int | float | None)}


def _missing(line: Line) -> str:
    lost = [step for step in line.steps if isinstance(step, Read) and step.missing]
    if lost:
        return " and ".join(dict.fromkeys(f"{read.missing} is not there" for read in lost))
    nothing = [step for step in line.steps if isinstance(step, Called) and step.result is None]
    return f"{nothing[-1].written} gives nothing" if nothing else "it is null"
