"""From ``kill -9`` to the first answer: a part of ``bench.durable``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from bench.accepting import NOWHERE, QUEUED, fill
from bench.harness import Row, row, wait_http
from tests.bus_process import start_bus
from tests.sandbox_process import Sandbox

TIMES = 3


def restarted(hospital: Sandbox, folder: Path, kind: str, waiting: int, environ: Mapping[str, str]) -> Row:
    """The longest of three: killed with so many waiting, started again at once; ``/readyz`` says that it serves."""
    took = []
    with start_bus(hospital, changes=QUEUED, folder=folder, environ={**environ, **NOWHERE}) as bus:
        fill(bus, waiting)
        bus.kill()
    for _ in range(TIMES):
        began = time.perf_counter()
        with start_bus(hospital, changes=QUEUED, folder=folder, environ=environ) as bus:
            wait_http(f"http://127.0.0.1:{bus.port}/readyz")
            took.append(time.perf_counter() - began)
            bus.kill()
    return row(f"kill -9 to serving again, {waiting:,} waiting, {kind}", max(took), "s", "<= 5")
