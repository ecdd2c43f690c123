"""YAML bytes <-> tree, strictly: YAML 1.2 scalars, duplicate keys refused, every node knows its line and column.

Only ``true`` and ``false`` are booleans; ``null``, ``~`` and nothing are null; whole numbers are int; numbers with a
point or an exponent are Decimal; dates, numbers of more than 40 characters and everything else are text. Aliases, tags,
a second document and more than 64 levels are refused: a configuration says what it says where it says it, and cannot
expand without end.
"""

from __future__ import annotations

import difflib
import errno
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from esb.errors import ConfigError, Finding

PathTuple: TypeAlias = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_UNREADABLE = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)")
"""What YAML does not allow, and what ends a line in YAML and in no editor."""
_NUMERIC = frozenset("-+.0123456789")
_MAX_DEPTH = 64
_MAX_DIGITS = 40
_MAX_WORD = 100
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
    found = _nearest(word, tuple(known)) if len(word) <= _MAX_WORD else None
    return f"did you mean '{found}'?" if found else ""


@lru_cache(256)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    """``difflib`` is asked about the few that differ in the fewest letters; about all it would be slow."""
    letters = set(word)
    likely = sorted(known, key=lambda other: len(letters.symmetric_difference(other)))[:8]
    return next(iter(difflib.get_close_matches(word, likely, n=1, cutoff=0.6)), None)


def within(lines: Sequence[str], mark: Mark, text: str, offset: int) -> Mark:
    """Where the character at ``offset`` of a value stands; where the value begins when it is written with escapes.

    ``lines`` are those of the file, ``mark`` is where the value begins, and ``text`` the value.
    """
    written = lines[mark.line - 1][mark.column - 1 :]
    quote = written[:1] if written[:1] in ("'", '"') else ""
    before = text[:offset].replace("'", "''") if quote == "'" else text[:offset]
    if written.startswith(quote + before) and "\n" not in before:
        return Mark(mark.line, mark.column + len(quote + before))
    return _folded(lines, mark, text, offset, quote) or mark


def _folded(lines: Sequence[str], mark: Mark, text: str, offset: int, quote: str) -> Mark | None:
    """The same for a value of several lines, which differs from what is written in its white space only."""
    inside = [at for at, char in enumerate(text) if not char.isspace()]
    ended = offset > (inside[-1] if inside else -1)
    wanted = inside[:-1] if ended else [at for at in inside if at < offset]
    standing = _characters(lines, mark, quote)
    for at in wanted:
        if next(standing, (mark, ""))[1] != text[at]:
            return None
    found, char = next(standing, (mark, ""))
    if not inside or char != text[inside[len(wanted)]]:
        return None
    return Mark(found.line, found.column + 1) if ended else found


def _characters(lines: Sequence[str], mark: Mark, quote: str) -> Iterator[tuple[Mark, str]]:
    """The characters of a value as it is written, without white space, with their places."""
    first, column = mark.line - 1, mark.column + len(quote) - 1
    if lines[first][column : column + 1] in (">", "|") and not quote:
        first, column = first + 1, 0
    for number, line in enumerate(lines[first:], first + 1):
        for found in re.finditer(r"''|\S" if quote == "'" else r"\S", line[column:]):
            yield Mark(number, column + found.start() + 1), found[0][:1]
        column = 0


def load(source: Path | str, name: str | None = None) -> Document:
    """Read a file (``Path``) or text (``str``); raises ``ConfigError`` that says what, where and what to do."""
    file = name or (str(source) if isinstance(source, Path) else "<text>")
    return _Builder(file).document(read(source, file) if isinstance(source, Path) else source)


def read(path: Path, name: str | None = None) -> str:
    """The text of a file, for those who need it beside the document; raises ``ConfigError`` as ``load`` does."""
    file = name or str(path)
    try:
        return _text(path)
    except OSError as error:
        raise ConfigError([Finding(file, 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Finding(file, 0, 0, f"is not UTF-8 at byte {error.start}", "save it as UTF-8")]) from None


def _text(path: Path) -> str:
    """A pipe would be waited for, and a device may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no file")
    return path.read_text(encoding="utf-8")


class _Builder:
    """Builds a document from the parser's events: there is no second tree, and what is too deep is left at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[PathTuple, Mark] = {}
        self.keys: dict[PathTuple, Mark] = {}
        self.findings: list[Finding] = []

    def document(self, text: str) -> Document:
        if wrong := _UNREADABLE.search(text):
            raise ConfigError([self._at(text, wrong.start(), *_unreadable(wrong[0]))])
        try:
            value = self._document(_LOADER(text))
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            if mark.line > text.count("\n"):
                raise ConfigError([self._at(text, len(text), _sentence(error))]) from None
            raise ConfigError([Finding(self.file, mark.line + 1, mark.column + 1, _sentence(error))]) from None
        if self.findings:
            raise ConfigError(self.findings)
        return Document(self.file, value, self.marks, self.keys)

    def _document(self, parser: Any) -> Any:
        self._next = parser.get_event
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), ())
        self._next()
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._find(after, "is not valid YAML: expected a single document, but found another")
        return value

    def _value(self, event: Any, path: PathTuple) -> Any:
        self.marks[path] = _mark(event)
        if isinstance(event, yaml.ScalarEvent):
            self._tag(event)
            return _scalar(event)
        if isinstance(event, yaml.AliasEvent):
            self._find(event, "aliases (*name) are not allowed", "write the value out")
            return None
        self._tag(event)
        self._bound(event, len(path))
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _sequence(self, path: PathTuple) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _mapping(self, path: PathTuple) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._find(event, "a key must be a plain word")
                self._skip(event)
                self._skip(self._next())
                continue
            key = event.value
            place = (*path, key)
            if key in tree:
                self._find(event, f"duplicate key '{key}'", f"first written on line {self.keys[place].line}")
                self._skip(self._next())
                continue
            self._tag(event)
            self.keys[place] = _mark(event)
            tree[key] = self._value(self._next(), place)
        return tree

    def _skip(self, event: Any) -> None:
        """Leave out a value whose first event is ``event``."""
        depth = _opens(event)
        while depth:
            event = self._next()
            depth += _opens(event)
            self._bound(event, depth)

    def _bound(self, event: Any, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self._find(event, f"is nested deeper than {_MAX_DEPTH} levels")
            raise ConfigError(self.findings)

    def _tag(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!" and event.tag not in _TAGS:
            self._find(event, f"tag '{event.tag}' is not allowed", "quote the value or remove the tag")

    def _at(self, text: str, offset: int, message: str, hint: str = "") -> Finding:
        line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
        return Finding(self.file, line, column, message, hint)

    def _find(self, event: Any, message: str, hint: str = "") -> None:
        self.findings.append(Finding(self.file, *_mark(event), message, hint))


def _unreadable(char: str) -> tuple[str, str]:
    hint = "write it as an escape in double quotes"
    if char in "\r\x85\u2028\u2029":
        return f"U+{ord(char):04X} ends a line in YAML and in no editor", f"end lines with LF, or {hint}"
    return f"is not valid YAML: U+{ord(char):04X} is not allowed", hint


def _opens(event: Any) -> int:
    return isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style:
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if text[0] not in _NUMERIC or len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and not (text[0] == "0" and text[1:2].isdigit()):
        return Decimal(text)
    return text


def _mark(event: Any) -> Mark:
    start = event.start_mark
    return Mark(start.line + 1, start.column + 1)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return "is not valid YAML: " + ", ".join(parts)
