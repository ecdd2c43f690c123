"""A message as JSON and back, without loss.

``{"charset": "utf-8", "segments": [["MSH", "|", "^~\\\\&", "HUB"], ["PID", "1", "", ["P1", "", "", "HIS", "PI"]]]}``:
the index in a segment is the HL7 field number. A field is a text with its escapes decoded, or a list of components; a
repeated field is ``{"repetitions": [...]}``, a component with sub-components ``{"subcomponents": [...]}``. A text
whose escapes were written in another way than ours is ``{"raw": "..."}``. ``lead`` (what stands before MSH) and
``ends`` (how segments end: one text for all, or a list) are left out when they are "" and CR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from esb.codecs import DecodeError, EncodeError
from esb.codecs.hl7v2.charsets import codec
from esb.codecs.hl7v2.message import Message, of_text
from esb.codecs.hl7v2.syntax import Syntax, syntax
from esb.model import Tree

_LEVELS = ("repetitions", "components", "subcomponents")
_LINE = re.compile(r"([^\r\n]+)([\r\n]*)")
_HEADERS = ("MSH", "FHS", "BHS")


def to_tree(message: Message) -> dict[str, Tree]:
    """The form that the module describes; ``from_tree`` makes the same bytes of it."""
    text = message.text
    start = text.index("MSH")
    lines = _LINE.findall(text[start:])
    tree: dict[str, Tree] = {"charset": _charset(message)}
    if start:
        tree["lead"] = text[:start]
    ends = [end for _, end in lines]
    if set(ends) != {"\r"}:
        tree["ends"] = ends[0] if len(set(ends)) == 1 else ends
    tree["segments"] = [_segment(line, message.syntax) for line, _ in lines]
    return tree


def from_tree(tree: Tree) -> Message:
    """The message that a tree of that form describes. Raises ``EncodeError`` with the path of what does not fit."""
    rows = tree.get("segments") if isinstance(tree, dict) else None
    if not isinstance(rows, list) or not rows:
        raise EncodeError("is no HL7 v2 message: 'segments' is missing", "$")
    charset = _string(tree.get("charset", "utf-8"), "$.charset")
    marks = _syntax(rows[0])
    lines = [_line(row, marks, f"$.segments[{number}]") for number, row in enumerate(rows)]
    ends = tree.get("ends", "\r")
    ends = ends if isinstance(ends, list) else [ends] * len(lines)
    if len(ends) != len(lines):
        raise EncodeError("'ends' and 'segments' differ in length", "$.ends")
    text = _string(tree.get("lead", ""), "$.lead")
    text += "".join(line + _string(end, "$.ends") for line, end in zip(lines, ends, strict=True))
    try:
        return of_text(text.encode(charset), text, charset)
    except (LookupError, UnicodeError):
        raise EncodeError(f"cannot be written in {charset[:20]}", "$") from None
    except DecodeError as error:
        raise EncodeError(error.reason, "$") from None


def _charset(message: Message) -> str:
    """What wrote it; of plain ASCII what MSH-18 promises, so that an edited tree may hold more."""
    declared = (message.get("MSH", 0, 18, 1, 1) or "UTF-8") if message.charset == "ascii" else ""
    return (codec(declared) or "utf-8") if declared else message.charset


def _segment(line: str, marks: Syntax) -> list[Tree]:
    parts = line.split(marks.field)
    if parts[0] in _HEADERS and len(parts) > 1:
        return [parts[0], marks.field, parts[1], *(_read(part, marks, 0) for part in parts[2:])]
    return [parts[0], *(_read(part, marks, 0) for part in parts[1:])]


def _read(text: str, marks: Syntax, level: int) -> Tree:
    if level == 3:
        meant = marks.unescaped(text)
        return meant if marks.escaped(meant) == text else {"raw": text}
    mark = (marks.repetition, marks.component, marks.subcomponent)[level]
    if mark not in text:
        return _read(text, marks, level + 1)
    parts = [_read(part, marks, level + 1) for part in text.split(mark)]
    return parts if level == 1 else {_LEVELS[level]: parts}


def _syntax(row: Any) -> Syntax:
    if not isinstance(row, list) or row[:1] != ["MSH"] or len(row) < 2:
        raise EncodeError("the first segment is not MSH with its delimiters", "$.segments[0]")
    mark = _string(row[1], "$.segments[0][1]")
    chars = _string(row[2], "$.segments[0][2]") if len(row) > 2 else ""
    try:
        return syntax(mark, chars, "utf-8")[0]
    except DecodeError as error:
        raise EncodeError(error.reason, "$.segments[0][2]") from None


def _line(row: Any, marks: Syntax, path: str) -> str:
    if not isinstance(row, list) or not row:
        raise EncodeError("is no list of a name and its fields", path)
    name = _string(row[0], path)
    skip = 1 if name in _HEADERS and len(row) > 1 else 0
    head = [name, *(_string(item, path) for item in row[2:3])] if skip else [name]
    rest = row[3:] if skip else row[1:]
    return marks.field.join([*head, *(_written(item, marks, 0, path) for item in rest)])


def _written(item: Tree, marks: Syntax, level: int, path: str) -> str:
    if isinstance(item, str):
        return marks.escaped(item)
    if isinstance(item, dict) and len(item) == 1:
        key, value = next(iter(item.items()))
        if key == "raw":
            return _string(value, path)
        if key in _LEVELS and isinstance(value, list):
            return _list(value, marks, max(level, _LEVELS.index(key)), path)
    if isinstance(item, list):
        return _list(item, marks, max(level, 1), path)
    raise EncodeError(f"a {type(item).__name__} has no place in a field", path)


def _list(items: Sequence[Tree], marks: Syntax, level: int, path: str) -> str:
    if level > 2:
        raise EncodeError("is nested too deep", path)
    mark = (marks.repetition, marks.component, marks.subcomponent)[level]
    return mark.join([_written(item, marks, level + 1, path) for item in items])


def _string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise EncodeError(f"is a {type(value).__name__}, not a text", path)
    return value
