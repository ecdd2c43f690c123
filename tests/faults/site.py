"""A bus that is killed and started again and again, always on the same ports, in front of one hospital."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.bus_process import Bus, start_bus
from tests.faults.backends import Backend, Services, made
from tests.faults.history import EFFECTS, MESSAGE, Entry, History, Kind, Log, Violation, judge
from tests.journeys.conftest import LOCK, QUICK
from tests.ports import free_port
from tests.sandbox_process import Sandbox

KILLED = 137
UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
DIRECT = {**QUICK, LOCK: QUICK[LOCK].replace("timeout: 3s", "timeout: 1500ms")}
"""What is in doubt is left to the settling soon; clients ask again, so a short time does no harm."""
QUEUED = {
    **DIRECT,
    LOCK: DIRECT[LOCK].replace("{to: his,", "{to: his, deliver: queued, ordered: $orderNo,"),
    UNLOCK: "registration.unlock: {to: his, timeout: 1500ms, deliver: queued, retry: 30 over 1m, ordered: $orderNo}",
}


class Site:
    """``start`` and ``kill`` as often as wanted. ``arm`` names a place of ``esb.crash`` while the bus runs.

    ``log`` is what every client of this site notes; ``verdict`` compares it with what the hospital did.
    """

    def __init__(
        self, hospital: Sandbox, backend: Backend, folder: Path, changes: Mapping[str, str], **environ: str
    ) -> None:
        self.hospital, self.backend, self.folder = hospital, backend, folder
        self.port, self.mllp = free_port(), free_port()
        self.log = Log(folder / "history")
        self.starts = 0
        self._changes = changes
        self._environ = {
            "ESB_PORT": str(self.port),
            "HIS_INBOUND": f"mllp://127.0.0.1:{self.mllp}",
            "ESB_CRASH_AT": str(folder / "crash"),
            **backend.environ,
            **environ,
        }
        self._running: contextlib.ExitStack | None = None
        self._places: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.bus.process

    def start(self) -> Bus:
        """Nothing is armed in a bus that starts; returns when it serves."""
        self.disarm()
        self.stop()
        self._places = self._places or self.hospital.control.slots()
        self._running = contextlib.ExitStack()
        start = start_bus(self.hospital, changes=self._changes, folder=self.folder, environ=self._environ)
        self.bus = self._running.enter_context(start)
        self.starts += 1
        return self.bus

    def arm(self, point: str) -> None:
        (self.folder / "crash").write_text(point, "utf-8")

    def disarm(self) -> None:
        (self.folder / "crash").unlink(missing_ok=True)

    def died(self, seconds: float = 20.0, status: int = KILLED) -> bool:
        """Whether it died at the place that was armed, at the latest after ``seconds``."""
        try:
            return self.process.wait(seconds) == status
        except subprocess.TimeoutExpired:
            return False

    def kill(self) -> None:
        """kill -9."""
        self.bus.kill()

    def stop(self) -> None:
        """As SIGTERM does, if it runs."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def fresh(self) -> None:
        """Another judgement begins: the hospital as it is now, no client has done anything yet."""
        self._places = self.hospital.control.slots()
        self._mark = len(self.hospital.control.ledger())
        (self.folder / "history").unlink(missing_ok=True)

    def history(self, seconds: float = 60.0) -> History:
        """What is known once every accepted exchange has ended, or ``seconds`` are over."""
        entries = self.log.read()
        control = self.hospital.control
        ends = self._ends({one.exchange for one in entries if one.exchange}, seconds)
        ours = {one.subject for one in entries}
        return History(
            entries=entries,
            ends=ends,
            effects=[row for row in control.ledger() if row["key"] in ours or row["operation"] in EFFECTS.values()][
                self._mark :
            ],
            sends=control.requests(channel="soap"),
            places=self._places,
            events=[str(row[0]) for row in self.backend.rows("SELECT control FROM inbox WHERE state = 'event'")],
        )

    def verdict(self, seconds: float = 60.0) -> list[Violation]:
        """The broken promises, and what the bus still holds though everything should have ended."""
        broken = judge(self.history(seconds))
        left = self.backend.rows("SELECT id, state, reason FROM queue")
        return broken + [Violation("I11", str(row[0]), f"is still {row[1]}: {row[2]}") for row in left]

    def _ends(self, exchanges: set[str], seconds: float) -> dict[str, str]:
        end = time.monotonic() + seconds
        ends: dict[str, str] = {}
        waiting = set(exchanges)
        while waiting and time.monotonic() < end:
            for exchange in sorted(waiting):
                status, _, body = self.bus.call("GET", f"/v1/exchanges/{exchange}")
                ends[exchange] = body.get("outcome", f"answered with {status}")
                if body.get("final"):
                    waiting.discard(exchange)
            time.sleep(0.05)
        return ends


@contextlib.asynccontextmanager
async def standing(
    hospital: Sandbox,
    services: Services,
    folder: Path,
    changes: Mapping[str, str],
    backend: str = "sqlite-sql",
    **environ: str,
) -> AsyncIterator[Site]:
    """A site that serves, for one test."""
    with made(backend, folder, services) as stands_on:
        site = Site(hospital, stands_on, folder, changes, **environ)
        await asyncio.to_thread(site.start)
        site.fresh()
        try:
            yield site
        finally:
            await asyncio.to_thread(site.stop)


def note(log: Log, kind: Kind, operation: str, key: str, **more: Any) -> Entry:
    """Write down what a client did or heard just now."""
    entry = Entry(time.time(), more.pop("client", "c"), kind, operation, key, **more)
    log.add(entry)
    return entry


__all__ = ["DIRECT", "KILLED", "MESSAGE", "QUEUED", "Site", "note", "standing"]
