"""Where one field comes from, or what uses it: ``esb explain OPERATION --field X``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from esb.codecs.yaml import nearest
from esb.contract import Operation
from esb.explain.lineage import origins
from esb.explain.origin import Origin, Source, normal, plain
from esb.lint import Plan
from esb.mapping import Mapping as FieldMapping
from esb.mapping import Translation
from esb.types import ANY, Description, Lost, Type

_SIDE = re.compile(r"^\$?(?:(?:request|answer|message|gives|done|response(?:\[\d*\])?(?:\.done)?)(?:\[\d*\])?\.)?")
_HL7 = re.compile(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.|$)")


class UnknownFieldError(Exception):
    """Nothing makes or uses a field of that name; ``hint`` names the nearest."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"no field '{name}' is made or used ({hint})")


@dataclass(frozen=True, slots=True)
class About:
    """What the contract or the system says of a field. ``phi`` is the kind of patient data, "" for none."""

    path: str
    sort: str
    many: bool
    required: bool
    words: tuple[str, ...]
    longest: int | None
    title: str
    phi: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A place that makes the field, and what is known of its target and of its sources, by their paths."""

    origin: Origin
    contract: tuple[About, ...]
    system: tuple[About, ...]


@dataclass(frozen=True, slots=True)
class Used:
    """A place that uses the field: ``value``, ``condition``, ``loop``; what it makes there, and the path it reads."""

    how: str
    target: str
    file: str
    line: int
    written: str
    path: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """All places that make a field or use it. ``name`` is as asked for.

    ``contract`` and ``system`` say what is known of the paths at which it is used.
    """

    name: str
    file: str
    made: tuple[Made, ...]
    used: tuple[Used, ...]
    contract: tuple[About, ...] = ()
    system: tuple[About, ...] = ()

    def tree(self) -> dict[str, Any]:
        """For JSON: the fields of the dataclasses by name."""
        return {
            "field": self.name,
            "file": self.file,
            "made": [
                {**plain(made.origin), "contract": plain(made.contract), "system": plain(made.system)}
                for made in self.made
            ],
            "used": plain(self.used),
            "contract": plain(self.contract),
            "system": plain(self.system),
        }


def lineage(plan: Plan, operation: str, name: str) -> Lineage:
    """Where a field of an operation's mapping comes from and what uses it; raises ``UnknownFieldError``."""
    mapping = plan.mappings[operation]
    endpoint = plan.endpoints[plan.routes.routes[operation].to]
    system = endpoint.describe(mapping.action) if mapping.action_is_fixed else Description()
    return lineage_of(mapping, name, plan.contract.operations[operation], system)


def lineage_of(
    mapping: FieldMapping | Translation,
    name: str,
    operation: Operation | None = None,
    system: Description = Description(),
) -> Lineage:
    """The same for any mapping; what is not known of its operation and its system is left out."""
    found = origins(mapping)
    wanted = normal(_SIDE.sub("", name))
    known = _Known(operation, system)
    made = tuple(known.made(origin) for origin in _making(found, wanted))
    used = tuple(dict.fromkeys(use for origin in found for use in _using(origin, wanted)))
    if not made and not used:
        names = sorted({normal(origin.field) for origin in found} | {_bare(each) for o in found for each in o.sources})
        raise UnknownFieldError(name, nearest(wanted, names) or f"fields are {', '.join(filter(None, names))}")
    contract, theirs = known.of(dict.fromkeys(use.path for use in used if use.how != "loop"))
    return Lineage(name, mapping.file, made, used, contract, theirs)


def table(mapping: FieldMapping | Translation) -> dict[str, str]:
    """Every target with what it is made from, in one line each, in the order of the file."""
    rows: dict[str, list[str]] = {}
    for origin in origins(mapping):
        rows.setdefault(_row(origin), []).append(compact(origin))
    return {target: "; or ".join(dict.fromkeys(made)) for target, made in rows.items()}


def _row(origin: Origin) -> str:
    """A target by its name: lists of HL7 segments have no index, cases of a response are one."""
    if origin.side in ("action", "gives"):
        return origin.target
    if origin.field == origin.target:
        return origin.target
    return f"{'request' if origin.side == 'request' else 'answer'}.{origin.field}"


def compact(origin: Origin) -> str:
    """What a field is made from, in a line: sources from their roots, then functions."""
    ways = []
    for way in origin.ways:
        paths = list(dict.fromkeys(source.path for source in way.sources)) or [way.written]
        ways.append(" | ".join([", ".join(paths), *(step.written for step in way.steps)]))
    return " ?? ".join(ways) or origin.written


def _making(found: Iterable[Origin], wanted: str) -> list[Origin]:
    """The places that make a field or what is in it; of a name alone, wherever it stands."""
    found = list(found)
    exact = [origin for origin in found if _is(normal(origin.field), wanted)]
    return exact or [origin for origin in found if normal(origin.field).endswith(f".{wanted}")]


def _using(origin: Origin, wanted: str) -> Iterator[Used]:
    def places(how: str, file: str, line: int, written: str, sources: Iterable[Source]) -> Iterator[Used]:
        for source in sources:
            if _is(_bare(source), wanted) or _is(normal(source.path).rpartition(")")[2].strip("."), wanted):
                yield Used(how, origin.target, file, line, written, source.path)

    yield from places("value", origin.file, origin.line, origin.written, origin.sources)
    for each in origin.conditions:
        yield from places("condition", each.file, each.line, each.written, each.sources)
    for over in origin.loops:
        yield from places("loop", over.file, over.line, over.written, over.sources)


def _bare(source: Source) -> str:
    return normal(source.path).partition(".")[2] if not source.path.startswith("(") else ""


def _is(name: str, wanted: str) -> bool:
    return name == wanted or (name.startswith(wanted) and name[len(wanted)] in ".-")


@dataclass(frozen=True, slots=True)
class _Known:
    operation: Operation | None
    system: Description

    def made(self, origin: Origin) -> Made:
        """A place with what is known of its target and of its sources."""
        contract, system = self.of(dict.fromkeys(source.path for source in origin.sources))
        operation = self.operation
        if origin.side == "response" and operation is not None and ".done" in origin.target:
            found = _about(operation.answer_type, origin.field, operation.answer_phi, origin.field)
            contract = (*found, *contract)
        if origin.side == "request":
            system = (*_about(self.system.request, origin.field, {}, origin.field), *system)
        return Made(origin, contract, system)

    def of(self, paths: Iterable[str]) -> tuple[tuple[About, ...], tuple[About, ...]]:
        """What the contract says of those paths that are of the request, the system of those of its answer."""
        contract: list[About] = []
        system: list[About] = []
        for each in paths:
            root, _, path = each.partition(".")
            if root == "request" and self.operation is not None:
                contract += _about(self.operation.request_type, path, self.operation.request_phi, each)
            elif root == "answer":
                system += _about(self.system.answer, path, {}, each)
        return tuple(contract), tuple(system)


def _about(type_: Type, path: str, phi: Mapping[tuple[str, ...], str], shown: str) -> Iterator[About]:
    found = type_.at(_steps(normal(path)))
    if isinstance(found, Lost) or found == ANY or not path:
        return
    sort = phi.get(tuple(step for step in re.split(r"\.|(\*)", path.replace("[]", ".*")) if step), "")
    yield About(shown, found.sort, found.many, found.required, found.words, found.longest, found.title, sort)


def _steps(path: str) -> list[str]:
    match = _HL7.match(path)
    if match:
        return [part for part in match.groups() if part] + [step for step in path[match.end() :].split(".") if step]
    return path.split(".")
