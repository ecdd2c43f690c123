"""What a mapping file says, read and checked: structures, loops, conditions and cases as frozen nodes with their places.

Everything wrong in a file is collected as findings, with line and column of the character that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from decimal import Decimal
from typing import Any, TypeAlias

from esb.codecs.yaml import Document, Mark, PathTuple, nearest
from esb.errors import Finding, Outcome
from esb.mapping.codes import Codes
from esb.mapping.expr import (
    REQUEST,
    RESPONSE,
    Default,
    ExprError,
    Field,
    Index,
    Key,
    Literal,
    Node,
    Parser,
    Path,
    Pipe,
    Scope,
    paths,
)

MAX_LOOPS = 8


@dataclass(frozen=True, slots=True)
class Expression:
    """A computed value. ``target`` is where it goes, as people read it: ``request.Lock[].Fee``."""

    node: Node
    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Constant:
    value: bool | int | Decimal | str | None


@dataclass(frozen=True, slots=True)
class Structure:
    fields: tuple[tuple[str, Shape], ...]
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """``$value``, left out when ``when`` is false."""

    value: Shape
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Sequence_:
    """A list; what a loop in it gives is spliced in."""

    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Nested loops, flattened. Each source may use the names before it; ``variables`` are unique in the file."""

    sources: tuple[Expression, ...]
    variables: tuple[str, ...]
    body: Structure | Value


Shape: TypeAlias = Expression | Constant | Structure | Value | Sequence_ | Loop


@dataclass(frozen=True, slots=True)
class Case:
    """One way to understand an answer. ``body`` for done and accepted; ``code``, ``message`` and ``details`` otherwise."""

    outcome: Outcome
    when: Expression | None
    body: Shape = Constant(None)
    code: Shape = Constant("")
    message: Shape = Constant("")
    details: Shape | None = None


@dataclass(slots=True)
class Sheet:
    """A whole file. ``sources`` are all paths by side, ``targets`` what ``done`` bodies name."""

    action: Shape = Constant("")
    request: Shape = Structure(())
    cases: list[Case] = made(default_factory=list)
    codes: set[str] = made(default_factory=set)
    sources: dict[str, list[tuple[str, Mark]]] = made(default_factory=lambda: {"request": [], "answer": [], "site": []})
    targets: list[tuple[str, Mark]] = made(default_factory=list)
    names: list[str] = made(default_factory=list)


