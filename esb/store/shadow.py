"""The table of what shadows found: for each hour, operation, endpoint and field in how many exchanges it differed.

The field ``""`` counts the exchanges that were compared, ``"="`` those in which nothing differed. A row holds a few
samples as they may be shown and never a body; so the table grows with the number of fields, not with the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from esb.store.tables import metadata

COMPARED, ALIKE = "", "="


class Count(NamedTuple):
    """A row. ``hour`` is the beginning of an RFC 3339 text in the hospital's time: ``2026-01-15T09``.

    ``samples`` is JSON, empty for none.
    """

    hour: str
    operation: str
    endpoint: str
    field: str
    exchanges: int
    samples: str


_KEY = Count._fields[:4]
shadow = sa.Table(
    "shadow",
    metadata,
    *(
        sa.Column(
            name, sa.Integer if name == "exchanges" else sa.Text, primary_key=name in _KEY, nullable=False
        )
        for name in Count._fields
    ),
)  # fmt: skip


def add(connection: sa.Connection, counts: Sequence[Count]) -> None:
    """Add to what is there; the first samples of an hour stay."""
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(shadow)
    new = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=list(_KEY),
        set_={
            "exchanges": shadow.c.exchanges + new.exchanges,
            "samples": sa.case((shadow.c.samples == "", new.samples), else_=shadow.c.samples),
        },
    )
    for count in sorted(counts):  # in one order, so that two instances do not wait for each other
        connection.execute(statement, count._asdict())


def counted(connection: sa.Connection, since: str = "", operation: str = "") -> Iterable[Count]:
    """Rows of the hours from ``since`` on, the oldest first."""
    query = sa.select(shadow).where(shadow.c.hour >= since).order_by(*(shadow.c[name] for name in _KEY))
    if operation:
        query = query.where(shadow.c.operation == operation)
    return [Count(*row) for row in connection.execute(query)]


def prune_shadow(connection: sa.Connection, before: str) -> int:
    """Delete the rows of the hours before; how many."""
    return connection.execute(shadow.delete().where(shadow.c.hour < before)).rowcount
