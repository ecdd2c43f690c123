"""The table of what was accepted and is not delivered yet, and the steps of a message through it.

A row is there from the transaction that journals its exchange until the exchange has ended and was acknowledged. Every
step is one statement or a few within the writer's transaction, and says what it did by the number of rows it changed.
``position`` grows with acceptance. ``takes`` counts how often a row was taken and is what a worker shows for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store import many
from esb.store.effects import Fate, finish_exchange
from esb.store.ordering import Key, keep_order
from esb.store.tables import Big, Row, State, clean, exchange, metadata, partial_index
from esb.store.tries import move_last

READY, LATER, HELD = "ready", "later", "held"
TAKEN, SETTLING, PARKED = "taken", "settling", "parked"
_WAITING = (READY, LATER, HELD)
_LARGEST = 100


class Queued(NamedTuple):
    """A row of ``queue``. ``accepted``, ``due`` and ``expires`` are milliseconds of the wall clock, 0 for never."""

    position: int
    id: str
    endpoint: str
    operation: str
    priority: int
    order_key: str
    accepted: int
    expires: int
    state: str
    due: int
    tries: int
    takes: int
    lost: int
    sent: bool
    reason: str


NAMES = Queued._fields[1:]
"""What is inserted: the database gives the position."""

_TEXTS = ("id", "endpoint", "operation", "order_key", "state", "reason")
_BIG = ("position", "accepted", "expires", "due")
queue = sa.Table(
    "queue",
    metadata,
    *(
        sa.Column(
            name,
            sa.Text if name in _TEXTS else sa.Boolean if name == "sent" else Big if name in _BIG else sa.Integer,
            primary_key=name == "position",
            nullable=False,
            unique=name == "id" or None,
        )
        for name in Queued._fields
    ),
    sa.Column("relayed", Big, nullable=False, server_default="0"),
)
"""``relayed`` is for a buffer with a broker: when that confirmed the message as it now waits, 0 until it did."""
sa.Index("queue_next", queue.c.endpoint, queue.c.state, queue.c.priority, queue.c.position)
sa.Index("queue_due", queue.c.state, queue.c.due)
_IS_ORDERED = queue.c.order_key != ""
partial_index("queue_order", queue.c.endpoint, queue.c.order_key, queue.c.position, where=_IS_ORDERED)
partial_index("queue_expires", queue.c.expires, where=queue.c.expires > 0)
UNRELAYED = sa.and_(queue.c.relayed == 0, queue.c.state.in_((READY, LATER)))
"""Whom no broker has."""
partial_index("queue_unrelayed", queue.c.position, where=UNRELAYED)

_COLUMNS = [queue.c[name] for name in Queued._fields]
_now: sa.BindParameter[int] = sa.bindparam("its_now")
_endpoint: sa.BindParameter[str] = sa.bindparam("its_endpoint")
_order: sa.BindParameter[str] = sa.bindparam("its_order")
_ORDERED = sa.select(queue.c.position).where(queue.c.endpoint == _endpoint, _IS_ORDERED).limit(1)
_MINE = sa.and_(
    queue.c.position == sa.bindparam("its_position"),
    queue.c.takes == sa.bindparam("its_takes"),
    queue.c.state == TAKEN,
)
_OF = queue.c.id == sa.bindparam("its_id")


def nobody_has(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Rows of these conditions, but for those that another process is changing now."""
    free = sa.select(queue.c.position).where(*conditions).with_for_update(skip_locked=True)
    return queue.c.position.in_(free)


