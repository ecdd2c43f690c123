"""Parts: named shapes that many mappings use, read from ``mappings/parts/<library>.yaml``.

identifier:
  takes: [cx]
  gives: {value: $cx.1, system: $cx.4.2?}

is used as ``{$use: library.identifier, cx: $repetition}``. A part sees its arguments, ``$exchange`` and ``$site``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from esb.codecs import yaml
from esb.errors import ConfigError, Finding, PartlyBroken
from esb.mapping.codes import Codes
from esb.mapping.expr import PART
from esb.mapping.reader import Reader
from esb.mapping.shape import Choice, Expression, Items, Loop, Part, Shape, Structure, Use, Value, With

Parts: TypeAlias = Mapping[str, Part]

MAX_DEPTH = 16
MAX_USES = 10_000
"""How many uses of parts one file may come to, those inside of parts included."""

_USED = re.compile(r"\$use['\"]?\s*:\s*['\"]?([\w-]+)\.")
_NAMED = re.compile(r"[\w-]+")
_NAME = re.compile(r"[^\W\d]\w*")


def load_parts(folder: Path, codes: Codes) -> Parts:
    """Every part of a folder by ``library.name``, none without a folder; raises ``ConfigError`` with all findings."""
    return read_parts([(path.stem, path.as_posix(), path) for path in sorted(folder.glob("*.yaml"))], codes)


def load_used_parts(folder: Path, codes: Codes, users: Iterable[Path]) -> Parts:
    """The same for the libraries that some files need, directly or through other libraries."""
    wanted: dict[str, Path] = {}
    waiting = list(users)
    while waiting:
        for library in _USED.findall(_text(waiting.pop())):
            path = folder / f"{library}.yaml"
            if library not in wanted and path.is_file():
                wanted[library] = path
                waiting.append(path)
    return read_parts([(name, path.as_posix(), path) for name, path in sorted(wanted.items())], codes)


def _text(path: Path) -> str:
    """A file's text as far as it is one; what is wrong with it is said by whoever reads it in earnest."""
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def read_parts(libraries: Iterable[tuple[str, str, Path | str]], codes: Codes) -> Parts:
    """The parts of libraries, each its name, the name of its file and the file or its text."""
    findings: list[Finding] = []
    parts: dict[str, Part] = {}
    read: list[_Library] = []
    for name, file, source in libraries:
        try:
            text = yaml.read(source, file) if isinstance(source, Path) else source
            read.append(_Library(name, Reader(yaml.load(text, file), codes, parts, text)))
        except ConfigError as error:
            findings += error.findings
    for library in read:
        library.declare(parts)
    for library in read:
        library.fill(parts)
        findings += library.reader.findings
    documents = {library.reader.document.file: library.reader.document for library in read}
    endless = list(_circles(parts, documents)) or list(_crowds(parts, documents))
    if findings or endless:
        raise PartlyBroken([*findings, *endless], {} if endless else parts)
    return parts


class _Library:
    def __init__(self, name: str, reader: Reader) -> None:
        self.name, self.reader = name, reader
        self.names: list[str] = []

    def declare(self, parts: dict[str, Part]) -> None:
        """Make every part known by its name and arguments."""
        reader = self.reader
        value = reader.document.value
        if not isinstance(value, dict):
            reader.find((), "a file of parts needs 'name: {takes: [...], gives: ...}'")
            return
        reader.prune = reader.pruning(value)
        self.names = [name for name in value if name != "prune"]
        for name in self.names:
            if not _NAMED.fullmatch(name):
                reader.find((name,), f"'{name}' cannot be the name of a part", "letters, digits, - and _", at_key=True)
            parts[f"{self.name}.{name}"] = Part(
                f"{self.name}.{name}", reader.document.file, tuple(self._takes(name, value[name]))
            )

    def _takes(self, name: str, entry: Any) -> Iterator[str]:
        reader = self.reader
        if not isinstance(entry, dict) or "gives" not in entry:
            reader.find((name,), f"part '{name}' needs 'gives'", "name: {takes: [...], gives: ...}", at_key=True)
        if not isinstance(entry, dict):
            return
        reader.only(entry, (name,), ("takes", "gives"))
        takes = entry.get("takes", [])
        for at, argument in enumerate(takes if isinstance(takes, list) else [takes]):
            if not isinstance(argument, str) or not _NAME.fullmatch(argument) or argument in PART.roots:
                reader.find((name, "takes", at), f"'{argument}' cannot be the name of an argument")
            elif argument in takes[:at]:
                reader.find((name, "takes", at), f"argument '{argument}' is named twice")
            else:
                yield argument

    def fill(self, parts: Mapping[str, Part]) -> None:
        """Read what every part gives."""
        for name in self.names:
            entry = self.reader.document.value[name]
            if isinstance(entry, dict) and "gives" in entry:
                self._fill(parts[f"{self.name}.{name}"], entry["gives"], (name, "gives"))

    def _fill(self, part: Part, gives: Any, path: tuple[str, ...]) -> None:
        scope = PART
        for argument in part.takes:
            part.variables += (self.reader.variable(),)
            scope = scope.bind(argument, part.variables[-1])
        part.body = self.reader.shape(gives, path, "", scope)