class Reader:
    """Reads one document into a sheet; ``findings`` says what is wrong with it."""

    def __init__(self, document: Document, codes: Codes, text: str) -> None:
        self.document, self.codes = document, codes
        self.lines = text.splitlines()
        self.findings: list[Finding] = []
        self.sheet = Sheet()
        self.loops: dict[str, str] = {}

    def read(self) -> Sheet:
        root = self.document.value
        if not isinstance(root, dict):
            self.find((), "a mapping needs 'action' and 'response'")
            return self.sheet
        self.only(root, (), _FILE_KEYS)
        if "action" not in root:
            self.find((), "'action' is missing", "name the operation, statement or path to call")
        else:
            self.sheet.action = self._action(root["action"])
        if root.get("request") is not None:
            self.sheet.request = self._request(root["request"])
        if "response" not in root:
            self.find((), "'response' is missing", "write a case, for example 'done: $answer'")
        else:
            _Cases(self).read(root["response"])
        return self.sheet

    def _action(self, value: Any) -> Shape:
        if not isinstance(value, str) or not value.strip():
            self.find(("action",), "'action' must be text")
            return Constant("")
        return self.shape(value, ("action",), "action", REQUEST)

    def _request(self, value: Any) -> Shape:
        shape = self.shape(value, ("request",), "request", REQUEST)
        self._whole(value, ("request",))
        items = value if isinstance(value, list) else [value]
        names = [key for item in items if isinstance(item, dict) for key in item if not key.startswith("$")]
        self.sheet.names = list(dict.fromkeys(names))
        return shape

    def _whole(self, value: Any, path: PathTuple) -> None:
        if isinstance(value, dict) and "$when" in value and "$each" not in value:
            self.find((*path, "$when"), "'$when' cannot leave out the whole", at_key=True)

    def shape(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Shape:
        """Any node of the file: a structure, a list, an expression or a constant."""
        if isinstance(value, dict):
            return self._structure(value, path, target, scope)
        if isinstance(value, list):
            return Sequence_(
                tuple(
                    self._element(item, (*path, index), f"{target}[{index}]", scope) for index, item in enumerate(value)
                )
            )
        if isinstance(value, str) and value.startswith("$$"):
            return Constant(value[1:])
        if isinstance(value, str) and value.startswith("$"):
            return self.expression(value, path, target, scope)
        return Constant(value)

    def _element(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Shape:
        if isinstance(value, dict) and "$each" in value:
            target = target.rpartition("[")[0]
        return self.shape(value, path, target, scope)

    def _structure(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Shape:
        for key in value:
            if key.startswith("$") and not key.startswith("$$") and key not in _STRUCTURE_KEYS:
                self.find(
                    (*path, key),
                    f"unknown '{key}'",
                    nearest(key, _STRUCTURE_KEYS) or "a literal '$' is '$$'",
                    at_key=True,
                )
        sources: list[Expression] = []
        variables: list[str] = []
        if "$each" in value:
            scope = self._loops(value["$each"], (*path, "$each"), target, scope, sources, variables)
            target += "[]"
        body = self._body(value, path, target, scope)
        return Loop(tuple(sources), tuple(variables), body) if sources else body

    def _body(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Structure | Value:
        when = self.condition(value["$when"], (*path, "$when"), target, scope) if "$when" in value else None
        fields = [key for key in value if not key.startswith("$") or key.startswith("$$")]
        if "$value" in value:
            if fields:
                self.find((*path, "$value"), "'$value' stands alone, without other fields", at_key=True)
            return Value(self.shape(value["$value"], (*path, "$value"), target, scope), when)
        dollar = [key[1:] if key.startswith("$$") else key for key in fields]
        shapes = [
            self.shape(value[key], (*path, key), _join(target, name), scope)
            for key, name in zip(fields, dollar, strict=True)
        ]
        return Structure(tuple(zip(dollar, shapes, strict=True)), when)

    def _loops(
        self, value: Any, path: PathTuple, target: str, scope: Scope, sources: list[Expression], variables: list[str]
    ) -> Scope:
        entries = (
            [(entry, (*path, index)) for index, entry in enumerate(value)]
            if isinstance(value, list)
            else [(value, path)]
        )
        if not entries:
            self.find(path, "'$each' needs 'expression as name'")
        for entry, place in entries:
            scope = self._loop(entry, place, target, scope, sources, variables)
        if len(scope.loops) > MAX_LOOPS:
            self.find(path, f"loops are nested deeper than {MAX_LOOPS} levels")
        return scope

    def _loop(
        self, text: Any, path: PathTuple, target: str, scope: Scope, sources: list[Expression], variables: list[str]
    ) -> Scope:
        if not isinstance(text, str):
            self.find(path, "'$each' needs 'expression as name'")
            return scope
        try:
            node, name, offset = Parser(text, scope, self.codes).loop()
            if name in scope.roots or name in scope.loops:
                raise ExprError(offset, f"the name '{name}' is taken")
        except ExprError as error:
            self._find_at(path, text, error)
            return scope
        sources.append(Expression(node, target, self.document.mark(path).line))
        self._note(node, path, text)
        variable = f"item{len(self.loops)}"
        self.loops[variable] = f"{self._source(node)}[]"
        variables.append(variable)
        return scope.bind(name, variable)

    def expression(self, text: str, path: PathTuple, target: str, scope: Scope) -> Expression:
        try:
            node = Parser(text, scope, self.codes).whole()
            self._note(node, path, text)
        except ExprError as error:
            self._find_at(path, text, error)
            node = Literal("")
        return Expression(node, target, self.document.mark(path).line)

    def condition(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Expression:
        """A ``when`` or ``$when``: always an expression, or true or false."""
        if isinstance(value, bool):
            return Expression(Literal(value), target, self.document.mark(path).line)
        if not isinstance(value, str):
            self.find(path, "a condition must be an expression")
            value = "true"
        return self.expression(value, path, f"{target} ({path[-1]})", scope)

    def _note(self, node: Node, path: PathTuple, text: str) -> None:
        for found in paths(node):
            side, _, rest = self._name(found).partition(".")
            if side in self.sheet.sources and rest:
                self.sheet.sources[side].append((rest, self._mark(path, text, found.offset)))

    def _source(self, node: Node) -> str:
        """What a loop goes over, as a path; nothing when a function makes it."""
        if isinstance(node, Default):
            return self._source(node.value)
        if isinstance(node, Pipe) and node.name in ("where", "list", "sort", "distinct"):
            return self._source(node.value)
        return self._name(node) if isinstance(node, Path) else ""

    def _name(self, path: Path) -> str:
        root = self.loops.get(path.root, path.root)
        if root == "[]":
            return ""
        return root + "".join(_step(step) for step in path.steps)

    def only(self, value: dict[str, Any], path: PathTuple, known: Sequence[str]) -> None:
        for key in value:
            if key not in known:
                self.find(
                    (*path, key),
                    f"unknown key '{key}'",
                    nearest(key, known) or f"known are {', '.join(known)}",
                    at_key=True,
                )

    def find(self, path: PathTuple, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.findings.append(self.document.finding(path, message, hint, at_key=at_key))

    def _find_at(self, path: PathTuple, text: str, error: ExprError) -> None:
        mark = self._mark(path, text, error.offset)
        self.findings.append(Finding(self.document.file, mark.line, mark.column, error.message, error.hint))

    def _mark(self, path: PathTuple, text: str, offset: int) -> Mark:
        """Where the character at ``offset`` of a value stands: exact on one line, the value's begin for a folded one."""
        line, column = self.document.mark(path)
        written = self.lines[line - 1][column - 1 :] if line <= len(self.lines) else ""
        quote = written[:1] if written[:1] in ("'", '"') else ""
        for skipped in (offset + text[:offset].count("'") if quote == "'" else offset,):
            if written[len(quote) :][: offset + 200].startswith(text[:1].replace("'", "''") if quote else text[:1]):
                return Mark(line, column + len(quote) + skipped)
        return Mark(line, column)


class _Cases:
    """The response side: cases in order, the first match wins."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def read(self, value: Any) -> None:
        entries = (
            [(entry, ("response", index)) for index, entry in enumerate(value)]
            if isinstance(value, list)
            else [(value, ("response",))]
        )
        if not entries:
            self.reader.find(("response",), "'response' has no case")
        always = False
        for entry, path in entries:
            if always:
                self.reader.find(path, "this case is never reached", "the case before it has no 'when'")
            case = self._case(entry, path)
            if case is not None:
                self.reader.sheet.cases.append(case)
                always = case.when is None or always

    def _case(self, entry: Any, path: PathTuple) -> Case | None:
        if not isinstance(entry, dict):
            self.reader.find(path, "a case needs an outcome", f"one of {', '.join(Outcome)}")
            return None
        self.reader.only(entry, path, _CASE_KEYS)
        outcomes = [key for key in entry if key in _OUTCOMES]
        if len(outcomes) != 1:
            self.reader.find(
                path, f"a case needs exactly one outcome, got {len(outcomes)}", f"one of {', '.join(Outcome)}"
            )
            return None
        outcome = Outcome(outcomes[0])
        target = "response" + "".join(f"[{part}]" for part in path[1:])
        when = self.reader.condition(entry["when"], (*path, "when"), target, RESPONSE) if "when" in entry else None
        return self._outcome(outcome, when, entry[outcome], (*path, outcome), f"{target}.{outcome}")

    def _outcome(self, outcome: Outcome, when: Expression | None, value: Any, path: PathTuple, target: str) -> Case:
        if outcome in (Outcome.DONE, Outcome.ACCEPTED):
            self.reader._whole(value, path)
            self._targets(outcome, value, path)
            return Case(outcome, when, body=self.reader.shape(value, path, target, RESPONSE))
        if outcome is Outcome.REFUSED:
            return self._refused(when, value, path, target)
        if not isinstance(value, dict):
            return Case(outcome, when, message=self._text(value, path, target))
        self.reader.only(value, path, ("message",))
        return Case(outcome, when, message=self._text(value.get("message"), (*path, "message"), f"{target}.message"))

    def _refused(self, when: Expression | None, value: Any, path: PathTuple, target: str) -> Case:
        if not isinstance(value, dict) or "code" not in value:
            self.reader.find(path, "'refused' needs a 'code'", "refused: {code: ..., message: ...}")
            return Case(Outcome.REFUSED, when)
        self.reader.only(value, path, ("code", "message", "details"))
        code = self._text(value["code"], (*path, "code"), f"{target}.code")
        self._codes(code, (*path, "code"))
        message = self._text(value.get("message"), (*path, "message"), f"{target}.message")
        details = value.get("details")
        if details is not None and not isinstance(details, dict):
            self.reader.find((*path, "details"), "'details' must be a structure")
        shape = (
            self.reader.shape(details, (*path, "details"), f"{target}.details", RESPONSE)
            if isinstance(details, dict)
            else None
        )
        return Case(Outcome.REFUSED, when, code=code, message=message, details=shape)

    def _text(self, value: Any, path: PathTuple, target: str) -> Shape:
        if value is not None and not isinstance(value, str):
            self.reader.find(path, f"'{path[-1]}' must be text or an expression")
            return Constant("")
        return self.reader.shape(value or "", path, target, RESPONSE)

    def _codes(self, code: Shape, path: PathTuple) -> None:
        words = (
            _words(code.node)
            if isinstance(code, Expression)
            else frozenset([code.value])
            if isinstance(code, Constant)
            else None
        )
        if words is None:
            self.reader.find(
                path, "the codes of a refusal must be known beforehand", "write text or use '| meaning(table)'"
            )
        elif "" in words and not any(
            finding.line == self.reader.document.mark(path).line for finding in self.reader.findings
        ):
            self.reader.find(path, "the code of a refusal must not be empty")
        self.reader.sheet.codes.update(str(word) for word in words or ())

    def _targets(self, outcome: Outcome, value: Any, path: PathTuple) -> None:
        if outcome is Outcome.DONE and isinstance(value, dict) and "$each" not in value:
            names = [key for key in value if not key.startswith("$")]
            self.reader.sheet.targets.extend((name, self.reader.document.key_mark((*path, name))) for name in names)


def _words(node: Node) -> frozenset[str] | None:
    """All texts an expression can give, or None when they are not known."""
    match node:
        case Literal():
            return frozenset([node.value]) if isinstance(node.value, str) else None
        case Pipe():
            return node.words
        case Default():
            left, right = _words(node.value), _words(node.otherwise)
            return None if left is None or right is None else left | right
    return None


def _join(target: str, name: str) -> str:
    return f"{target}.{name}"


def _step(step: Iterable[Any]) -> str:
    match step:
        case Key(name):
            return f".{name}"
        case Index(index):
            return f"[{index}]"
        case Field(field, repetition, component, sub):
            ends = [part for part in (component, sub) if part is not None]
            return f"-{field}" + (f"[{repetition}]" if repetition > 1 else "") + "".join(f".{part}" for part in ends)
    return ""


_FILE_KEYS = ("action", "request", "response", "examples")
_STRUCTURE_KEYS = ("$each", "$when", "$value")
_OUTCOMES = frozenset(Outcome)
_CASE_KEYS = ("when", *Outcome)
