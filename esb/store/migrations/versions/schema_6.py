"""On PostgreSQL the journal is in parts by ranges of ids. A file stays as it is.

The table that there was becomes the part of all that is older than a day. When ``esb.store.migrations.proof`` has
shown that all of it is, nothing is read for that while others wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from alembic import op

from esb.clock import SHANGHAI, first_id

revision = "6"
down_revision = "5"

_PROOF = "exchange_until_"
_FOUND = sa.text(
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST('exchange' AS regclass) AND contype = 'c' "
    "AND convalidated AND conname LIKE :name"
)
_INDEXES = (
    ("open", "id", "state = ANY (ARRAY['received', 'sent', 'unknown'])"),
    ("subject", "subject, id", "subject <> ''"),
    ("state", "state, id", "state <> 'done'"),
    ("code", "code, id", "code <> ''"),
    ("key", "key, id", "key <> id"),
    ("request", "request_id", "request_id <> ''"),
    ("cause", "cause", "cause <> ''"),
    ("operation", "operation, id", ""),
    ("endpoint", "endpoint, id", ""),
)


def upgrade() -> None:
    """See the module."""
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    run = bind.exec_driver_sql
    run("LOCK TABLE exchange IN ACCESS EXCLUSIVE MODE")
    proof = bind.scalar(_FOUND, {"name": f"{_PROOF}%"})
    day = _day(bind, proof)
    low, after = first_id(day), f"exchange_{day:%Y%m%d}"
    run("ALTER TABLE exchange RENAME TO exchange_before")
    run("ALTER INDEX exchange_pkey RENAME TO exchange_before_pkey")
    for name, _, _ in _INDEXES:
        run(f"ALTER INDEX exchange_{name} RENAME TO exchange_before_{name}")
    run("CREATE TABLE exchange (LIKE exchange_before INCLUDING DEFAULTS) PARTITION BY RANGE (id)")
    run("ALTER TABLE exchange ADD PRIMARY KEY (id)")
    for name, columns, where in _INDEXES:
        run(f"CREATE INDEX exchange_{name} ON exchange ({columns}){f' WHERE {where}' if where else ''}")
    run(f"CREATE TABLE {after} PARTITION OF exchange FOR VALUES FROM ('{low}') TO (MAXVALUE)")
    run(f"INSERT INTO {after} SELECT * FROM exchange_before WHERE id >= '{low}'")
    run(f"DELETE FROM exchange_before WHERE id >= '{low}'")
    run(f"ALTER TABLE exchange ATTACH PARTITION exchange_before FOR VALUES FROM (MINVALUE) TO ('{low}')")
    if proof:
        run(f"ALTER TABLE exchange_before DROP CONSTRAINT {proof}")


def _day(bind: sa.Connection, proof: str | None) -> datetime:
    """When the first day begins that has a part: today in a new store, else tomorrow or as was proved."""
    if proof:
        return datetime.strptime(proof, f"{_PROOF}%Y%m%d").replace(tzinfo=SHANGHAI)
    now = bind.exec_driver_sql("SELECT clock_timestamp()").scalar_one().astimezone(SHANGHAI)
    today: datetime = now.replace(hour=0, minute=0, second=0, microsecond=0)
    is_new = bind.exec_driver_sql("SELECT 1 FROM exchange LIMIT 1").first() is None
    return today if is_new else today + timedelta(days=1)
