"""The MLLP listener of the real process: closed loop, 1 kB ADT, mapped to an event, acknowledged after its commit.

``python -m bench.listener [--json] [--quick]``. The sender is a process of its own; both share the machine's cores. The
baselines of latency are one fdatasync of a page and one commit of one row by sqlite3 alone, measured in the same run on
the same file system: below the second nothing can answer that keeps its messages in SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Row, free_port, process, report, resident_mb, row
from bench.mllp_load import MllpLoad

ROUTES = """
endpoints:
  his_inbound: {adapter: hl7v2, dialect: hl7_events, settings: {listen: 'mllp://127.0.0.1:PORT'}}
routes: {}
callbacks:
  his.visit: {from: his_inbound, on: [ADT^A01], emits: visit.changed}
"""
HALF_LOAD = 1500.0


@dataclass
class Server:
    """A listening process and what it costs."""

    port: int
    pid: int

    def written(self) -> int:
        """Bytes that it caused to be sent to the disk so far."""
        found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{self.pid}/io").read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    def load(
        self, connections: int, seconds: float, prefix: str, rate: float = 0.0, patient: str = "P0000001"
    ) -> MllpLoad:
        """Run the sender; every message of every run has an id of its own."""
        job = {"port": self.port, "connections": connections, "seconds": seconds, "prefix": prefix, "rate": rate}
        job["patient"] = patient
        done = subprocess.run(
            [sys.executable, "-m", "bench.mllp_load", json.dumps(job)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        seen = MllpLoad(**json.loads(done.stdout))
        if seen.failures or not seen.messages:
            raise SystemExit(f"{seen.failures} of {seen.messages} messages were not accepted")
        return seen


@contextlib.contextmanager
def bus(folder: Path) -> Iterator[Server]:
    """``esb run`` with this listener alone."""
    port = free_port()
    (folder / "routes.yaml").write_text(ROUTES.replace("PORT", str(port)), encoding="utf-8")
    environ = {"ESB_ROUTES": str(folder / "routes.yaml"), "ESB_STORE": f"sqlite:///{folder}/esb.db", "ESB_PORT": "0"}
    with process("-m", "esb.cli", "run", environ={**environ, "ESB_WATCH": "0"}) as child:
        until_it_listens(port, child)
        yield Server(port, child.pid)


@contextlib.contextmanager
def without_store() -> Iterator[Server]:
    """The same listener, desk and mapping, whose store takes everything and keeps nothing."""
    port = free_port()
    with process("-m", "bench.listener", "--serve", str(port)) as child:
        until_it_listens(port, child)
        yield Server(port, child.pid)


def fdatasync_ms(folder: Path, count: int = 200) -> float:
    """The median of one page written over and synced."""
    file = os.open(folder / "sync", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(file, bytes(4096 * 256))
    os.fsync(file)
    times = []
    for number in range(count):
        os.pwrite(file, os.urandom(4096), number % 256 * 4096)
        began = time.perf_counter()
        os.fdatasync(file)
        times.append(time.perf_counter() - began)
    os.close(file)
    return sorted(times)[count // 2] * 1000


def commit_ms(file: Path, count: int = 200) -> float:
    """The median of one message committed by sqlite3 alone: the statements of the store, in one thread."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=FULL")
        position, *rest = database.execute("SELECT * FROM inbox ORDER BY position DESC LIMIT 1").fetchone()
        insert = f"INSERT INTO inbox VALUES ({', '.join('?' * (len(rest) + 1))})"
        look = "SELECT position FROM inbox_key WHERE endpoint = '' AND sender = '' AND control = ?"
        times = []
        for number in range(1, count + 1):
            began = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.execute(look, (str(number),)).fetchall()
            database.execute(insert, (position + number, *rest))
            database.execute("COMMIT")
            times.append(time.perf_counter() - began)
    return sorted(times)[count // 2] * 1000


def measure(seconds: float, messages: int) -> list[Row]:
    """Every row of the table."""
    with tempfile.TemporaryDirectory(prefix="bench-listener-", dir=disk()) as name:
        folder = Path(name)
        rows = []
        with bus(folder) as server:
            server.load(8, 1.0, "W")
            before = fdatasync_ms(folder)
            one = server.load(1, seconds, "A")
            sync = (before + fdatasync_ms(folder)) / 2
            rows.append(row("p50 at 1 connection, against one fdatasync", one.p50, "ms", "<= 2", sync))
            rows.append(row("8 connections", server.load(8, seconds, "B").rate, "msg/s", ">= 1200"))
            written = server.written()
            many = server.load(32, seconds, "C")
            rows.append(row("32 connections", many.rate, "msg/s", ">= 3000"))
            kilobytes = (server.written() - written) / many.messages / 1000
            rows.append(row("written to disk a message, 32 connections", kilobytes, "kB", "<= 6"))
            rows.append(row("resident memory", resident_mb(server.pid), "MB", "<= 120"))
            half = server.load(32, seconds, "D", HALF_LOAD)
            rows.append(row(f"p99 at {HALF_LOAD:.0f} msg/s, 32 connections", half.p99, "ms", "<= 50"))
            rows.append(_flat(server, messages))
        floor = commit_ms(folder / "esb.db")
        rows.insert(1, row("p50 at 1 connection, against one commit by sqlite3", one.p50, "ms", "<= 3", floor))
    with without_store() as server:
        server.load(8, 1.0, "W")
        rows.append(row("32 connections, nothing kept", server.load(32, seconds, "E").rate, "msg/s", ">= 6000"))
    return rows


def _flat(server: Server, messages: int) -> Row:
    """Resident memory after so many messages against that after a tenth of them."""
    sent, early, number = 0, 0.0, 0
    while sent < messages:
        sent += server.load(32, 3.0, f"F{number:03d}").messages
        number += 1
        if not early and sent >= messages // 10:
            early = resident_mb(server.pid)
    return row(f"memory after {sent} messages, against a tenth", resident_mb(server.pid), "MB", "<= 1.05", early)


def disk() -> Path:
    """A folder that is on no file system in memory, where a sync costs nothing."""
    folder = ROOT / "var"
    folder.mkdir(exist_ok=True)
    return folder


def _listens(port: int) -> bool:
    import socket

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until_it_listens(port: int, child: subprocess.Popen[str], seconds: float = 30.0) -> None:
    """Wait for a child; ends the program when it does not listen in time."""
    end = time.monotonic() + seconds
    while not _listens(port):
        if time.monotonic() > end or child.poll() is not None:
            raise SystemExit("the listener did not start; BENCH_DEBUG=1 shows why")
        time.sleep(0.05)


class _NoStore:
    """Takes everything at once and keeps nothing."""

    full = False

    def receive(
        self, arrival: Any, since: str, conflict: Any, misplaced: Any = None, answers: Any = None
    ) -> asyncio.Future[Any]:
        from esb.store import Settled, Taken

        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(Settled(Taken(arrival.state), arrival.answer, False, arrival.id))
        return done


async def _serve(port: int) -> None:
    import socket

    from esb import reload
    from esb.clock import Ids, SystemClock
    from esb.config.settings import Settings
    from esb.inbound import Desk
    from esb.observe import Metrics

    folder = Path(tempfile.mkdtemp(prefix="bench-listener-"))
    try:
        (folder / "routes.yaml").write_text(ROUTES.replace("PORT", str(port)), encoding="utf-8")
        clock, metrics = SystemClock(), Metrics()
        loaded = reload.load(Settings(routes=folder / "routes.yaml"), {}, clock, metrics)
    finally:
        shutil.rmtree(folder)
    inlet = loaded.inlets["his_inbound"]
    desk = Desk("his_inbound", inlet.callbacks, _NoStore(), clock, Ids(clock), metrics)  # type: ignore[arg-type]
    await inlet.listening.listener.serve(socket.create_server(("127.0.0.1", port), backlog=1024), desk)
    await asyncio.Event().wait()


def main() -> int:
    if "--serve" in sys.argv:
        import uvloop

        uvloop.run(_serve(int(sys.argv[sys.argv.index("--serve") + 1])))
    quick = "--quick" in sys.argv
    rows = measure(2.0 if quick else 6.0, 20_000 if quick else 200_000)
    how = "Closed loop, 1 kB ADT^A01 mapped to visit.changed, SQLite with WAL, FULL and group commit."
    return report("MLLP listener", how, rows, "--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
