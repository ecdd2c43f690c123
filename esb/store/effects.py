"""What an effect writes: its key and its row together, each step one transaction. Statements are built once."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from esb import crash
from esb.store.tables import Fenced, Row, State, exchange, idempotency
from esb.store.writer import packed


class Fate(StrEnum):
    """What becomes of an idempotency key when its exchange ends."""

    KEEP = "keep"
    """The answer stands and is given again."""
    RELEASE = "release"
    """Nothing happened: the key is as if never used."""
    AGAIN = "again"
    """It may have happened and may be sent again: the same request under the same key runs anew."""


class Earlier(NamedTuple):
    """The exchange that holds a key already, and whether its request was the same."""

    exchange: str
    same: bool
    state: State


_KEY = sa.and_(*(idempotency.c[name] == sa.bindparam(f"its_{name}") for name in ("operation", "principal", "key")))
_MINE = sa.and_(_KEY, idempotency.c.exchange == sa.bindparam("its_exchange"))
_HELD = sa.select(idempotency.c.fingerprint, idempotency.c.exchange, idempotency.c.again).where(_KEY)
_CLAIM = idempotency.insert()
_RECLAIM = idempotency.update().where(_KEY, idempotency.c.again)
_OPEN_AGAIN = idempotency.update().where(_MINE)
_RELEASE = idempotency.delete().where(_MINE)
_INSERT = exchange.insert()
_OF = exchange.c.id == sa.bindparam("its_id")
_STATE = sa.select(exchange.c.state).where(_OF)
_OWNED = exchange.c.owner == sa.bindparam("its_owner")
_SENT = (
    exchange.update()
    .where(_OF, _OWNED, exchange.c.state.in_([State.RECEIVED.value, State.SENT.value]))
    .values(state=State.SENT.value)
)
_ENDED = (State.DONE, State.REFUSED, State.UNAVAILABLE, State.UNKNOWN, State.MALFORMED, State.CANCELLED)
_WAITS = sa.and_(exchange.c.owner == "", exchange.c.state.not_in([str(one) for one in _ENDED]))
_FINISH = exchange.update().where(_OF, sa.or_(_OWNED, _WAITS))


def open_exchange(connection: sa.Connection, row: Row) -> Earlier | None:
    """Insert ``row`` and take its key; a row without fingerprint takes none. Says who has the key, if somebody has."""
    if row.fingerprint and (earlier := _claim(connection, row)):
        return earlier
    connection.execute(_INSERT, stored(row))
    return None


def mark_sent(connection: sa.Connection, exchange_id: str, owner: str) -> None:
    """From now on its bytes may be on the wire; raises ``Fenced`` unless ``owner`` has it under way."""
    _owned(connection.execute(_SENT, {"its_id": exchange_id, "its_owner": owner}))


def finish_exchange(connection: sa.Connection, row: Row, fate: Fate, owner: str = "") -> None:
    """Overwrite the opened row with its end, and do with its key, if it still has it, as ``fate`` says.

    Raises ``Fenced`` when another than ``owner`` has it under way or has ended it: an end is not ended again.
    """
    _owned(connection.execute(_FINISH, {"its_id": row.id, "its_owner": owner, **stored(row)}))
    crash.at("during_finish")
    if fate is Fate.RELEASE:
        connection.execute(_RELEASE, {**_key(row), "its_exchange": row.id})
    elif fate is Fate.AGAIN:
        connection.execute(_OPEN_AGAIN, {**_key(row), "its_exchange": row.id, "again": True})


def stored(row: Row) -> dict[str, object]:
    """``row`` as columns, bodies packed."""
    return dict(zip(Row._fields, packed(row), strict=True))


def _claim(connection: sa.Connection, row: Row) -> Earlier | None:
    """Twice at most: a key that was free again and is not any more, another has taken at this moment."""
    key = _key(row)
    held = connection.execute(_HELD, key).first()
    if held is not None and held.again and held.fingerprint == row.fingerprint:
        if connection.execute(_RECLAIM, {**key, "exchange": row.id, "again": False}).rowcount:
            return None
        held = connection.execute(_HELD, key).first()
    if held is None:
        taken = {"operation": row.operation, "principal": row.principal, "key": row.key}
        connection.execute(_CLAIM, {**taken, "fingerprint": row.fingerprint, "exchange": row.id, "again": False})
        return None
    state = connection.scalar(_STATE, {"its_id": held.exchange})
    return Earlier(held.exchange, held.fingerprint == row.fingerprint, State(state or State.UNKNOWN))


def _key(row: Row) -> dict[str, str]:
    return {"its_operation": row.operation, "its_principal": row.principal, "its_key": row.key}


def _owned(result: sa.CursorResult[tuple[object, ...]]) -> None:
    if result.rowcount != 1:
        raise Fenced("the exchange is not in the journal, or another has it under way")
