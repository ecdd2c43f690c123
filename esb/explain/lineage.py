"""Where the fields of a mapping come from, before there is any data: one ``Origin`` for each place that makes one.

Paths are resolved to their roots through loops, names and parts: ``$s.Fee`` in a loop over ``$Schedules.Slot`` is
``answer.Schedules.Slot[].Fee``; what a function makes is written out, ``(answer | resources('Observation'))[].status``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from esb.codecs.yaml import PathTuple
from esb.explain.origin import Condition, Documents, Origin, Over, Passed, Side, Source, Table, Way, When, field_name
from esb.mapping import Mapping as FieldMapping
from esb.mapping import Translation
from esb.mapping.codes import Lookup
from esb.mapping.functions import FUNCTIONS
from esb.mapping.nodes import (
    Component,
    Default,
    Key,
    Node,
    Path,
    Pipe,
    children,
    may_miss,
    written,
)
from esb.mapping.nodes import (
    Literal as LiteralNode,
)
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
from esb.mapping.trace import case_target
from esb.mapping.tracer import NOWHERE, SAME_ITEMS, call_text, step_text


def origins(mapping: FieldMapping | Translation) -> tuple[Origin, ...]:
    """Every place of a mapping or a translation that makes a field, in the order of the file."""
    walk, sheet = _Walk(mapping), mapping.sheet
    if sheet.gives is not None:
        return tuple(walk.shape(sheet.gives, walk.root("gives", "gives", {"message", "exchange", "site"})))
    sending = {"request", "exchange", "site"}
    found = [*walk.shape(sheet.action, walk.root("action", "action", sending))]
    found += walk.shape(sheet.request, walk.root("request", "request", sending))
    for at, case in enumerate(sheet.cases):
        found += walk.case(case, at)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a name stands for: paths and what was passed through, or a shape that was given to a part."""

    paths: tuple[str, ...]
    steps: tuple[Passed, ...] = ()
    shape: Shape | None = None
    scope: _Scope | None = None


@dataclass(frozen=True, slots=True)
class _Scope:
    side: Side
    target: str
    names: Mapping[str, _Bound]
    place: tuple[str, PathTuple]
    loops: tuple[Over, ...] = ()
    conditions: tuple[Condition, ...] = ()
    parts: tuple[str, ...] = ()
    whole: bool = False

    def below(self, name: str) -> _Scope:
        key = f"${name}" if name.startswith("$") else name
        place = (self.place[0], (*self.place[1], key))
        return replace(self, target=f"{self.target}.{name}", place=place, whole=False)

    def named(self, variable: str, bound: _Bound) -> _Scope:
        return replace(self, names={**self.names, variable: bound})


