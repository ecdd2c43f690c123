"""Who has an exchange under way and whom it is about, what the broker confirmed, leases, cursors, audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from esb.store.migrations.lacking import add_column, make

revision = "4"
down_revision = "3"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_ADDED: dict[str, list[tuple[str, Any, str]]] = {
    "schema_version": [("reads_from", sa.Integer, "0")],
    "exchange": [("subject", sa.Text, ""), ("owner", sa.Text, "")],
    "queue": [("relayed", _BIG, "0")],
}
_INDEXES = (
    ("exchange_subject", "exchange", "subject, id", "subject != ''"),
    ("exchange_state", "exchange", "state, id", "state != 'done'"),
    ("exchange_code", "exchange", "code, id", "code != ''"),
    ("exchange_key", "exchange", '"key", id', '"key" != id'),
    ("exchange_request", "exchange", "request_id", "request_id != ''"),
    ("exchange_cause", "exchange", "cause", "cause != ''"),
    ("exchange_operation", "exchange", "operation, id", ""),
    ("exchange_endpoint", "exchange", "endpoint, id", ""),
    ("queue_unrelayed", "queue", "position", "relayed = 0 AND state IN ('ready', 'later')"),
)
_AUDIT = ("at", "actor", "action", "object", "reason", "details", "prev", "hash")
_REFUSED = "the audit is only added to"
_GUARDS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS audit_no_{act} BEFORE {act.upper()} ON audit "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for act in ("update", "delete")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
        "CREATE OR REPLACE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    ],
}

_then = sa.MetaData()
sa.Table(
    "lease",
    _then,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    *(sa.Column(name, _BIG, nullable=False) for name in ("fence", "until_ms")),
)
sa.Table(
    "audit",
    _then,
    sa.Column("seq", _BIG, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in _AUDIT),
)
sa.Table(
    "cursor",
    _then,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("fence", "wanted")),
)
sa.Table(
    "shadow",
    _then,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("hour", "operation", "endpoint", "field")),
    sa.Column("exchanges", sa.Integer, nullable=False),
    sa.Column("samples", sa.Text, nullable=False),
)


def upgrade() -> None:
    """See the module."""
    for table, columns in _ADDED.items():
        for name, kind, default in columns:
            add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
    make(_then)
    bind = op.get_bind()
    for name, table, wanted, where in _INDEXES:
        condition = f" WHERE {where}" if where else ""
        bind.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({wanted}){condition}")
    for statement in _GUARDS[bind.dialect.name]:
        bind.exec_driver_sql(statement)
