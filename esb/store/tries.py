"""Tries that did not end their exchange: what was sent, what came back and why it did not do.

The last try of all stands in the exchange's own row. Of many only the first and the last are kept, bodies up to a
bound, so that an outage of days does not fill the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store.bodies import CorruptError, pack, unpack
from esb.store.tables import Big, clean, exchange, metadata

FIRST, LAST = 5, 15
"""So many of the first and of the last tries of an exchange are kept."""
LONGEST = 64 * 1024
"""Bytes that are kept of what was sent, and of what came back."""


class Try(NamedTuple):
    """``at`` is when it ended, an RFC 3339 text; ``state`` how (``unavailable``, ``malformed`` ...), ``code`` and
    ``reason`` why. ``attempts`` counts the calls within it, of which the last one's bytes are ``sent`` and ``raw``.
    """

    at: str
    endpoint: str
    state: str
    code: str
    reason: str
    attempts: int
    mapping: str
    version: str
    sent: bytes
    raw: bytes


_FACTS = Try._fields[:-2]
attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("exchange", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Integer if name == "attempts" else sa.Text, nullable=False) for name in _FACTS),
    sa.Column("sent_bytes", Big, nullable=False),
    sa.Column("raw_bytes", Big, nullable=False),
    sa.Column("sent", sa.LargeBinary, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)
"""``number`` counts from 1; ``sent_bytes`` and ``raw_bytes`` are how long the two were before they were cut."""

_its = sa.bindparam("its_id", type_=sa.Text)
_NEXT = sa.select(sa.func.coalesce(sa.func.max(attempt.c.number), 0) + 1).where(attempt.c.exchange == _its)
_TOO_MANY = attempt.delete().where(
    attempt.c.exchange == _its,
    attempt.c.number > FIRST,
    attempt.c.number <= sa.bindparam("its_bound", type_=sa.Integer),
)


def keep(connection: sa.Connection, exchange_id: str, one: Try) -> None:
    """Add a try; who adds one has the exchange's message or row to itself."""
    facts = {name: clean(value) if isinstance(value, str) else value for name, value in one._asdict().items()}
    sizes = {"sent_bytes": len(one.sent), "raw_bytes": len(one.raw)}
    bodies = {"sent": pack(one.sent[:LONGEST]), "raw": pack(one.raw[:LONGEST])}
    its = {"its_id": exchange_id}
    number = connection.execute(_NEXT, its).scalar_one()
    connection.execute(attempt.insert().values({**facts, **sizes, **bodies, "exchange": exchange_id, "number": number}))
    if number > FIRST + LAST:
        connection.execute(_TOO_MANY, {**its, "its_bound": number - LAST})


def move_last(connection: sa.Connection, exchange_id: str) -> None:
    """The exchange is begun anew: what its row says of the last try is kept as one, and the row is free for the next.

    Whoever calls has the row to itself.
    """
    columns = [exchange.c["finished" if name == "at" else name] for name in Try._fields]
    row = connection.execute(sa.select(*columns).where(exchange.c.id == exchange_id)).first()
    if row is None or not (row.sent or row.raw):
        return
    one = Try(*row)
    keep(connection, exchange_id, one._replace(sent=_unpacked(one.sent), raw=_unpacked(one.raw)))
    connection.execute(exchange.update().where(exchange.c.id == exchange_id).values(sent=b"", raw=b""))


def kept(connection: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, list[sa.Row[Any]]]:
    """Rows of the tries of these exchanges as they are stored, by exchange, in their order."""
    found: dict[str, list[sa.Row[Any]]] = {}
    query = sa.select(attempt).where(attempt.c.exchange.in_(exchange_ids))
    for row in connection.execute(query.order_by(attempt.c.exchange, attempt.c.number)):
        found.setdefault(row.exchange, []).append(row)
    return found


def prune(connection: sa.Connection, exchange_ids: Sequence[str]) -> None:
    """Delete those of exchanges that go."""
    connection.execute(attempt.delete().where(attempt.c.exchange.in_(exchange_ids)))


def _unpacked(body: bytes) -> bytes:
    """Of what does not unpack nothing is kept: nobody could read it."""
    try:
        return unpack(body)
    except CorruptError:
        return b""
