"""What queued delivery takes: a part of ``bench.durable``.

``registration.unlock`` with ``deliver: queued`` is accepted over HTTP, 64 in flight, each with a key of its own, while
nothing is delivered (the hospital refuses connections). There are two baselines: the floor, raw ASGI that keeps the
same bytes in one table with a group commit (no contract, no key, no journal, no queue), and what one would write: a
commit and a blocking confirm for each request, in FastAPI. All run in turn. Delivery is how fast 3,000 accepted ones
are then sent to the sandbox, everything on the same cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.harness import Row, cpu_seconds, free_port, process, row, wait_http
from bench.load import Load
from bench.numbered import numbered_load
from tests.bus_process import Bus, start_bus
from tests.sandbox_process import Sandbox

IN_FLIGHT, ROUNDS, DELIVERED = 64, 5, 3000
UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
BACKLOG = {"limits: {concurrency: 32, queue: 500": "limits: {backlog: 10000000, concurrency: 32, queue: 500"}
QUEUED = {UNLOCK: "registration.unlock: {to: his, timeout: 4s, deliver: queued, retry: 20 over 6h}", **BACKLOG}
NOWHERE = {"HIS_URL": "http://127.0.0.1:9/"}


def request(port: int) -> str:
    """``{n}`` becomes a number that no other request has."""
    return (
        f"DELETE /v1/registrations/locks/R{{n}} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nIdempotency-Key: K{{n}}\r\n\r\n"
    )


def on_sqlite(hospital: Sandbox, folder: Path, seconds: float) -> Iterator[Row]:
    """Against both baselines."""
    yield from _accepting(hospital, folder, seconds, "SQLite", 1500, {}, (str(folder / "usual.db"),), has_floor=True)


def on_postgresql(hospital: Sandbox, folder: Path, seconds: float, store: str, broker: str) -> Iterator[Row]:
    """Through the broker, against what is usual."""
    environ = {"ESB_STORE": store, "ESB_BROKER": broker}
    kind = "PostgreSQL and RabbitMQ"
    yield from _accepting(hospital, folder, seconds, kind, 1000, environ, (store, broker), has_floor=False)


def _accepting(
    hospital: Sandbox,
    folder: Path,
    seconds: float,
    kind: str,
    target: int,
    environ: Mapping[str, str],
    usual: tuple[str, ...],
    *,
    has_floor: bool,
) -> Iterator[Row]:
    ports = {"usual": free_port(), "floor": free_port()}
    with ExitStack() as stack:
        bus = stack.enter_context(start_bus(hospital, changes=QUEUED, folder=folder, environ={**NOWHERE, **environ}))
        stack.enter_context(process("-m", "bench.baselines.accept_usual", str(ports["usual"]), *usual))
        wait_http(f"http://127.0.0.1:{ports['usual']}/readyz")
        if has_floor:
            floor = process("-m", "bench.baselines.accept", str(ports["floor"]), str(folder / "floor.db"))
            child = stack.enter_context(floor)
            assert child.stdout is not None
            child.stdout.readline()
        else:
            del ports["floor"]
        rounds, spent = [], []
        for number in range(ROUNDS):
            rounds.append({name: run(port, number, seconds) for name, port in ports.items()})
            before = cpu_seconds(bus.process.pid)
            rounds[-1]["bus"] = run(bus.port, number, seconds)
            spent.append((cpu_seconds(bus.process.pid) - before) * 1000 / rounds[-1]["bus"].requests)
    ours = statistics.median(one["bus"].rate for one in rounds)
    yield row(f"accepted durably over HTTP, {kind}", ours, "req/s", f">= {target}")
    yield row("  CPU of its process for one", statistics.median(spent), "ms", f"<= {1000 / target:.2f}")
    yield _against("usual", "  against FastAPI, a commit (and confirm) each", ">= 1", rounds)
    if has_floor:
        yield _against("floor", "  against plain group commit", ">= 0.2", rounds)
    yield row("  99 of 100 accepted within", statistics.median(one["bus"].p99 for one in rounds), "ms", "<= 100")


def _against(name: str, what: str, target: str, rounds: list[dict[str, Load]]) -> Row:
    ours, base = (statistics.median(one[which].rate for one in rounds) for which in ("bus", name))
    return row(what, ours, "req/s", target, base, statistics.median(one["bus"].rate / one[name].rate for one in rounds))


def run(port: int, number: int, seconds: float) -> Load:
    """One round; every answer must be a 2xx."""
    result = numbered_load(port, request(port), IN_FLIGHT, seconds, first=number * 10_000_000)
    if result.failures:
        raise SystemExit(f"{result.failures} of {result.requests} were not accepted")
    return result


def fill(bus: Bus, count: int) -> None:
    """So many accepted."""
    result = numbered_load(bus.port, request(bus.port), IN_FLIGHT, 600.0, most=count)
    if result.failures or result.requests != count:
        raise SystemExit(f"{result.failures} of {count} were not accepted")


def delivering(hospital: Sandbox, folder: Path) -> Row:
    """Messages a second from the first to the last, the queue filled before."""
    with start_bus(hospital, changes=QUEUED, folder=folder, environ=NOWHERE) as bus:
        fill(bus, DELIVERED)
        bus.kill()
    with start_bus(hospital, changes=QUEUED, folder=folder) as bus:
        began = time.perf_counter()
        while delivered(bus.call("GET", "/metrics")[2].decode()) < DELIVERED:
            time.sleep(0.05)
        return row("delivered to a SOAP system", DELIVERED / (time.perf_counter() - began), "msg/s", ">= 100")


def delivered(metrics: str) -> float:
    """How many have ended."""
    ends = [line for line in metrics.splitlines() if line.startswith("queue_deliveries_total")]
    return sum(float(line.rpartition(" ")[2]) for line in ends if 'result="refused"' in line or 'result="done"' in line)
