"""To accept exchanges for later: key, journal row and message of each in one transaction, many of them a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb import crash
from esb.store import many, queue
from esb.store.effects import Earlier
from esb.store.tables import Row, State, exchange, idempotency
from esb.store.writer import packed

_Key = tuple[str, str, str]
_KEY_NAMES = ("operation", "principal", "key", "fingerprint", "exchange", "again")
_KEY = ("text", "text", "text")
_HELD = {
    join: (
        f") SELECT {', '.join(f'idempotency.{name}' for name in _KEY_NAMES)}, exchange.state "
        f"FROM asked {join} idempotency USING (operation, principal, key) "
        "LEFT JOIN exchange ON exchange.id = idempotency.exchange"
    )
    for join in ("JOIN", "CROSS JOIN")
}
"""SQLite goes through those that are asked for, and not through all there are, if it is told to cross."""
_RECLAIM = (
    idempotency.update()
    .where(*(idempotency.c[name] == sa.bindparam(f"its_{name}") for name in ("operation", "principal", "key")))
    .values(exchange=sa.bindparam("its_exchange"), again=False)
)


class Accepted(NamedTuple):
    """An exchange to accept. ``message`` has the values of ``queue.NAMES``, its state ``ready``."""

    row: Row
    message: tuple[Any, ...]


class _Holder(NamedTuple):
    fingerprint: bytes
    exchange: str
    again: bool
    state: State


def accept(connection: sa.Connection, offered: Sequence[Accepted]) -> list[Earlier | None]:
    """None for each that is accepted, else who has its key: in the order in which they were offered."""
    claims = _Claims(connection, [one.row for one in offered if one.row.fingerprint])
    found = [claims.claim(one.row) for one in offered]
    fresh = [one for one, earlier in zip(offered, found, strict=True) if earlier is None]
    rows = [packed(one.row) for one in fresh]
    messages = list(_in_order(connection, fresh))
    claims.reclaim()
    many.insert_all(
        connection,
        (
            (idempotency, _KEY_NAMES, claims.new),
            (exchange, Row._fields, rows),
            (queue.queue, queue.NAMES, messages),
        ),
    )
    crash.at("during_accept")
    return found


def keep(connection: sa.Connection, kept: Sequence[tuple[Row, tuple[Any, ...] | None]]) -> None:
    """Journal exchanges that take no key; those with a message wait for delivery, held behind others of their order.

    One that is journalled already stays as it is.
    """
    many.insert(connection, exchange, Row._fields, [packed(row) for row, _ in kept], "ON CONFLICT DO NOTHING")
    waiting = [Accepted(row, message) for row, message in kept if message is not None]
    if waiting:
        queue.insert(connection, list(_in_order(connection, waiting)))


class _Claims:
    """The keys of a batch, those that were taken before and those that it takes itself."""

    def __init__(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        self._connection = connection
        self._held: dict[_Key, _Holder] = {}
        asked = sorted({_key(row) for row in rows})
        join = "CROSS JOIN" if connection.dialect.name == "sqlite" else "JOIN"
        for found in many.with_rows(connection, "WITH asked(operation, principal, key) AS (", _KEY, asked, _HELD[join]):
            for one in found:
                self._held[one[0], one[1], one[2]] = _Holder(one[3], one[4], one[5], State(one[6] or State.UNKNOWN))
        self.new: list[tuple[Any, ...]] = []
        self._again: list[dict[str, str]] = []

    def claim(self, row: Row) -> Earlier | None:
        if not row.fingerprint:
            return None
        key = _key(row)
        holder = self._held.get(key)
        if holder is not None and not (holder.again and holder.fingerprint == row.fingerprint):
            return Earlier(holder.exchange, holder.fingerprint == row.fingerprint, holder.state)
        if holder is None:
            self.new.append((*key, row.fingerprint, row.id, False))
        else:
            names = ("its_operation", "its_principal", "its_key", "its_exchange")
            self._again.append(dict(zip(names, (*key, row.id), strict=True)))
        self._held[key] = _Holder(row.fingerprint, row.id, False, State.ACCEPTED)
        return None

    def reclaim(self) -> None:
        """Take those that were open again; ``new`` are to be inserted."""
        if self._again:
            self._connection.execute(_RECLAIM, self._again)


def _key(row: Row) -> _Key:
    return (row.operation, row.principal, row.key)


_ENDPOINT, _ORDER, _STATE = (queue.NAMES.index(name) for name in ("endpoint", "order_key", "state"))


def _in_order(connection: sa.Connection, fresh: Sequence[Accepted]) -> Iterator[tuple[Any, ...]]:
    """The messages, those held that have one of their key before them."""
    keys = {(one.message[_ENDPOINT], one.message[_ORDER]) for one in fresh if one.message[_ORDER]}
    before = queue.ordered_before(connection, sorted(keys))
    for _, message in fresh:
        key = (message[_ENDPOINT], message[_ORDER])
        yield message if key not in before else (*message[:_STATE], queue.HELD, *message[_STATE + 1 :])
        if message[_ORDER]:
            before.add(key)
