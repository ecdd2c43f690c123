"""Tries that did not end their exchange."""

from __future__ import annotations

import sqlalchemy as sa

from esb.store.migrations.lacking import make

revision = "7"
down_revision = "6"

_then = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
sa.Table(
    "attempt",
    _then,
    sa.Column("exchange", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "endpoint", "state", "code", "reason")),
    sa.Column("attempts", sa.Integer, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("mapping", "version")),
    *(sa.Column(name, _BIG, nullable=False) for name in ("sent_bytes", "raw_bytes")),
    *(sa.Column(name, sa.LargeBinary, nullable=False) for name in ("sent", "raw")),
)


def upgrade() -> None:
    """See the module."""
    make(_then)
