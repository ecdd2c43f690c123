"""Field paths with their values -> an HL7 v2 message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from esb.codecs import EncodeError
from esb.codecs.hl7v2 import charsets
from esb.codecs.hl7v2.message import Message
from esb.codecs.hl7v2.paths import parse
from esb.codecs.hl7v2.repetition import Repetition
from esb.codecs.hl7v2.syntax import STANDARD, Syntax, syntax
from esb.model import Tree

_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_special: Final = re.compile(r"[\x00-\x1f\x7f|^~\\&]").search
"""What is escaped or refused."""
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_DEEPEST: Final = 16
_LISTS: Final = (list, tuple)
_CONTENTS: Final = "a message is a list of segments, each with at least one field"

Place = tuple[int, int, int, int]
"""Field, repetition, component, sub-component; 0 is the whole of what is above it."""


def build(segments: Sequence[Tree], *, charset: str = "UNICODE UTF-8") -> Message:
    """The message of these segments, each a dict of field paths of one segment; MSH first, without MSH-1 and MSH-2.

    ``[{"MSH-9.1": "ADT", ...}, {"PID-3[2].1": "P1", "PID-5.1": "..."}, [{"ORC-1": "NW"}, [{"OBR-4.1": "GLU"}]]]``:
    lists in the list are groups and come out flat. A value is text, int or Decimal, or a structure by component number,
    and by sub-component number in it; of a whole field also a list of them, its repetitions:
    ``"PID-3": [{"1": "P1", "4": {"1": "HIS"}}, "P2"]``. Texts are escaped here (CR and LF as ``\\X0D\\`` and
    ``\\X0A\\``; formatting escapes such as ``\\.br\\`` go out as they are). None, empty lists and, in a field, empty
    structures are left out, and a segment of nothing but None. ``charset`` is an MSH-18 value; it is put into MSH-18
    unless MSH-18 is given. With several (``ASCII~ISO IR87``) characters outside of the first are written by the escape
    sequences of ISO 2022, or, where MSH-20 is ``2.3``, by ``\\M..\\`` and ``\\C..\\``. UTF-16 and UTF-32 are for
    files and begin with a BOM. Raises ``EncodeError`` that names segment (from 0, MSH) and path of a control character,
    a character outside the charset, a wrong path or two paths that overlap.
    """
    codec = charsets.codec(charset, wide=True)
    if codec is None:
        raise EncodeError(f"'{charset}' is no charset", "MSH-18")
    marks, _ = syntax("|", STANDARD, codec)
    rows = flat(segments)
    if not rows:
        raise EncodeError(_CONTENTS, "$")
    if "MSH-18" not in rows[0]:
        rows[0] = {**rows[0], "MSH-18": charset.split("~") if "~" in charset else charset}
    text = _lines(rows, marks)
    try:
        if codec.startswith("iso2022_") and rows[0].get("MSH-20") == "2.3":
            text = marks.with_sets(text)
        return Message(text.encode(codec), text, marks)
    except UnicodeEncodeError:
        raise _outside(rows, codec, charset) from None


def flat(segments: Tree, deep: int = 0) -> list[Mapping[str, Tree]]:
    """The segments in order, whatever lists they are in. Raises ``EncodeError`` for what is no segment."""
    if not isinstance(segments, _LISTS) or deep > _DEEPEST:
        raise EncodeError(_CONTENTS, "$")
    found: list[Mapping[str, Tree]] = []
    for segment in segments:
        if segment and (type(segment) is dict or isinstance(segment, Mapping)):
            found.append(segment)
        elif segment is not None:
            found += flat(segment, deep + 1)
    return found


def lines(segments: Sequence[Tree], marks: Syntax) -> list[str]:
    """These segments without MSH, as they stand in a message with those delimiters. Raises ``EncodeError``."""
    written = [_line(segment, marks, number)[:-1] for number, segment in enumerate(flat(segments), 1)]
    return [line for line in written if line]


class _Plan(NamedTuple):
    """The segment that every path names, and the paths in the order in which they are written.

    ``line`` is the segment with ``%s`` for each of them, "" when they overlap, and ``values`` takes them out.
    """

    name: str
    places: list[tuple[Place, str]]
    line: str
    values: Callable[[Mapping[str, Tree]], tuple[Tree, ...]]


@lru_cache(4096)
def _plan(paths: tuple[Any, ...]) -> _Plan:
    """A mapping gives the same paths each time. Raises ``ValueError`` with a sentence and the path, "" if unknown."""
    found: dict[Place, str] = {}
    names = {}
    for path in paths:
        try:
            place = parse(path if isinstance(path, str) else repr(path))
        except ValueError as error:
            raise ValueError(str(error), "") from None
        if place.occurrence or (place.segment == "MSH" and place.field < 3):
            raise ValueError("MSH-1, MSH-2 and occurrences of segments cannot be given", path)
        names[place.segment] = path
        if len(names) > 1:
            raise ValueError(f"mixes {' and '.join(names)} in one segment", "")
        if place[2:] in found:
            raise ValueError("is given twice", path)
        found[place[2:]] = path
    name, places = next(iter(names)), sorted(found.items())
    order = tuple([path for _, path in places])
    values = itemgetter(*order) if len(order) > 1 and order != paths else _in_order
    return _Plan(name, places, _template(name, [place for place, _ in places]), values)


def _in_order(segment: Mapping[str, Tree]) -> tuple[Tree, ...]:
    return tuple(segment.values())


def _template(name: str, places: Sequence[Place]) -> str:
    try:
        return _whole_line(name, [(place, "%s") for place in places], syntax("|", STANDARD, "ascii")[0], 0)
    except EncodeError:
        return ""


def _lines(rows: Sequence[Mapping[str, Tree]], marks: Syntax) -> str:
    """A segment of texts in which nothing is to be escaped is its template filled in."""
    lines = []
    for number, segment in enumerate(rows):
        try:
            name, _, line, take = _plan(tuple(segment))
            taken = take(segment)
            if line and (name == "MSH") == (number == 0) and _special("".join(taken)) is None:
                lines.append(line % taken)
                continue
        except (TypeError, ValueError):
            pass
        lines.append(_line(segment, marks, number))
    return "".join(lines)


def _line(segment: Mapping[str, Tree], marks: Syntax, number: int) -> str:
    try:
        name, places, *_ = _plan(tuple(segment))
    except ValueError as error:
        reason, path = error.args
        raise EncodeError(reason, f"$[{number}]" + (f".{path}" if path else "")) from None
    if (number == 0) != (name == "MSH"):
        raise EncodeError("MSH must come first, and once", f"$[{number}]")
    values = []
    for place, path in places:
        value = segment[path]
        if value is None:
            continue
        if type(value) is str and _special(value) is None:
            values.append((place, value))
        else:
            values += _values(value, place, path, marks, f"$[{number}].{path}")
    if not values and number and all(value is None for value in segment.values()):
        return ""
    return _whole_line(name, values, marks, number)


def _whole_line(name: str, values: Sequence[tuple[Place, str]], marks: Syntax, number: int) -> str:
    head = f"MSH|{STANDARD}" if name == "MSH" else name
    return head + _joined(values, 2 if name == "MSH" else 0, marks, number) + "\r"


def _joined(values: Sequence[tuple[Place, str]], field: int, marks: Syntax, number: int) -> str:
    """Values in order of their places, with the delimiters between them; ``field`` is the last one written before."""
    out = []
    separators = (marks.field, marks.repetition, marks.component, marks.subcomponent)
    before: Place = (field, 1, 1, 1)
    for place, value in values:
        if place[0] != before[0]:
            out.append(marks.field * (place[0] - before[0]))
            level = 0
        else:
            level = next(at for at in (1, 2, 3) if place[at] != before[at])
            if not before[level]:
                raise EncodeError("gives a whole and a part of it", f"$[{number}]")
            out.append(separators[level] * (place[level] - before[level]))
        for below in range(level + 1, 4):
            if place[below] > 1:
                out.append(separators[below] * (place[below] - 1))
        out.append(value)
        before = place
    return "".join(out)


def _values(value: Tree, place: Place, path: str, marks: Syntax, at: str) -> Iterator[tuple[Place, str]]:
    """What is written at a path, delimiters inside included: nothing, or one text that stands for the whole."""
    if isinstance(value, list) and "[" not in path and not place[2]:
        found = [_whole(item, 0, marks, f"{at}[{number}]") for number, item in enumerate(value, 1)]
        texts = [text for text in found if text is not None]
        if texts:
            yield (place[0], 0, 0, 0), marks.repetition.join(texts)
        return
    level = 0 if not place[2] else 1 if not place[3] else 2
    text = _whole(value, level, marks, at)
    if text is not None:
        yield place, text


def _whole(value: Tree, level: int, marks: Syntax, at: str) -> str | None:
    """A repetition (``level`` 0), component (1) or sub-component (2) with its parts; None when there is nothing."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or level > 1:
        return marks.escaped(_text(value, at))
    if isinstance(value, Repetition):
        value = value.tree()
    parts = {}
    for number, part in value.items():
        if not isinstance(number, str) or not _NUMBER.fullmatch(number):
            raise EncodeError(f"'{str(number)[:40]}' is no number of a component", at)
        text = _whole(part, level + 1, marks, f"{at}.{number}")
        if text is not None:
            parts[int(number)] = text
    if not parts:
        return None
    mark = marks.subcomponent if level else marks.component
    return mark.join([parts.get(number, "") for number in range(1, max(parts) + 1)])


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


def _outside(segments: Sequence[Mapping[str, Tree]], codec: str, charset: str) -> EncodeError:
    for number, segment in enumerate(segments):
        for path, value in segment.items():
            for at, text in _texts(value, f"$[{number}].{path}"):
                try:
                    text.encode(codec)
                except UnicodeEncodeError as error:
                    code = ord(error.object[error.start])
                    return EncodeError(f"character U+{code:04X} is not in {charset}", at)
    return EncodeError(f"cannot be written in {charset}", "$")


def _texts(value: Tree, at: str) -> Iterator[tuple[str, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _texts(item, f"{at}[{number}]")
    elif isinstance(value, Mapping):
        for number, part in value.items():
            yield from _texts(part, f"{at}.{number}")