_DUE_AGAIN = (
    queue.update()
    .where(nobody_has(queue.c.state == LATER, queue.c.due <= _now))
    .values(state=READY, relayed=0)
)  # fmt: skip
_LEASE_OVER = (
    queue.update()
    .where(nobody_has(queue.c.state == TAKEN, queue.c.due <= _now))
    .values(state=READY, lost=queue.c.lost + 1, relayed=0)
)
_LEFT_SETTLING = (
    queue.update()
    .where(
        nobody_has(
            queue.c.state == SETTLING,
            ~sa.exists().where(exchange.c.id == queue.c.id, exchange.c.state == State.UNKNOWN.value),
        )
    )
    .values(state=READY, relayed=0)
)
_NEXT = (
    sa.select(*_COLUMNS)
    .where(queue.c.endpoint == _endpoint, queue.c.state == READY)
    .order_by(queue.c.priority, queue.c.position)
    .limit(sa.bindparam("its_most"))
    .with_for_update(skip_locked=True)
)
_EXPIRED = (
    sa.select(*_COLUMNS)
    .where(queue.c.expires > 0, queue.c.expires <= _now, queue.c.state.in_(_WAITING))
    .order_by(queue.c.expires)
    .limit(sa.bindparam("its_most"))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    queue.update()
    .where(queue.c.position == sa.bindparam("its_position"))
    .values(state=TAKEN, due=sa.bindparam("its_due"), takes=queue.c.takes + 1, relayed=0)
)
_RENEW = queue.update().where(_MINE).values(due=sa.bindparam("its_due"))
_HOLDS = sa.select(queue.c.position).where(_MINE).with_for_update()
_SENT = queue.update().where(_MINE).values(sent=True)
_ACK = queue.delete().where(_MINE)
_PUT_BACK = queue.update().where(_MINE)
_HEADS = sa.select(sa.func.min(queue.c.position)).where(
    queue.c.endpoint == _endpoint, queue.c.order_key == _order, _IS_ORDERED
)
_LET_GO = (
    queue.update()
    .where(queue.c.state == HELD, queue.c.position == _HEADS.scalar_subquery())
    .values(state=sa.case((queue.c.due > 0, LATER), else_=READY), relayed=0)
)
_BEFORE = queue.alias()
_IS_BEHIND = (
    sa.exists()
    .where(_BEFORE.c.endpoint == queue.c.endpoint, _BEFORE.c.order_key == queue.c.order_key)
    .where(_BEFORE.c.order_key != "", _BEFORE.c.position < queue.c.position)
)
"""Another of its order key was accepted before it."""
_SOONEST = sa.select(sa.func.min(queue.c.due)).where(queue.c.endpoint == _endpoint)
_SOONEST_LATER, _SOONEST_OF_ALL = (_SOONEST.where(queue.c.state.in_(some)) for some in ((LATER,), (LATER, TAKEN)))
_FIND = sa.select(*_COLUMNS).where(_OF)
_LOCK = _FIND.with_for_update()
_REMOVE = queue.delete().where(_OF)
_DOUBTED = (
    sa.select(exchange.c.id)
    .where(exchange.c.id == sa.bindparam("its_id"), exchange.c.owner == sa.bindparam("its_owner"))
    .where(exchange.c.state == State.UNKNOWN.value)
    .with_for_update()
)


def ordered_before(connection: sa.Connection, keys: Sequence[Key]) -> set[Key]:
    """Which of these keys have a row; who adds one by that has them to itself (``keep_order``)."""
    found: set[Key] = set()
    pair = sa.tuple_(queue.c.endpoint, queue.c.order_key)
    for at in range(0, len(keys), _LARGEST):
        some = keys[at : at + _LARGEST]
        query = sa.select(queue.c.endpoint, queue.c.order_key).where(pair.in_(some), _IS_ORDERED).distinct()
        found |= {(endpoint, key) for endpoint, key in connection.execute(query)}
    return found


def has_ordered(connection: sa.Connection, endpoint: str) -> bool:
    """Whether anything that is ordered waits for the endpoint."""
    return connection.scalar(_ORDERED, {"its_endpoint": endpoint}) is not None


