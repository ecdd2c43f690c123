"""Examples beside a mapping: what goes in, what is sent, what is answered, what it means. They run as tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from esb.codecs.yaml import Document, PathTuple, nearest
from esb.errors import Finding, Outcome
from esb.mapping.values import kind
from esb.model import Tree

if TYPE_CHECKING:
    from esb.mapping.compile import Mapping as Compiled
    from esb.mapping.compile import Verdict

EXCHANGE = {"id": "EX1", "key": "KEY1", "operation": "example", "now": "2026-01-15T09:30:00+08:00"}
"""What ``$exchange`` is in an example that does not say."""

_KEYS = ("name", "given", "exchange", "site", "action", "sends", "answer", *Outcome)
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Example:
    """One example. ``expects`` is the outcome with its expected body or message; None when only sending is shown."""

    name: str
    line: int
    given: Mapping[str, Tree]
    exchange: Mapping[str, Tree]
    site: Mapping[str, Tree]
    action: str | None
    sends: Tree
    has_sends: bool
    answer: Tree
    expects: tuple[Outcome, Tree] | None


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """How an example went; ``differences`` are sentences, one for each field that is not as written."""

    name: str
    line: int
    passed: bool
    differences: list[str]


class ExampleReader:
    """Reads the ``examples`` of a document; mistakes are added to ``findings``."""

    def __init__(self, document: Document, findings: list[Finding]) -> None:
        self.document, self.findings = document, findings

    def read(self) -> tuple[Example, ...]:
        value = self.document.value.get("examples") if isinstance(self.document.value, dict) else None
        if value is None:
            return ()
        if not isinstance(value, list):
            self._find(("examples",), "'examples' must be a list")
            return ()
        found = [self._example(entry, ("examples", index)) for index, entry in enumerate(value)]
        return tuple(example for example in found if example is not None)

    def _example(self, entry: Any, path: PathTuple) -> Example | None:
        if not isinstance(entry, dict):
            self._find(path, "an example needs 'name', 'given' and an outcome")
            return None
        self._check(entry, path)
        outcomes = [key for key in entry if key in frozenset(Outcome)]
        given, exchange, site = (_dict(entry.get(key)) for key in ("given", "exchange", "site"))
        return Example(
            name=str(entry.get("name", "")),
            line=self.document.mark(path).line,
            given=given,
            exchange={**EXCHANGE, **exchange},
            site=site,
            action=entry.get("action"),
            sends=entry.get("sends"),
            has_sends="sends" in entry,
            answer=entry.get("answer"),
            expects=(Outcome(outcomes[0]), entry[outcomes[0]]) if outcomes else None,
        )

    def _check(self, entry: dict[str, Any], path: PathTuple) -> None:
        for key in entry:
            if key not in _KEYS:
                self._find((*path, key), f"unknown key '{key}'", nearest(key, _KEYS), at_key=True)
        if not isinstance(entry.get("name"), str) or not entry["name"].strip():
            self._find(path, "an example needs a 'name'")
        for key in ("given", "exchange", "site"):
            if entry.get(key) is not None and not isinstance(entry[key], dict):
                self._find((*path, key), f"'{key}' must be a structure")
        outcomes = [key for key in entry if key in frozenset(Outcome)]
        if len(outcomes) > 1 or ("answer" in entry) != bool(outcomes):
            self._find(
                path,
                f"an example with an 'answer' needs exactly one outcome, got {len(outcomes)}",
                f"one of {', '.join(Outcome)}",
            )
        if not outcomes and "sends" not in entry:
            self._find(path, "an example needs 'sends' or an 'answer' with its outcome")

    def _find(self, path: PathTuple, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.findings.append(self.document.finding(path, message, hint, at_key=at_key))


def _dict(value: Any) -> dict[str, Tree]:
    return value if isinstance(value, dict) else {}


def run_examples(mapping: Compiled, decode: Callable[[str], Tree]) -> list[ExampleResult]:
    """Run every example; ``decode`` makes the answer's tree where it is written as text."""
    results = []
    for example in mapping.examples:
        differences = [*_sending(mapping, example), *_meaning(mapping, example, decode)]
        results.append(ExampleResult(example.name, example.line, not differences, differences))
    return results


def _sending(mapping: Compiled, example: Example) -> Iterable[str]:
    from esb.mapping.compile import MappingError

    if not example.has_sends and example.action is None:
        return
    try:
        action, payload = mapping.build(dict(example.given), dict(example.exchange), dict(example.site))
    except MappingError as error:
        yield f"sends: {error}"
        return
    if example.action is not None:
        yield from differences(example.action, action, "action")
    if example.has_sends:
        yield from differences(example.sends, payload, "sends")


def _meaning(mapping: Compiled, example: Example, decode: Callable[[str], Tree]) -> Iterable[str]:
    from esb.mapping.compile import MappingError

    if example.expects is None:
        return
    try:
        answer = decode(example.answer) if isinstance(example.answer, str) else example.answer
    except Exception as error:
        yield f"answer: cannot be decoded: {error}"
        return
    try:
        verdict = mapping.interpret(answer, dict(example.given), dict(example.exchange), dict(example.site))
    except MappingError as error:
        if example.expects != (Outcome.MALFORMED, True):
            yield str(error)
        return
    yield from _verdict(example.expects[0], example.expects[1], verdict)


def _verdict(outcome: Outcome, expected: Tree, verdict: Verdict) -> Iterable[str]:
    if verdict.outcome is not outcome:
        words = ", ".join(part for part in (verdict.code, verdict.message) if part)
        yield f"expected {outcome}, got {verdict.outcome}{f' ({words})' if words else ''}"
    elif outcome in (Outcome.DONE, Outcome.ACCEPTED):
        yield from differences(expected, verdict.body, outcome)
    elif expected is not None and expected is not True:
        wanted = expected if isinstance(expected, dict) else {"message": expected}
        given = {"code": verdict.code, "message": verdict.message, "details": dict(verdict.details)}
        yield from differences(wanted, {key: given.get(key) for key in wanted}, outcome)


def differences(expected: Tree, got: Tree, path: str) -> Iterable[str]:
    """One sentence for each place where two trees differ; numbers are equal by value, text and numbers never."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            yield from _entry(expected.get(key, _NOTHING), got.get(key, _NOTHING), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            pair = [tree[index] if index < len(tree) else _NOTHING for tree in (expected, got)]
            yield from _entry(pair[0], pair[1], f"{path}[{index}]")
    elif kind(expected) != kind(got) or expected != got:
        yield f"{path}: expected {_shown(expected)}, got {_shown(got)}"


def _entry(expected: Any, got: Any, path: str) -> Iterable[str]:
    if expected is _NOTHING:
        yield f"{path}: not expected, got {_shown(got)}"
    elif got is _NOTHING:
        yield f"{path}: expected {_shown(expected)}, is not there"
    else:
        yield from differences(expected, got, path)


def _shown(tree: Tree) -> str:
    text = f"'{tree}'" if isinstance(tree, str) else str(tree) if isinstance(tree, int | Decimal) else repr(tree)
    return text if len(text) <= 200 else text[:200] + "..."
