"""The tables, and statements compiled once for the dialect in use."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

SCHEMA_VERSION = 4

metadata = sa.MetaData()

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))


class StoreError(Exception):
    """The store did not take it: full, locked, gone. What should have been written was not."""


class State(StrEnum):
    """Where an exchange stands: under way, or one of the six outcomes, or cancelled by its caller."""

    RECEIVED = "received"
    SENT = "sent"
    DONE = "done"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    CANCELLED = "cancelled"


OPEN = (State.RECEIVED, State.SENT, State.UNKNOWN)


class Row(NamedTuple):
    """One row of ``exchange``. ``received`` and ``finished`` are RFC 3339 texts, ``timings`` JSON of milliseconds.

    ``cause`` is the exchange that this one asks for (settle) or whose answer it was given (cache, replay). ``mapping``
    is the mapping's file with its digest, ``version`` that of the whole configuration. ``request`` and ``answer`` are
    canonical JSON, ``sent`` and ``raw`` what was on the wire; the writer compresses all four. ``subject`` stands
    for the patient without telling who it is, empty when there is none. ``owner`` is the instance that has the exchange
    under way: the store writes it.
    """

    id: str
    operation: str
    endpoint: str
    effect: str
    state: str
    code: str
    message: str
    details: str
    principal: str
    key: str
    fingerprint: bytes
    request_id: str
    cause: str
    received: str
    finished: str
    timings: str
    attempts: int
    mapping: str
    version: str
    reason: str
    subject: str
    owner: str
    request: bytes
    sent: bytes
    raw: bytes
    answer: bytes


Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Milliseconds and numbers that grow for ever; what SQLite calls INTEGER has 64 bits and numbers rows by itself."""
_TYPES: dict[type, Any] = {str: sa.Text, bytes: sa.LargeBinary, int: sa.Integer}
_ADDED = ("subject", "owner")
"""Columns that an older release does not fill."""


def partial_index(name: str, *columns: sa.ColumnElement[Any], where: sa.ColumnElement[bool]) -> None:
    """An index of some rows only."""
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


def _columns() -> list[sa.Column[Any]]:
    kinds = {"fingerprint": bytes, "attempts": int, "request": bytes, "sent": bytes, "raw": bytes, "answer": bytes}
    return [
        sa.Column(
            name,
            _TYPES[kinds.get(name, str)],
            primary_key=name == "id",
            nullable=False,
            server_default="" if name in _ADDED else None,
        )
        for name in Row._fields
    ]


exchange = sa.Table("exchange", metadata, *_columns())
partial_index("exchange_open", exchange.c.id, where=exchange.c.state.in_([str(state) for state in OPEN]))
partial_index("exchange_subject", exchange.c.subject, exchange.c.id, where=exchange.c.subject != "")

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("exchange", sa.Text, nullable=False, index=True),
    sa.Column("again", sa.Boolean, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("fence", Big, nullable=False),
    sa.Column("until_ms", Big, nullable=False),
)
"""Who may do what only one may do, until when; ``fence`` grows with every new holder."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", Big, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
"""What people did, each row with the digest of the one before it."""


def upgrade(connection: sa.Connection, version: int | None) -> int | None:
    """Bring the tables of an older release up to this one; the version they have now.

    Only what they lack is added, so that an upgrade that was cut short is finished by the next.
    """
    if version not in (1, 2, 3):
        return version
    metadata.create_all(connection)
    for table, column, kind in _LATER_COLUMNS:
        if column not in {one["name"] for one in sa.inspect(connection).get_columns(table)}:
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column} {kind}"))
    connection.execute(
        sa.text("CREATE INDEX IF NOT EXISTS exchange_subject ON exchange (subject, id) WHERE subject != ''")
    )
    connection.execute(schema_version.update().values(version=SCHEMA_VERSION))
    return SCHEMA_VERSION


_LATER_COLUMNS = (
    ("exchange", "version", "TEXT NOT NULL DEFAULT ''"),
    ("exchange", "subject", "TEXT NOT NULL DEFAULT ''"),
    ("exchange", "owner", "TEXT NOT NULL DEFAULT ''"),
    ("queue", "relayed", "INTEGER NOT NULL DEFAULT 0"),
)


def insert_sql(dialect: sa.Dialect, rows: int) -> str:
    """The insert of so many ``Row`` as text."""
    return insert_text(exchange, Row._fields, dialect, rows)


def insert_text(table: sa.Table, names: tuple[str, ...], dialect: sa.Dialect, rows: int) -> str:
    """An insert of so many rows, parameters in the order of ``names``: nothing is compiled for a row."""
    compiled: Any = table.insert().compile(dialect=dialect, column_keys=list(names))
    if compiled.positiontup is not None and tuple(compiled.positiontup) != names:
        raise AssertionError(f"columns of {table.name} must stand in the order of its rows")
    head, values = str(compiled).split(" VALUES ")
    return f"{head} VALUES {', '.join([values] * rows)}"