class _Walk:
    def __init__(self, mapping: FieldMapping | Translation) -> None:
        self.file = mapping.file
        self.codes = FilePath(mapping.file).parent.parent / "codes"
        self.documents = Documents({mapping.file: mapping.text})

    def root(self, side: Side, target: str, names: set[str]) -> _Scope:
        bound = {name: _Bound((name,)) for name in names}
        return _Scope(side, target, bound, (self.file, (target,)), whole=True)

    def case(self, case: Case, at: int) -> Iterator[Origin]:
        target = case_target(case, at)
        path: PathTuple = ("response", at) if target.endswith("]") else ("response",)
        scope = replace(
            self.root("response", target, {"answer", "request", "exchange", "site"}), place=(self.file, path)
        )
        if case.when is not None:
            scope = self._when(case.when, scope, "case")
        scope = replace(scope.below(str(case.outcome)), whole=True)
        yield from self.shape(case.body, scope)
        for name, part in (("code", case.code), ("message", case.message), ("details", case.details)):
            if part is not None and part != Constant(""):
                yield from self.shape(part, scope.below(name))

    def shape(self, shape: Shape, scope: _Scope) -> Iterator[Origin]:
        match shape:
            case Expression():
                yield self._origin(shape, scope)
            case Constant():
                if shape.value is not None:
                    yield self._constant(shape, scope)
            case Structure(fields, when):
                inner = self._when(when, scope)
                inner = replace(inner, place=(shape.file, shape.path)) if shape.file else inner
                for name, part in fields:
                    yield from self.shape(part, inner.below(name))
            case Value(value, when):
                yield from self.shape(value, self._when(when, scope))
            case Items(parts):
                for at, part in enumerate(parts):
                    target = scope.target if isinstance(part, Loop) else f"{scope.target}[{at}]"
                    place = (scope.place[0], (*scope.place[1], at))
                    yield from self.shape(part, replace(scope, target=target, place=place, whole=False))
            case Loop():
                yield from self._loop(shape, scope)
            case Choice(options):
                yield from self._choice(options, scope)
            case With(names, body):
                for variable, expression in names:
                    scope = scope.named(variable, self._bound(expression, scope))
                yield from self.shape(body, scope)
            case Use():
                yield from self._use(shape, scope)

    def _loop(self, loop: Loop, scope: _Scope) -> Iterator[Origin]:
        for variable, source in zip(loop.variables, loop.sources, strict=True):
            bound = self._bound(source, scope)
            missing = "then there are no items" if may_miss(source.node) else _FAILS[scope.side]
            sources, steps = tuple(self._sources(source.node, scope)), bound.steps
            over = Over(source.text, source.file, source.line, sources, steps, missing)
            scope = replace(scope, loops=(*scope.loops, over))
            scope = scope.named(variable, replace(bound, paths=tuple(f"{path}[]" for path in bound.paths)))
        yield from self.shape(loop.body, replace(scope, target=f"{scope.target}[]", whole=False))

    def _choice(self, options: tuple[tuple[Expression | None, Shape], ...], scope: _Scope) -> Iterator[Origin]:
        before: list[Expression] = []
        for when, option in options:
            inner = scope
            if before:
                sources = tuple(source for one in before for source in self._sources(one.node, scope))
                text = "none of: " + "; ".join(one.text for one in before)
                condition = Condition("otherwise", text, before[0].file, before[0].line, sources)
                inner = replace(scope, conditions=(*scope.conditions, condition))
            yield from self.shape(option, self._when(when, inner))
            before += [when] if when else []

    def _use(self, use: Use, scope: _Scope) -> Iterator[Origin]:
        names = {name: scope.names[name] for name in ("exchange", "site")}
        inner = scope
        for variable, name, argument in zip(use.part.variables, use.part.takes, use.arguments, strict=True):
            if isinstance(argument, Expression):
                names[variable] = self._bound(argument, scope)
                inner = self._given(argument, name, use, inner, scope)
            elif isinstance(argument, Constant):
                names[variable] = _Bound((written(LiteralNode(argument.value)),))
            else:
                at = replace(scope, target=f"{scope.target}({name})", place=(use.file, (*use.path, name)), whole=False)
                names[variable] = _Bound((at.target,), shape=argument, scope=at)
                yield from self.shape(argument, at)
        place = (use.part.file, (use.part.name.partition(".")[2], "gives"))
        parts = (*scope.parts, use.part.name)
        yield from self.shape(use.part.body, replace(inner, names=names, place=place, parts=parts, whole=False))

    def _given(self, argument: Expression, name: str, use: Use, inner: _Scope, scope: _Scope) -> _Scope:
        if not may_miss(argument.node):
            return inner
        sources = tuple(self._sources(argument.node, scope))
        text = f"{argument.text} is there, the {name} of {use.part.name}"
        found = Condition("argument", text, argument.file, argument.line, sources)
        return replace(inner, conditions=(*inner.conditions, found))

    def _when(self, when: Expression | None, scope: _Scope, kind: When = "condition") -> _Scope:
        if when is None:
            return scope
        sources = tuple(self._sources(when.node, scope))
        found = Condition(kind, when.text, when.file, when.line, sources)
        return replace(scope, conditions=(*scope.conditions, found))

    def _origin(self, expression: Expression, scope: _Scope) -> Origin:
        nodes = _alternatives(expression.node)
        ways = []
        for at, node in enumerate(nodes):
            following = nodes[at + 1] if at + 1 < len(nodes) else None
            sources, steps = tuple(self._sources(node, scope)), tuple(self._steps(node, expression.text, scope))
            ways.append(Way(written(node), sources, steps, self._missing(node, following, expression, scope)))
        return self._made(expression.text, expression.file, expression.line, tuple(ways), scope)

    def _constant(self, constant: Constant, scope: _Scope) -> Origin:
        line = self.documents.line(*scope.place)
        return self._made(written(LiteralNode(constant.value)), scope.place[0], line, (), scope)

    def _made(self, text: str, file: str, line: int, ways: tuple[Way, ...], scope: _Scope) -> Origin:
        name = field_name(scope.target)
        return Origin(
            scope.side, scope.target, name, file, line, text, ways, scope.loops, scope.conditions, scope.parts
        )

    def _missing(self, node: Node, following: Node | None, expression: Expression, scope: _Scope) -> str:
        if isinstance(node, LiteralNode):
            return ""
        if following is not None:
            return f"then {written(following)}"
        if not may_miss(node) or scope.whole:
            return _FAILS[scope.side]
        return "then null" if writes_null(expression) else "the field is left out"

    def _bound(self, expression: Expression, scope: _Scope) -> _Bound:
        node = expression.node
        if isinstance(node, Path) and not node.steps and node.root in scope.names:
            return scope.names[node.root]
        return _Bound(tuple(self._resolved(node, scope)), tuple(self._steps(node, expression.text, scope)))

    def _sources(self, node: Node, scope: _Scope) -> Iterator[Source]:
        if isinstance(node, Path):
            yield from (Source(written(node), path) for path in self._resolved(node, scope))
        for child in children(node):
            yield from self._sources(child, scope)

    def _steps(self, node: Node, text: str, scope: _Scope) -> Iterator[Passed]:
        if isinstance(node, Path) and node.root in scope.names:
            yield from scope.names[node.root].steps
        for child in children(node):
            yield from self._steps(child, text, scope)
        if isinstance(node, Pipe):
            yield self._passed(node, call_text(node, text))

    def _passed(self, pipe: Pipe, text: str) -> Passed:
        lookup = pipe.call if isinstance(pipe.call, Lookup) else getattr(pipe.call, "__self__", None)
        if not isinstance(lookup, Lookup):
            return Passed(text, _sentence(FUNCTIONS[pipe.name].summary))
        summary = "Their code for our word." if lookup.direction == "a canonical word" else "Our word for their code."
        file = (self.codes / f"{lookup.table}.yaml").as_posix()
        return Passed(text, summary, Table(lookup.table, file, dict(lookup), lookup.default))

    def _resolved(self, node: Node, scope: _Scope) -> Iterator[str]:
        """Where a value comes from, as paths from the roots."""
        match node:
            case Path():
                yield from self._paths(node, scope)
            case Pipe(value, name):
                ending = written(replace(node, value=NOWHERE))
                for base in self._resolved(value, scope):
                    yield base if name in SAME_ITEMS else f"({base}{ending})"
            case Default(value, otherwise):
                yield from self._resolved(value, scope)
                yield from self._resolved(otherwise, scope)
            case _:
                yield written(node)

    def _paths(self, path: Path, scope: _Scope) -> Iterator[str]:
        bound = scope.names.get(path.root, _Bound((path.root,)))
        steps, shape = path.steps, bound.shape
        while isinstance(shape, Structure) and steps and (inner := _inner(shape, steps[0])):
            shape, steps = inner, steps[1:]
        if shape is not bound.shape and isinstance(shape, Expression) and bound.scope is not None:
            bases: Iterator[str] | tuple[str, ...] = self._resolved(shape.node, bound.scope)
        else:
            bases, steps = bound.paths, path.steps
        ending = "".join(map(step_text, steps))
        yield from (base + ending for base in bases)


_FAILS: Mapping[Side, str] = {
    "action": "an error: nothing is sent, the exchange ends malformed",
    "request": "an error: nothing is sent, the exchange ends malformed",
    "response": "an error: the answer counts as malformed",
    "gives": "an error: there is no translation",
}


def _alternatives(node: Node) -> list[Node]:
    return [*_alternatives(node.value), node.otherwise] if isinstance(node, Default) else [node]


def _inner(shape: Structure, step: object) -> Shape | None:
    name = step.name if isinstance(step, Key) else str(step.component) if isinstance(step, Component) else ""
    if isinstance(step, Component) and step.sub:
        return None
    return next((part for key, part in shape.fields if key == name), None)


def _sentence(summary: str) -> str:
    return re.split(r"(?<=\.)\s", summary, maxsplit=1)[0]
