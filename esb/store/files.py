"""What a store on a file needs: a folder, private permissions, one process at a time, and SQLite's durable settings."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from esb.clock import Clock, SystemClock
from esb.errors import ConfigError, Finding

_BUSY_MS = 2000
_WAL_KEPT = 64 * 1024 * 1024
_WAL_FRESH_S = 1.0


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
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={_BUSY_MS}",
        "temp_store=MEMORY",
        f"journal_size_limit={_WAL_KEPT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _text(data: bytes) -> str:
    """A damaged text is read as far as it can be: it is no reason not to read all others."""
    return data.decode("utf-8", "replace")


class Wal:
    """The write-ahead log of a SQLite file: it grows as long as a reader stays, and shrinks to 64 MiB after that."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None) -> None:
        self._file = f"{engine.url.database}-wal" if engine.dialect.name == "sqlite" else ""
        self._clock, self._looked, self._size = clock or SystemClock(), float("-inf"), 0

    @property
    def size(self) -> int:
        """In bytes, looked at once a second at most; 0 where there is none."""
        now = self._clock.monotonic()
        if self._file and now - self._looked >= _WAL_FRESH_S:
            self._looked = now
            try:
                self._size = os.stat(self._file).st_size
            except OSError:
                self._size = 0
        return self._size


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
