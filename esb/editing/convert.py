"""What turns one of our values into one of theirs, and back: the functions of a drafted expression and its guesses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import shorten
from typing import NamedTuple

from esb.editing.leaves import Leaf
from esb.editing.names import Words
from esb.mapping import Codes
from esb.mapping.codes import Table

_FORMATS = (
    (r"\d{14}", "%Y%m%d%H%M%S"),
    (r"\d{12}", "%Y%m%d%H%M"),
    (r"\d{8}", "%Y%m%d"),
    (r"\d{4}-\d\d-\d\d", "%Y-%m-%d"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "%Y-%m-%d %H:%M:%S"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "%Y-%m-%d %H:%M"),
    (r"\d{4}/\d\d/\d\d", "%Y/%m/%d"),
    (r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "%Y/%m/%d %H:%M:%S"),
    (r"\d{4}年\d\d?月\d\d?日", "%Y年%-m月%-d日"),
    (r"\d{4}年\d\d?月\d\d?日 ?\d\d?:\d\d", "%Y年%-m月%-d日 %-H:%M"),
    (r"\d\d:\d\d", "%H:%M"),
    (r"\d\d:\d\d:\d\d", "%H:%M:%S"),
)
_USUAL = "%Y%m%d%H%M%S"
_DAY = "%Y-%m-%d"
_MONEY = re.compile(r"\bfen\b|分\b|，分")


class Pipes(NamedTuple):
    """What follows a path, and what a person must look at."""

    text: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Converter:
    """``hint`` names the system, as in ``hl7v2 his_hl7``: it decides between code tables that fit alike."""

    codes: Codes
    words: Words
    hint: str

    def sending(self, ours: Leaf, theirs: Leaf, dated: bool = False) -> Pipes:
        """Our value as theirs; ``dated`` says that the date of a time has a field of its own."""
        if len(ours.type.words) > 1:
            return self._coded("code", ours, theirs)
        if money(ours):
            return _money(theirs, "yuan", "text")
        if ours.type.sort in ("moment", "date"):
            return self._time(ours, theirs, dated)
        if ours.type.sort in ("integer", "decimal") and theirs.type.sort not in ("integer", "decimal", "any"):
            return Pipes(" | text")
        return Pipes()

    def reading(self, ours: Leaf, theirs: Leaf) -> Pipes:
        """Their value as ours."""
        if theirs.path[-1] == "reference":
            return Pipes(" | after('/')")
        if len(ours.type.words) > 1:
            return self._coded("meaning", ours, theirs)
        if money(ours):
            return _money(theirs, "fen", "int")
        if ours.type.sort == "moment":
            return _read_moment(theirs)
        if ours.type.sort == "date":
            return _read_date(theirs)
        if ours.type.sort == "integer" and theirs.type.sort != "integer":
            return Pipes(" | int")
        if ours.type.sort == "truth" and theirs.type.sort != "truth":
            return Pipes(" == '1'", "what stands for yes?")
        if ours.type.sort == "text" and theirs.type.sort in ("integer", "decimal"):
            return Pipes(" | text")
        return Pipes()

    def _coded(self, function: str, ours: Leaf, theirs: Leaf) -> Pipes:
        said = set(theirs.type.words) or {theirs.value} - {None, ""}
        if said and said <= set(ours.type.words):
            return Pipes()
        table = self.table(function, ours, said)
        if table is None:
            return Pipes("", f"no code table holds {', '.join(ours.type.words)}")
        return Pipes(f" | {function}({table.name})", shorten(f"is it the table? {table.source}", 80))

    def table(self, function: str, ours: Leaf, said: Iterable[object]) -> Table | None:
        """The code table that covers our words and their codes best; None when none covers half of the words."""
        words, codes = set(ours.type.words), {str(one) for one in said}
        about = self.words.read(ours.path[-1])

        def rank(table: Table) -> float:
            known = words & (set(table.code) if function == "code" else set(table.meanings))
            strange = set(table.meanings) - words if function == "meaning" else set()
            told = len(codes & set(table.meaning)) / len(codes) if codes else 0.5
            named = bool(about & self.words.read(table.name)) + 0.5 * any(
                part in self.hint for part in table.name.split("_")[1:]
            )
            national = 0.1 if re.search(r"_(gbt|ws)[0-9]", table.name) else 0.0
            foreign = 0.3 if any(kind in table.name and kind not in self.hint for kind in ("hl7", "fhir")) else 0.0
            return (len(known) - len(strange)) / len(words) + told + 0.4 * named + national - foreign

        def covers(table: Table) -> bool:
            known = words & (set(table.code) if function == "code" else set(table.meanings))
            return 2 * len(known) > len(words)

        return max(filter(covers, self.codes.values()), key=rank, default=None)

    def _time(self, ours: Leaf, theirs: Leaf, dated: bool) -> Pipes:
        if theirs.type.sort == "moment" and ours.type.sort == "moment":
            return Pipes()
        format_ = _format(theirs.value)
        if format_ is None:
            format_ = self._guessed(ours, theirs, dated)
        if format_ == _DAY and ours.type.sort == "date":
            return Pipes()
        return Pipes(f" | time('{format_}')", "" if _format(theirs.value) else "the format is a guess")

    def _guessed(self, ours: Leaf, theirs: Leaf, dated: bool) -> str:
        if theirs.type.sort == "ts":
            return "%Y%m%d" if ours.type.sort == "date" else _USUAL
        if ours.type.sort == "date" or theirs.type.sort == "date":
            return _DAY
        named = self.words.read(theirs.path[-1]) if theirs.path else frozenset()
        if "date" in named and "time" not in named:
            return _DAY
        return "%H:%M" if dated else _USUAL


def money(leaf: Leaf) -> bool:
    """Whether the contract says that it is an amount in fen."""
    return leaf.type.sort == "integer" and any(_MONEY.search(title) for title in leaf.titles[-1:])


def is_clock(leaf: Leaf) -> bool:
    """Whether a sample shows a time of day without its date."""
    return (
        bool(isinstance(leaf.value, str) and re.fullmatch(r"\d?\d:\d\d(:\d\d)?", leaf.value))
        or leaf.type.sort == "time"
    )


def _money(theirs: Leaf, decimal: str, whole: str) -> Pipes:
    value = theirs.value
    if isinstance(value, str) and value.endswith("元"):
        return Pipes(" | before('元') | fen" if decimal == "fen" else " | yuan | suffix('元')")
    if theirs.type.sort == "integer" and value is None:
        return Pipes("", "yuan or fen?")
    if isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"[0-9]+", value)):
        text = "" if isinstance(value, int) else f" | {whole}"
        return Pipes(text, f"as fen; of yuan it would be | {decimal}")
    return Pipes(f" | {decimal}", "" if value else "as yuan")


def _read_moment(theirs: Leaf) -> Pipes:
    if theirs.type.sort == "ts":
        return Pipes(" | read_ts")
    value = theirs.value
    if theirs.type.sort == "moment" and not (isinstance(value, str) and value[10:11] == " "):
        return Pipes(" | local_time")
    format_ = _format(value)
    return Pipes(f" | read_time('{format_ or _USUAL}')", "" if format_ else "the format is a guess")


def _read_date(theirs: Leaf) -> Pipes:
    if theirs.type.sort == "ts":
        return Pipes(" | read_ts | date")
    format_ = _format(theirs.value) or _DAY
    return Pipes() if format_ == _DAY else Pipes(f" | read_date('{format_}')")


def _format(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return next((format_ for pattern, format_ in _FORMATS if re.fullmatch(pattern, value)), None)