def _circles(parts: Parts, documents: Mapping[str, yaml.Document]) -> Iterator[Finding]:
    """A part that uses itself, directly or through others, would never end; a chain has an end that people can see."""
    depths: dict[str, int] = {}

    def visit(part: Part, above: tuple[str, ...]) -> Iterator[Finding]:
        depth = 0
        for use in uses(part.body):
            place = (*use.path, "$use")
            if use.part.name in above:
                chain = " -> ".join([*above[above.index(use.part.name) :], use.part.name])
                yield documents[use.file].finding(place, f"part '{use.part.name}' uses itself: {chain}")
                continue
            if use.part.name not in depths and len(above) < MAX_DEPTH:
                yield from visit(use.part, (*above, use.part.name))
            below = depths.get(use.part.name, MAX_DEPTH)
            depth = max(depth, below + 1)
            if below == MAX_DEPTH:
                yield documents[use.file].finding(place, f"parts use parts more than {MAX_DEPTH} deep")
        depths[part.name] = depth

    for part in parts.values():
        if part.name not in depths:
            yield from visit(part, (part.name,))


def _crowds(parts: Parts, documents: Mapping[str, yaml.Document]) -> Iterator[Finding]:
    """Count what each part comes to: a few levels that use the next one twice and more would fill any memory."""
    counted: set[str] = set()

    def count(part: Part) -> Iterator[Finding]:
        counted.add(part.name)
        for use in uses(part.body):
            if use.part.name not in counted:
                yield from count(use.part)
            part.uses += use.part.uses
        if part.uses > MAX_USES:
            path = (part.name.partition(".")[2],)
            yield documents[part.file].finding(path, f"part '{part.name}' {TOO_MANY}", at_key=True)
            part.uses = 1  # what uses it is not to blame too

    for part in parts.values():
        if part.name not in counted:
            yield from count(part)


TOO_MANY = f"comes to more than {MAX_USES} uses of parts"


def crowd(used: Iterable[Use]) -> str:
    """What is wrong with a file that uses these parts, or nothing."""
    return TOO_MANY if sum(use.part.uses for use in used) > MAX_USES else ""


def uses(shape: Shape) -> Iterator[Use]:
    """Every use of a part in a shape, without those inside the parts used."""
    if isinstance(shape, Use):
        yield shape
    for inner in inside(shape):
        yield from uses(inner)


def inside(shape: Shape) -> Iterator[Shape]:
    """The shapes directly inside a shape, conditions and loops' sources included."""
    match shape:
        case Structure(fields, when):
            yield from (inner for _, inner in fields)
            yield from _present(when)
        case Value(value, when):
            yield value
            yield from _present(when)
        case Items(parts):
            yield from parts
        case Loop(sources, _, body):
            yield from (*sources, body)
        case Choice(options):
            for when, option in options:
                yield from (*_present(when), option)
        case With(names, body):
            yield from (*(expression for _, expression in names), body)
        case Use(_, arguments):
            yield from arguments


def _present(when: Expression | None) -> tuple[Expression, ...]:
    return () if when is None else (when,)
