"""A message followed through its mapping, field by field: ``esb explain FILE``.

``Followed.tree`` is what ``--json`` prints and the console shows. Its keys are promised: they may become more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from esb.codecs.yaml import nearest
from esb.config.settings import Settings
from esb.explain.choose import Chooser, Chosen
from esb.explain.fields import UnknownFieldError
from esb.explain.lineage import origins
from esb.explain.masking import LineMask, Masker, Shown
from esb.explain.origin import Documents, field_name, normal, plain
from esb.lint import Plan
from esb.mapping import Mapping as FieldMapping
from esb.mapping import MappingError, Translation
from esb.mapping.codes import Lookup
from esb.mapping.trace import Trace, trace_build, trace_interpret, trace_translate
from esb.mapping.tracer import Line, Read
from esb.model import Tree


@dataclass(frozen=True, slots=True)
class PathStep:
    """A path that was read: as written, where it led, what was there. ``missing`` is where it ended if it did."""

    written: str
    source: str
    value: Shown
    missing: str
    error: str
    step: Literal["path"] = "path"


@dataclass(frozen=True, slots=True)
class CallStep:
    """A function that was called with what was piped into it; ``table`` is the code table it looked up."""

    written: str
    given: Shown
    result: Shown
    table: str
    error: str
    step: Literal["function"] = "function"


@dataclass(frozen=True, slots=True)
class Fact:
    """A field, or what decides over fields: ``kind`` is field, condition, loop, name or argument.

    ``state`` is made, left out or failed, ``reason`` says why. ``written`` is "" for a constant. ``items`` is how many
    a loop went over.
    """

    kind: str
    target: str
    state: str
    reason: str
    file: str
    line: int
    written: str
    parts: tuple[str, ...]
    steps: tuple[PathStep | CallStep, ...]
    value: Shown
    items: int | None = None


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case that was tried: whether it held, and the condition with what it compared."""

    target: str
    outcome: str
    held: bool
    condition: Fact | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """Where and why the mapping failed; the facts before it still stand."""

    file: str
    line: int
    field: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Followed:
    """One side of a message. ``side`` is request, answer or message; ``action`` and ``outcome`` are "" elsewhere."""

    side: str
    action: str
    outcome: str
    text: str
    cases: tuple[CaseFact, ...]
    facts: tuple[Fact, ...]
    error: Mistake | None


@dataclass(frozen=True, slots=True)
class Explained:
    """A file, the mapping that was used, what was assumed, and its sides. ``masked``: patient data is hidden."""

    file: str
    mapping: str
    operation: str
    assumed: tuple[str, ...]
    masked: bool
    sides: tuple[Followed, ...]

    def tree(self) -> dict[str, Any]:
        """For JSON: the fields of the dataclasses by name."""
        tree: dict[str, Any] = plain(self)
        return tree


def explain_file(
    settings: Settings,
    plan: Plan,
    file: Path,
    *,
    by: str | None = None,
    side: str | None = None,
    request: Tree = None,
    site: Mapping[str, Tree] = {},
    field: str | None = None,
    bare: bool = False,
) -> Explained:
    """Follow the message in a file; raises ``CannotExplainError`` and ``UnknownFieldError``.

    ``bare`` shows patient data.
    """
    chosen = Chooser(settings, plan, file.read_bytes(), str(file)).choose(by, side, request, site)
    name = chosen.operation.name if chosen.operation else ""
    whole = tuple(follow(chosen, bare=bare))
    sides = tuple(_only(one, field) for one in whole)
    if field is not None and not any(side.facts or side.error for side in sides):
        names = dict.fromkeys(field_name(normal(fact.target)) for side in whole for fact in side.facts)
        raise UnknownFieldError(field, nearest(field, names) or f"fields are {', '.join(names)}")
    return Explained(str(file), chosen.mapping.file, name, tuple(chosen.assumed), not bare, sides)


def follow(chosen: Chosen, *, bare: bool = False) -> Iterator[Followed]:
    """The sides of a message that has its mapping."""
    mapping = chosen.mapping
    masker = Masker(chosen.operation, origins(mapping), bare=bare)
    telling = _Telling(masker, Documents({mapping.file: mapping.text}))
    if isinstance(mapping, Translation):
        yield telling.side("message", trace_translate(mapping, chosen.message, chosen.exchange, chosen.site))
        return
    yield from _sides(mapping, chosen, telling)


def _sides(mapping: FieldMapping, chosen: Chosen, telling: _Telling) -> Iterator[Followed]:
    context = chosen.exchange, chosen.site
    if chosen.has_request:
        yield telling.side("request", trace_build(mapping, chosen.request, *context))
    if chosen.has_answer:
        yield telling.side("answer", trace_interpret(mapping, chosen.answer, chosen.request, *context))


@dataclass(frozen=True, slots=True)
class _Telling:
    masker: Masker
    documents: Documents

    def side(self, name: str, trace: Trace) -> Followed:
        facts = [self.fact(line) for line in trace.lines]
        cases = tuple(self._cases(trace, facts))
        verdict = trace.verdict
        shown = {id(case.condition) for case in cases}
        action = next((str(fact.value.value or "") for fact in facts if fact.target == "action"), "")
        return Followed(
            name,
            action,
            str(verdict.outcome) if verdict else "",
            verdict.message if verdict and not any(tried.held for tried in trace.cases) else "",
            cases,
            tuple(fact for fact in facts if id(fact) not in shown and fact.target != "action"),
            _mistake(trace.error),
        )

    def _cases(self, trace: Trace, facts: list[Fact]) -> Iterator[CaseFact]:
        by_line = {id(line): fact for line, fact in zip(trace.lines, facts, strict=True)}
        for tried in trace.cases:
            condition = by_line[id(tried.condition)] if tried.condition else None
            yield CaseFact(tried.target, str(tried.case.outcome), tried.held, condition)

    def fact(self, line: Line) -> Fact:
        mask = self.masker.line(line)
        number = line.line or self.documents.line(line.file, line.path)
        items = len(line.value) if line.kind == "loop" and isinstance(line.value, list) else None
        steps = tuple(_step(step, mask) for step in line.steps)
        return Fact(
            line.kind,
            line.target,
            line.state,
            line.reason,
            line.file,
            number,
            line.written,
            line.parts,
            steps,
            mask.value,
            items,
        )


def _step(step: Any, mask: LineMask) -> PathStep | CallStep:
    if isinstance(step, Read):
        return PathStep(step.written, step.source, mask.read(step), step.missing, step.error)
    call = step.pipe.call
    lookup = call if isinstance(call, Lookup) else getattr(call, "__self__", None)
    name = lookup.table if isinstance(lookup, Lookup) else ""
    return CallStep(step.written, mask.given(step), mask.result(step), name, step.error)


def _mistake(error: MappingError | None) -> Mistake | None:
    return Mistake(error.file, error.line, error.field, error.path, error.reason) if error else None


def _only(side: Followed, field: str | None) -> Followed:
    """The side with the facts of one field, and what decides over it."""
    if field is None:
        return side
    wanted = normal(field).removeprefix("request.").removeprefix("answer.")

    def near(fact: Fact) -> bool:
        target = normal(fact.target)
        return f".{target}.".replace("-", ".").find(f".{wanted}.".replace("-", ".")) >= 0

    facts = tuple(fact for fact in side.facts if near(fact))
    values: Mapping[str, Any] = {name: getattr(side, name) for name in Followed.__dataclass_fields__}
    return Followed(**{**values, "facts": facts})
