"""To bring the tables of a store up to this release: one transaction, by one process, while the others wait.

A revision only expands: new tables, new columns with a default, new indexes. What a release no longer needs is dropped
one release later, so that two neighbouring releases work on one store side by side. Every revision adds what is
lacking and nothing else: it can run on a store of any earlier release. What it makes is written out in it and never
changes again, whatever becomes of the tables of later releases.
"""

from __future__ import annotations

import sqlalchemy as sa

from esb import crash
from esb.store.tables import READS_FROM, SCHEMA_VERSION, schema_version, version_of

_ONE_AT_A_TIME = 0x65736205
_WAIT, _LOCK = "60s", "5s"


def upgrade(connection: sa.Connection, version: int = SCHEMA_VERSION) -> None:
    """Within the transaction of ``connection``; nothing to do on a store that has this version or a newer one."""
    if connection.dialect.name == "postgresql":
        _alone(connection)
    if (version_of(connection) or (0, 0))[0] >= version:
        return
    from esb.store.migrations import steps  # alembic is large, and most starts find nothing to do

    steps.run(connection, version)
    crash.at("during_migration")
    connection.execute(schema_version.delete())
    values = {"version": version, "reads_from": min(version, READS_FROM)}
    connection.execute(schema_version.insert().values({name: values[name] for name in _columns(connection)}))


def _columns(connection: sa.Connection) -> list[str]:
    return [column["name"] for column in sa.inspect(connection).get_columns("schema_version")]


def _alone(connection: sa.Connection) -> None:
    """Wait for whoever upgrades; after that rather fail than let everybody wait behind us for a lock. A statement may
    take as long as a large journal needs.
    """
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}'")
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK}'")
