"""Exchanges by what is known of them: the newest first, a page at a time, each search by an index.

What cannot be read of a row is said in its ``broken`` and keeps no other row from being found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.clock import first_id
from esb.journal import cells
from esb.store.tables import Row, State, exchange
from esb.store.tries import Try, kept

BODIES = ("request", "sent", "raw", "answer")
FACTS = tuple(name for name in Row._fields if name not in (*BODIES, "fingerprint"))
_NUMBERS = ("attempts",)
_TRIED = ("number", *Try._fields[:-2], "sent_bytes", "raw_bytes")
_TRIED_NUMBERS = ("number", "attempts", "sent_bytes", "raw_bytes")
_STREAMED, _TRIES_OF = 200, 10
"""Exchanges whose rows, and whose tries, are read at a time: the tries of one may have 2.5 MB."""
_NOTHING = sa.literal("", literal_execute=True)
_DONE = sa.literal(str(State.DONE), literal_execute=True)


@dataclass(frozen=True, slots=True)
class Query:
    """What is wanted; what is empty does not matter. ``subjects`` are marks of ``Blind``, one of which it must have.

    ``since`` is when it was received or later, ``until`` before that.
    """

    ids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    operation: str = ""
    endpoint: str = ""
    states: tuple[str, ...] = ()
    code: str = ""
    key: str = ""
    request_id: str = ""
    subjects: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """For SQL. A partial index is used only where its own condition stands beside them,
        written out."""
        columns = exchange.c
        for name in ("code", "key", "request_id"):
            if value := getattr(self, name):
                yield columns[name] == value
        for name in ("operation", "endpoint"):
            if value := getattr(self, name):
                yield (columns[name].concat(_NOTHING) if self._names_few else columns[name]) == value
        for name, values in (("id", self.ids), ("state", self.states), ("subject", self.subjects)):
            if values:
                yield columns[name].in_(values)
        if self.causes:
            yield columns.cause.in_(self.causes)
        if self.since is not None:
            yield columns.id >= first_id(self.since)
        if self.until is not None:
            yield columns.id < first_id(self.until)
        yield from self._partial()

    def _partial(self) -> Iterator[sa.ColumnElement[bool]]:
        columns = exchange.c
        for name, value in (("request_id", self.request_id), ("subject", self.subjects), ("cause", self.causes)):
            if value:
                yield columns[name] != _NOTHING
        if self.key:
            yield columns.key != columns.id
        if self._names_few:
            return
        if self.code:
            yield columns.code != _NOTHING
        if self.states and State.DONE not in self.states:
            yield columns.state != _DONE

    @property
    def _names_few(self) -> bool:
        """Whether one of its marks is had by few: then no index of what many have is to be used instead."""
        return bool(self.ids or self.key or self.request_id or self.subjects or self.causes)


class Tried(NamedTuple):
    """A try that did not end its exchange: its facts by column, what was sent, what came back."""

    facts: Mapping[str, Any]
    sent: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the journal: its facts by column, and its bodies where they were asked for.

    ``broken`` has the columns that do not hold what they should, with why; they are empty then. ``tries``, those that
    did not end it, are there where bodies were asked for.
    """

    facts: Mapping[str, Any]
    bodies: Mapping[str, bytes] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    tries: Sequence[Tried] = ()

    @property
    def id(self) -> str:
        return str(self.facts["id"])


def page(
    connection: sa.Connection, query: Query, *, before: str = "", most: int = 100, bodies: bool = False
) -> list[Found]:
    """The newest ``most`` that are older than the exchange ``before``, or than all."""
    found = _page(connection, query, before, most, bodies=bodies)
    return _with_tries(connection, found) if bodies else found


def _page(connection: sa.Connection, query: Query, before: str, most: int, *, bodies: bool) -> list[Found]:
    names = (*FACTS, *(BODIES if bodies else ()))
    wanted = list(query.conditions())
    if before:
        wanted.append(exchange.c.id < before)
    found = sa.select(*(exchange.c[name] for name in names)).where(*wanted)
    rows = connection.execute(found.order_by(exchange.c.id.desc()).limit(most))
    return [_found(dict(zip(names, row, strict=True))) for row in rows]


def _with_tries(connection: sa.Connection, all_found: list[Found]) -> list[Found]:
    tries = kept(connection, [one.id for one in all_found])
    return [replace(one, tries=[_tried(row._asdict()) for row in tries.get(one.id, ())]) for one in all_found]


def _tried(row: Mapping[str, Any]) -> Tried:
    broken: dict[str, str] = {}
    facts = cells.facts(row, _TRIED, broken, numbers=_TRIED_NUMBERS)
    sent, raw = (cells.body(name, row[name], broken) for name in ("sent", "raw"))
    return Tried({**facts, "broken": broken} if broken else facts, sent, raw)


def stream(connection: sa.Connection, query: Query, *, bodies: bool = False) -> Iterator[Found]:
    """All of them, in constant memory. Each page is a transaction of its own: nothing waits for who reads slowly."""
    before = ""
    while some := _page(connection, query, before, _STREAMED, bodies=bodies):
        connection.commit()
        before = some[-1].id
        if not bodies:
            yield from some
            continue
        for at in range(0, len(some), _TRIES_OF):
            few = _with_tries(connection, some[at : at + _TRIES_OF])
            connection.commit()
            yield from few
            few.clear()


def find(connection: sa.Connection, exchange_id: str) -> Found | None:
    """One with its bodies."""
    return next(iter(page(connection, Query(ids=(exchange_id,)), bodies=True)), None)


def related(connection: sa.Connection, found: Found, most: int = 20) -> list[Found]:
    """Whose answer it was given or what it asks about, and the newest that were given its answer or ask about it."""
    cause = str(found.facts["cause"])
    before = page(connection, Query(ids=(cause,))) if cause else []
    return [*before, *page(connection, Query(causes=(found.id,)), most=most)]


def _found(values: dict[str, Any]) -> Found:
    broken: dict[str, str] = {}
    facts = cells.facts(values, FACTS, broken, numbers=_NUMBERS, states=_STATES)
    bodies = {name: cells.body(name, values[name], broken) for name in BODIES if name in values}
    return Found(facts, bodies, broken)


_STATES = frozenset(str(state) for state in State)
