"""Before a large journal becomes a part of itself: proof that it has no row later than a certain day.

Otherwise the database would look for one while everybody waits. The proof is a constraint that is added unchecked and
checked while others read and write. It must not stay: from its day on it would refuse what is new. So it is as far off
as ``_FAR``, the revision that needs it removes it, and so does whoever fails in between. What a killed process left the
next one that starts removes; where only an older release is started again, see ``docs/operations.md``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from esb import crash
from esb.clock import SHANGHAI, first_id
from esb.observe import get_logger

_FAR = timedelta(days=30)
LARGE = 64 * 1024 * 1024
"""Bytes: less is read within a moment."""
_ONE_AT_A_TIME = 0x65736207
_LEFT = sa.text(
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST('exchange' AS regclass) AND contype = 'c' "
    "AND conname LIKE 'exchange_until_%'"
)
_KIND = sa.text("SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass('exchange')")

_log = get_logger()


@contextlib.contextmanager
def proved(engine: sa.Engine) -> Iterator[None]:
    """Within the block the journal has its proof, where it is large and not in parts yet; after it, none any more."""
    if engine.dialect.name != "postgresql" or not _is_to_be_proved(engine):
        yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        run = connection.exec_driver_sql
        run("SET statement_timeout = 0")
        run("SET lock_timeout = 0")
        run(f"SELECT pg_advisory_lock({_ONE_AT_A_TIME})")
        try:
            if _is_whole(connection):
                _remove(connection)
                if run("SELECT pg_relation_size('exchange')").scalar_one() >= LARGE:
                    _prove(connection)
            yield
        finally:
            with contextlib.suppress(DBAPIError):
                if _is_whole(connection):
                    _remove(connection)
            connection.invalidate()


def _is_to_be_proved(engine: sa.Engine) -> bool:
    """Most starts find a journal in parts and wait for nobody."""
    with engine.connect() as connection:
        return _is_whole(connection)


def _is_whole(connection: sa.Connection) -> bool:
    return bool(connection.scalar(_KIND))


def _prove(connection: sa.Connection) -> None:
    run = connection.exec_driver_sql
    now: datetime = run("SELECT clock_timestamp()").scalar_one().astimezone(SHANGHAI)
    day = (now + _FAR).replace(hour=0, minute=0, second=0, microsecond=0)
    name, bound = f"exchange_until_{day:%Y%m%d}", first_id(day)
    if ahead := run(f"SELECT id FROM exchange WHERE id >= '{bound}' LIMIT 1").scalar():
        _log.warning("journal_ahead", exchange=ahead, day=f"{day:%F}")
        return
    run("SET lock_timeout = '5s'")
    run(f"ALTER TABLE exchange ADD CONSTRAINT {name} CHECK (id < '{bound}') NOT VALID")
    run("SET lock_timeout = 0")
    crash.at("during_proof")
    try:
        run(f"ALTER TABLE exchange VALIDATE CONSTRAINT {name}")
    except IntegrityError:
        _remove(connection)


def _remove(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET lock_timeout = '5s'")
    for name in connection.scalars(_LEFT).all():
        connection.exec_driver_sql(f"ALTER TABLE exchange DROP CONSTRAINT {name}")
    connection.exec_driver_sql("SET lock_timeout = 0")
