"""The tables."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

SCHEMA_VERSION, READS_FROM = 7, 4
"""The schema of this release, and the oldest whose releases can work beside it on a store that has this one."""

metadata = sa.MetaData()

schema_version = sa.Table(
    "schema_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("reads_from", sa.Integer, nullable=False, server_default="0"),
)


class StoreError(Exception):
    """The store did not take it: full, locked, gone. What should have been written was not."""


class Unsettled(StoreError):
    """The store went away in the middle of a commit and did not come back: nobody knows whether it was made."""


class Fenced(StoreError):
    """Refused: this process was silent for longer than its lease, and another has its work. Not to be tried again."""


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
_is_open = exchange.c.state.in_(
    sa.bindparam("open", [str(state) for state in OPEN], expanding=True, literal_execute=True)
)
_is_own = sa.or_(exchange.c.cause == "", exchange.c.owner != "")
UNFINISHED = sa.and_(_is_open, _is_own, sa.or_(exchange.c.state != str(State.UNKNOWN), exchange.c.effect == "once"))
"""Under way or in doubt; not what was given the answer of another in doubt, which has a row of its own. The states are
written out: only so does SQLite find them by the index of such rows.
"""
partial_index("exchange_open", exchange.c.id, where=exchange.c.state.in_([str(state) for state in OPEN]))
partial_index("exchange_subject", exchange.c.subject, exchange.c.id, where=exchange.c.subject != "")
partial_index("exchange_state", exchange.c.state, exchange.c.id, where=exchange.c.state != str(State.DONE))
partial_index("exchange_code", exchange.c.code, exchange.c.id, where=exchange.c.code != "")
partial_index("exchange_key", exchange.c.key, exchange.c.id, where=exchange.c.key != exchange.c.id)
partial_index("exchange_request", exchange.c.request_id, where=exchange.c.request_id != "")
partial_index("exchange_cause", exchange.c.cause, where=exchange.c.cause != "")
sa.Index("exchange_operation", exchange.c.operation, exchange.c.id)
sa.Index("exchange_endpoint", exchange.c.endpoint, exchange.c.id)

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


def version_of(connection: sa.Connection) -> tuple[int, int] | None:
    """The schema version of the store and the oldest that may be used with it; None without tables."""
    inspector = sa.inspect(connection)
    if not inspector.has_table("schema_version"):
        return None
    names = {column["name"] for column in inspector.get_columns("schema_version")}
    columns = [schema_version.c[name] for name in ("version", "reads_from") if name in names]
    found = connection.execute(sa.select(*columns)).first()
    return (found[0], found[-1]) if found else None


def readable(connection: sa.Connection) -> bool:
    """Whether this release works on the store as it is: its own schema, or a later one that only has more."""
    version, reads_from = version_of(connection) or (0, 0)
    return version == SCHEMA_VERSION or (version > SCHEMA_VERSION >= reads_from)


def clean(text: str) -> str:
    """PostgreSQL keeps no NUL in a text."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
