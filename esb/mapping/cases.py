"""Reads the response side of a mapping: cases in order, of which the first that matches decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esb.codecs.yaml import PathTuple
from esb.errors import Outcome
from esb.mapping.codes import Lookup
from esb.mapping.expr import RESPONSE
from esb.mapping.facts import NOTHING
from esb.mapping.nodes import Default, Literal, Node, Path, Pipe
from esb.mapping.reader import BROKEN, Reader
from esb.mapping.shape import Case, Constant, Expression, Shape

OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_ONE_OF = f"one of {', '.join(OUTCOMES)}"


def read_cases(reader: Reader, value: Any) -> None:
    """Add the cases of ``response`` to the reader's sheet."""
    entries: list[tuple[Any, PathTuple]] = [(value, ("response",))]
    if isinstance(value, list):
        entries = [(entry, ("response", at)) for at, entry in enumerate(value)]
    if not entries:
        reader.find(("response",), "'response' has no case")
    always = False
    for entry, path in entries:
        if always:
            reader.find(path, "this case is never reached", "a case before it always holds")
        case = _case(reader, entry, path)
        if case is not None:
            reader.sheet.cases.append(case)
            always = always or case.when is None or case.when.node == Literal(True)


def _case(reader: Reader, entry: Any, path: PathTuple) -> Case | None:
    if not isinstance(entry, dict):
        reader.find(path, "a case needs an outcome", _ONE_OF)
        return None
    reader.only(entry, path, ("when", *OUTCOMES))
    outcomes = [key for key in entry if key in OUTCOMES]
    if len(outcomes) != 1:
        reader.find(path, f"a case needs exactly one outcome, got {len(outcomes)}", _ONE_OF)
        return None
    target = "response" + "".join(f"[{part}]" for part in path[1:])
    when = reader.condition(entry["when"], (*path, "when"), target, RESPONSE) if "when" in entry else None
    outcome = Outcome(outcomes[0])
    return _OutcomeReader(reader, outcome, when, f"{target}.{outcome}").read(entry[outcome], (*path, outcome))


class _OutcomeReader:
    def __init__(self, reader: Reader, outcome: Outcome, when: Expression | None, target: str) -> None:
        self.reader, self.outcome, self.when, self.target = reader, outcome, when, target

    def read(self, value: Any, path: PathTuple) -> Case:
        if self.outcome in (Outcome.DONE, Outcome.ACCEPTED):
            return self._body(value, path)
        if self.outcome is Outcome.REFUSED:
            return self._refused(value, path)
        if not isinstance(value, dict):
            return Case(self.outcome, self.when, message=self._text(value, path, self.target))
        self.reader.only(value, path, ("message",))
        return Case(self.outcome, self.when, message=self._part(value, path, "message"))

    def _body(self, value: Any, path: PathTuple) -> Case:
        return Case(self.outcome, self.when, body=self.reader.whole(value, path, self.target, RESPONSE), path=path)

    def _refused(self, value: Any, path: PathTuple) -> Case:
        if not isinstance(value, dict) or "code" not in value:
            self.reader.find(path, "'refused' needs a 'code'", "refused: {code: ..., message: ...}")
            return Case(self.outcome, self.when)
        self.reader.only(value, path, ("code", "message", "details"))
        code = self._part(value, path, "code")
        self._codes(code, (*path, "code"))
        return Case(
            self.outcome,
            self.when,
            Constant(None),
            code,
            self._part(value, path, "message"),
            self._details(value, path),
        )

    def _details(self, value: dict[str, Any], path: PathTuple) -> Shape | None:
        details, place = value.get("details"), (*path, "details")
        if details is None:
            return None
        if not isinstance(details, dict) or "$each" in details or "$value" in details:
            self.reader.find(place, "'details' must be a structure")
            return None
        return self.reader.whole(details, place, f"{self.target}.details", RESPONSE)

    def _part(self, value: dict[str, Any], path: PathTuple, name: str) -> Shape:
        return self._text(value.get(name), (*path, name), f"{self.target}.{name}")

    def _text(self, value: Any, path: PathTuple, target: str) -> Shape:
        if value is not None and not isinstance(value, str):
            self.reader.find(path, f"'{path[-1]}' must be text or an expression")
            value = None
        return self.reader.shape(value or "", path, target, RESPONSE)

    def _codes(self, code: Shape, path: PathTuple) -> None:
        node = (
            Literal(code.value) if isinstance(code, Constant) else code.node if isinstance(code, Expression) else BROKEN
        )
        if node is BROKEN:
            return
        words = _words(node, NOTHING.after(self.when.node).only if self.when else {})
        if words is None:
            hint = "write text or use '| meaning(table)'"
            self.reader.find(path, "the codes of a refusal must be known beforehand", hint)
        elif "" in words:
            self.reader.find(path, "the code of a refusal must not be empty")
        for word in words or ():
            self.reader.sheet.codes.setdefault(word, path)


def _words(node: Node, said: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
    """All texts an expression can give, or None when they are not known; ``said`` are texts that paths are then."""
    match node:
        case Literal(value=str()):
            return frozenset([node.value])
        case Pipe(value=Path(text=path), call=Lookup() as lookup) if path in said and node.words is not None:
            return frozenset(lookup[text] for text in said[path] if text in lookup or lookup.default is not None)
        case Pipe():
            return node.words
        case Default():
            left, right = _words(node.value, said), _words(node.otherwise, said)
            return None if left is None or right is None else left | right
    return None
