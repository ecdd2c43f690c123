"""Whole messages: which person a segment is about, and in which order its fields are dealt with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from esb.codecs.hl7v2 import Message
from esb.hl7.deidentify.fields import Fields
from esb.hl7.deidentify.known import Known
from esb.hl7.deidentify.lines import Line, leaf, split
from esb.hl7.deidentify.people import People
from esb.hl7.deidentify.rules import Field, rules
from esb.hl7.deidentify.secret import Secret
from esb.hl7.deidentify.values import Values
from esb.hl7.deidentify.words import fits, letters

_QUERY: Final = re.compile(r"@?[A-Z][A-Z0-9]{2}\.\d")
_QUERIES: Final = {"QIP": 2, "QSC": 3}
_DOCUMENTS: Final = ("ED", "RP")


@dataclass(frozen=True, slots=True)
class Options:
    """``staff``: replace doctors and nurses too. ``drop_unknown``: leave out Z-segments and what HL7 does not have."""

    staff: bool = False
    drop_unknown: bool = False


class Deidentifier:
    """First ``learn`` every message, then ``apply`` each.

    ``kept`` counts, by segment and field, in how many messages something was kept of which nobody knows what it is.
    """

    def __init__(self, secret: Secret, options: Options) -> None:
        self._secret, self._options = secret, options
        self._people = People(secret)
        self.kept: Counter[str] = Counter()
        self._names: Callable[[str], str] = str

    def learn(self, message: Message) -> None:
        """Who is in it."""
        control = message.get("MSH", 0, 10)
        for ids in _people(split(message)[1], message):
            self._people.add(ids, filter(None, [control]))

    def apply(self, message: Message) -> bytes:
        """The message about somebody else; its own bytes when it is about nobody."""
        lead, lines = split(message)
        people = self._persons(message, lines)
        work = _Work(self._secret, self._options, message)
        if people is not None:
            self._names = work.replace(lines, people, self._people)
        elif self._options.staff:
            work.replace_staff(lines)
        if self._options.drop_unknown:
            _drop(lines)
        self.kept.update(_kept(lines) if people is None else work.kept)
        text = lead + "".join(line.text for line in lines)
        return message.raw if text == message.text else text.encode(message.charset, "replace")

    def file_name(self, name: str) -> str:
        """A file's name without what is known of the people of the message that was dealt with last."""
        return self._names(name)

    def envelope(self, line: str, message: Message) -> str:
        """FHS and BHS lines around a message, whose times move with those of its first person."""
        people = self._persons(message, split(message)[1])
        if people is None:
            return line
        text = line.rstrip("\r\n")
        parsed = Line(text, line[len(text) :], message.syntax)
        _Work(self._secret, self._options, message).replace([parsed], [people[0]], self._people)
        return parsed.text

    def _persons(self, message: Message, lines: list[Line]) -> list[bytes] | None:
        """Line by line the person that it is about; None when the message is about nobody."""
        found = [self._people.person(ids) for ids in _people(lines, message)]
        if not any(found):
            linked = self._people.of_control(message.get("MSA", 0, 2) or "")
            if linked is None and not any(line.name in rules().about for line in lines):
                return None
            return [linked or b"nobody"] * len(lines)
        first = next(filter(None, found))
        return list(_by_line(lines, iter([one or first for one in found]), first))


