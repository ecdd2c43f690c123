"""An exchange that had ended and is accepted once more: its own row, its own key, a message in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from esb.store import queue
from esb.store.tables import Row, State, exchange, idempotency
from esb.store.tries import move_last

_ENDED = (State.UNAVAILABLE, State.UNKNOWN, State.MALFORMED, State.ACCEPTED)
_REPLAYED = "replayed by "


def accept_again(connection: sa.Connection, row: Row, message: Sequence[Any]) -> bool:
    """Take its key, say that it is accepted and queue ``message``, the values of ``queue.NAMES``.

    False, and nothing is changed, when it does not stand as ``row`` says any more or another has its key.
    """
    as_it_stood = sa.and_(
        exchange.c.id == row.id, exchange.c.state == row.state, exchange.c.state.in_([str(one) for one in _ENDED])
    )
    stands = connection.scalar(sa.select(exchange.c.id).where(as_it_stood).with_for_update())
    if stands is None or not _key_is_its_own(connection, row):
        return False
    move_last(connection, row.id)
    anew = {"state": State.ACCEPTED.value, "code": "", "message": "", "details": "", "finished": "", "owner": ""}
    connection.execute(exchange.update().where(as_it_stood).values(anew))
    queue.insert(connection, [tuple(message)])
    return True


def last_due(connection: sa.Connection) -> int:
    """When the last of what was replayed and waits is due; 0 when nothing does."""
    waits = queue.queue.c.state.in_((queue.LATER, queue.HELD))
    replayed = queue.queue.c.reason.startswith(_REPLAYED)
    return connection.scalar(sa.select(sa.func.max(queue.queue.c.due)).where(waits, replayed)) or 0


def replayed_by(actor: str, reason: str) -> str:
    """Why a message waits that was replayed; ``last_due`` knows it by this."""
    return f"{_REPLAYED}{actor}: {reason}"


def _key_is_its_own(connection: sa.Connection, row: Row) -> bool:
    if not row.fingerprint:
        return True
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(idempotency)
    key = {name: getattr(row, name) for name in ("operation", "principal", "key")}
    claimed = insert.values(**key, fingerprint=row.fingerprint, exchange=row.id, again=False)
    if connection.execute(claimed.on_conflict_do_nothing()).rowcount == 1:
        return True
    mine = idempotency.update().where(*(idempotency.c[name] == value for name, value in key.items()))
    return connection.execute(mine.where(idempotency.c.exchange == row.id).values(again=False)).rowcount == 1
