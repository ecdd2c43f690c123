"""A private PostgreSQL that may be killed: its own data folder and port, an unprivileged owner, loopback only."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests import guarded
from tests.ports import free_port

START_LIMIT_S = 120.0
_OWNERS = ("postgres", "nobody")


def programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are: on the path or where Debian keeps the newest."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return max((one.parent for one in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


def missing() -> str:
    """Why there can be no cluster; empty when there can."""
    return "" if programs() else "PostgreSQL's initdb is not installed"


class Cluster:
    """One server process; ``kill`` is kill -9, ``stop`` the immediate shutdown, ``start`` goes on with the data."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None, missing()
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._owner = _owner()
        if self._owner:
            shutil.chown(self._folder, self._owner)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when it answers. It tries again while children of one that was killed still end."""
        end = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if not self.is_up:
                self._spawn()
            assert time.monotonic() < end, (self._folder / "log").read_text("utf-8", "replace")
            time.sleep(0.05)

    def _spawn(self) -> None:
        options = ("-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder), "-c", "max_connections=60")
        with (self._folder / "log").open("ab") as log:
            self._process = guarded.start(
                str(self._programs / "postgres"), "-D", str(self._data), *options,
                stdout=log, stderr=log, user=self._owner, cwd=self._folder,
            )  # fmt: skip

    def stop(self) -> None:
        """As an operator in a hurry: connections are cut, no checkpoint is made."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """kill -9 of the server; its children notice and end."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, dropped at the end; the URL for the bus and for SQLAlchemy."""
        name = f"esb_{secrets.token_hex(4)}"
        self._do(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"
        if not self.is_up:
            self.start()
        self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        where = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self._do("SELECT 1")
            return True
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            guarded.kill(self._process, how, group=False)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments], user=self._owner, capture_output=True, cwd=self._folder
        )
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: then as one who may do nothing else. None where we are not root."""
    if os.geteuid():
        return None
    known = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in _OWNERS if name in known)
