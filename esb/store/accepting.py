"""To accept exchanges for later: key, journal row and message of each in one transaction, many of them a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb import crash
from esb.store import many, queue, tries
from esb.store.effects import Earlier
from esb.store.ordering import Key
from esb.store.tables import Row, State, exchange, idempotency
from esb.store.writer import packed

_LARGEST = 500
_Key = tuple[str, str, str]
_KEY_NAMES = ("operation", "principal", "key", "fingerprint", "exchange", "again")
_KEY = ("text", "text", "text")
_HELD = {
    join: (
        f") SELECT {', '.join(f'idempotency.{name}' for name in _KEY_NAMES)} "
        f"FROM asked {join} idempotency USING (operation, principal, key)"
    )
    for join in ("JOIN", "CROSS JOIN")
}
"""SQLite goes through those that are asked for, and not through all there are, if it is told to cross."""
_BOUND = ("its_operation", "its_principal", "its_key")
_IS_KEY = sa.and_(*(idempotency.c[name.removeprefix("its_")] == sa.bindparam(name) for name in _BOUND))
_LOCK = sa.select(idempotency.c.exchange).where(_IS_KEY).with_for_update()
_RECLAIM = idempotency.update().where(_IS_KEY).values(exchange=sa.bindparam("its_exchange"), again=False)


class Accepted(NamedTuple):
    """An exchange to accept. ``message`` has the values of ``queue.NAMES``, its state ``ready``."""

    row: Row
    message: tuple[Any, ...]


class Kept(NamedTuple):
    """An exchange to journal that takes no key: with its message (``queue.NAMES``) where it waits for delivery, and
    with the try after which it does.
    """

    row: Row
    message: tuple[Any, ...] | None = None
    tried: tries.Try | None = None


class _Holder(NamedTuple):
    fingerprint: bytes
    exchange: str
    again: bool
    state: State


def accept(connection: sa.Connection, offered: Sequence[Accepted]) -> list[Earlier | None]:
    """None for each that is accepted, else who has its key: in the order in which they were offered.

    The transaction has their order keys to itself (``keep_order``); ``keep`` likewise.
    """
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


def keep(connection: sa.Connection, kept: Sequence[Kept]) -> None:
    """Journal exchanges; those with a message wait for delivery, held behind others of their order.

    One that is journalled already stays as it is.
    """
    many.insert(connection, exchange, Row._fields, [packed(one.row) for one in kept], "ON CONFLICT DO NOTHING")
    waiting = [Accepted(one.row, one.message) for one in kept if one.message is not None]
    if not waiting:
        return
    queue.insert(connection, list(_in_order(connection, waiting)))
    for row, _, tried in kept:
        if tried is not None:
            tries.keep(connection, row.id, tried)


class _Claims:
    """The keys of a batch, those that were taken before and those that it takes itself."""

    def __init__(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        self._connection = connection
        self._held: dict[_Key, _Holder] = {}
        self._read(sorted({_key(row) for row in rows}))
        if again := sorted(key for key, holder in self._held.items() if holder.again):
            self._read_alone(again)
        self.new: list[tuple[Any, ...]] = []
        self._again: list[dict[str, str]] = []

    def _read(self, keys: Sequence[_Key]) -> None:
        join = "CROSS JOIN" if self._connection.dialect.name == "sqlite" else "JOIN"
        asked = "WITH asked(operation, principal, key) AS ("
        found = [one for some in many.with_rows(self._connection, asked, _KEY, keys, _HELD[join]) for one in some]
        states = self._states([one[4] for one in found])
        for one in found:
            self._held[one[0], one[1], one[2]] = _Holder(one[3], one[4], one[5], states.get(one[4], State.UNKNOWN))

    def _states(self, ids: Sequence[str]) -> dict[str, State]:
        """A join would look into every part that the journal has."""
        states: dict[str, State] = {}
        for at in range(0, len(ids), _LARGEST):
            of = sa.select(exchange.c.id, exchange.c.state).where(exchange.c.id.in_(ids[at : at + _LARGEST]))
            states.update((one, State(state)) for one, state in self._connection.execute(of))
        return states

    def _read_alone(self, keys: Sequence[_Key]) -> None:
        """Another process may be taking one that was free again: that is waited for, and then seen."""
        if self._connection.dialect.name == "postgresql":
            for key in keys:
                self._connection.execute(_LOCK, dict(zip(_BOUND, key, strict=True)))
                del self._held[key]
            self._read(keys)

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
            self._again.append(dict(zip((*_BOUND, "its_exchange"), (*key, row.id), strict=True)))
        self._held[key] = _Holder(row.fingerprint, row.id, False, State.ACCEPTED)
        return None

    def reclaim(self) -> None:
        """Take those that were open again; ``new`` are to be inserted."""
        if self._again:
            self._connection.execute(_RECLAIM, self._again)


def _key(row: Row) -> _Key:
    return (row.operation, row.principal, row.key)


_ENDPOINT, _ORDER, _STATE = (queue.NAMES.index(name) for name in ("endpoint", "order_key", "state"))


def key_of(message: tuple[Any, ...]) -> Key:
    """What it is ordered by."""
    return message[_ENDPOINT], message[_ORDER]


def _in_order(connection: sa.Connection, fresh: Sequence[Accepted]) -> Iterator[tuple[Any, ...]]:
    """The messages, those held that have one of their key before them."""
    keys = {key_of(one.message) for one in fresh if one.message[_ORDER]}
    before = queue.ordered_before(connection, sorted(keys))
    for _, message in fresh:
        key = key_of(message)
        yield message if key not in before else (*message[:_STATE], queue.HELD, *message[_STATE + 1 :])
        if message[_ORDER]:
            before.add(key)