class _Work:
    """One message."""

    def __init__(self, secret: Secret, options: Options, message: Message) -> None:
        self._secret, self._options = secret, options
        self._syntax, self._known = message.syntax, Known()
        self._fit = fits(message.charset)
        self.kept: set[str] = set()

    def replace(self, lines: list[Line], persons: list[bytes], people: People) -> Callable[[str], str]:
        """First what is typed, which tells who the people are; then all else. Gives the same for other texts."""
        values = {
            person: Values(self._secret, self._fit, people.days(person), self._known, people.is_id)
            for person in set(persons)
        }
        for line, person in zip(lines, persons, strict=True):
            self._typed(line, values[person], self._options.staff)
        for line, person in zip(lines, persons, strict=True):
            self._rest(line, values[person])
        return values[persons[0]].unknown

    def replace_staff(self, lines: list[Line]) -> None:
        """Nobody's times are moved."""
        values = Values(self._secret, self._fit, 0, self._known, lambda _: False)
        for line in lines:
            self._typed(line, values, staff=True, others=False)

    def _typed(self, line: Line, values: Values, staff: bool, others: bool = True) -> None:
        for number in line.numbers() if line.is_segment else ():
            wire, field = line[number], rules().field(line.name, number)
            if not wire or not (field.staff or others):
                continue
            name = self._type(line, field)
            fields = Fields(values, self._syntax, times=field.staff and not staff)
            if name in _QUERIES:
                line[number] = fields.query(wire, _QUERIES[name])
            elif name in rules().types:
                line[number] = fields.typed(wire, name)
            elif name != "keep":
                continue
            line.done.add(number)

    def _type(self, line: Line, field: Field) -> str:
        if field.type != "varies":
            return field.type
        if line.name == "QPD":
            return "QIP" if _QUERY.match(line[3]) else "CX"
        return leaf(line[2], self._syntax).strip() if line.name == "OBX" else "text"

    def _rest(self, line: Line, values: Values) -> None:
        fields = Fields(values, self._syntax)
        for number in line.numbers():
            if not line[number]:
                continue
            field = rules().field(line.name, number)
            name = self._type(line, field)
            if not field.known:
                change = self._noted(values.unknown, _name(line, number))
            elif (
                number in line.done
                or field.staff
                or (name != "text" and (field.type != "varies" or name in rules().numbers))
            ):
                change = values.coded
            else:
                change = values.searched
            line[number] = fields.each(line[number], change)

    def _noted(self, change: Callable[[str], str], name: str) -> Callable[[str], str]:
        """Notes the name of a field of which something is kept."""

        def noting(text: str) -> str:
            new = change(text)
            if new == text and not self._options.drop_unknown:
                self.kept.add(name)
            return new

        return noting


def _people(lines: Iterable[Line], message: Message) -> Iterator[list[str]]:
    """For each PID (and the MRG after it), and for each query, the ids of its person; else its name and birth."""
    current: list[str] | None = None
    for line in lines:
        if line.name == "MRG" and current is not None:
            current += _ids(line, message)
        elif line.name in rules().persons:
            if current is not None:
                yield current
            current = _ids(line, message) or _who(line)
    if current is not None:
        yield current


def _ids(line: Line, message: Message) -> list[str]:
    syntax = message.syntax
    found = []
    for number in rules().persons[line.name]:
        if line.name == "QPD" and _QUERY.match(line[number]):
            found += [row.split(syntax.component)[1] for row in line[number].split(syntax.repetition) if _asks_id(row)]
        else:
            found += [leaf(one, syntax) for one in line[number].split(syntax.repetition)]
    return [one for one in found if len(one.strip()) > 1]


def _asks_id(row: str) -> bool:
    return re.match(r"@?PID\.(2|3|4|19)(\.1)?\W[^\W_]", row) is not None


def _who(line: Line) -> list[str]:
    name = letters(line[5])
    return [f"{name} {line[7]}"] if line.name == "PID" and name else []


def _by_line(lines: Iterable[Line], persons: Iterator[bytes], first: bytes) -> Iterator[bytes]:
    """Segments before the first person's are about that person."""
    current, begun = first, False
    for line in lines:
        if line.name in rules().persons and (line.name != "MRG" or not begun):
            current, begun = next(persons, current), True
        yield current


def _drop(lines: Iterable[Line]) -> None:
    for line in lines:
        numbers = [number for number in line.numbers() if not rules().field(line.name, number).known]
        line.dropped = bool(numbers) and (line.name.startswith("Z") or numbers[0] <= 1)
        for number in numbers:
            line[number] = ""


def _kept(lines: Iterable[Line]) -> set[str]:
    return {
        _name(line, number)
        for line in lines
        if not line.dropped
        for number in line.numbers()
        if line[number] and not rules().field(line.name, number).known
    }


def _name(line: Line, number: int) -> str:
    return f"{line.name}-{number}" if line.is_segment else "a line that is no segment"
