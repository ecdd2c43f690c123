"""Reads a mapping file into shapes; everything wrong is collected, with the line and column of the wrong character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from esb.codecs.yaml import Document, Mark, PathTuple, nearest, within
from esb.errors import ConfigError, Finding
from esb.mapping.codes import Codes
from esb.mapping.expr import REQUEST, ExprError, Parser, Scope
from esb.mapping.nodes import Literal, Node
from esb.mapping.shape import (
    NOTHING,
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
)

MAX_NAMES = 12
BROKEN = Literal(None)
"""Stands for an expression that could not be read; there is a finding for it already."""

_STRUCTURE_KEYS = ("$each", "$with", "$when", "$value", "$case", "$use")


class Reader:
    """Reads the nodes of one document; ``findings`` says what is wrong with it, ``sheet`` keeps the paths it names.

    ``parts`` are those that ``$use`` may name, ``uses`` what it does use; ``prune`` is what the document says of
    structures that come out empty.
    """

    def __init__(self, document: Document, codes: Codes, parts: Mapping[str, Part], text: str) -> None:
        self.document, self.codes, self.parts = document, codes, parts
        self.lines = text.split("\n")
        self.findings: list[Finding] = []
        self.sheet = Sheet(file=document.file)
        self.prune = False
        self.uses: list[Use] = []
        self._variables = 0

    def root(self, known: Sequence[str], needed: Sequence[str]) -> dict[str, Any]:
        """The document as a structure of ``known`` keys, with ``prune`` read; raises ``ConfigError`` if it is none."""
        value = self.document.value
        if not isinstance(value, dict):
            keys = " and ".join(f"'{key}'" for key in needed)
            raise ConfigError([self.document.finding((), f"a mapping needs {keys}")])
        for key in needed:
            if key not in value:
                self.find((), f"'{key}' is missing")
        self.only(value, (), (*known, "prune"))
        self.prune = self.pruning(value)
        return value

    def pruning(self, value: dict[str, Any]) -> bool:
        """What ``prune`` says of a document."""
        prune = value.get("prune", False)
        if not isinstance(prune, bool):
            self.find(("prune",), "'prune' is true or false")
        return prune is True

    def action(self, value: Any) -> None:
        """The action: a text or an expression."""
        if not isinstance(value, str) or not value.strip():
            self.find(("action",), "'action' must be text", "name the operation, the statement or the path to call")
            return
        self.sheet.action = self.shape(value, ("action",), "action", REQUEST)

    def request(self, value: Any) -> None:
        """The request: any structure; absent is an empty one."""
        if value is None:
            return
        self.sheet.request = self.whole(value, ("request",), "request", REQUEST)
        entries = value if isinstance(value, list) else [value]
        names = [key for entry in entries if isinstance(entry, dict) for key in entry if not key.startswith("$")]
        self.sheet.names = list(dict.fromkeys(names))

    def whole(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Shape:
        """A shape that is never left out, not even when it is empty."""
        if isinstance(value, dict) and "$when" in value and "$each" not in value:
            self.find((*path, "$when"), "'$when' cannot leave out the whole", at_key=True)
        return _unpruned(self.shape(value, path, target, scope))

    def shape(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Shape:
        """Any node of the file: a structure, a list, an expression or a constant."""
        if isinstance(value, dict):
            return self._structure(value, path, target, scope)
        if isinstance(value, list):
            parts = (self._element(part, (*path, at), target, at, scope) for at, part in enumerate(value))
            return Items(tuple(parts), self.prune and bool(value))
        if isinstance(value, str) and value.startswith("$$"):
            return Constant(value[1:])
        if isinstance(value, str) and value.startswith("$"):
            return self.expression(value, path, target, scope)
        return Constant(value)

    def _element(self, value: Any, path: PathTuple, target: str, at: int, scope: Scope) -> Shape:
        loops = isinstance(value, dict) and "$each" in value
        return self.shape(value, path, target if loops else f"{target}[{at}]", scope)

    def _structure(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Shape:
        for key in value:
            if key.startswith("$") and not key.startswith("$$") and key not in _STRUCTURE_KEYS:
                hint = nearest(key, _STRUCTURE_KEYS) or "a key that begins with a dollar is written with two"
                self.find((*path, key), f"unknown '{key}'", hint, at_key=True)
        if "$case" in value:
            return self._choice(value, path, target, scope)
        if "$each" not in value:
            return self._body(value, path, target, scope)
        loops: list[tuple[str, Expression]] = []
        for text, place in self._entries(value["$each"], (*path, "$each")):
            scope = self._bind(text, place, target, scope, loops)
        variables, sources = tuple(name for name, _ in loops), tuple(source for _, source in loops)
        return Loop(sources, variables, self._body(value, path, f"{target}[]", scope), self.prune)

    def _body(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Shape:
        names: list[tuple[str, Expression]] = []
        for text, place in self._entries(value["$with"], (*path, "$with")) if "$with" in value else ():
            scope = self._bind(text, place, target, scope, names)
        when = self.condition(value["$when"], (*path, "$when"), target, scope) if "$when" in value else None
        body = self._filled(value, path, target, scope, when)
        return With(tuple(names), body) if names else body

    def _filled(
        self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope, when: Expression | None
    ) -> Structure | Value | Use:
        if "$use" in value:
            use = self._use(value, path, target, scope)
            return use if when is None else Value(use, when)
        fields = [key for key in value if not key.startswith("$") or key.startswith("$$")]
        if "$value" in value:
            if fields:
                self.find((*path, "$value"), "'$value' stands alone, without other fields", at_key=True)
            return Value(self.shape(value["$value"], (*path, "$value"), target, scope), when)
        names = [key[1:] if key.startswith("$$") else key for key in fields]
        pairs = zip(names, fields, strict=True)
        shapes = tuple((name, self.shape(value[key], (*path, key), f"{target}.{name}", scope)) for name, key in pairs)
        return Structure(shapes, when, self.prune and bool(fields), self.document.file, path)

    def _use(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Use:
        name, given = value["$use"], [key for key in value if key[:1] != "$" or key[:2] == "$$"]
        if "$value" in value:
            self.find((*path, "$value"), "'$use' and '$value' cannot stand together", at_key=True)
        part = self.parts.get(name) if isinstance(name, str) else None
        if part is None:
            hint = nearest(str(name), self.parts) or "parts are written library.name and stand in mappings/parts/"
            self.find((*path, "$use"), f"unknown part '{name}'", hint)
            return Use(Part(str(name), "", tuple(given)), (NOTHING,) * len(given), target, self.document.file, path)
        for key in given:
            if key not in part.takes:
                hint = nearest(key, part.takes) or f"it takes {', '.join(part.takes)}"
                self.find((*path, key), f"part '{name}' takes no '{key}'", hint, at_key=True)
        for key in part.takes:
            if key not in given:
                self.find((*path, "$use"), f"part '{name}' needs '{key}'")
        arguments = (self.shape(value.get(key), (*path, key), f"{target}({key})", scope) for key in part.takes)
        self.uses.append(Use(part, tuple(arguments), target, self.document.file, path))
        return self.uses[-1]

    def _choice(self, value: dict[str, Any], path: PathTuple, target: str, scope: Scope) -> Shape:
        options = value["$case"]
        if len(value) > 1 or not isinstance(options, list) or not options:
            self.find((*path, "$case"), "'$case' stands alone and is a list of options", at_key=True)
            return NOTHING
        found: list[tuple[Expression | None, Shape]] = []
        for at, option in enumerate(options):
            place = (*path, "$case", at)
            if any(when is None or when.node == Literal(True) for when, _ in found):
                self.find(place, "this option is never reached", "an option before it always holds")
            found.append(self._option(option, place, target, scope))
        return Choice(tuple(found))

    def _option(self, option: Any, path: PathTuple, target: str, scope: Scope) -> tuple[Expression | None, Shape]:
        if not isinstance(option, dict) or "$when" not in option or "$each" in option:
            return None, self.shape(option, path, target, scope)
        when = self.condition(option["$when"], (*path, "$when"), target, scope)
        rest = {key: part for key, part in option.items() if key != "$when"}
        return when, self.shape(rest, path, target, scope)

    def _entries(self, value: Any, path: PathTuple) -> Sequence[tuple[Any, PathTuple]]:
        if not isinstance(value, list):
            return [(value, path)]
        if not value:
            self.find(path, "needs 'expression as name'")
        return [(text, (*path, at)) for at, text in enumerate(value)]

    def _bind(
        self,
        text: Any,
        path: PathTuple,
        target: str,
        scope: Scope,
        bound: list[tuple[str, Expression]],
    ) -> Scope:
        """Read ``expression as name``, add it to ``bound`` and return the scope that knows the name."""
        try:
            if not isinstance(text, str):
                raise ExprError(0, "needs 'expression as name'")
            node, name, offset = Parser(text, scope, self.codes).naming()
            if name in scope.roots or name in scope.loops:
                raise ExprError(offset, f"the name '{name}' is taken")
            if len(scope.loops) == MAX_NAMES:
                raise ExprError(0, f"more than {MAX_NAMES} names are nested")
        except ExprError as error:
            self._misread(path, str(text), error)
            return scope
        variable = self.variable()
        bound.append((variable, self._computed(node, path, text, target)))
        return scope.bind(name, variable)

    def variable(self) -> str:
        """A new name for a value, unique in the document."""
        self._variables += 1
        return f"item{self._variables - 1}"

    def _computed(self, node: Node, path: PathTuple, text: str, target: str) -> Expression:
        return Expression(node, target, self.document.mark(path).line, self.document.file, path, text)

    def expression(self, text: str, path: PathTuple, target: str, scope: Scope) -> Expression:
        try:
            node = Parser(text, scope, self.codes).whole()
        except ExprError as error:
            self._misread(path, text, error)
            node = BROKEN
        return self._computed(node, path, text, target)

    def condition(self, value: Any, path: PathTuple, target: str, scope: Scope) -> Expression:
        """A ``when`` or ``$when``: always an expression, or true or false."""
        target = f"{target} ({path[-1]})"
        if isinstance(value, bool):
            return self._computed(Literal(value), path, str(value), target)
        if not isinstance(value, str):
            self.find(path, "a condition must be an expression")
            return self._computed(BROKEN, path, "", target)
        return self.expression(value, path, target, scope)

    def only(self, value: dict[str, Any], path: PathTuple, known: Sequence[str]) -> None:
        """A finding for each key that is not known."""
        for key in value:
            if key not in known:
                hint = nearest(key, known) or f"known are {', '.join(known)}"
                self.find((*path, key), f"unknown key '{key}'", hint, at_key=True)

    def find(self, path: PathTuple, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.findings.append(self.document.finding(path, message, hint, at_key=at_key))

    def _misread(self, path: PathTuple, text: str, error: ExprError) -> None:
        place = self._place(path, text, error.offset)
        self.findings.append(Finding(self.document.file, *place, error.message, error.hint))

    def _place(self, path: PathTuple, text: str, offset: int) -> Mark:
        mark = self.document.mark(path)
        return within(self.lines, mark, text, offset)


def _unpruned(shape: Shape) -> Shape:
    if isinstance(shape, With):
        return replace(shape, body=_unpruned(shape.body))
    return replace(shape, prune=False) if isinstance(shape, Structure | Items | Loop) else shape
