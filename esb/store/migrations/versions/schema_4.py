"""Who has an exchange under way and whom it is about, what the broker confirmed, leases, audit.

Follows the tables as they are now until a release has it; the revision of schema 5 freezes it as ``schema_3`` is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from esb.store.guards import GUARDS
from esb.store.migrations.lacking import add_column, make
from esb.store.tables import Big, metadata

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """See the module."""
    add_column("schema_version", sa.Column("reads_from", sa.Integer, nullable=False, server_default="0"))
    for name in ("subject", "owner"):
        add_column("exchange", sa.Column(name, sa.Text, nullable=False, server_default=""))
    add_column("queue", sa.Column("relayed", Big, nullable=False, server_default="0"))
    make(metadata)
    bind = op.get_bind()
    for statement in GUARDS[bind.dialect.name]:
        bind.exec_driver_sql(statement)
