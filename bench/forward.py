"""The whole way: MLLP in, an event, twelve fields mapped, MLLP out, acknowledged and journalled.

``python -m bench.forward [--json] [--quick]``. Sender and receiver are processes of their own, that share the machine's
cores with the bus. The baseline is a forwarder written by hand for this one message: ``bench.baselines.forwarder``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness import ROOT, Row, cpu_seconds, free_port, process, report, resident_mb, row
from bench.listener import Server, disk, until_it_listens

PARTS = ROOT / "bench" / "forwarding"


@dataclass
class Sink:
    """The receiver."""

    child: subprocess.Popen[str]
    port: int

    def seen(self) -> dict[str, float]:
        """Its counts now."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        found: dict[str, float] = json.loads(self.child.stdout.readline())
        return found


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """A receiver in a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.mllp_sink"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            assert child.stdout is not None
            yield Sink(child, int(child.stdout.readline()))
        finally:
            child.kill()


def configured(folder: Path) -> Path:
    """Contract, mappings and routes with the department that is told; the path of the routes."""
    for name in ("schemas", "mappings"):
        shutil.copytree(ROOT / name, folder / name)
        shutil.copytree(PARTS / name, folder / name, dirs_exist_ok=True)
    return Path(shutil.copy(PARTS / "routes.yaml", folder))


@contextlib.contextmanager
def bus(folder: Path, out: int) -> Iterator[Server]:
    """``esb run`` that forwards to the port ``out``."""
    port = free_port()
    environ = {
        "ESB_ROUTES": str(configured(folder)),
        "ESB_SCHEMAS": str(folder / "schemas"),
        "ESB_MAPPINGS": str(folder / "mappings"),
        "ESB_STORE": f"sqlite:///{folder}/esb.db",
        "ESB_PORT": "0",
        "ESB_WATCH": "0",
        "FORWARD_IN": f"mllp://127.0.0.1:{port}",
        "FORWARD_OUT": str(out),
    }
    with process("-m", "esb.cli", "run", environ=environ) as child:
        until_it_listens(port, child)
        yield Server(port, child.pid)


@contextlib.contextmanager
def by_hand(folder: Path, out: int) -> Iterator[Server]:
    """The baseline, on a file of its own."""
    port = free_port()
    with process("-m", "bench.baselines.forwarder", str(folder / "hand.db"), str(port), str(out)) as child:
        until_it_listens(port, child)
        yield Server(port, child.pid)


@dataclass
class Seen:
    """``rate`` is of messages that were sent on and acknowledged there, until the last one was."""

    rate: float
    accepted: float
    cpu_us: float
    p50: float
    p99: float


def whole_way(server: Server, receiver: Sink, connections: int, seconds: float, prefix: str, rate: float = 0.0) -> Seen:
    """Load, then wait until everything has arrived."""
    before, began, cpu = receiver.seen(), time.monotonic(), cpu_seconds(server.pid)
    load = server.load(connections, seconds, prefix, rate, patient="@ID@")
    end = time.monotonic() + 60
    while (now := receiver.seen())["ids"] - before["ids"] < load.messages:
        if time.monotonic() > end:
            raise SystemExit(f"{now['ids'] - before['ids']:.0f} of {load.messages} messages arrived")
        time.sleep(0.05)
    took = now["last"] - began
    used = (cpu_seconds(server.pid) - cpu) / load.messages * 1e6
    return Seen(load.messages / took, load.rate, used, load.p50, load.p99)


def measure(seconds: float) -> list[Row]:
    """Every row of the table."""
    with tempfile.TemporaryDirectory(prefix="bench-forward-", dir=disk()) as name, sink() as receiver:
        folder = Path(name)
        with by_hand(folder, receiver.port) as hand:
            whole_way(hand, receiver, 8, 1.0, "W")
            baseline = whole_way(hand, receiver, 32, seconds, "H")
        with bus(folder, receiver.port) as server:
            whole_way(server, receiver, 8, 1.0, "X")
            written = server.written()
            many = whole_way(server, receiver, 32, seconds, "A")
            kilobytes = (server.written() - written) / (many.rate * seconds) / 1000
            half = whole_way(server, receiver, 32, seconds, "B", rate=1150.0)
            resident = resident_mb(server.pid)
            time.sleep(1.0)
        rows = [
            row("32 connections, whole way", many.rate, "msg/s", ">= 2300"),
            row("the same against a forwarder by hand", many.rate, "msg/s", ">= 0.5", baseline.rate),
            row("CPU a message, whole way, against by hand", many.cpu_us, "us", "<= 3", baseline.cpu_us),
            row("written to disk a message", kilobytes, "kB", "<= 12"),
            row("p99 of the ACK at 1150 msg/s, 32 connections", half.p99, "ms", "<= 50"),
            row("resident memory", resident, "MB", "<= 120"),
        ]
        print(*_journal(folder), file=sys.stderr)
        return rows


def _journal(folder: Path) -> list[tuple[str, int]]:
    """How many exchanges are how, and what waits: all must be done."""
    with contextlib.closing(sqlite3.connect(folder / "esb.db")) as database:
        rows = database.execute("SELECT state, count(*) FROM exchange GROUP BY state").fetchall()
        waiting = database.execute("SELECT 'queued', count(*) FROM queue").fetchall()
    return [*rows, *waiting]


def main() -> int:
    rows = measure(2.0 if "--quick" in sys.argv else 6.0)
    how = "Closed loop, 1 kB ADT^A01 of a new patient each, SQLite with WAL and FULL; ordered by patient, 4 lines out."
    return report("MLLP in, mapped, MLLP out", how, rows, "--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
