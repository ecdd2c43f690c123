"""Explanations as text for people: one line a fact, ``target = value <- source value | function -> result``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from esb.explain.fields import About, Lineage, Made
from esb.explain.masking import Shown
from esb.explain.message import CallStep, Explained, Fact, Followed, PathStep
from esb.explain.origin import Condition, Passed

_MOST_ITEMS = 3
_MOST_ENTRIES = 12


def lineage_text(found: Lineage) -> str:
    """Where a field comes from and what uses it."""
    blocks = [[f"{found.name} in {found.file}"]]
    blocks += [list(_made(made, found.file)) for made in found.made]
    if found.used:
        known = [("contract", about) for about in found.contract] + [("system", about) for about in found.system]
        blocks.append(["used by", *(f"  {line}" for line in _used(found))])
        blocks[-1] += [f"  {side:<11} {_about(about)}" for side, about in known if not found.made]
    return "\n\n".join("\n".join(block) for block in blocks)


def _made(made: Made, file: str) -> Iterator[str]:
    origin = made.origin
    yield f"{origin.target}   {_place(origin.file, origin.line, file)}"
    yield f"  written     {origin.written}" + ("" if origin.ways else "   (a constant)")
    for way in origin.ways:
        if way.sources:
            yield f"  from        {', '.join(dict.fromkeys(source.path for source in way.sources))}"
        elif len(origin.ways) > 1:
            yield f"  or          {way.written}"
        yield from _through(way.steps)
        if way.missing:
            yield f"  if missing  {way.missing}"
    yield from (f"  for each    {over.written}   if missing, {over.missing}" for over in origin.loops)
    yield from (f"  {_when(condition)}" for condition in origin.conditions)
    if origin.parts:
        yield f"  in          {' > '.join(origin.parts)}"
    yield from (f"  contract    {_about(about)}" for about in made.contract)
    yield from (f"  system      {_about(about)}" for about in made.system)


def _through(steps: Iterable[Passed]) -> Iterator[str]:
    for step in dict.fromkeys((each.written, each.summary) for each in steps):
        yield f"  through     {step[0]}: {step[1]}"
    for table in {each.table.name: each.table for each in steps if each.table}.values():
        pairs = [f"{word} -> {code}" for word, code in table.entries.items()]
        more = f", and {len(pairs) - _MOST_ENTRIES} more" if len(pairs) > _MOST_ENTRIES else ""
        rest = f"; anything else -> {table.default}" if table.default is not None else "; anything else is an error"
        yield f"  table       {table.file}: {', '.join(pairs[:_MOST_ENTRIES])}{more}{rest}"


def _when(condition: Condition) -> str:
    words = {"case": "in the case ", "otherwise": "if          ", "argument": "if          "}
    return f"{words.get(condition.kind, 'if          ')}{' '.join(condition.written.split())}"


def _about(about: About) -> str:
    kinds = [f"{about.sort}{' list' if about.many else ''}", "required" if about.required else "optional"]
    kinds += [f"one of {', '.join(about.words)}"] if about.words else []
    kinds += [f"at most {about.longest} characters"] if about.longest else []
    kinds += [f"patient data: {about.phi}"] if about.phi else []
    return f"{about.path}: {', '.join(kinds)}" + (f" ({about.title})" if about.title else "")


def _used(found: Lineage) -> Iterator[str]:
    for use in found.used:
        how = {"value": "", "condition": "   as a condition", "loop": "   as a loop"}[use.how]
        yield f"{use.target}{how}   {_place(use.file, use.line, found.file)}   {' '.join(use.written.split())}"


def explained_text(explained: Explained, *, whole: bool = False) -> str:
    """A message followed through its mapping; ``whole`` shows more than the first items of a list."""
    head = f"{explained.file} by {explained.mapping}" + (f" ({explained.operation})" if explained.operation else "")
    lines = [head, *(f"assumed: {each}" for each in explained.assumed)]
    if explained.masked:
        lines.append("masked: what may be a patient's; --unmask shows it")
    for side in explained.sides:
        lines += ["", *_side(side, explained.mapping, whole=whole)]
    return "\n".join(lines)


def _side(side: Followed, file: str, *, whole: bool) -> Iterator[str]:
    yield " ".join(filter(None, (side.side, side.action, side.outcome)))
    for case in side.cases:
        held = "matched" if case.held else "did not match"
        yield f"  {case.target} {case.outcome} {held}{_compared(case.condition, file)}"
    hidden = {} if whole else dict.fromkeys(filter(None, (_over(fact.target) for fact in side.facts)))
    for fact in side.facts:
        if whole or not _over(fact.target):
            yield from (f"  {line}" for line in _fact(fact, file))
    yield from (f"  {each}[{_MOST_ITEMS}] and the items after it: --json or --field has them" for each in hidden)
    if side.text:
        yield f"  {side.text}"
    if side.error is not None:
        error = side.error
        place = _place(error.file, error.line, file)
        yield f"  FAILED {error.field}: {error.path + ' ' if error.path else ''}{error.reason}   {place}"


def _compared(condition: Fact | None, file: str) -> str:
    if condition is None:
        return ""
    place = _place(condition.file, condition.line, file)
    return f"   {' '.join(condition.written.split())}   {_chain(condition)}   {place}"


def _over(target: str) -> str:
    """The list in which a target is past the items that are shown."""
    for match in re.finditer(r"\[(\d+)\]", target):
        if int(match[1]) >= _MOST_ITEMS and not re.match(r"(request|gives|response)$", target[: match.start()]):
            return target[: match.start()]
    return ""


def _fact(fact: Fact, file: str) -> Iterator[str]:
    place = _place(fact.file, fact.line, file)
    written = " ".join(fact.written.split())
    if fact.kind == "condition":
        if fact.value.value is not True:
            yield f"{fact.target} if {written}: {_value(fact.value)}   {_chain(fact)}   {place}"
    elif fact.kind == "loop":
        count = fact.value.kind if fact.items is None else f"{fact.items} item{'' if fact.items == 1 else 's'}"
        yield f"{fact.target} for each {written}: {count}   {place}"
    elif fact.kind == "field" and fact.state == "made":
        chain = f"   <- {_chain(fact)}" if fact.steps else ""
        yield f"{fact.target} = {_value(fact.value)}{chain}   {place}"
    elif fact.state != "made":
        chain = f"   <- {_chain(fact)}" if fact.steps and fact.state == "failed" else ""
        yield f"{fact.target} {fact.state}: {' '.join(fact.reason.split())}{chain}   {place}"


def _chain(fact: Fact) -> str:
    found = [_step(step) for step in fact.steps]
    last = fact.steps[-1] if fact.steps else None
    if isinstance(last, CallStep) and last.result == fact.value:
        found[-1] = f"| {last.written}"
    return " ".join(found)


def _step(step: PathStep | CallStep) -> str:
    if isinstance(step, PathStep):
        problem = f"({step.missing} is not there)" if step.missing and not step.error else step.error
        return f"{step.source} {problem or _value(step.value)}"
    return f"| {step.written} -> {step.error or _value(step.result)}"


def _value(shown: Shown) -> str:
    if shown.value is None:
        return shown.kind
    if isinstance(shown.value, bool):
        return "true" if shown.value else "false"
    if isinstance(shown.value, list):
        return "[" + ", ".join(_text(one) for one in shown.value) + "]"
    return _text(shown.value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    flat = " ".join(value.split())
    return f"'{flat[:77]}...'" if len(flat) > 80 else f"'{value if flat == value else flat}'"


def _place(file: str, line: int, own: str) -> str:
    return f":{line}" if file == own else f"{file}:{line}"
