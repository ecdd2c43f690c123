"""What queued delivery takes: ``python -m bench.queued [--json] [--seconds N]``.

``registration.unlock`` with ``deliver: queued`` is accepted over HTTP, 64 in flight, each with a key of its own, while
nothing is delivered (the hospital refuses connections). The baseline is the floor: raw ASGI that keeps the same bytes
in one table with a group commit and answers 202: no contract, no key, no journal, no queue. Both run in turn, five
times, with SQLite's WAL and a sync for each commit. Delivery is how fast 3,000 accepted ones are then sent to the
sandbox, everything on the same cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Row, free_port, process, report, row
from bench.load import Load
from bench.numbered import numbered_load
from tests.bus_process import start_bus
from tests.sandbox_process import Sandbox, start_sandbox

IN_FLIGHT, ROUNDS, DELIVERED = 64, 5, 3000
UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
QUEUED = {
    UNLOCK: "registration.unlock: {to: his, timeout: 4s, deliver: queued, retry: 20 over 6h}",
    "limits: {concurrency: 32, queue: 500": "limits: {backlog: 10000000, concurrency: 32, queue: 500",
}
HOW_TO_READ = "Requests a second of one process at 64 in flight; the ratio is the middle of those of each round."


def request(port: int) -> str:
    """``{n}`` becomes a number that no other request has."""
    return (
        f"DELETE /v1/registrations/locks/R{{n}} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nIdempotency-Key: K{{n}}\r\n\r\n"
    )


def accepting(hospital: Sandbox, folder: Path, seconds: float) -> list[Row]:
    """Accepted a second, by the bus with nowhere to deliver to and by the floor."""
    floor_port = free_port()
    with (
        start_bus(hospital, changes=QUEUED, folder=folder, environ={"HIS_URL": "http://127.0.0.1:9/"}) as bus,
        process("-m", "bench.baselines.accept", str(floor_port), str(folder / "floor.db")) as floor,
    ):
        assert floor.stdout is not None
        floor.stdout.readline()
        rounds = []
        for number in range(ROUNDS):
            each = [run(port, number, seconds) for port in (floor_port, bus.port)]
            rounds.append((each[0].rate, each[1].rate, each[1].p99))
    ours, ratio = statistics.median(one[1] for one in rounds), statistics.median(one[1] / one[0] for one in rounds)
    base = statistics.median(one[0] for one in rounds)
    return [
        row("accepted durably over HTTP", ours, "req/s", ">= 1500"),
        row("the same against plain group commit", ours, "req/s", ">= 0.2", base, ratio),
        row("99 of 100 accepted within", statistics.median(one[2] for one in rounds), "ms", "<= 100"),
    ]


def run(port: int, number: int, seconds: float) -> Load:
    """One round; every answer must be a 2xx."""
    result = numbered_load(port, request(port), IN_FLIGHT, seconds, first=number * 10_000_000)
    if result.failures:
        raise SystemExit(f"{result.failures} of {result.requests} were not accepted")
    return result


def delivering(hospital: Sandbox, folder: Path) -> Row:
    """Messages a second from the first to the last, the queue filled before."""
    with start_bus(hospital, changes=QUEUED, folder=folder, environ={"HIS_URL": "http://127.0.0.1:9/"}) as bus:
        accepted = numbered_load(bus.port, request(bus.port), IN_FLIGHT, 600.0, most=DELIVERED).requests
        bus.kill()
    with start_bus(hospital, changes=QUEUED, folder=folder) as bus:
        began = time.perf_counter()
        while delivered(bus.call("GET", "/metrics")[2].decode()) < accepted:
            time.sleep(0.05)
        return row("delivered to a SOAP system", accepted / (time.perf_counter() - began), "msg/s", ">= 100")


def delivered(metrics: str) -> float:
    """How many have ended."""
    ends = [line for line in metrics.splitlines() if line.startswith("queue_deliveries_total")]
    return sum(float(line.rpartition(" ")[2]) for line in ends if 'result="refused"' in line or 'result="done"' in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of five rounds")
    options = parser.parse_args()
    with start_sandbox() as hospital, tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("accepting", "delivering")]
        for folder in folders:
            folder.mkdir()
        rows = [*accepting(hospital, folders[0], options.seconds), delivering(hospital, folders[1])]
    report("bench.queued: accepted now, delivered later, on SQLite", HOW_TO_READ, rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
