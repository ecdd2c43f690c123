"""Two workers against one when the hospital is the wait: a part of ``bench.durable``.

``esb serve`` accepts, one or two ``esb work`` deliver to ``bench.slow_his``, which takes a fifth of a second for each
request; a worker has eight under way. The time is from the first request that is accepted to the empty queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bench.accepting import BACKLOG, UNLOCK, fill
from bench.harness import Row, cpu_seconds, process, row
from tests import postgres
from tests.bus_process import Bus, start_bus
from tests.sandbox_process import Sandbox

PLACES, TAKES_S = 8, 0.2
_FEW = {one: text.replace("concurrency: 32", f"concurrency: {PLACES}") for one, text in BACKLOG.items()}
CHANGES = {UNLOCK: "registration.unlock: {to: his, timeout: 4s, deliver: queued, retry: 20 over 6h}", **_FEW}


@contextmanager
def slow_his(seconds: float) -> Iterator[str]:
    """Its address."""
    with process("-m", "bench.slow_his", str(seconds)) as child:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}/"


def two_against_one(
    hospital: Sandbox, folder: Path, kind: str, count: int, environ: Mapping[str, str]
) -> Iterator[Row]:
    """Each on a database of its own."""
    one, _ = _rate(hospital, folder / "one", count, environ, workers=1)
    two, spent = _rate(hospital, folder / "two", count, environ, workers=2)
    yield row(f"two workers against one, {kind}", two, "msg/s", ">= 1.7", one)
    yield row("  CPU of a worker for one", spent, "ms", "<= 20")


def _rate(
    hospital: Sandbox, folder: Path, count: int, environ: Mapping[str, str], *, workers: int
) -> tuple[float, float]:
    """Messages a second, and milliseconds of CPU for one."""
    with ExitStack() as stack:
        store = stack.enter_context(postgres.database())
        environ = {**environ, "ESB_STORE": store, "HIS_URL": stack.enter_context(slow_his(TAKES_S))}
        if "ESB_BROKER" in environ:
            environ["ESB_BROKER_PREFIX"] = f"two{workers}"

        def start(role: str, name: str) -> int:
            place = folder / name
            place.mkdir(parents=True)
            bus = start_bus(hospital, changes=CHANGES, folder=place, environ=environ, role=role)
            started.append(stack.enter_context(bus))
            return started[-1].process.pid

        started: list[Bus] = []
        pids = [start("work", f"work{number}") for number in range(workers)]
        start("serve", "serve")
        before = sum(map(cpu_seconds, pids))
        began = time.perf_counter()
        fill(started[-1], count)
        _until_empty(store)
        took = time.perf_counter() - began
        return count / took, (sum(map(cpu_seconds, pids)) - before) * 1000 / count


def _until_empty(store: str) -> None:
    with psycopg.connect(store, autocommit=True) as connection:
        while (connection.execute("SELECT count(*) FROM queue").fetchone() or (0,))[0]:
            time.sleep(0.05)
