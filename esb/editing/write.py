"""A drafted mapping as YAML with remarks: what PyYAML cannot write, because it knows no comments."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from esb.codecs import json
from esb.model import Tree

_PLAIN = re.compile(r"[A-Za-z\u4e00-\u9fff$/](?:(?!: | #)[^\x00-\x1f\x7f-\x9f\ufffe\uffff])*(?<![: ])")
_RESERVED = re.compile(r"(?i)(true|false|null|yes|no|on|off|~)$")
_BLOCK = re.compile(r"[^\s\x00-\x1f].*\n")
"""Text of several lines; one that begins with a blank would set the block's indentation."""
_COLUMN = 48


@dataclass(frozen=True, slots=True)
class Line:
    """A scalar, and what is to be reviewed in it."""

    value: Tree
    review: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of its own."""

    text: str


@dataclass(slots=True)
class Fields:
    """A structure in order."""

    entries: list[tuple[str, Node] | Remark] = field(default_factory=list)

    def add(self, name: str, node: Node) -> None:
        self.entries.append((name, node))

    def at(self, path: tuple[str, ...]) -> Fields:
        """The structure at a path of names, made where it is not there."""
        inside = self
        for name in path:
            found = next(
                (node for entry in inside.entries if isinstance(entry, tuple) for key, node in [entry] if key == name),
                None,
            )
            if not isinstance(found, Fields):
                found = Fields()
                inside.add(name, found)
            inside = found
        return inside


@dataclass(slots=True)
class Items:
    """A list in order."""

    entries: list[Node | Remark] = field(default_factory=list)


Node: TypeAlias = Line | Fields | Items


def of_tree(tree: Tree) -> Node:
    """A plain tree; text of several lines becomes a block."""
    if isinstance(tree, dict) and tree:
        return Fields([(name, of_tree(value)) for name, value in tree.items()])
    if isinstance(tree, list) and tree:
        return Items([of_tree(value) for value in tree])
    return Line(tree)


def document(root: Fields) -> str:
    return "\n".join(_fields(root, 0)) + "\n"


def _fields(node: Fields, indent: int) -> Iterator[str]:
    for entry in node.entries:
        if isinstance(entry, Remark):
            yield f"{' ' * indent}# {entry.text}"
        else:
            yield from _entry(f"{' ' * indent}{scalar(entry[0])}:", entry[1], indent)


def _entry(head: str, node: Node, indent: int) -> Iterator[str]:
    if isinstance(node, Line):
        yield from _line(head, node, indent)
        return
    yield f"{head} {'{}' if isinstance(node, Fields) else '[]'}" if _is_bare(node) else head
    yield from _fields(node, indent + 2) if isinstance(node, Fields) else _items(node, indent + 2)


def _is_bare(node: Fields | Items) -> bool:
    """Whether it holds nothing but remarks: YAML reads them as null."""
    return all(isinstance(entry, Remark) or _is_remarks(entry) for entry in node.entries)


def _is_remarks(entry: object) -> bool:
    """An item that is nothing but remarks has no dash."""
    return isinstance(entry, Fields) and bool(entry.entries) and _is_bare(entry)


def _items(node: Items, indent: int) -> Iterator[str]:
    for entry in node.entries:
        if isinstance(entry, Remark):
            yield f"{' ' * indent}# {entry.text}"
        elif isinstance(entry, Fields) and entry.entries:
            yield from _dashed(entry, indent)
        else:
            yield from _entry(f"{' ' * indent}-", entry, indent)


def _dashed(node: Fields, indent: int) -> Iterator[str]:
    """The first field stands behind the dash; remarks before it stand above."""
    while node.entries and isinstance(node.entries[0], Remark):
        yield f"{' ' * indent}# {node.entries[0].text}"
        node = Fields(node.entries[1:])
    lines = list(_fields(node, indent + 2))
    if not lines:
        return
    yield f"{' ' * indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _line(head: str, line: Line, indent: int) -> Iterator[str]:
    if isinstance(line.value, str) and _BLOCK.match(line.value):
        yield f"{head} |"
        yield from (f"{' ' * (indent + 2)}{part}" for part in line.value.rstrip("\n").split("\n"))
        return
    text = f"{head} {scalar(line.value)}"
    yield f"{text}{' ' * (_COLUMN - _width(text))} # review: {line.review}" if line.review else text


def _width(text: str) -> int:
    """Columns on a screen, where a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def scalar(value: Tree) -> str:
    """A value as YAML writes it so that our loader reads the same."""
    if not isinstance(value, str):
        return "{}" if value == {} else "[]" if value == [] else json.encode(value).decode()
    if _PLAIN.fullmatch(value) and not _RESERVED.match(value):
        return value
    if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        return json.encode(value).decode()
    return "'" + value.replace("'", "''") + "'"
