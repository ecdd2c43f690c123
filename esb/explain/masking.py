"""What of a traced message may be shown: nothing that the contract calls a patient's, and less without a contract.

With an operation: what ``x-phi`` marks is masked by its kind, and so is what flows into it, out of it or is compared
with it on the system's side. All else that the contract describes is shown, and of what it does not describe only what
looks like a code. Without a contract, as in a translation, every text and number is shown by its form alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from esb.contract import Operation
from esb.explain.origin import Origin, Source, normal
from esb.fields import form
from esb.mapping.functions.people import mask_id, mask_name, mask_phone
from esb.mapping.nodes import Compare, Node, children, paths, written
from esb.mapping.tracer import Called, Line, Read
from esb.mapping.values import kind
from esb.model import Tree
from esb.observe import mask

MOST_ITEMS: Final = 20
"""How many items of a list of plain values are shown."""

_Phi: TypeAlias = dict[str, str]
_NUMBER: Final = re.compile(r"\+?[A-Za-z]{0,3}[\d-]{5,}[A-Za-z]?", re.ASCII)
_CODE: Final = re.compile(r"[\w.:+/^&|#*<>=@-]{1,40}", re.ASCII)
_HIDDEN: Final = "***"
_SEVERAL: Final = "several kinds"


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as it may be shown: itself, masked, or for structures and long lists only the ``kind``."""

    value: Tree
    kind: str
    masked: bool = False


class Masker:
    """Shows the values of a trace. Without an ``operation`` nothing is known to be nobody's; ``bare`` shows all."""

    def __init__(self, operation: Operation | None, origins: Iterable[Origin], *, bare: bool = False) -> None:
        self.bare, self.known = bare, operation is not None
        self.sources: _Phi = {}
        self.targets: _Phi = {}
        if operation is not None:
            self._learn(operation, tuple(origins))

    def _learn(self, operation: Operation, origins: tuple[Origin, ...]) -> None:
        self.sources = {f"request.{_dotted(path)}": sort for path, sort in operation.request_phi.items()}
        answers = {_dotted(path): sort for path, sort in operation.answer_phi.items()}
        for origin in origins:
            if origin.side == "response" and (sort := _at(answers, normal(origin.field))):
                self.targets[normal(origin.target)] = sort
                for source in origin.sources:
                    self.sources.setdefault(normal(source.path), sort)
        for origin in origins:
            if sort := next(filter(None, map(self._source, origin.sources)), ""):
                self.targets.setdefault(normal(origin.target), sort)

    def of(self, source: str) -> str:
        """The kind of patient data at a path of the message; "" for none."""
        return _at(self.sources, normal(source))

    def _source(self, source: Source) -> str:
        return self.of(source.path)

    def line(self, line: Line) -> LineMask:
        """How the values of a line are shown."""
        reads = {step.written: self.of(step.source) for step in line.steps if isinstance(step, Read)}
        if line.expression is not None:
            for beside in _compared(line.expression.node):
                sort = next((reads[path] for path in beside if reads.get(path)), "")
                reads |= {path: sort for path in beside if sort and not reads.get(path)}
        kinds = {sort for sort in reads.values() if sort} or {self.targets.get(normal(line.target), "")}
        return LineMask(self, line, reads, kinds.pop() if len(kinds) == 1 else _SEVERAL)

    def shown(self, value: Tree, sort: str, *, described: bool) -> Shown:
        """A value of a kind of patient data, "" for none; ``described``: the contract says that it is none."""
        if self.bare or value is None or isinstance(value, bool):
            return _whole(value, lambda text: text)
        if sort or not self.known:
            return _whole(value, _MASKS.get(sort, form), masked=True)
        return _whole(value, mask if described else _guarded)


@dataclass(frozen=True, slots=True)
class LineMask:
    """How the values of one line are shown: by the patient data that the line reads or makes."""

    masker: Masker
    line: Line
    reads: Mapping[str, str]
    sort: str

    def read(self, step: Read) -> Shown:
        if _nobodys(step.source):
            return _whole(step.value, lambda text: text)
        same = self._described and step.value == self.line.value
        described = step.source.startswith("request.") or same
        return self.masker.shown(step.value, self.reads[step.written], described=described)

    def given(self, step: Called) -> Shown:
        return self._made(step.given)

    def result(self, step: Called) -> Shown:
        counted = step.pipe.name == "count"
        return Shown(step.result, kind(step.result)) if counted else self._made(step.result)

    @property
    def value(self) -> Shown:
        """The value of the line; a constant of the mapping is nobody's."""
        if self.line.expression is None:
            return _whole(self.line.value, lambda text: text)
        return self._made(self.line.value)

    @property
    def _described(self) -> bool:
        """Whether it makes a field of the contract, which then says that it is a patient's, or is not."""
        return self.line.kind == "field" and (".done" in self.line.target or ".accepted" in self.line.target)

    def _made(self, value: Tree) -> Shown:
        described = self._described or self.line.kind == "condition"
        reads = [step for step in self.line.steps if isinstance(step, Read)]
        if reads and all(_nobodys(step.source) for step in reads):
            return _whole(value, lambda text: text)
        described = described or all(step.source.startswith("request.") or _nobodys(step.source) for step in reads)
        return self.masker.shown(value, self.sort, described=described)


def _nobodys(source: str) -> bool:
    """Whether a path leads to what is said of the exchange or the hospital, or to a constant of the mapping."""
    return source.startswith(("exchange.", "site.", "'")) or source[:1].isdigit()


def _number(change: Callable[[str], str]) -> Callable[[str], str]:
    """``change`` leaves both ends of a number; of what is none, such as a name in its place, they tell too much."""
    return lambda text: change(text) if _NUMBER.fullmatch(text) else form(text)


_MASKS: Final[Mapping[str, Callable[[str], str]]] = {
    "name": mask_name,
    "phone": _number(mask_phone),
    "document": _number(mask_id),
    "sex": lambda _: _HIDDEN,
    "health": lambda _: _HIDDEN,
    "address": lambda _: _HIDDEN,
}


def _guarded(text: str) -> str:
    return mask(text) if _CODE.fullmatch(text) else form(text)


def _whole(value: Tree, change: Callable[[str], str], *, masked: bool = False) -> Shown:
    if value is None or isinstance(value, bool):
        return Shown(value, kind(value))
    if isinstance(value, str):
        changed = change(value)
        return Shown(changed, kind(value), changed != value)
    if isinstance(value, int | Decimal):
        changed = change(str(value))
        return Shown(value, kind(value)) if changed == str(value) else Shown(changed, kind(value), True)
    if isinstance(value, list) and len(value) <= MOST_ITEMS and all(isinstance(one, str | int) for one in value):
        items = [_whole(one, change, masked=masked) for one in value]
        return Shown([one.value for one in items], kind(value), any(one.masked for one in items))
    return Shown(None, kind(value))


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(step for step in path if step != "*")


def _at(phi: Mapping[str, str], path: str) -> str:
    """The kind of patient data at, above or below a path; "" for none."""
    return phi.get(path) or next(
        (sort for known, sort in phi.items() if _below(path, known) or _below(known, path)), ""
    )


def _below(path: str, above: str) -> bool:
    return path.startswith(above) and path[len(above) : len(above) + 1] in (".", "-")


def _compared(node: Node) -> Iterator[list[str]]:
    """For each comparison the paths that stand in it."""
    if isinstance(node, Compare):
        yield [written(path) for path in paths(node)]
    for child in children(node):
        yield from _compared(child)