def insert(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows, each the values of ``NAMES``."""
    many.insert(connection, queue, NAMES, rows)


def take(
    connection: sa.Connection, endpoint: str, most: int, now: int, lease_ends: int, *, judges: bool = True
) -> list[Queued]:
    """The next rows of the endpoint, taken until the lease ends; ``judges``: those too whose lease is over."""
    connection.execute(_DUE_AGAIN, {"its_now": now})
    if judges:
        connection.execute(_LEASE_OVER, {"its_now": now})
    found = connection.execute(_NEXT, {"its_endpoint": endpoint, "its_most": most})
    return _taken(connection, [Queued(*row) for row in found], lease_ends)


def take_expired(connection: sa.Connection, most: int, now: int, lease_ends: int) -> list[Queued]:
    """Rows whose time is over and that nobody has, taken."""
    found = connection.execute(_EXPIRED, {"its_now": now, "its_most": most})
    return _taken(connection, [Queued(*row) for row in found], lease_ends)


def _taken(connection: sa.Connection, rows: list[Queued], lease_ends: int) -> list[Queued]:
    if rows:
        connection.execute(_TAKE, [{"its_position": row.position, "its_due": lease_ends} for row in rows])
    return [row._replace(state=TAKEN, due=lease_ends, takes=row.takes + 1) for row in rows]


def renew(connection: sa.Connection, receipts: Iterable[tuple[int, int]], lease_ends: int) -> None:
    """New leases for those that are still held by these receipts."""
    values = [{**_receipt(*one), "its_due": lease_ends} for one in receipts]
    if values:
        connection.execute(_RENEW, values)


def mark_sent(connection: sa.Connection, position: int, takes: int) -> bool:
    """From now on its bytes may be with the system."""
    return connection.execute(_SENT, _receipt(position, takes)).rowcount == 1


def acknowledge(connection: sa.Connection, position: int, takes: int, endpoint: str, order_key: str) -> bool:
    """Remove it and let the next of its key go, which the transaction has to itself (``keep_order``)."""
    removed = connection.execute(_ACK, _receipt(position, takes)).rowcount == 1
    if removed:
        let_go(connection, endpoint, order_key)
    return removed


def holds(connection: sa.Connection, position: int, takes: int) -> bool:
    """Whether it is still with the worker of this receipt; nobody takes it before this transaction has ended."""
    return connection.scalar(_HOLDS, _receipt(position, takes)) is not None


def put_back(connection: sa.Connection, position: int, takes: int, values: Mapping[str, Any]) -> bool:
    """Give it back with other values."""
    return connection.execute(_PUT_BACK.values(**_clean(values)), _receipt(position, takes)).rowcount == 1


def let_go(connection: sa.Connection, endpoint: str, order_key: str) -> None:
    """The first of the key, when it is held, is held no more."""
    if order_key:
        connection.execute(_LET_GO, {"its_endpoint": endpoint, "its_order": order_key})


def find(connection: sa.Connection, exchange_id: str) -> Queued | None:
    """The row of an exchange."""
    found = connection.execute(_FIND, {"its_id": exchange_id}).first()
    return Queued(*found) if found else None


def found(connection: sa.Connection, exchange_ids: Sequence[str]) -> list[Queued]:
    """The rows of these exchanges."""
    query = sa.select(*_COLUMNS).order_by(queue.c.id)
    return _chosen(connection, query, exchange_ids)


def lock(connection: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, Queued]:
    """The rows of these exchanges as nobody changes them before this transaction has ended, nor those of their keys.

    Who is just changing one is waited for.
    """
    keep_order(connection, [(row.endpoint, row.order_key) for row in found(connection, exchange_ids)])
    query = sa.select(*_COLUMNS).order_by(queue.c.id).with_for_update()
    return {row.id: row for row in _chosen(connection, query, exchange_ids)}


def _chosen(connection: sa.Connection, query: sa.Select[Any], exchange_ids: Sequence[str]) -> list[Queued]:
    ids, rows = sorted(exchange_ids), []
    for at in range(0, len(ids), _LARGEST):
        rows += [Queued(*row) for row in connection.execute(query.where(queue.c.id.in_(ids[at : at + _LARGEST])))]
    return rows


def release(connection: sa.Connection, row: Queued, due: int, reason: str) -> bool:
    """A parked row is tried again from ``due`` on with all its tries and all its time; False when it is not parked.

    What is behind another of its order key, parked or not, is held until that has gone.
    """
    state = sa.case((_IS_BEHIND, HELD), else_=LATER)
    anew = queue.c.takes + 1  # a confirm of the broker that comes late is of what it was before it was parked
    values = {"state": state, "due": due, "tries": 0, "lost": 0, "takes": anew, "reason": reason}
    expires = {"expires": due + row.expires - row.accepted} if row.expires else {}
    return change(connection, row.id, (PARKED,), {**values, **expires})


def change(connection: sa.Connection, exchange_id: str, states: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Change the row of an exchange when it is in one of these states."""
    statement = queue.update().where(_OF, queue.c.state.in_(states)).values(relayed=0, **_clean(values))
    return connection.execute(statement, {"its_id": exchange_id}).rowcount == 1


def remove(connection: sa.Connection, exchange_id: str) -> Queued | None:
    """Remove the row of an exchange, whoever has it, and let the next of its key go."""
    row = lock(connection, [exchange_id]).get(exchange_id)
    if row is not None:
        connection.execute(_REMOVE, {"its_id": exchange_id})
        let_go(connection, row.endpoint, row.order_key)
    return row


def reopen(connection: sa.Connection, exchange_id: str, owner: str, due: int, reason: str) -> Queued | None:
    """A row that somebody had or settled waits again, and its exchange is accepted again.

    None unless ``owner`` has the exchange in doubt: what another reopened may be on its way to the system now.
    """
    its = {"its_id": exchange_id}
    if (
        not connection.execute(_LOCK, its).first()
        or not connection.execute(_DOUBTED, {**its, "its_owner": owner}).first()
    ):
        return None
    again = {"state": LATER, "due": due, "tries": queue.c.tries + 1, "sent": False, "reason": reason}
    if not change(connection, exchange_id, (SETTLING, TAKEN), again):
        return None
    move_last(connection, exchange_id)
    accepted = exchange.update().where(exchange.c.id == exchange_id)
    connection.execute(accepted.values(state=State.ACCEPTED.value, code="", finished="", owner=""))
    return find(connection, exchange_id)


def discard(connection: sa.Connection, row: Row, fate: Fate) -> bool:
    """Remove a parked row and end its exchange; False when it is not parked."""
    found = lock(connection, [row.id]).get(row.id)
    if found is None or found.state != PARKED:
        return False
    finish_exchange(connection, row, fate)
    remove(connection, row.id)
    return True


def left_settling(connection: sa.Connection) -> None:
    """Nobody settles what is accepted still or decided already: whoever was about to say so is gone."""
    connection.execute(_LEFT_SETTLING)


def orphan(connection: sa.Connection) -> None:
    """Nobody who had a row before is there any more."""
    connection.execute(
        queue.update().where(queue.c.state == TAKEN).values(state=READY, lost=queue.c.lost + 1, relayed=0)
    )
    connection.execute(queue.update().where(queue.c.state == SETTLING).values(state=READY, relayed=0))


def reroute(connection: sa.Connection, endpoints: Mapping[str, str], no_route: str) -> bool:
    """Rows that wait go to the queue that their operation has now, or are parked; True when something moved.

    Order keys are looked at anew: who waited for one that went is free, who came behind another waits.
    """
    moved = 0
    waiting = queue.c.state.in_(_WAITING)
    there = list(connection.execute(sa.select(queue.c.operation, queue.c.endpoint).where(waiting).distinct()))
    if all(endpoints.get(operation) == endpoint for operation, endpoint in there):
        return False
    _alone(connection)
    for operation in sorted({operation for operation, _ in there}):
        mine = queue.update().where(queue.c.operation == operation, waiting)
        if operation not in endpoints:
            moved += connection.execute(mine.values(state=PARKED, reason=no_route)).rowcount
        else:
            target = endpoints[operation]
            moved += connection.execute(
                mine.where(queue.c.endpoint != target).values(endpoint=target, relayed=0)
            ).rowcount
    if moved:
        _order_anew(connection)
    return moved > 0


def _alone(connection: sa.Connection) -> None:
    """Others may read the table and wait to write it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE queue IN SHARE ROW EXCLUSIVE MODE")


def _order_anew(connection: sa.Connection) -> None:
    connection.execute(queue.update().where(queue.c.state == HELD, sa.not_(_IS_BEHIND)).values(state=READY, relayed=0))
    connection.execute(queue.update().where(queue.c.state.in_((READY, LATER)), _IS_BEHIND).values(state=HELD))


def listed(connection: sa.Connection, states: Sequence[str], endpoint: str, most: int) -> list[Queued]:
    """Rows in the order of their acceptance."""
    query = sa.select(*_COLUMNS).order_by(queue.c.position).limit(most)
    if states:
        query = query.where(queue.c.state.in_(states))
    if endpoint:
        query = query.where(queue.c.endpoint == endpoint)
    return [Queued(*row) for row in connection.execute(query)]


def counts(connection: sa.Connection) -> list[tuple[str, str, int, int]]:
    """Endpoint, state, how many rows, and when the oldest was accepted."""
    query = sa.select(queue.c.endpoint, queue.c.state, sa.func.count(), sa.func.min(queue.c.accepted))
    return [tuple(row) for row in connection.execute(query.group_by(queue.c.endpoint, queue.c.state))]


def park_damaged(connection: sa.Connection) -> int:
    """Rows whose state nobody can have written wait for a person; how many these were."""
    strange = queue.c.state.not_in((*_WAITING, TAKEN, SETTLING, PARKED))
    values = {"state": PARKED, "due": 0, "reason": "damaged: the queue's row was in a state that there is not"}
    return connection.execute(queue.update().where(strange).values(values)).rowcount


def next_due(connection: sa.Connection, endpoint: str, *, judges: bool = True) -> int | None:
    """When the next of the endpoint's rows is due that is tried later or, ``judges``, taken; None without any."""
    statement = _SOONEST_OF_ALL if judges else _SOONEST_LATER
    found: int | None = connection.scalar(statement, {"its_endpoint": endpoint})
    return found


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}


def _receipt(position: int, takes: int) -> dict[str, int]:
    return {"its_position": position, "its_takes": takes}
