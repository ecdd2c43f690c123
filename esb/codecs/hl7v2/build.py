"""Field paths with their values -> an HL7 v2 message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from esb.codecs import EncodeError
from esb.codecs.hl7v2 import charsets
from esb.codecs.hl7v2.message import Message
from esb.codecs.hl7v2.paths import parse
from esb.codecs.hl7v2.syntax import STANDARD, Syntax, syntax
from esb.model import Tree

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Place = tuple[int, ...]


def build(segments: Sequence[Mapping[str, Tree]], *, charset: str = "UNICODE UTF-8") -> Message:
    """The message of these segments, each a dict of field paths of one segment; MSH first, without MSH-1 and MSH-2.

    ``[{"MSH-9.1": "ADT", ...}, {"PID-3[2].1": "P1", "PID-5.1": "..."}]``. Values are text, int or Decimal, escaped
    here (CR and LF as ``\\X0D\\`` and ``\\X0A\\``; formatting escapes such as ``\\.br\\`` go out as they are); None
    leaves the field out. ``charset`` is an MSH-18 value; it is put into MSH-18 unless MSH-18 is given. Raises
    ``EncodeError`` that names the path of a control character, a character outside the charset, a wrong path or two
    paths that overlap.
    """
    codec = charsets.codec(charset)
    if codec is None:
        raise EncodeError(f"'{charset}' is no charset", "MSH-18")
    marks, _ = syntax("|", STANDARD, codec)
    if not segments or not all(isinstance(segment, Mapping) and segment for segment in segments):
        raise EncodeError("a message is a list of segments, each with at least one field", "$")
    first = {"MSH-18": charset, **segments[0]}
    lines = [_line(segment, marks, number) for number, segment in enumerate([first, *segments[1:]])]
    text = "\r".join(lines) + "\r"
    try:
        return Message(text.encode(codec), text, marks)
    except UnicodeEncodeError:
        raise _outside([first, *segments[1:]], codec, charset) from None


def _line(segment: Mapping[str, Tree], marks: Syntax, number: int) -> str:
    name = _name(segment, number)
    values: dict[Place, str] = {}
    for path, value in segment.items():
        place = parse(path)[2:]
        if place in values:
            raise EncodeError("is given twice", f"$[{number}].{path}")
        if value is not None:
            values[place] = marks.escaped(_text(value, f"$[{number}].{path}"))
    if not values:
        return name if name != "MSH" else f"MSH|{STANDARD}"
    body = _joined(values, (marks.field, marks.repetition, marks.component, marks.subcomponent), f"$[{number}]")
    return f"MSH|{STANDARD}{body[1:]}" if name == "MSH" else f"{name}|{body}"


def _name(segment: Mapping[str, Tree], number: int) -> str:
    """The one segment that every path names."""
    names = {}
    for path in segment:
        try:
            place = parse(path if isinstance(path, str) else repr(path))
        except ValueError as error:
            raise EncodeError(str(error), f"$[{number}]") from None
        if place.occurrence or (place.segment == "MSH" and place.field < 3):
            raise EncodeError("MSH-1, MSH-2 and occurrences of segments cannot be given", f"$[{number}].{path}")
        names[place.segment] = path
    if len(names) > 1:
        raise EncodeError(f"mixes {' and '.join(names)} in one segment", f"$[{number}]")
    name = next(iter(names))
    if (number == 0) != (name == "MSH"):
        raise EncodeError("MSH must come first, and once", f"$[{number}]")
    return name


def _text(value: Tree, path: str) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise EncodeError(f"a {type(value).__name__} has no form in HL7 v2", path)
    if control := _CONTROL.search(value):
        raise EncodeError(f"control character U+{ord(control[0]):04X}", path)
    return value


def _joined(values: Mapping[Place, str], marks: Sequence[str], path: str) -> str:
    """``values`` by their numbers below this level, joined by its mark; number 0 is the whole."""
    groups: dict[int, dict[Place, str]] = {}
    for place, value in values.items():
        groups.setdefault(place[0], {})[place[1:]] = value
    if 0 in groups:
        if len(groups) > 1:
            raise EncodeError("gives a whole and a part of it", path)
        return next(iter(groups[0].values()))
    parts = [""] * max(groups)
    for number, below in groups.items():
        parts[number - 1] = _joined(below, marks[1:], path) if len(marks) > 1 else below[()]
    return marks[0].join(parts)


def _outside(segments: Sequence[Mapping[str, Tree]], codec: str, charset: str) -> EncodeError:
    for number, segment in enumerate(segments):
        for path, value in segment.items():
            try:
                str(value).encode(codec)
            except UnicodeEncodeError as error:
                code = ord(error.object[error.start])
                return EncodeError(f"character U+{code:04X} is not in {charset}", f"$[{number}].{path}")
    return EncodeError(f"cannot be written in {charset}", "$")
