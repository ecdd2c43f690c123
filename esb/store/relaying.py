"""The queue's rows as a buffer with a broker needs them: claimed by id, marked as relayed, found when they are not.

The broker carries ids only. What an id is worth is decided here: a row that waits is claimed once, whoever else brings
its id later finds it taken. ``relayed`` is the moment, in milliseconds, at which the broker confirmed the row as it now
waits; whatever changes a row's state puts it back to 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store.queue import LATER, PARKED, READY, TAKEN, UNRELAYED, Queued, nobody_has, queue

_ALL = [queue.c[name] for name in Queued._fields]
_IDS = queue.c.id.in_(sa.bindparam("its_ids", expanding=True))
_POSITIONS = queue.c.position.in_(sa.bindparam("its_positions", expanding=True))
_now: sa.BindParameter[int] = sa.bindparam("its_now")
_WAITING = queue.c.state.in_((READY, LATER))
_LOST = sa.case((queue.c.state == TAKEN, queue.c.lost + 1), else_=queue.c.lost)

_LOCK = sa.select(*_ALL).where(_IDS).with_for_update(skip_locked=True)
_OF_THESE = sa.select(*_ALL).where(_IDS, _WAITING)
_CLAIM = (
    queue.update()
    .where(_POSITIONS)
    .values(state=TAKEN, due=sa.bindparam("its_due"), takes=queue.c.takes + 1, lost=_LOST, relayed=0)
)
_SAME = nobody_has(
    _IDS,
    queue.c.takes == sa.bindparam("its_takes"),
    queue.c.state == sa.bindparam("its_state"),
    queue.c.endpoint == sa.bindparam("its_endpoint"),
    UNRELAYED,
)
_MARK = queue.update().where(_SAME).values(relayed=_now)
_FORGET = queue.update().where(nobody_has(_IDS, _WAITING)).values(relayed=0)
_OVERDUE = (
    queue.update()
    .where(nobody_has(queue.c.state == LATER, queue.c.due <= sa.bindparam("its_late")))
    .values(state=READY, relayed=0)
)
_ABANDONED = (
    queue.update()
    .where(nobody_has(queue.c.state == TAKEN, queue.c.due <= _now))
    .values(state=READY, lost=queue.c.lost + 1, relayed=0)
)
_UNRELAYED = (
    sa.select(*_ALL)
    .where(UNRELAYED, queue.c.position > sa.bindparam("its_after"))
    .where(sa.or_(queue.c.takes > 0, queue.c.accepted <= sa.bindparam("its_before")))
    .order_by(queue.c.position)
    .limit(sa.bindparam("its_most"))
)
_OF_QUEUE = (
    queue.c.endpoint == sa.bindparam("its_endpoint"),
    queue.c.state == READY,
    queue.c.priority >= sa.bindparam("its_lowest"),
    queue.c.priority <= sa.bindparam("its_highest"),
    queue.c.relayed > 0,
    queue.c.relayed <= sa.bindparam("its_before"),
)
_RELAYED = sa.select(sa.func.count()).where(*_OF_QUEUE)
_FORGET_QUEUE = queue.update().where(nobody_has(*_OF_QUEUE)).values(relayed=0)
_FIRST_OF_KEY = (
    sa.select(*_ALL)
    .where(queue.c.endpoint == sa.bindparam("its_endpoint"), queue.c.order_key == sa.bindparam("its_order"))
    .where(queue.c.order_key != "")
    .order_by(queue.c.position)
    .limit(1)
)
_PARK = queue.update().where(_IDS, _WAITING).values(state=PARKED, reason=sa.bindparam("its_reason"))


class Claimed(NamedTuple):
    """``taken``: now this worker's, by priority and then as accepted. ``elsewhere``: they wait, but not for this."""

    taken: list[Queued]
    elsewhere: list[Queued]


