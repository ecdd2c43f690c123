"""What cannot be right in a mapping, checked against the types of both its sides, without any data.

Sources, targets, functions, code tables and conditions are judged in one walk over the shapes of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from esb.codecs.yaml import nearest
from esb.errors import Outcome
from esb.mapping.facts import NOTHING, implies
from esb.mapping.nodes import Literal, Node, left_out
from esb.mapping.shape import (
    Case,
    Choice,
    Constant,
    Expression,
    Items,
    Loop,
    Shape,
    Sheet,
    Structure,
    Use,
    Value,
    With,
)
from esb.mapping.typed import WORDS, Names, Place, Problem, Typist, literal
from esb.types import ANY, Description, Lost, Sort, Type

_SEGMENT = re.compile(r"([A-Z][A-Z0-9]{2})-([0-9]+)(?:\[[0-9]+\])?(?:\.([0-9]+))?(?:\.([0-9]+))?")
_TIMES: Final[tuple[Sort, ...]] = ("date", "time", "moment", "ts")
_STRICT: Final[Mapping[Sort, tuple[Sort, ...]]] = {
    "text": ("integer", "decimal", "truth", "structure", "bytes"),
    "integer": ("text", "truth", "structure", *_TIMES),
    "decimal": ("text", "integer", "truth", "structure", *_TIMES),
    "truth": ("text", "integer", "decimal", "structure", *_TIMES),
    "structure": ("text", "integer", "decimal", "truth", "bytes", *_TIMES),
    "date": ("time", "moment", "ts", "integer", "decimal", "truth", "structure"),
    "time": ("date", "moment", "ts", "integer", "decimal", "truth", "structure"),
    "moment": ("date", "time", "ts", "integer", "decimal", "truth", "structure"),
    "ts": ("date", "time", "moment", "structure"),
}
"""Sort given -> the sorts of a JSON target that it certainly is not."""


def check(
    sheet: Sheet,
    request: Type = ANY,
    answer: Type = ANY,
    system: Description = Description(),
    resources: Callable[[str], Type] = lambda _: ANY,
) -> list[Problem]:
    """Check a mapping: ``request`` and ``answer`` are the contract's types, ``system`` what the system says of itself.

    ``resources`` gives the type of a FHIR resource by its name.
    """
    walk = _Walk(Typist(resources), sheet.file)
    sending = {"request": request}
    if isinstance(sheet.action, Expression):
        walk.typist.of(sheet.action, sending)
    walk.target(sheet.request, system.request, sending, None, strict=False)
    walk.segments(sheet.request, system.request, "request")
    meaning = {"request": request, "answer": system.answer}
    walk.cases(sheet.cases, answer, meaning)
    return list(walk.typist.problems)


def check_translation(
    sheet: Sheet,
    source: Type = ANY,
    target: Type = ANY,
    resources: Callable[[str], Type] = lambda _: ANY,
    *,
    whole: bool = True,
) -> list[Problem]:
    """The same for a translation, whose ``source`` and ``target`` are the types of its messages.

    Without ``whole`` somebody else adds the segments that it does not give.
    """
    walk = _Walk(Typist(resources), sheet.file)
    assert sheet.gives is not None
    walk.target(sheet.gives, target, {"message": source}, None, strict=False)
    if whole:
        walk.segments(sheet.gives, target, "gives")
    return list(walk.typist.problems)


def check_filling(sheet: Sheet, event: Type, request: Type) -> list[Problem]:
    """The same for what an event fills, which the contract must take as a request."""
    walk = _Walk(Typist(lambda _: ANY), sheet.file, whole="the request")
    assert sheet.gives is not None
    walk.target(sheet.gives, request, {"message": event}, None, strict=True)
    return list(walk.typist.problems)


class _Walk:
    def __init__(self, typist: Typist, file: str, whole: str = "the contract's answer") -> None:
        self.typist, self.file, self.whole = typist, file, whole

    def cases(self, cases: Sequence[Case], answer: Type, names: Names) -> None:
        """Each case where those before it did not hold."""
        options = [(case.when, partial(self._case, case, answer, names)) for case in cases]
        self._options(options, names, "case")

    def _case(self, case: Case, answer: Type, names: Names) -> None:
        place = Place(self.file, case.path)
        if case.outcome is Outcome.DONE:
            body = Structure((), file=self.file, path=case.path) if case.body == Constant(None) else case.body
            self.target(body, answer, names, place, strict=True)
        else:
            self.target(case.body, ANY, names, place, strict=True)
        for shape in (case.code, case.message, case.details or Constant(None)):
            self.target(shape, ANY, names, None, strict=False)

    def _options(
        self, options: Sequence[tuple[Expression | None, Callable[[], None]]], names: Names, word: str
    ) -> None:
        """What is chosen by the first condition that holds, each with what checks the rest of it."""
        facts, above = self.typist.facts, list[Node]()
        for when, check_rest in options:
            if when is None:
                with self.typist.inside(facts):
                    check_rest()
                continue
            reached = self._reached(when, above, word)
            with self.typist.inside(facts if reached else NOTHING):
                self.typist.condition(when, names)
            with self.typist.inside((facts if reached else NOTHING).after(when.node)):
                check_rest()
            above.append(when.node)
            facts = facts.after(when.node, False)

    def _reached(self, when: Expression, above: Sequence[Node], word: str) -> bool:
        place = Place(when.file, when.path, at_key=True)
        if when.node == Literal(False):
            self.typist.add(place, f"this {word} is never reached")
        elif any(implies(when.node, earlier) for earlier in above):
            hint = "one before it holds whenever this one does; put the narrower one first"
            if Literal(True) not in above:  # the reader says so already
                self.typist.add(place, f"this {word} is never reached", hint)
        else:
            return True
        return False

    def target(self, shape: Shape, type_: Type, names: Names, place: Place | None, *, strict: bool) -> None:
        """Check a shape that makes a value of a type; ``strict`` where text is not good enough for a number."""
        match shape:
            case Expression():
                given, at = self.typist.of(shape, names), Place(shape.file, shape.path, shape.text)
                self._fits(given, type_, at, strict=strict)
                if strict and type_.required and not self.typist.general and left_out(shape.node):
                    self.typist.add(
                        at, "may be left out and is required", "take the '?' away, or give a default with '??'"
                    )
            case Constant():
                if place is not None and shape.value is not None:
                    self._fits(literal(shape.value), type_, place, strict=strict)
            case Structure():
                with self._where(shape.when, names):
                    self._structure(shape, type_, names, strict=strict)
            case Value():
                with self._where(shape.when, names):
                    self.target(shape.value, type_, names, place, strict=strict)
            case Items(parts):
                self._listed(type_, place, strict=strict)
                for part in parts:
                    each = type_ if isinstance(part, Loop) else replace(type_, many=False)
                    self.target(part, each, names, place, strict=strict)
            case Loop(sources, variables, body):
                for source, variable in zip(sources, variables, strict=True):
                    names = {**names, variable: replace(self.typist.of(source, names), many=False)}
                self._listed(type_, place, strict=strict)
                self.target(body, replace(type_, many=False), names, place, strict=strict)
            case Choice(options):
                inner = [
                    (when, partial(self.target, option, type_, names, place, strict=strict)) for when, option in options
                ]
                self._options(inner, names, "option")
            case With(pairs, body):
                for name, expression in pairs:
                    names = {**names, name: self.typist.of(expression, names)}
                self.target(body, type_, names, place, strict=strict)
            case Use():
                self._use(shape, type_, names, strict=strict)

    @contextmanager
    def _where(self, when: Expression | None, names: Names) -> Iterator[None]:
        """Where a condition holds; it is checked itself."""
        if when is not None:
            self.typist.condition(when, names)
        with self.typist.inside(self.typist.facts.after(when.node) if when else self.typist.facts):
            yield

    def _listed(self, type_: Type, place: Place | None, *, strict: bool) -> None:
        """Find a list that is written where the contract wants one value."""
        if strict and place is not None and not type_.many and type_.sort != "any":
            self.typist.add(place, f"a list where {WORDS[type_.sort]} is needed")

    def _use(self, use: Use, type_: Type, names: Names, *, strict: bool) -> None:
        given: dict[str, Type] = {}
        for variable, argument in zip(use.part.variables, use.arguments, strict=False):
            if isinstance(argument, Expression):
                given[variable] = self.typist.of(argument, names)
            elif isinstance(argument, Constant):
                given[variable] = literal(argument.value)
            else:
                self.target(argument, ANY, names, None, strict=False)
        with self.typist.inside(NOTHING, general=True):
            self.target(use.part.body, type_, given, None, strict=strict)

    def _structure(self, shape: Structure, type_: Type, names: Names, *, strict: bool) -> None:
        if strict and type_.many and not type_.single:
            self.typist.add(
                Place(shape.file, shape.path), "a structure where a list is needed", "write it as a list of one"
            )
        given: dict[str, set[str]] = {} if shape.fields else {"": set()}
        for name, inner in shape.fields:
            key = name if not name.startswith("$") else f"${name}"
            place = Place(shape.file, (*shape.path, key))
            steps = _steps(name, type_)
            given.setdefault(steps[0] if steps[1:] else "", set()).add(steps[1] if steps[1:] else name)
            found = type_.at(steps)
            if members := _members(name, type_):
                self.typist.add(
                    replace(place, at_key=True),
                    "a choice is written with its type",
                    f"such as {', '.join(members[:3])}",
                )
            if isinstance(found, Lost):
                hint = nearest(found.step, found.known)
                whole = self.whole if strict else "what is sent"
                self.typist.add(replace(place, at_key=True), f"{whole} has no '{found.step}'", hint)
                found = ANY
            self.target(inner, found, names, place, strict=strict)
        for segment, fields in given.items():
            self._required(shape, type_.at([segment]) if segment else type_, segment, fields, strict=strict)

    def _required(self, shape: Structure, type_: Type | Lost, segment: str, given: set[str], *, strict: bool) -> None:
        """What must be there and is not; ``segment`` where the fields of an HL7 segment are given by their paths."""
        if isinstance(type_, Lost) or type_.sort != "structure":
            return
        missing = [name for name, inner in type_.fields.items() if inner.required and not _given(name, given)]
        if missing:
            mark = f"{segment}-" if segment else ""
            first = next(iter(_members(missing[0], type_)), missing[0])
            hint = "" if strict else f"write '{mark}{first}: null' where the system does without it"
            place = Place(shape.file, shape.path)
            if shape.fields:
                place = Place(shape.file, (*shape.path, shape.fields[0][0]), at_key=True)
            self.typist.add(place, f"required and not given: {', '.join(mark + name for name in missing)}", hint)

    def segments(self, shape: Shape, type_: Type, key: str) -> None:
        """The segments that an HL7 message must have and no row of the list gives, whatever the data is."""
        given = _rows(shape)
        if not given:
            return
        missing = [name for name, inner in type_.fields.items() if inner.required and name not in given]
        if missing:
            first = next((name for name, inner in type_.fields[missing[0]].fields.items() if inner.required), "1")
            hint = f"write a row with '{missing[0]}-{first}: null' where the system does without it"
            self.typist.add(
                Place(self.file, (key,), at_key=True), f"required segments not given: {', '.join(missing)}", hint
            )

    def _fits(self, given: Type, type_: Type, place: Place, *, strict: bool) -> None:
        if given.many and not type_.many and type_.sort not in ("any", "structure"):
            self.typist.add(place, f"a list where {WORDS[type_.sort]} is needed", "take one with '| first'")
        elif strict and type_.many and not type_.single and not given.many and given.sort != "any":
            self.typist.add(place, f"{WORDS[given.sort]} where a list is needed", "'| list' makes a list of one")
        elif type_.sort in _clashes(given, strict):
            hint = _STAMP_HINT if given.sort == "ts" else _HINTS.get(type_.sort, "")
            self.typist.add(place, f"{WORDS[given.sort]} where {WORDS[type_.sort]} is needed", hint)
        elif strict and given.words and type_.words and (extra := sorted(set(given.words) - set(type_.words))):
            known = ", ".join(type_.words)
            self.typist.add(
                place, f"may be {', '.join(map(repr, extra))}, which is not allowed here", f"known: {known}"
            )
        elif type_.longest is not None and any(len(word) > type_.longest for word in given.words):
            self.typist.add(place, f"may be longer than the {type_.longest} characters that fit here")


def _rows(shape: Shape) -> frozenset[str] | None:
    """The names of all HL7 segments that a list may give; none of what is no message, None where they are computed."""
    match shape:
        case Structure(fields):
            return frozenset(match[1] for name, _ in fields if (match := _SEGMENT.fullmatch(name)))
        case Items(parts):
            return _all_rows(parts)
        case Choice(options):
            return _all_rows([option for _, option in options])
        case Loop(body=inner) | With(body=inner) | Value(value=inner):
            return _rows(inner)
        case Use(part):
            return _rows(part.body)
        case Constant(None):
            return frozenset()
    return None


def _all_rows(shapes: Iterable[Shape]) -> frozenset[str] | None:
    found = [_rows(one) for one in shapes]
    known = [one for one in found if one is not None]
    return frozenset[str]().union(*known) if len(known) == len(found) else None


_STAMP_HINT: Final = "'| read_ts' and '| read_ts_date' read an HL7 time stamp"
_HINTS: Final[Mapping[Sort, str]] = {
    "ts": "'| write_ts' writes an HL7 time stamp",
    "integer": "'| int' reads a whole number, '| fen' an amount of money",
    "decimal": "'| decimal' reads a number",
    "date": "'| date' takes the date of a time",
}


def _clashes(given: Type, strict: bool) -> Iterable[Sort]:
    if strict:
        return _STRICT.get(given.sort, ())
    if given.sort in _TIMES:
        return [sort for sort in _TIMES if sort != given.sort]
    return ("text", "integer", "decimal", "truth", *_TIMES) if given.sort == "structure" and not given.many else ()


def _members(choice: str, type_: Type) -> list[str]:
    """The names that a FHIR choice is written with; none for any other name."""
    return [name for name in type_.fields if choice.endswith("[x]") and _is_member(name, choice)]


def _is_member(name: str, choice: str) -> bool:
    stem = choice.removesuffix("[x]")
    return name.startswith(stem) and name[len(stem) :][:1].isupper()


def _given(name: str, given: Iterable[str]) -> bool:
    return name in given or (name.endswith("[x]") and any(_is_member(one, name) for one in given))


def _steps(name: str, type_: Type) -> list[str]:
    """Where a key of a target leads; HL7 field paths say it in one key."""
    match = _SEGMENT.fullmatch(name)
    if match and name not in type_.fields:
        return [part for part in match.groups() if part]
    return [name]
