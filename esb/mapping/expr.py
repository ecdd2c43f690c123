"""Expressions of the mapping language: text -> tree of frozen nodes, with every name resolved and every mistake placed.

From loosest to tightest: ``or``, ``and``, ``not``, one comparison (``== != < <= > >= in``), ``??``, pipes, then paths,
literals, lists and parentheses. ``$(`` is a parenthesis too, so that any expression can begin with a dollar. Bounded:
2,000 characters, 24 levels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from esb.codecs.yaml import nearest
from esb.mapping.codes import Codes
from esb.mapping.functions import FUNCTIONS, Function
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
    children,
    lenient,
)
from esb.mapping.values import FunctionError

MAX_LENGTH = 2_000
MAX_DEPTH = 24


class ExprError(Exception):
    """A mistake in an expression, at an offset from its first character."""

    def __init__(self, offset: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.offset, self.message, self.hint = offset, message, hint


@dataclass(frozen=True, slots=True)
class Scope:
    """Which names mean what. ``bare`` is the root of unbound names; "" where every name must be bound, as in a part.

    ``facts`` are what ``$exchange`` has.
    """

    bare: str
    roots: frozenset[str]
    loops: Mapping[str, str]
    facts: tuple[str, ...] = ("id", "key", "operation", "now")

    def resolve(self, name: str) -> tuple[str, tuple[Step, ...]]:
        """The root a first name stands for, and the step it adds."""
        if name in self.loops:
            return self.loops[name], ()
        return (name, ()) if name in self.roots else (self.bare, (Key(name),))

    def bind(self, name: str, variable: str) -> Scope:
        return replace(self, loops={**self.loops, name: variable})


MESSAGE = Scope("message", frozenset({"message", "exchange", "site"}), {})
EVENT = replace(MESSAGE, roots=frozenset({"message", "exchange"}), facts=(*MESSAGE.facts, "source", "sender"))
PART = Scope("", frozenset({"exchange", "site"}), {})
REQUEST = Scope("request", frozenset({"request", "exchange", "site"}), {})
RESPONSE = Scope("answer", frozenset({"answer", "request", "exchange", "site"}), {})


def _bounded(node: Node) -> Node:
    """The node, unless it is too deep; without recursion, because that is what is being bounded."""
    level, depth = [node], 0
    while level:
        depth += 1
        level = [child for parent in level for child in children(parent)]
    if depth > MAX_DEPTH:
        raise ExprError(0, f"the expression is deeper than {MAX_DEPTH} levels")
    return node


class Token(NamedTuple):
    sort: str
    text: str
    offset: int
    value: Any = None


_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WORD = re.compile(r"[^\W\d]\w*")
_FIRST = re.compile(r"@?\w+|#text")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_OPERATOR = re.compile(r"==|!=|<=|>=|\?\?|[<>|()\[\],?]")
_KEY = re.compile(r"\.(?:(@?\w+)|(#text)|'((?:[^']|'')*)')")
_COMPONENT = re.compile(r"\.([1-9][0-9]{0,2})(?:\.([1-9][0-9]{0,2}))?(?!\w)")
_INDEX = re.compile(r"\[([0-9]{1,6})\]")
_CHOICE = re.compile(r"\.([A-Za-z]+)\[x\]")
_OPTIONAL = re.compile(r"\?(?!\?)|\?(?=\?\?)")
_FIELD = re.compile(r"-([0-9]{1,3})(?:\[([0-9]{1,4}|\*)\])?(?:\.([0-9]{1,3}))?(?:\.([0-9]{1,3}))?")


class Parser:
    """One expression. ``text`` is the whole value of the YAML node, so that offsets are offsets into it."""

    def __init__(self, text: str, scope: Scope, codes: Codes) -> None:
        self.text, self.scope, self.codes = text, scope, codes
        self.at = self.depth = 0
        if len(text) > MAX_LENGTH:
            raise ExprError(0, f"the expression is longer than {MAX_LENGTH} characters")
        self.token = self._next()

    def whole(self) -> Node:
        """The expression up to the end of the text."""
        node = self.expression()
        if self.token.sort != "end":
            self._unexpected("the end")
        return _bounded(node)

    def naming(self) -> tuple[Node, str, int]:
        """``expression as name``: the value, the name and the name's offset."""
        node = self.expression()
        if self.token.text != "as":
            self._unexpected("'as name'")
        self._advance()
        name = self.token
        if name.sort != "word":
            self._unexpected("a name")
        self._advance()
        if self.token.sort != "end":
            self._unexpected("the end")
        return _bounded(node), name.text, name.offset

    def expression(self) -> Node:
        self._deeper()
        node = self._both()
        while self._take("or"):
            node = Either(node, self._both())
        self.depth -= 1
        return node

    def _both(self) -> Node:
        node = self._not()
        while self._take("and"):
            node = Both(node, self._not())
        return node

    def _not(self) -> Node:
        if not self._take("not"):
            return self._comparison()
        self._deeper()
        node = Not(self._not())
        self.depth -= 1
        return node

    def _comparison(self) -> Node:
        left, operator = self._default(), self.token
        if operator.text not in ("==", "!=", "<", "<=", ">", ">=", "in") or operator.sort == "text":
            return left
        self._advance()
        right = self._default()
        if Literal(None) in (left, right):
            raise ExprError(operator.offset, "a comparison with null is never true", "write 'not $path?'")
        return Compare(operator.text, left, right, operator.offset)

    def _default(self) -> Node:
        node, depth = self._pipe(), self.depth
        while self._take("??"):
            first = self.token
            otherwise = self._pipe()
            if first.sort in ("text", "number") and isinstance(otherwise, Pipe):
                hint = "write $(($path ?? 'text') | function), or ('text' | function) where that is meant"
                raise ExprError(first.offset, "a pipe binds tighter than '??': it takes the default only", hint)
            node = Default(lenient(node), otherwise)
            self._deeper()
        self.depth = depth
        return node

    def _pipe(self) -> Node:
        node, depth = self._primary(), self.depth
        while self._take("|"):
            node = self._call(node)
            self._deeper()
        self.depth = depth
        return node

    def _primary(self) -> Node:
        token = self.token
        if token.sort in ("text", "number", "path"):
            self._advance()
            return token.value if token.sort == "path" else Literal(token.value)
        if token.text in _CONSTANTS:
            self._advance()
            return Literal(_CONSTANTS[token.text])
        if self._take("("):
            node = self.expression()
            self._expect(")")
            return node
        if self._take("["):
            return ListOf(self._list("]"))
        if token.sort == "word":
            hint = f"write ${token.text} for a field, '{token.text}' for text"
            raise ExprError(token.offset, f"'{token.text}' is not a value", hint)
        self._unexpected("a value")

    def _list(self, end: str) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while not self._take(end):
            if nodes:
                self._expect(",")
            nodes.append(self.expression())
        return tuple(nodes)

    def _call(self, value: Node) -> Pipe:
        name = self.token
        if name.sort != "word":
            self._unexpected("the name of a function")
        self._advance()
        if name.text in ("code", "meaning"):
            return self._lookup(value, name)
        function = FUNCTIONS.get(name.text)
        if function is None:
            known = [*FUNCTIONS, "code", "meaning"]
            raise ExprError(name.offset, f"unknown function '{name.text}'", nearest(name.text, known))
        arguments = self._list(")") if self._take("(") else ()
        return self._bound(value, function, arguments, name.offset)

    def _bound(self, value: Node, function: Function, arguments: tuple[Node, ...], offset: int) -> Pipe:
        literals = {at: node.value for at, node in enumerate(arguments) if isinstance(node, Literal)}
        wrong = [function.wrong_count(len(arguments))]
        if function.prepared and len(literals) < len(arguments):
            wrong.append(f"'{function.name}' takes literals only")
        wrong += [function.wrong_kind(*pair) for pair in literals.items() if not wrong[0]]
        if any(wrong):
            raise ExprError(offset, next(filter(None, wrong)))
        if not function.prepared:
            return Pipe(value, function.name, function.make, arguments, function.may_miss, offset)
        try:
            return Pipe(value, function.name, function.make(*literals.values()), (), function.may_miss, offset)
        except FunctionError as error:
            raise ExprError(offset, error.reason) from None

    def _lookup(self, value: Node, name: Token) -> Pipe:
        self._expect("(")
        word = self.token
        if word.sort != "word":
            self._unexpected("the name of a code table")
        if word.text not in self.codes:
            raise ExprError(word.offset, f"unknown code table '{word.text}'", nearest(word.text, self.codes))
        self._advance()
        self._expect(")")
        table = self.codes[word.text]
        lookup = table.code if name.text == "code" else table.meaning
        words = table.meanings if name.text == "meaning" else None
        optional = self._take("?")
        call = lookup.find if optional else lookup
        return Pipe(value, f"{name.text}({word.text})", call, (), optional, name.offset, words)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExprError(self.token.offset, f"the expression is deeper than {MAX_DEPTH} levels")

    def _take(self, text: str) -> bool:
        if self.token.text != text or self.token.sort not in ("word", "operator"):
            return False
        self._advance()
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._unexpected(f"'{text}'")

    def _unexpected(self, wanted: str) -> NoReturn:
        ended = self.token.sort == "end"
        hint = _COMMA_HINT if ended and self.text.count("(") > self.text.count(")") else ""
        found = "the end" if ended else f"'{self.token.text}'"
        raise ExprError(self.token.offset, f"expected {wanted}, found {found}", hint)

    def _advance(self) -> None:
        self.token = self._next()

    def _next(self) -> Token:
        start = self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        if start == len(self.text):
            return Token("end", "", start)
        if self.text.startswith("$(", start):
            start += 1
        if self.text[start] == "$":
            return self._path(start)
        for sort, pattern in (("text", _QUOTED), ("number", _NUMBER), ("word", _WORD), ("operator", _OPERATOR)):
            if match := pattern.match(self.text, start):
                self.at = match.end()
                return Token(sort, match[0], start, _value(sort, match))
        if self.text[start] == "'":
            raise ExprError(start, "the text is not closed", "a quote inside text is written twice")
        raise ExprError(start, f"'{self.text[start]}' does not belong in an expression")

    def _path(self, start: int) -> Token:
        match = _FIRST.match(self.text, start + 1) or _QUOTED.match(self.text, start + 1)
        if not match:
            raise ExprError(start, "a path needs a name after '$'")
        self.at = match.end()
        name = match[0] if match.re is _FIRST else _unquote(match[1])
        root, steps = self.scope.resolve(name)
        if not root:
            known = [*self.scope.loops, *sorted(self.scope.roots)]
            hint = nearest(name, known) or f"known are {', '.join(known)}"
            raise ExprError(start, f"nothing is called '{name}' here", hint)
        steps += tuple(self._steps())
        text = self.text[start : self.at]
        optional = _OPTIONAL.match(self.text, self.at) is not None
        self.at += optional
        self._check(root, steps, start)
        return Token("path", text, start, Path(root, steps, optional, text, start))

    def _steps(self) -> Iterable[Step]:
        while True:
            if match := _FIELD.match(self.text, self.at):
                self.at = match.end()
                yield self._field(match)
                if self.text[self.at : self.at + 1] in (".", "["):
                    raise ExprError(self.at, "nothing can follow an HL7 field but its component and its subcomponent")
                return
            if match := _CHOICE.match(self.text, self.at):
                yield Choice(match[1])
            elif match := _COMPONENT.match(self.text, self.at):
                yield Component(int(match[1]), int(match[2] or 0))
            elif match := _KEY.match(self.text, self.at):
                yield Key(match[1] or match[2] or _unquote(match[3]))
            elif match := _INDEX.match(self.text, self.at):
                yield Index(int(match[1]))
            elif self.text[self.at : self.at + 1] in (".", "[", "-"):
                hint = "a name with other characters is written .'such-a name'"
                raise ExprError(self.at, f"'{self.text[self.at]}' is not followed by what a path can have", hint)
            else:
                return
            self.at = match.end()

    def _field(self, match: re.Match[str]) -> Field:
        parts = match.groups()
        if any(part is not None and part.strip("0") == "" for part in parts):
            raise ExprError(match.start(), "HL7 fields, repetitions and components count from 1")
        field, repetition, component, sub = (int(part) if part and part != "*" else 0 for part in parts)
        return Field(field, repetition if parts[1] else 1, component, sub)

    def _check(self, root: str, steps: tuple[Step, ...], offset: int) -> None:
        if root in ("request", "exchange", "site") and any(isinstance(step, Field) for step in steps):
            raise ExprError(offset, f"the {root} has no HL7 fields", "a name with '-' is written .'such-a name'")
        known = self.scope.facts
        if root == "exchange" and steps and isinstance(steps[0], Key) and steps[0].name not in known:
            raise ExprError(offset, f"the exchange has no '{steps[0].name}'", nearest(steps[0].name, known))


_COMMA_HINT = "an expression with a comma stands in quotes where it is inside braces or brackets"
_CONSTANTS = {"true": True, "false": False, "null": None}


def _unquote(text: str) -> str:
    return text.replace("''", "'")


def _value(sort: str, match: re.Match[str]) -> Any:
    if sort == "text":
        return _unquote(match[1])
    if sort == "number":
        return Decimal(match[0]) if match[1] else int(match[0])
    return None
