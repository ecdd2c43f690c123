"""What a store on a file needs: a folder, private permissions, one process at a time, and SQLite's durable settings."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from esb.errors import ConfigError, Finding

_BUSY_MS = 2000


def prepare(where: sa.URL) -> None:
    """Make folder and file, readable by nobody else; raises ``ConfigError`` when that cannot be."""
    file = Path(str(where.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigError([Finding(str(file), 0, 0, f"the store cannot be opened: {error.strerror}")]) from None


def tune(engine: sa.Engine) -> None:
    """WAL with a sync at each commit; readers never wait for the writer."""
    sa.event.listen(engine, "connect", _pragmas)


def _pragmas(connection: Any, _: Any) -> None:
    connection.text_factory = _text
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _text(data: bytes) -> str:
    """A damaged text is read as far as it can be: it is no reason not to read all others."""
    return data.decode("utf-8", "replace")


class Lock:
    """One process at a time on a SQLite file: a second would take the first one's work for left behind by a crash."""

    def __init__(self, engine: sa.Engine) -> None:
        self._file = f"{engine.url.database}.lock"
        self._held: int | None = None

    def take(self) -> None:
        held = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise ConfigError(
                [
                    Finding(
                        self._file, 0, 0, "another process of the bus uses this store", "end it, or use another store"
                    )
                ]
            ) from None
        self._held = held

    def free(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None
