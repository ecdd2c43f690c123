"""From the address of a store to an engine for it: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from esb.errors import ConfigError, Finding
from esb.store import files, migrations
from esb.store.migrations.proof import proved
from esb.store.tables import SCHEMA_VERSION, readable, version_of

if TYPE_CHECKING:
    import psycopg

_LOCK_MS, _STATEMENT_MS, _IDLE_MS = 5_000, 30_000, 5_000
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "esb",
    "options": (
        f"-c synchronous_commit=on -c lock_timeout={_LOCK_MS} -c statement_timeout={_STATEMENT_MS} "
        f"-c idle_in_transaction_session_timeout={_IDLE_MS}"
    ),
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A commit is on the disk when it is answered; nobody waits for ever for a lock, a statement or a dead connection, nor
for a process that was stopped in the middle of a transaction: its transaction is ended by the server.
"""

Create = Callable[..., sa.Engine]


def engine_of(url: str, create: Create = sa.create_engine) -> sa.Engine:
    """An engine; raises ``ConfigError`` for an address that is no SQLite file and no PostgreSQL database."""
    where = address(url)
    if where.get_backend_name() == "sqlite":
        files.prepare(where)
        engine = create(where)
        files.tune(engine)
        return engine
    return create(where, connect_args=_CONNECT, pool_size=4, max_overflow=2, pool_timeout=10, pool_pre_ping=True)


async def listening(engine: sa.Engine) -> psycopg.AsyncConnection[tuple[object, ...]]:
    """A connection that waits for what others tell, beside the engine's; raises ``psycopg.Error``."""
    import psycopg  # an extra, and large: not for a store in a file

    _, to = engine.dialect.create_connect_args(engine.url)
    return await psycopg.AsyncConnection.connect(autocommit=True, **{**to, **_CONNECT})


def address(url: str) -> sa.URL:
    """The address with the driver that we use."""
    try:
        where = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        raise _refused("the address of the store cannot be read") from None
    if where.drivername in _POSTGRESQL:
        if not where.database:
            raise _refused("the address of the store names no database")
        return where.set(drivername="postgresql+psycopg")
    if where.get_backend_name() != "sqlite":
        raise _refused(f"the store is a SQLite file or a PostgreSQL database, not {where.get_backend_name()}")
    if where.database in (None, "", ":memory:"):
        raise _refused("the store must be a file")
    return where


def shown(where: sa.URL) -> str:
    """Where it is, for people: without its password."""
    return str(where.database) if where.get_backend_name() == "sqlite" else where.render_as_string()


def begin(connection: sa.Connection) -> None:
    """Begin to write: on SQLite not as a reader who cannot become a writer while others write."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _at_leisure(connection: sa.Connection) -> None:
    """Whoever reads locks nobody out and may wait for the one who reads what it prints."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


@contextmanager
def transaction(url: str, *, writes: bool = True) -> Iterator[sa.Connection]:
    """One transaction on the store of a bus that may be running, for a command: committed unless the block raises.

    Raises ``ConfigError`` when there is no store of this release, also for what the database raises in the block.
    """
    where = address(url)
    if where.get_backend_name() == "sqlite" and not Path(str(where.database)).is_file():
        raise unusable(where, "holds no queue")
    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            if writes:
                begin(connection)
            else:
                _at_leisure(connection)
            _check(engine, connection)
            yield connection
            connection.commit()
    except DBAPIError as error:
        raise unusable(engine.url, f"is no usable store: {error.orig}") from None
    finally:
        engine.dispose()


def open_up(engine: sa.Engine) -> None:
    """Bring the tables up to this release; raises ``ConfigError`` for those of a release that is too new."""
    with proved(engine), engine.connect() as connection:
        begin(connection)
        migrations.upgrade(connection)
        if not readable(connection):
            version = (version_of(connection) or (0, 0))[0]
            message = f"the store has schema version {version}, this release needs {SCHEMA_VERSION}"
            hint = "use the release that made it, or another store"
            raise ConfigError([Finding(shown(engine.url), 0, 0, message, hint)])
        connection.commit()


def _check(engine: sa.Engine, connection: sa.Connection) -> None:
    if not sa.inspect(connection).has_table("queue"):
        raise unusable(engine.url, "holds no queue")
    if not readable(connection):
        raise unusable(engine.url, f"is of another release: this one needs schema version {SCHEMA_VERSION}")


def unusable(where: sa.URL, message: str) -> ConfigError:
    """A finding about the store itself."""
    return ConfigError([Finding(shown(where), 0, 0, message, "ESB_STORE names the store of the bus")])


def _refused(message: str) -> ConfigError:
    hint = "for example sqlite:///var/esb.db or postgresql://esb@127.0.0.1/esb"
    return ConfigError([Finding("ESB_STORE", 0, 0, message, hint)])
