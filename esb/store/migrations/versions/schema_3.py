"""The tables as they were when revisions began; brings stores of schema 1 and 2 to the same point."""

from __future__ import annotations

import sqlalchemy as sa

from esb.store.migrations.lacking import add_column, make

revision = "3"
down_revision = None

_then = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TEXTS = [
    "id",
    "operation",
    "endpoint",
    "effect",
    "state",
    "code",
    "message",
    "details",
    "principal",
    "key",
    "fingerprint",
    "request_id",
    "cause",
    "received",
    "finished",
    "timings",
    "attempts",
    "mapping",
    "version",
    "reason",
    "request",
    "sent",
    "raw",
    "answer",
]
_BYTES = ("fingerprint", "request", "sent", "raw", "answer")
_INBOX = [
    "id",
    "endpoint",
    "sender",
    "control",
    "kind",
    "peer",
    "received",
    "state",
    "event",
    "reason",
    "mapping",
    "version",
    "sequence",
    "digest",
    "raw_bytes",
    "body_bytes",
    "content",
]


def _kind(name: str) -> type[sa.LargeBinary] | type[sa.Integer] | type[sa.Text]:
    if name in _BYTES or name in ("digest", "content"):
        return sa.LargeBinary
    return sa.Integer if name in ("attempts", "priority", "tries", "takes", "lost") else sa.Text


sa.Table("schema_version", _then, sa.Column("version", sa.Integer, primary_key=True))
exchange = sa.Table(
    "exchange", _then, *(sa.Column(name, _kind(name), primary_key=name == "id", nullable=False) for name in _TEXTS)
)
sa.Table(
    "idempotency",
    _then,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("operation", "principal", "key")),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("exchange", sa.Text, nullable=False, index=True),
    sa.Column("again", sa.Boolean, nullable=False),
)
queue = sa.Table(
    "queue",
    _then,
    sa.Column("position", _BIG, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    *(sa.Column(name, _kind(name), nullable=False) for name in ("endpoint", "operation", "priority", "order_key")),
    *(sa.Column(name, _BIG, nullable=False) for name in ("accepted", "expires")),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("due", _BIG, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("tries", "takes", "lost")),
    sa.Column("sent", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
inbox = sa.Table(
    "inbox",
    _then,
    sa.Column("position", _BIG, primary_key=True, autoincrement=False),
    *(
        sa.Column(name, _BIG if name in ("sequence", "raw_bytes", "body_bytes") else _kind(name), nullable=False)
        for name in _INBOX
    ),
)
sa.Table(
    "inbox_key",
    _then,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("endpoint", "sender", "control")),
    sa.Column("position", _BIG, nullable=False),
    sqlite_with_rowid=False,
)
sa.Table("inbox_mark", _then, sa.Column("position", _BIG, primary_key=True, autoincrement=False))


def _partial(name: str, *columns: sa.Column[object], where: sa.ColumnElement[bool]) -> None:
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


_partial("exchange_open", exchange.c.id, where=exchange.c.state.in_(["received", "sent", "unknown"]))
sa.Index("queue_next", queue.c.endpoint, queue.c.state, queue.c.priority, queue.c.position)
sa.Index("queue_due", queue.c.state, queue.c.due)
_partial("queue_order", queue.c.endpoint, queue.c.order_key, queue.c.position, where=queue.c.order_key != "")
_partial("queue_expires", queue.c.expires, where=queue.c.expires > 0)
_partial("inbox_sequence", inbox.c.endpoint, inbox.c.sender, inbox.c.position, where=inbox.c.sequence > 0)


def upgrade() -> None:
    """See the module."""
    make(_then)
    add_column("exchange", sa.Column("version", sa.Text, nullable=False, server_default=""))
