"""The delimiters of one message and the escapes made of them."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import iso2022

STANDARD = "^~\\&"
NEVER = "\r"
"""Stands for a delimiter that a message does not have: it cannot occur inside a segment."""

_KEPT = re.compile(r"H|N|\.[a-z]{2} ?(?:[+-]?\d+)?|Z\w*")
_SET = re.compile(r"C([0-9A-F]{4})|M([0-9A-F]{4}(?:[0-9A-F]{2})?)")
_FORMATTING = re.compile(r"(\\(?:H|N|\.(?:br|sp|fi|nf|in|ti|sk|ce) ?(?:[+-]?\d+)?)\\)")
_WINDOW = 1 << 16
_MARGIN = 256
"""Long texts are read a window at a time, for memory; its last escapes are left to the next, with their neighbours."""

_BEYOND = re.compile(r"[^\x00-\x7f]+")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


class Syntax:
    """Field, component, repetition, escape, sub-component and truncation mark, and the codec of ``\\X..\\``.

    ``truncation`` is "" before HL7 2.7.
    """

    __slots__ = (
        "_meanings",
        "_written",
        "codec",
        "component",
        "escape",
        "field",
        "repetition",
        "subcomponent",
        "truncation",
    )

    def __init__(
        self, field: str, component: str, repetition: str, escape: str, subcomponent: str, truncation: str, codec: str
    ):
        self.field, self.component, self.repetition = field, component, repetition
        self.escape, self.subcomponent, self.truncation, self.codec = escape, subcomponent, truncation, codec
        letters = {"F": field, "S": component, "R": repetition, "T": subcomponent, "E": escape, "P": truncation}
        self._meanings = {letter: char for letter, char in letters.items() if char not in ("", NEVER)}
        written = {ord(char): f"{escape}{letter}{escape}" for letter, char in self._meanings.items()}
        self._written = written | {13: f"{escape}X0D{escape}", 10: f"{escape}X0A{escape}"}

    def unescaped(self, text: str) -> str:
        """What ``text`` means: delimiters, ``\\X..\\`` and character sets decoded; other escapes as they are.

        Of more than 65,536 characters a character set ends with each window of that many.
        """
        if len(text) <= _WINDOW:
            parts = text.split(self.escape)
            return self._read(parts, len(parts) - 1, len(parts) - 1)[0]
        found = []
        at = 0
        while at < len(text):
            meaning, used = self._window(text[at : at + _WINDOW], at + _WINDOW >= len(text))
            found.append(meaning)
            at += used
        return "".join(found)

    def _window(self, text: str, final: bool) -> tuple[str, int]:
        """What a piece of a long text means, and how many of its characters that is."""
        parts = text.split(self.escape)
        last = len(parts) - 1
        if final or not last:
            return self._read(parts, last, last)[0], len(text)
        if last == 1:
            return (parts[0], len(parts[0])) if parts[0] else (text, len(text))
        parts[last] = ""
        meaning, used = self._read(parts, last, max(2, last - _MARGIN), whole=False)
        return meaning, sum(map(len, parts[:used])) + used - 1

    def _read(self, parts: list[str], last: int, enough: int, *, whole: bool = True) -> tuple[str, int]:
        """What the parts between escape characters mean, ``enough`` of them or a few more, and how many that are."""
        mark = self.escape
        out = [parts[0]]
        switches = []
        at = 1
        while at < enough:
            meaning, used = self._meaning(parts, at, last)
            if meaning is None and used == 2:
                switches.append(len(out))
                out.append(f"{mark}{parts[at]}{mark}{parts[at + 1]}")
            else:
                out.append(mark + parts[at] if meaning is None else meaning + parts[at + used - 1])
            at += used
        if whole and at == last:
            out.append(mark + parts[last])
        return self._switched(out, switches) if switches else "".join(out), at

    def _meaning(self, parts: list[str], at: int, last: int) -> tuple[str | None, int]:
        """The meaning of the escape whose body is ``parts[at]`` and how many parts it takes.

        None of one part is no escape, and of two a change of the character set.
        """
        body = parts[at]
        if body in self._meanings:
            return self._meanings[body], 2
        if body[:1] == "X":
            return self._hex(parts, at, last)
        if _KEPT.fullmatch(body):
            return f"{self.escape}{body}{self.escape}", 2
        return None, 2 if _SET.fullmatch(body) else 1

    def _switched(self, out: list[str], switches: list[int]) -> str:
        """What follows each change of the character set, read in that set; all as it stands where that fails."""
        beginning = sides = iso2022.start(self.codec)
        wire = "ascii" if self.codec.startswith("iso2022_") else self.codec
        if beginning.right:
            wire = beginning.right.codec
        found = out[: switches[0]]
        try:
            for at, end in pairwise([*switches, len(out)]):
                _, body, rest = "".join(out[at:end]).split(self.escape, 2)
                sides = sides.switched(bytes.fromhex(body[1:]))
                found.append(rest if sides == beginning else sides.decoded(rest.encode(wire)))
        except UnicodeError:
            return "".join(out)
        return "".join(found)

    def _hex(self, parts: list[str], at: int, last: int) -> tuple[str | None, int]:
        """Neighbouring ``\\X..\\`` are one run: some senders write each byte of a character on its own.

        A run that no charset makes sense of stays as it is, whole: to try each of its ends would take for ever.
        """
        run = bytearray()
        used = 0
        while (
            at + used < last and (match := _HEX.fullmatch(parts[at + used])) and (not used or not parts[at + used - 1])
        ):
            run += bytes.fromhex(match[1])
            used += 2
        for codec in (self.codec, "utf-8", "gb18030") if run else ():
            try:
                return run.decode(codec), used
            except UnicodeError:
                continue
        return (self._as_it_stands(parts[at : at + used - 1]), used) if used else (None, 1)

    def _as_it_stands(self, bodies: list[str]) -> str:
        mark = self.escape
        return mark + mark.join(bodies) + mark

    def with_sets(self, text: str) -> str:
        """Characters outside of ASCII as ``\\M..\\`` or ``\\C..\\`` with what stands for them, and back to ASCII.

        Of a ``codec`` that switches between sets of seven bits. Raises ``UnicodeEncodeError``.
        """
        return _BEYOND.sub(lambda match: self._in_sets(match[0]), text)

    def _in_sets(self, text: str) -> str:
        mark = self.escape
        try:
            parts = [(key, data.decode("ascii")) for key, data in iso2022.sequences(text, self.codec)]
        except UnicodeDecodeError:
            raise UnicodeEncodeError(self.codec, text, 0, 1, "set of eight bits") from None
        keys = [f"{mark}{'M' if key[:1] == b'$' else 'C'}{key.hex().upper()}{mark}" for key, _ in parts]
        return "".join([key + data.translate(self._written) for key, (_, data) in zip(keys, parts, strict=True)])

    def escaped(self, text: str) -> str:
        """The reverse; CR and LF become ``\\X0D\\`` and ``\\X0A\\``, formatting escapes stay as they are."""
        if self.escape not in text or self.escape != "\\":
            return text.translate(self._written)
        parts = _FORMATTING.split(text)
        parts[::2] = [part.translate(self._written) for part in parts[::2]]
        return "".join(parts)


@lru_cache(512)
def syntax(field: str, marks: str, codec: str) -> tuple[Syntax, str]:
    """The syntax that MSH-1 and MSH-2 define, and what is odd about it ("" when nothing is).

    Missing marks take their defaults. A short MSH-2 made of the usual characters in their order means those
    (``^\\&`` leaves out the repetition mark); all else is read by position. Raises ``DecodeError``.
    """
    if len(marks) > 5:
        raise DecodeError(f"MSH-2 has {len(marks)} characters where 4 or 5 belong", 4)
    odd = "" if len(marks) > 3 else f"MSH-2 has {len(marks)} characters, defaults taken for the missing ones"
    if len(set(field + marks)) < 1 + len(marks):
        odd = "MSH-2 repeats a delimiter"
    named = [char for char in STANDARD if char in marks]
    if len(marks) < 4 and "".join(named) == marks:
        marks = STANDARD
    full = list(marks[:4])
    for default in STANDARD[len(full) :]:
        full.append(default if default not in (field, *full) else NEVER)
    component, repetition, escape, subcomponent = full
    return Syntax(field, component, repetition, escape, subcomponent, marks[4:], codec), odd


_COMMAND = re.compile(r"\\(?:([HN])|\.([a-z]{2}) ?([+-]?\d+)?)\\")
_WIDEST = 200
"""More blanks or lines than a page has are a mistake or an attack."""


def plain_text(value: str) -> str:
    """Formatted text (FT) as plain lines.

    ``\\.br\\`` ends a line, ``\\.sp3\\`` and ``\\.ce\\`` too; ``\\.sk3\\`` is blanks; at the beginning of a line
    ``\\.in+4\\`` indents all from there and ``\\.ti+4\\`` that one. What else formats is dropped, what is no formatting
    escape stays. At most 200 blanks or lines an escape.
    """
    out: list[str] = []
    indent = extra = at = 0
    fresh = True
    for match in _FORMATTING.finditer(value):
        text = value[at : match.start()]
        at = match.end()
        if text:
            out.append(" " * (max(0, indent + extra) if fresh else 0) + text)
            fresh = False
        command, number = _COMMAND.fullmatch(match[1]).group(2, 3)  # type: ignore[union-attr]
        count = max(-_WIDEST, min(_WIDEST, int(number))) if number else 1
        if command in ("br", "sp", "ce"):
            out.append("\n" * (abs(count) if command == "sp" else 1))
            fresh, extra = True, 0
        elif command == "sk":
            out.append(" " * abs(count))
        elif command in ("in", "ti") and fresh and number:
            indent, extra = (indent + count, extra) if command == "in" else (indent, count)
    rest = value[at:]
    return "".join(out) + (" " * max(0, indent + extra) if fresh and rest else "") + rest


_LINE_END = re.compile(r"\r\n|\r|\n")


def formatted_text(text: str) -> str:
    """Plain lines as formatted text (FT): a ``\\.br\\`` for each line end. ``plain_text`` makes them of it again."""
    return _LINE_END.sub(r"\\.br\\", text)
