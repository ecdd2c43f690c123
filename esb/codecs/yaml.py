"""YAML bytes <-> tree, strictly: YAML 1.2 scalars, duplicate keys refused, every node knows its line and column.

Only ``true`` and ``false`` are booleans; ``null``, ``~`` and nothing are null; whole numbers are int; numbers with a
point or an exponent are Decimal; dates and everything else are text. Aliases, tags and a second document are refused: a
configuration says what it says where it says it, and cannot expand without end.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from esb.errors import ConfigError, Finding

PathTuple: TypeAlias = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DEPTH = 64
_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value")
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mark(NamedTuple):
    """A place in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A loaded file: its tree and where each node and each key of it stands."""

    file: str
    value: Any
    marks: dict[PathTuple, Mark]
    keys: dict[PathTuple, Mark]

    def mark(self, path: Iterable[str | int] = ()) -> Mark:
        """Where the value at ``path`` begins; the nearest existing ancestor when it does not exist."""
        path = tuple(path)
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))

    def key_mark(self, path: Iterable[str | int]) -> Mark:
        """Where the key at the end of ``path`` is written; where the value is if it has no key."""
        path = tuple(path)
        return self.keys.get(path) or self.mark(path)

    def finding(self, path: Iterable[str | int], message: str, hint: str = "", *, at_key: bool = False) -> Finding:
        line, column = self.key_mark(path) if at_key else self.mark(path)
        return Finding(self.file, line, column, message, hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to ``word``, or nothing when none is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else ""


def load(source: Path | str, name: str | None = None) -> Document:
    """Read a file (``Path``) or text (``str``); raises ``ConfigError`` that says what, where and what to do."""
    file = name or (str(source) if isinstance(source, Path) else "<text>")
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    except OSError as error:
        raise ConfigError([Finding(file, 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Finding(file, 0, 0, f"is not UTF-8 at byte {error.start}", "save it as UTF-8")]) from None
    return _Builder(file).document(text)


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[PathTuple, Mark] = {}
        self.keys: dict[PathTuple, Mark] = {}
        self.findings: list[Finding] = []
        self.seen: set[int] = set()

    def document(self, text: str) -> Document:
        try:
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(0, 0)
            raise ConfigError([Finding(self.file, *place, _sentence(error))]) from None
        except yaml.YAMLError as error:
            raise ConfigError([Finding(self.file, 0, 0, str(error).replace("\n", " "))]) from None
        except RecursionError:
            raise ConfigError([Finding(self.file, 0, 0, f"is nested deeper than {_MAX_DEPTH} levels")]) from None
        value = None if root is None else self._value(root, ())
        if self.findings:
            raise ConfigError(self.findings)
        return Document(self.file, value, self.marks, self.keys)

    def _value(self, node: yaml.Node, path: PathTuple) -> Any:
        self.marks[path] = _mark(node)
        if id(node) in self.seen:
            self._find(node, "aliases (*name) are not allowed", "write the value out")
            return None
        self.seen.add(id(node))
        if node.tag not in _TAGS:
            self._find(node, f"tag '{node.tag}' is not allowed", "quote the value or remove the tag")
        if len(path) > _MAX_DEPTH:
            self._find(node, f"is nested deeper than {_MAX_DEPTH} levels")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: PathTuple) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._find(key_node, "a key must be a plain word")
                continue
            key = key_node.value
            if key in tree:
                first = self.keys[(*path, key)]
                self._find(key_node, f"duplicate key '{key}'", f"first written on line {first.line}")
                continue
            self.keys[(*path, key)] = _mark(key_node)
            tree[key] = self._value(value_node, (*path, key))
        return tree

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if node.style:
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INT.fullmatch(text):
            return int(text) if len(text) < 40 else text
        if _DECIMAL.fullmatch(text) and not (text[0] == "0" and text[1:2].isdigit()):
            return Decimal(text)
        return text

    def _find(self, node: yaml.Node, message: str, hint: str = "") -> None:
        self.findings.append(Finding(self.file, *_mark(node), message, hint))


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return "is not valid YAML: " + ", ".join(parts)
