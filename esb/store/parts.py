"""The journal on PostgreSQL in parts by ranges of ids: a day goes at once, by dropping its table.

An id begins with its time, so a range of ids is a time and the primary key stays the id alone. The ranges have no gap
and no end: what is older than the first day has a part, and so has what is later than the last. Parts are made some
days ahead by cutting the last one, and go by folding a day into its neighbour, which takes what must stay and the
range. Each is one short transaction that gives up after ``_WAIT`` for a lock, of which it needs two or three: nobody
waits behind it longer than for these. A file is one part and stays one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from esb import crash
from esb.clock import SHANGHAI, first_id, moment_of
from esb.store.tables import Row, StoreError

_T = TypeVar("_T")
AHEAD = 7
"""Days that have a part before they begin."""
LARGEST = 32 * 1024 * 1024
"""Bytes of a part that may still grow: the database reads all of it while others wait."""
_INDEXES, _AT_ONCE, _LEAST = 10, 12, 16
MOST = 1000
"""Rows that a part which goes may leave behind."""
_WAIT = "50ms"
_ONE_AT_A_TIME = 0x65736206
_BUSY = "55P03"
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BOUNDS = re.compile(r"FOR VALUES FROM \((?:MINVALUE|'(\w*)')\) TO \((?:MAXVALUE|'(\w*)')\)")
_PARTS = sa.text(
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = CAST('exchange' AS regclass)"
)
_FAR, _TOO_FAR = timedelta(days=30), timedelta(days=366)
_UNTIL = "exchange_until_"
_SUPPOSED = sa.text(
    "SELECT k.conrelid::regclass::text, k.conname FROM pg_constraint k JOIN pg_inherits i ON i.inhrelid = k.conrelid "
    f"WHERE i.inhparent = CAST('exchange' AS regclass) AND k.contype = 'c' AND k.conname LIKE '{_UNTIL}%' "
    "AND k.convalidated >= :checked"
)
_COLUMNS = ", ".join(f'"{name}"' for name in Row._fields)


class Busy(StoreError):
    """Others were at the journal all the time; nothing was changed."""


class Part(NamedTuple):
    """A table with the exchanges from ``low`` on and before ``high``; both are beginnings of ids, empty for no end."""

    name: str
    low: str
    high: str

    @property
    def span(self) -> timedelta:
        """How many days it has; of one without an end all."""
        return day_of(self.high) - day_of(self.low) if self.low and self.high else timedelta.max


WHOLE = Part("exchange", "", "")


def parts(connection: sa.Connection) -> list[Part]:
    """All of them, oldest first."""
    if connection.dialect.name != "postgresql":
        return [WHOLE]
    found = [Part(name, *_bounds(text)) for name, text in connection.execute(_PARTS)]
    return sorted(found, key=lambda part: part.low) or [WHOLE]


def width(connection: sa.Connection, kept: timedelta) -> timedelta:
    """One day, or as many as leave room for ``kept``, the longest time of all, in the database's table of locks.

    Who looks into all parts locks each with its indexes: a dozen must be able to do so at once.
    """
    query = "SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"
    locks = int(connection.exec_driver_sql(query).scalar_one())
    most = max(_LEAST, locks // (_AT_ONCE * (1 + _INDEXES)))
    return timedelta(days=-(-(kept.days + AHEAD) // most))


def cut(connection: sa.Connection, today: date, kept: timedelta) -> bool:
    """Close the last part after its first day, or ``width`` of days, and begin another; False when there is enough
    ahead.

    Of days that had none there is one part up to ``today``; a last part that is large ends where ``prove`` has shown
    it to, without that it is left as it is (False). Raises ``Busy``.
    """

    def work() -> bool:
        last = parts(connection)[-1]
        if not _lacks_days(last, today):
            return False
        day, proof = max(day_of(last.low) + width(connection, kept), today), ""
        if size(connection, last) > LARGEST:
            proof = dict(map(tuple, connection.execute(_SUPPOSED, {"checked": True}))).get(last.name, "")
            if not proof:
                return False
            day = date.fromisoformat(proof.removeprefix(_UNTIL))
        new = Part(f"exchange_{day:%Y%m%d}", bound(day), "")
        run = connection.exec_driver_sql
        run(f"CREATE TABLE {new.name} (LIKE exchange INCLUDING ALL)")
        run("LOCK TABLE ONLY exchange IN ACCESS EXCLUSIVE MODE")
        run(f"ALTER TABLE exchange DETACH PARTITION {last.name}")
        if not proof:
            run(f"INSERT INTO {new.name} ({_COLUMNS}) SELECT {_COLUMNS} FROM {last.name} WHERE id >= '{new.low}'")
            run(f"DELETE FROM {last.name} WHERE id >= '{new.low}'")
        _attach(connection, last._replace(high=new.low))
        _attach(connection, new)
        crash.at("during_cut")
        return True

    return _alone(connection, work)


def suppose(connection: sa.Connection, today: date) -> bool:
    """Where the last part is to be cut and too large to be read while others wait: refuse from now on what is later
    than a month and than all it has, unchecked of what it has; False elsewhere.

    ``prove`` comes next, and ``withdraw`` whatever happens. Raises ``Busy``, and ``StoreError`` that names an exchange
    of a time so far ahead that no part could be made up to it.
    """

    def work() -> bool:
        last = parts(connection)[-1]
        if not _lacks_days(last, today) or size(connection, last) <= LARGEST:
            return False
        run = connection.exec_driver_sql
        run(f"LOCK TABLE {last.name} IN ACCESS EXCLUSIVE MODE")
        _withdraw(connection)
        day = max(today + _FAR, _day_after(run(f"SELECT max(id) FROM {last.name}").scalar() or last.low, today))
        holds = f"id >= '{last.low}' AND id < '{bound(day)}'"
        run(f"ALTER TABLE {last.name} ADD CONSTRAINT {_UNTIL}{day:%Y%m%d} CHECK ({holds}) NOT VALID")
        return True

    return _alone(connection, work)


def prove(connection: sa.Connection) -> None:
    """Check what was supposed, while others read and write, however long it takes."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    for table, name in connection.execute(_SUPPOSED, {"checked": False}).all():
        connection.exec_driver_sql(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def withdraw(connection: sa.Connection) -> bool:
    """Refuse nothing any more; also what somebody left who was killed. Whether there was something. Raises ``Busy``."""
    if not connection.execute(_SUPPOSED, {"checked": False}).first():
        return False
    return _alone(connection, lambda: _withdraw(connection))


def fold(
    connection: sa.Connection, into: Part, part: Part, staying: Callable[[sa.Connection, Part, int], Sequence[str]]
) -> bool:
    """Drop ``part``; the rows that are ``staying`` and its range go to the part before it.

    False, and nothing is done, when one is too large for that. Raises ``Busy``.
    """

    def work() -> bool:
        run = connection.exec_driver_sql
        if size(connection, into) > LARGEST or len(staying(connection, part, MOST + 1)) > MOST:
            return False
        run("LOCK TABLE ONLY exchange IN ACCESS EXCLUSIVE MODE")
        stay = list(staying(connection, part, MOST + 1))
        if len(stay) > MOST or not {into, part} <= set(parts(connection)):
            return False
        run(f"ALTER TABLE exchange DETACH PARTITION {into.name}")
        run(f"ALTER TABLE exchange DETACH PARTITION {part.name}")
        moved = f"INSERT INTO {into.name} ({_COLUMNS}) SELECT {_COLUMNS} FROM {part.name} WHERE id = ANY(%s)"
        run(moved, (stay,))
        run(f"DROP TABLE {part.name}")
        _attach(connection, into._replace(high=part.high))
        crash.at("during_fold")
        return True

    return _alone(connection, work)


def size(connection: sa.Connection, part: Part, *, with_all: bool = False) -> int:
    """Bytes of its rows, or of these with their indexes and large values."""
    function = "pg_total_relation_size" if with_all else "pg_relation_size"
    return int(connection.exec_driver_sql(f"SELECT {function}('{part.name}')").scalar_one())


def bound(day: date) -> str:
    """The least id of a day."""
    return first_id(datetime.combine(day, time(), SHANGHAI))


def day_of(of_bound: str) -> date:
    """The day whose ``bound`` it is."""
    stamp = 0
    for digit in of_bound[:10]:
        stamp = stamp * 32 + _DIGITS.index(digit)
    return datetime.fromtimestamp(stamp / 1000, SHANGHAI).date()


def _lacks_days(last: Part, today: date) -> bool:
    return last != WHOLE and day_of(last.low) < today + timedelta(days=AHEAD)


def _day_after(id: str, today: date) -> date:
    """The first that begins after the time of an id."""
    try:
        day = moment_of(id).date() + timedelta(days=1)
    except (ValueError, OverflowError, OSError):
        day = date.max
    if day > today + _TOO_FAR:
        raise StoreError(f"exchange {id} is of a time far ahead, so no part can end behind it: delete or rename it")
    return day


def _withdraw(connection: sa.Connection) -> bool:
    for table, name in connection.execute(_SUPPOSED, {"checked": False}).all():
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    return True


def _attach(connection: sa.Connection, part: Part) -> None:
    low, high = (f"'{part.low}'" if part.low else "MINVALUE"), (f"'{part.high}'" if part.high else "MAXVALUE")
    connection.exec_driver_sql(f"ALTER TABLE exchange ATTACH PARTITION {part.name} FOR VALUES FROM ({low}) TO ({high})")


def _bounds(text: str) -> tuple[str, str]:
    found = _BOUNDS.fullmatch(text)
    if found is None:
        raise StoreError(f"the journal has a part that is not the bus's: {text}")
    return found[1] or "", found[2] or ""


def _alone(connection: sa.Connection, work: Callable[[], _T]) -> _T:
    """Two processes never do it at a time, and nobody waits behind us for long."""
    try:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        return work()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _BUSY:
            raise
        raise Busy("the journal was busy") from None
