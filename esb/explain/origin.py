"""What is known of the places that make a field: frozen values, and the names that fields go by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from esb.codecs import yaml
from esb.codecs.yaml import Document, PathTuple

Side: TypeAlias = Literal["action", "request", "response", "gives"]
When: TypeAlias = Literal["case", "condition", "otherwise", "argument"]


@dataclass(frozen=True, slots=True)
class Source:
    """A path as written and from its root."""

    written: str
    path: str


@dataclass(frozen=True, slots=True)
class Table:
    """A code table in the direction in which it is read; ``default`` stands for all that is not in it."""

    name: str
    file: str
    entries: Mapping[str, str]
    default: str | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A function that a value passes through, in a sentence, and its code table if it looks one up."""

    written: str
    summary: str
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One of the values joined by ``??``: what it reads, what that passes through, what happens when it is missing."""

    written: str
    sources: tuple[Source, ...]
    steps: tuple[Passed, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a field to be there. ``otherwise``: none of the options before may hold."""

    kind: When
    written: str
    file: str
    line: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """A loop that makes a field once for each item of ``sources``."""

    written: str
    file: str
    line: int
    sources: tuple[Source, ...]
    steps: tuple[Passed, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A place that makes a field. ``field`` is its name without the side: ``PID-3.1``, ``items[].fee``.

    ``parts`` are the parts it stands in, outermost first; ``ways`` are empty for a constant, which is ``written``.
    """

    side: Side
    target: str
    field: str
    file: str
    line: int
    written: str
    ways: tuple[Way, ...]
    loops: tuple[Over, ...]
    conditions: tuple[Condition, ...]
    parts: tuple[str, ...]

    @property
    def sources(self) -> Iterator[Source]:
        """Every path that its value is made of."""
        return (source for way in self.ways for source in way.sources)


def normal(path: str) -> str:
    """A path without its indexes, so that all items of a list are alike."""
    return _INDEX.sub("", path)


_INDEX = re.compile(r"\[[0-9*]*\]")
_HEAD = re.compile(r"(?:request|gives|response(?:\[\d+\])?\.(?:done|accepted))(?:\[\d*\])*(?:\.|$)")


def field_name(target: str) -> str:
    """A target without the side it is on: ``response[1].done.items[].fee`` is ``items[].fee``."""
    return _HEAD.sub("", target, count=1) or target


class Documents:
    """The files of mappings, each read once; ``texts`` are those that are known already."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts, self._read = texts, dict[str, Document]()

    def line(self, file: str, path: PathTuple) -> int:
        """The line of the value at a path."""
        if file not in self._read:
            text = self._texts.get(file)
            self._read[file] = yaml.load(Path(file), file) if text is None else yaml.load(text, file)
        return self._read[file].mark(path).line


def plain(value: Any) -> Any:
    """A dataclass as JSON writes it: its fields by name, tuples as lists, all the way down."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return {name: plain(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value
