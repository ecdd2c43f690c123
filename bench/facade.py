"""What the bus costs: ``python -m bench.facade [--json] [--seconds N]``.

``schedule.list`` with 50 slots, 32 in flight, against the sandbox's SOAP side. Baseline A is what one would write with
FastAPI and zeep, baseline B the floor without validation, journal, limits or errors. All run against the same sandbox,
in turn, seven times; the middle value counts, and of the ratios the middle of those within one round, because the
machine's own speed wanders. Every process shares the cores with the sandbox and the load generator.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bench.harness import Row, cpu_seconds, free_port, get, load, process, report, resident_mb, row, wait_http
from sandbox.clock import SHANGHAI
from tests.bus_process import Bus, start_bus
from tests.sandbox_process import Sandbox, start_sandbox

IN_FLIGHT = 32
ROUNDS = 7
UNCACHED = {"schedule.list:       {to: his, timeout: 3s, retry: 2, cache: 5s}": "schedule.list: {to: his, timeout: 3s}"}
HOW_TO_READ = (
    "Ratios are the middle of those of each round. A = FastAPI + zeep + pydantic + one insert a request; "
    "B = raw ASGI + aiohttp + lxml.\nRates are requests/s of one process at 32 in flight."
)


@dataclass
class Contender:
    """A server under load; ``cpu_ms`` of its process for one request."""

    name: str
    port: int
    pid: int
    request: str

    def run(self, seconds: float) -> tuple[float, float]:
        """Requests a second and milliseconds of CPU a request."""
        before = cpu_seconds(self.pid)
        result = load(self.port, self.request, IN_FLIGHT, seconds)
        if result.failures:
            raise SystemExit(f"{self.name}: {result.failures} of {result.requests} requests failed")
        return result.rate, (cpu_seconds(self.pid) - before) / result.requests * 1000


def day() -> str:
    return f"{datetime.now(SHANGHAI) + timedelta(days=1):%Y-%m-%d}"


def target() -> str:
    return f"/v1/schedules?departmentId=B0101&from={day()}&to={day()}"


@contextmanager
def baseline(name: str, *arguments: str) -> Iterator[Contender]:
    port = free_port()
    with process("-m", f"bench.baselines.{name}", str(port), *arguments) as child:
        wait_http(f"http://127.0.0.1:{port}{target()}")
        yield Contender(name, port, child.pid, get(port, target()))


def contender(bus: Bus) -> Contender:
    return Contender("bus", bus.port, bus.process.pid, get(bus.port, target()))


def started(hospital: Sandbox, folder: Path) -> tuple[float, float]:
    """Seconds from the start of the process to a 200 of /readyz, and idle memory in MB then."""
    began = time.perf_counter()
    with start_bus(hospital, folder=folder) as bus:
        wait_http(f"http://127.0.0.1:{bus.port}/readyz")
        ready = time.perf_counter() - began
        return ready, resident_mb(bus.process.pid)


def compare(hospital: Sandbox, folder: Path, seconds: float) -> list[Row]:
    with ExitStack() as stack:
        bus = contender(stack.enter_context(start_bus(hospital, changes=UNCACHED, folder=folder)))
        usual = stack.enter_context(baseline("fastapi_zeep", hospital.url("/soap/his?wsdl"), str(folder / "usual.db")))
        floor = stack.enter_context(baseline("floor", hospital.url("/soap/his")))
        rounds = [{one.name: one.run(seconds) for one in (floor, bus, usual)} for _ in range(ROUNDS)]

    def middle(name: str, at: int) -> float:
        return statistics.median(each[name][at] for each in rounds)

    def against(name: str) -> float:
        return statistics.median(each["bus"][0] / each[name][0] for each in rounds)

    rate, cpu = middle("bus", 0), middle("bus", 1)
    return [
        row(
            "schedule.list, 50 slots, against A",
            rate,
            "req/s",
            ">= 8",
            middle("fastapi_zeep", 0),
            against("fastapi_zeep"),
        ),
        row("schedule.list, 50 slots, against B", rate, "req/s", ">= 0.6", middle("floor", 0), against("floor")),
        row("CPU the bus adds to one SOAP call (its own less B's)", cpu - middle("floor", 1), "ms", "<= 1.0"),
        row("CPU of the bus for one SOAP call, all in all, against B", cpu, "ms", "<= 2.0", middle("floor", 1)),
    ]


def cached(hospital: Sandbox, folder: Path, seconds: float) -> Row:
    with start_bus(hospital, folder=folder) as bus:
        it = contender(bus)
        rates = [it.run(seconds)[0] for _ in range(ROUNDS)]
    return row("cached read, 50 slots, one process", statistics.median(rates), "req/s", ">= 3000")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of seven rounds")
    options = parser.parse_args()
    with start_sandbox() as hospital, tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("start", "compare", "cached")]
        for folder in folders:
            folder.mkdir()
        starts = [started(hospital, folders[0]) for _ in range(ROUNDS)]
        rows = [
            *compare(hospital, folders[1], options.seconds),
            cached(hospital, folders[2], options.seconds),
            row("idle memory with all extras", statistics.median(one[1] for one in starts), "MB", "<= 120"),
            row("start to ready", statistics.median(one[0] for one in starts), "s", "<= 2"),
        ]
    report("bench.facade: one HTTP request to one SOAP call and back", HOW_TO_READ, rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