def claim(
    connection: sa.Connection, ids: Sequence[str], endpoint: str, now: int, lease_ends: int, *, judges: bool
) -> Claimed:
    """Take those of ``ids`` that wait for the endpoint and are due, or, ``judges``, whose lease has ended; the rest is
    left alone.

    Not due yet, waiting for another endpoint by now, or just being changed by another process is ``elsewhere``. What is
    unknown, with another worker, held, settling or parked is neither.
    """
    wanted = {"its_ids": list(ids)}
    found = {row.id: row for row in map(Queued._make, connection.execute(_LOCK, wanted))}
    mine = [row for row in found.values() if row.endpoint == endpoint and _is_free(row, now, judges)]
    if mine:
        positions = [row.position for row in mine]
        connection.execute(_CLAIM, {"its_positions": positions, "its_due": lease_ends})
    taken = sorted(mine, key=lambda row: (row.priority, row.position))
    claimed = {row.id for row in mine}
    others = [one for one in ids if one not in claimed]
    return Claimed([_after(row, lease_ends) for row in taken], waiting(connection, others) if others else [])


def _is_free(row: Queued, now: int, judges: bool) -> bool:
    waits = (LATER, TAKEN) if judges else (LATER,)
    return row.state == READY or (row.state in waits and row.due <= now)


def _after(row: Queued, lease_ends: int) -> Queued:
    lost = row.lost + (row.state == TAKEN)
    return row._replace(state=TAKEN, due=lease_ends, takes=row.takes + 1, lost=lost)


class Relayed(NamedTuple):
    """A row as it was when its id was published: what was taken, came due or was moved since was not."""

    id: str
    takes: int
    state: str
    endpoint: str


def mark(connection: sa.Connection, confirmed: Iterable[Relayed], now: int) -> None:
    """The broker has these."""
    alike: dict[Relayed, list[str]] = {}
    for one in confirmed:
        alike.setdefault(one._replace(id=""), []).append(one.id)
    for (_, takes, state, endpoint), ids in alike.items():
        values = {"its_ids": ids, "its_takes": takes, "its_state": state, "its_endpoint": endpoint, "its_now": now}
        connection.execute(_MARK, values)


def forget(connection: sa.Connection, ids: Sequence[str]) -> None:
    """The broker will not bring these again."""
    connection.execute(_FORGET, {"its_ids": list(ids)})


class Forgotten(NamedTuple):
    """``lost``: are published again. ``left``: another process is just changing them, ask again."""

    lost: int
    left: int


def forget_queue(connection: sa.Connection, endpoint: str, priorities: tuple[int, int], before: int) -> Forgotten:
    """The broker lost the queue of an endpoint and priorities from-to: what it had confirmed before."""
    lost = connection.execute(_FORGET_QUEUE, _of_queue(endpoint, priorities, before)).rowcount
    return Forgotten(lost, relayed(connection, endpoint, priorities, before))


def relayed(connection: sa.Connection, endpoint: str, priorities: tuple[int, int], before: int) -> int:
    """How many that are ready the broker confirmed before."""
    return connection.scalar(_RELAYED, _of_queue(endpoint, priorities, before)) or 0


def _of_queue(endpoint: str, priorities: tuple[int, int], before: int) -> dict[str, Any]:
    lowest, highest = priorities
    return {"its_endpoint": endpoint, "its_lowest": lowest, "its_highest": highest, "its_before": before}


def come_due(connection: sa.Connection, now: int, late: int, *, judges: bool) -> None:
    """Ready is what should have been tried again at ``late`` and, ``judges``, what had a worker whose lease is over."""
    connection.execute(_OVERDUE, {"its_late": late})
    if judges:
        connection.execute(_ABANDONED, {"its_now": now})


def unrelayed(connection: sa.Connection, after: int, most: int, accepted_before: int) -> list[Queued]:
    """Rows behind a position that wait and that no broker confirmed; those just accepted are left to their process."""
    values = {"its_after": after, "its_most": most, "its_before": accepted_before}
    return [Queued(*row) for row in connection.execute(_UNRELAYED, values)]


def waiting(connection: sa.Connection, ids: Sequence[str]) -> list[Queued]:
    """Those of ``ids`` that are ready or are tried later."""
    return [Queued(*row) for row in connection.execute(_OF_THESE, {"its_ids": list(ids)})]


def first_of_key(connection: sa.Connection, endpoint: str, order_key: str) -> Queued | None:
    """The first that waits with this key, when it is ready."""
    found = connection.execute(_FIRST_OF_KEY, {"its_endpoint": endpoint, "its_order": order_key}).first()
    return Queued(*found) if found and found.state == READY else None


def park(connection: sa.Connection, exchange_id: str, reason: str) -> bool:
    """Leave one that waits to a person."""
    return connection.execute(_PARK, {"its_ids": [exchange_id], "its_reason": reason}).rowcount == 1
