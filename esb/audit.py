"""Who did what, to which, and why: rows that are only added, each with the digest of the one before it.

A row is written in the transaction of the act itself: what was done is in the audit, and what is there was done. To
change or take out a row breaks the chain from there on; the newest row may be taken out unseen, unless an ``anchor``
of it was kept elsewhere.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store.tables import audit

_PAGE = 500
_LOCK = 0x65736261  # of this database's audit, among PostgreSQL's advisory locks
_BEGINNING = "0" * 64
_DIGESTED = ("seq", "at", "actor", "action", "object", "reason", "details")


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did. ``object`` is what it was done to, ``details`` what can be said in JSON."""

    at: datetime
    actor: str
    action: str
    object: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Entry(NamedTuple):
    """A row of the audit."""

    seq: int
    at: str
    actor: str
    action: str
    object: str
    reason: str
    details: str
    prev: str
    hash: str


class Anchor(NamedTuple):
    """That the audit had this row on that day; kept elsewhere it tells when rows were taken from the end."""

    day: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verified:
    """``rows`` are in order; ``broken`` is the number of the first that is not, None when all are, and ``why``."""

    rows: int
    broken: int | None = None
    why: str = ""


def actor() -> str:
    """Who works at the command line."""
    return getpass.getuser()


def write(connection: sa.Connection, act: Act) -> int:
    """Add ``act`` in this transaction, which had better have begun as a writer; its number in the audit.

    One at a time: on PostgreSQL whoever comes second waits for the first one's commit, on SQLite there is one writer.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    last = connection.execute(sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, prev = (last.seq + 1, last.hash) if last else (1, _BEGINNING)
    details = _canonical(dict(act.details)) if act.details else ""
    at = act.at.isoformat(timespec="milliseconds")
    digested = (seq, at, act.actor, act.action, act.object, act.reason, details)
    row = Entry(*digested, prev, _digest(prev, digested))
    connection.execute(audit.insert().values(row._asdict()))
    return seq


def entries(
    connection: sa.Connection, most: int | None = None, *, before: int | None = None, **wanted: str
) -> Iterator[Entry]:
    """The newest first, ``before`` a number; ``wanted`` by column."""
    query = sa.select(audit).where(*(audit.c[name] == value for name, value in wanted.items() if value))
    if before is not None:
        query = query.where(audit.c.seq < before)
    for row in connection.execute(query.order_by(audit.c.seq.desc()).limit(most)):
        yield Entry(*row)


def verify(connection: sa.Connection, anchors: Iterable[Anchor] = ()) -> Verified:
    """Go through the whole chain, and see that every anchor is in it."""
    wanted = {anchor.seq: anchor for anchor in anchors if anchor.seq}
    count, prev = 0, _BEGINNING
    for row in _in_order(connection):
        anchor = wanted.pop(row.seq, None)
        if why := _wrong(row, count + 1, prev) or _not_anchored(row, anchor):
            return Verified(count, count + 1, why)
        count, prev = count + 1, row.hash
    if wanted:
        missing = min(wanted)
        return Verified(count, missing, f"the row that was anchored on {wanted[missing].day} is missing")
    return Verified(count)


def anchor(connection: sa.Connection, now: datetime) -> Anchor:
    """The newest row as it is now; of an empty audit number 0."""
    last = next(entries(connection, 1), None)
    day = now.date().isoformat()
    return Anchor(day, last.seq, last.hash) if last else Anchor(day, 0, _BEGINNING)


def _in_order(connection: sa.Connection) -> Iterator[Entry]:
    after = None
    query = sa.select(audit).order_by(audit.c.seq).limit(_PAGE)
    while rows := connection.execute(query if after is None else query.where(audit.c.seq > after)).all():
        yield from (Entry(*row) for row in rows)
        after = rows[-1].seq


def _wrong(row: Entry, expected: int, prev: str) -> str:
    if row.seq != expected:
        return f"row {expected} is missing"
    if row.prev != prev:
        return "it does not follow the row before it"
    return "" if row.hash == _digest(prev, row[: len(_DIGESTED)]) else "it was changed"


def _not_anchored(row: Entry, anchor: Anchor | None) -> str:
    return "" if anchor is None or anchor.hash == row.hash else f"it is not the row that was anchored on {anchor.day}"


def _digest(prev: str, values: tuple[Any, ...]) -> str:
    told = _canonical(dict(zip(_DIGESTED, values, strict=True)))
    return hashlib.sha256((prev + told).encode()).hexdigest()


def _canonical(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
