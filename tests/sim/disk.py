"""The store's disk: the real store on a real file, its threads run by the loop, failing as the seed says."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from esb.observe import Metrics
from esb.store import Store
from esb.store.writer import Writer
from tests.sim.loop import Loop
from tests.sim.plan import Plan

_SHM = Path("/dev/shm")
_TABLES = ("", "-wal", "-shm", ".lock")


class File:
    """One file for all simulations of a process, made empty for each; its engine keeps what it compiled."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="esb-sim-", dir=_SHM if _SHM.is_dir() else None)
        self.path = Path(self._folder.name) / "esb.db"
        self.url = f"sqlite:///{self.path}"
        self._empty = self.path.with_suffix(".empty")
        self._engine = sa.create_engine(self.url)

    def engine(self, _: str) -> sa.Engine:
        """The engine of every store."""
        return self._engine

    def wipe(self) -> None:
        """Back to an empty store."""
        self._engine.dispose()
        for ending in _TABLES:
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        if self._empty.exists():
            shutil.copyfile(self._empty, self.path)
        else:
            self._make()

    def _make(self) -> None:
        async def make() -> None:
            store = Store(self.url, Metrics(), engine=self.engine)
            await store.start()
            await store.close()

        asyncio.run(make())
        shutil.copyfile(self.path, self._empty)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read as somebody else would, without the bus's code."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


class Disk:
    """When commits and reads fail, and how long they take."""

    def __init__(self, plan: Plan, rng: random.Random, loop: Loop, committed: Callable[[], None]) -> None:
        self._plan, self._rng, self._loop, self._committed = plan, rng, loop, committed
        self._healthy = False

    def heal(self) -> None:
        """From now on nothing fails."""
        self._healthy = True

    def pause(self) -> float:
        """Seconds until a thread comes to something."""
        return self._rng.choice((0.0, 0.001, self._rng.uniform(0, 0.02)))

    def read_fault(self) -> Exception | None:
        """Why this read fails."""
        fails = not self._healthy and self._rng.random() < self._plan.read_fails
        return _error("disk I/O error") if fails else None

    def transact(self, work: Callable[[], Any]) -> Any:
        """A commit that may fail, or succeed and seem to fail."""
        now = self._loop.time()
        fails = not self._healthy and any(begin <= now < end for begin, end in self._plan.disk_fails)
        if not fails:
            return work()
        if self._rng.random() < self._plan.outcome_unknown and self._rng.random() < 0.5:
            work()
        raise _error("database or disk is full")

    def writer(self, engine: sa.Engine, metrics: Metrics, linger_s: float) -> Writer:
        """For ``Store``."""
        return _LoopWriter(self, engine, metrics, linger_s)

    def done(self) -> None:
        """A commit has come through and nobody has been told."""
        self._committed()


class _LoopWriter(Writer):
    """The writer without its thread: what the thread would do in a round is done at once, at a moment of its own."""

    def __init__(self, disk: Disk, engine: sa.Engine, metrics: Metrics, linger_s: float) -> None:
        super().__init__(engine, metrics, linger_s)
        self._disk = disk
        self._is_coming = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        self._stopping = True
        while batch := self._take():
            self._commit(batch)

    def add(self, row: Any) -> None:
        super().add(row)
        if not self._stopping:
            self._loop.call_later(self._linger_s + self._disk.pause(), self._round)

    def put(self, many: Any, item: Any, size: int = 0, keys: Any = ()) -> Any:
        future = super().put(many, item, size, keys)
        if not self._is_coming and not self._stopping:
            self._is_coming = True
            self._loop.call_later(self._disk.pause(), self._round)
        return future

    def _round(self) -> None:
        self._is_coming = False
        while batch := self._take():
            self._commit(batch)

    def _transact(self, batch: Any) -> Any:
        done = self._disk.transact(lambda: super(_LoopWriter, self)._transact(batch))
        self._disk.done()
        return done


def _error(reason: str) -> OperationalError:
    return OperationalError("COMMIT", {}, sqlite3.OperationalError(reason))
