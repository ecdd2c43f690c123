"""Messages that systems sent us, by what is known of them: the newest first, a page at a time, patients masked.

The inbox has no index but its order, for each would be written with every message. So a search goes through it by
positions, some thousand in a transaction; a time is found among them by halving, and keeps a search short.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from esb.clock import SHANGHAI, moment_of
from esb.codecs import DecodeError, json
from esb.contract import Event
from esb.events.reading import masked
from esb.journal import cells
from esb.journal.showing import wire
from esb.model import Tree
from esb.observe import mask
from esb.store.inbox import Taken, inbox

FACTS = (
    "position", "id", "endpoint", "sender", "control", "kind", "peer", "received", "state", "event", "reason",
    "mapping", "version", "sequence",
)  # fmt: skip
_SIZES = ("raw_bytes", "body_bytes")
_NUMBERS = ("position", "sequence", *_SIZES)
_STATES = frozenset(str(state) for state in Taken)
_STRETCH = 5_000
_STREAMED = 200
_APART = timedelta(minutes=10)
"""So much may the clocks differ of processes that receive at the same time."""
_END = b"\x1c\r"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted; what is empty does not matter. ``since`` is when it was received or later, ``until`` before."""

    id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    endpoint: str = ""
    sender: str = ""
    control: str = ""
    kind: str = ""
    event: str = ""
    states: tuple[str, ...] = ()

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """For SQL."""
        for name in ("id", "endpoint", "sender", "control", "kind", "event"):
            if value := getattr(self, name):
                yield inbox.c[name] == value
        if self.states:
            yield inbox.c.state.in_(self.states)
        if self.since is not None:
            yield inbox.c.received >= _written(self.since)
        if self.until is not None:
            yield inbox.c.received < _written(self.until)


@dataclass(frozen=True, slots=True)
class Received:
    """A row: its facts by column, and its bodies where they were asked for, none when they cannot be told apart.

    ``broken`` has the columns that do not hold what they should, with why; they are empty then.
    """

    facts: Mapping[str, Any]
    bodies: Mapping[str, bytes] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def position(self) -> int:
        return int(self.facts["position"])


def page(
    connection: sa.Connection, wanted: Wanted, *, before: int = 0, most: int = 100, bodies: bool = False
) -> list[Received]:
    """The newest ``most`` before the position ``before``, or of all."""
    first, end = _range(connection, wanted, before)
    names = (*FACTS, *((*_SIZES, "content") if bodies else ()))
    query = sa.select(*(inbox.c[name] for name in names)).where(*wanted.conditions())
    found: list[Received] = []
    while end > first and len(found) < most:
        begin = max(first, end - _STRETCH)
        some = query.where(inbox.c.position >= begin, inbox.c.position < end)
        rows = connection.execute(some.order_by(inbox.c.position.desc()).limit(most - len(found)))
        found += [_received(dict(zip(names, row, strict=True))) for row in rows]
        connection.commit()
        end = begin
    return found


def stream(connection: sa.Connection, wanted: Wanted) -> Iterator[Received]:
    """All of them with their bodies, in constant memory."""
    before = 0
    while some := page(connection, wanted, before=before, most=_STREAMED, bodies=True):
        yield from some
        before = some[-1].position


def find(connection: sa.Connection, which: str) -> Received | None:
    """The one at a position or with an id, with its bodies."""
    if which.isdecimal() and len(which) < 19:
        end = int(which) + 1
        found = page(connection, Wanted(), before=end, most=1, bodies=True)
        return next((one for one in found if one.position == end - 1), None)
    try:
        made = moment_of(which)
    except (ValueError, OverflowError):
        return None
    near = Wanted(id=which, since=made - _APART, until=made + _APART)
    return next(iter(page(connection, near, most=1, bodies=True)), None)


def line(found: Received) -> dict[str, Tree]:
    """A message without its bodies."""
    facts = dict(found.facts)
    sequence = facts["sequence"] if facts["sequence"] >= 0 else None
    shown = {**facts, "reason": mask(facts["reason"]), "sequence": sequence}
    return {**shown, "broken": dict(found.broken)} if found.broken else shown


def whole(found: Received, events: Mapping[str, Event], *, bare: bool) -> dict[str, Tree]:
    """With what came in, the event that it became and what its sender heard; ``bare`` shows patient data."""
    if not found.bodies:
        return line(found)
    answers = [frame + _END for frame in found.bodies["answer"].split(_END) if frame]
    return {
        **line(found),
        "raw": wire(found.bodies["raw"], bare=bare),
        "body": _event(found, events, bare=bare),
        "answer": [wire(one, bare=bare) for one in answers],
    }


def _event(found: Received, events: Mapping[str, Event], *, bare: bool) -> Tree:
    if not found.bodies["body"]:
        return None
    try:
        tree = json.decode(found.bodies["body"])
    except DecodeError as error:
        return f"is no JSON: {error.reason}"
    known = events.get(str(found.facts["event"]))
    if bare:
        return tree
    return masked(tree, known) if known else "the contract has no such event"


def _received(values: dict[str, Any]) -> Received:
    broken: dict[str, str] = {}
    facts = cells.facts(values, FACTS, broken, numbers=_NUMBERS, states=_STATES)
    if "content" not in values:
        return Received(facts, broken=broken)
    sizes = cells.facts(values, _SIZES, broken, numbers=_NUMBERS)
    content = cells.body("content", values["content"], broken)
    if not broken.keys().isdisjoint((*_SIZES, "content")):
        return Received(facts, broken=broken)
    raw, body = sizes["raw_bytes"], sizes["raw_bytes"] + sizes["body_bytes"]
    return Received(facts, {"raw": content[:raw], "body": content[raw:body], "answer": content[body:]}, broken)


def _range(connection: sa.Connection, wanted: Wanted, before: int) -> tuple[int, int]:
    """The positions to look at, the last one not among them."""
    bounds = connection.execute(sa.select(sa.func.min(inbox.c.position), sa.func.max(inbox.c.position))).one()
    if bounds[0] is None:
        return 0, 0
    first, end = bounds[0], bounds[1] + 1
    if wanted.since is not None:
        first = _first(connection, first, end, wanted.since - _APART)
    if wanted.until is not None:
        end = _first(connection, first, end, wanted.until + _APART)
    return first, min(end, before) if before else end


def _first(connection: sa.Connection, first: int, end: int, moment: datetime) -> int:
    """The first position that was received at that moment or later; ``end`` when none was."""
    bound = _written(moment)
    while first < end:
        middle = (first + end) // 2
        row = _timed(connection, middle, end)
        if row is None or row[1] >= bound:
            end = middle
        else:
            first = row[0] + 1
    return first


def _timed(connection: sa.Connection, first: int, end: int) -> tuple[int, str] | None:
    """The next position of which is known when it was received, and when: a damaged row has no place among others."""
    columns = sa.select(inbox.c.position, inbox.c.received).order_by(inbox.c.position).limit(1)
    while row := connection.execute(columns.where(inbox.c.position >= first, inbox.c.position < end)).first():
        if _is_time(row.received):
            return row.position, row.received
        first = row.position + 1
    return None


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        return False


def _written(moment: datetime) -> str:
    """As the inbox has it, so that texts compare as times do."""
    return moment.astimezone(SHANGHAI).isoformat(timespec="milliseconds")
