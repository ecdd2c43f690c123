"""A field by its data type: which component is what, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from esb.codecs.hl7v2.syntax import Syntax
from esb.hl7.deidentify import numbers
from esb.hl7.deidentify.rules import Parts, rules
from esb.hl7.deidentify.values import Values
from esb.hl7.deidentify.words import letters

_NULL: Final = '""'
_QUERY: Final = re.compile(r"@?([A-Z][A-Z0-9]{2})\.(\d+)(?:\.(\d+))?(?:\.\d+)?")


class Fields:
    """Fields of one message for one person, wire to wire. A wire in which nothing is replaced comes back as it was.

    With ``times`` nothing but times is replaced: for staff that stay who they are.
    """

    def __init__(self, values: Values, syntax: Syntax, *, times: bool = False) -> None:
        self._values, self._syntax, self._times = values, syntax, times
        self._marks = (syntax.component, syntax.subcomponent)

    def typed(self, wire: str, type_name: str) -> str:
        """Every repetition of a field of a type of ``rules.yaml``."""
        mark = self._syntax.repetition
        return mark.join([self._composite(one, type_name, 0) for one in wire.split(mark)])

    def each(self, wire: str, change: Callable[[str], str]) -> str:
        """Every sub-component by itself."""
        return self._leaves(wire, (self._syntax.repetition, *self._marks), change)

    def query(self, wire: str, at: int) -> str:
        """Repetitions of a field path and, in component ``at``, its value (``@PID.5.1^SMITH``)."""
        repetition, component = self._syntax.repetition, self._syntax.component
        rows = [one.split(component) for one in wire.split(repetition)]
        names: dict[str, list[str]] = {}
        for row in rows:
            kind, field = _asked(row[0])
            if len(row) >= at and row[at - 1] and kind in ("family", "given"):
                names.setdefault(field, ["", ""])[kind == "given"] = self._syntax.unescaped(row[at - 1])
        for row in rows:
            kind, field = _asked(row[0])
            if len(row) < at or row[at - 1] in ("", _NULL) or not kind:
                continue
            if field in names and kind in ("family", "given"):
                pair = self._values.name(*names[field])
                row[at - 1] = self._leaf(row[at - 1], lambda _, new=pair[kind == "given"]: new)  # type: ignore[misc]
            else:
                row[at - 1] = self._kind(row[at - 1], kind, 0, "")
        return repetition.join(map(component.join, rows))

    def _composite(self, wire: str, type_name: str, level: int) -> str:
        """A repetition (``level`` 0) or a component (1) of a type."""
        if type_name == "NDL" and not self._is_ndl(wire):
            type_name = "XCN"
        kinds = rules().types[type_name]
        if self._times:
            kinds = {number: kind for number, kind in kinds.items() if kind == "time" or kind in rules().types}
        if level > 1:
            return self._leaf(wire, lambda text: self._values.of(kinds.get(1, ""), text))
        mark = self._marks[level]
        parts = wire.split(mark)
        digit = self._check_digit(parts) if type_name == "CX" and not self._times else ""
        done = self._together(parts, kinds, level)
        key = letters("".join(part for number, part in enumerate(parts, 1) if kinds.get(number) in ("place", "code")))
        for number, kind in kinds.items():
            if number <= len(parts) and number not in done and parts[number - 1] not in ("", _NULL):
                parts[number - 1] = self._kind(parts[number - 1], kind, level, key)
        if digit and parts[1] not in ("", _NULL):
            parts[1] = numbers.check_digit(digit, "".join(filter(str.isdigit, parts[0]))) or parts[1]
        return mark.join(parts)

    def _is_ndl(self, wire: str) -> bool:
        """Whether a person is in the first component: other senders have the person where a person and times belong."""
        parts = wire.split(self._syntax.component)
        return self._syntax.subcomponent in parts[0] or not any(part[:1].isalpha() for part in parts[1:3])

    def _kind(self, wire: str, kind: str, level: int, key: str) -> str:
        if kind in rules().types:
            return self._composite(wire, kind, level + 1)
        return self._leaves(wire, self._marks[level + 1 :], lambda text: self._values.of(kind, text, key))

    def _together(self, parts: list[str], kinds: Parts, level: int) -> set[int]:
        """Names and halves of phones, which one component alone does not tell. Gives the numbers of those."""
        places = {kind: number for number, kind in kinds.items() if kind in ("family", "given", "area", "local")}
        done: set[int] = set()
        for one, other, change in (
            ("family", "given", self._values.name),
            ("area", "local", self._values.split_phone),
        ):
            if one in places:
                self._pair(parts, places[one], places[other], level, change)
                done |= {places[one], places[other]}
        return done

    def _pair(
        self,
        parts: list[str],
        one: int,
        other: int,
        level: int,
        change: Callable[[str, str], tuple[str, str]],
    ) -> None:
        mark = self._marks[1] if not level else "\r"
        wires = [parts[number - 1] if number <= len(parts) else "" for number in (one, other)]
        heads = [wire.partition(mark)[0] for wire in wires]
        texts = [self._syntax.unescaped(head) if head != _NULL else "" for head in heads]
        if not any(texts):
            return
        new = change(texts[0], texts[1])
        for number, wire, head, text, changed in zip((one, other), wires, heads, texts, new, strict=True):
            if not text:
                continue
            rest = wire[len(head) :]
            if rest:
                rest = self._leaves(rest, (mark,), lambda part: self._values.of("more", part))
            parts[number - 1] = self._leaf(head, lambda _, made=changed: made) + rest  # type: ignore[misc]

    def _check_digit(self, parts: list[str]) -> str:
        """The scheme, where the check digit is right; what was wrong before need not be right after."""
        if len(parts) < 3:
            return ""
        right = numbers.check_digit(parts[2], "".join(filter(str.isdigit, parts[0])))
        return parts[2] if right is not None and right == parts[1] else ""

    def _leaves(self, wire: str, marks: tuple[str, ...], change: Callable[[str], str]) -> str:
        if not marks:
            return self._leaf(wire, change)
        return marks[0].join([self._leaves(part, marks[1:], change) for part in wire.split(marks[0])])

    def _leaf(self, wire: str, change: Callable[[str], str]) -> str:
        if wire in ("", _NULL) or wire.isspace():
            return wire
        syntax = self._syntax
        text = syntax.unescaped(wire)
        new = change(text)
        if new == text:
            return wire
        written = syntax.escaped(new)
        return self._as_hex(written) if f"{syntax.escape}X" in wire else written

    def _as_hex(self, written: str) -> str:
        """What was written as bytes in ASCII stays so."""
        mark, codec = self._syntax.escape, self._syntax.codec

        def hexed(char: str) -> str:
            return f"{mark}X{char.encode(codec, 'replace').hex().upper()}{mark}"

        return "".join(char if char.isascii() else hexed(char) for char in written)


def _asked(path: str) -> tuple[str, str]:
    """The kind of value that a query's path asks for, "" for none, and the field that it is of."""
    match = _QUERY.fullmatch(path)
    if not match:
        return "", ""
    segment, field, component = match.groups()
    _, kind = rules().kind(segment, int(field), int(component or 0))
    return kind, f"{segment}.{field}"
