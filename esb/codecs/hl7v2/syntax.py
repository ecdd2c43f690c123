"""The delimiters of one message and the escapes made of them."""

from __future__ import annotations

import re
from functools import lru_cache

from esb.codecs import DecodeError

STANDARD = "^~\\&"
NEVER = "\r"
"""Stands for a delimiter that a message does not have: it cannot occur inside a segment."""

_KEPT = re.compile(r"H|N|\.[a-z]{2}(?:[+-]?\d+)?|C[0-9A-F]{4}|M[0-9A-F]{4}(?:[0-9A-F]{2})?|Z\w*")
_FORMATTING = re.compile(r"(\\(?:H|N|\.(?:br|sp|fi|nf|in|ti|sk|ce)(?:[+-]?\d+)?)\\)")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


class Syntax:
    """Field, component, repetition, escape, sub-component and truncation mark, and the codec of ``\\X..\\``."""

    __slots__ = ("_meanings", "_written", "codec", "component", "escape", "field", "repetition", "subcomponent")

    def __init__(
        self, field: str, component: str, repetition: str, escape: str, subcomponent: str, truncation: str, codec: str
    ):
        self.field, self.component, self.repetition = field, component, repetition
        self.escape, self.subcomponent, self.codec = escape, subcomponent, codec
        letters = {"F": field, "S": component, "R": repetition, "T": subcomponent, "E": escape, "P": truncation}
        self._meanings = {letter: char for letter, char in letters.items() if char not in ("", NEVER)}
        written = {ord(char): f"{escape}{letter}{escape}" for letter, char in self._meanings.items()}
        self._written = written | {13: f"{escape}X0D{escape}", 10: f"{escape}X0A{escape}"}

    def unescaped(self, text: str) -> str:
        """What ``text`` means: delimiters and ``\\X..\\`` decoded; other escapes as they are."""
        mark = self.escape
        parts = text.split(mark)
        out = [parts[0]]
        at, last = 1, len(parts) - 1
        while at < last:
            meaning, used = self._meaning(parts, at, last)
            out.append(mark + parts[at] if meaning is None else meaning + parts[at + used - 1])
            at += used
        if at == last:
            out.append(mark + parts[last])
        return "".join(out)

    def _meaning(self, parts: list[str], at: int, last: int) -> tuple[str | None, int]:
        """The meaning of the escape whose body is ``parts[at]``, None when it is none, and how many parts it takes."""
        body = parts[at]
        if body in self._meanings:
            return self._meanings[body], 2
        if body[:1] == "X":
            return self._hex(parts, at, last)
        if _KEPT.fullmatch(body):
            return f"{self.escape}{body}{self.escape}", 2
        return None, 1

    def _hex(self, parts: list[str], at: int, last: int) -> tuple[str | None, int]:
        """Neighbouring ``\\X..\\`` are one run: some senders write each byte of a character on its own.

        A run that no charset makes sense of stays as it is, whole: to try each of its ends would take for ever.
        """
        digits = []
        used = 0
        while (
            at + used < last and (match := _HEX.fullmatch(parts[at + used])) and (not used or not parts[at + used - 1])
        ):
            digits.append(match[1])
            used += 2
        run = bytes.fromhex("".join(digits))
        for codec in (self.codec, "utf-8", "gb18030") if run else ():
            try:
                return run.decode(codec), used
            except UnicodeError:
                continue
        return (self._as_it_stands(parts[at : at + used - 1]), used) if used else (None, 1)

    def _as_it_stands(self, bodies: list[str]) -> str:
        mark = self.escape
        return mark + mark.join(bodies) + mark

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


_BREAKS = {"br": 1, "sp": 1, "in": 0, "ti": 0, "sk": 0, "ce": 1, "fi": 0, "nf": 0}


def plain_text(value: str) -> str:
    """Formatted text (FT) as plain lines: ``\\.br\\`` and ``\\.sp3\\`` are line ends, the rest is dropped."""

    def shown(match: re.Match[str]) -> str:
        command, count = match[1][2:4], match[1][4:-1].strip("+-")
        if match[1][1] != ".":
            return ""
        return " " * int(count or 1) if command == "sk" else "\n" * (_BREAKS[command] and int(count or 1))

    return _FORMATTING.sub(shown, value)
