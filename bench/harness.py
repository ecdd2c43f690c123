"""What every benchmark shares: processes, load, CPU and memory of a process, and the table of ratios."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import Load

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """A measured value and its baseline of the same run; ``target`` judges the ratio, else the value."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    target: str
    met: bool


def row(
    name: str, value: float, unit: str, target: str, baseline: float | None = None, ratio: float | None = None
) -> Row:
    """``target`` is written ``>= 8`` or ``<= 1.0``. Give ``ratio`` when it is not just value / baseline."""
    ratio = ratio or (value / baseline if baseline else None)
    sign, bound = target.split()
    judged = value if ratio is None else ratio
    met = judged >= float(bound) if sign == ">=" else judged <= float(bound)
    return Row(name, round(value, 3), unit, baseline and round(baseline, 3), ratio and round(ratio, 2), target, met)


def report(title: str, how_to_read: str, rows: list[Row], as_json: bool) -> int:
    """Print the table (or JSON) and return the number of targets that were missed."""
    if as_json:
        print(json.dumps({"results": [asdict(each) for each in rows]}, ensure_ascii=False, indent=2))
    else:
        print(f"\n{title}\n{how_to_read}\n")
        print(f"{'what':<58}{'value':>12} {'unit':<8}{'baseline':>12}{'ratio':>8}  target   met")
        for each in rows:
            base = "" if each.baseline is None else f"{each.baseline:.3f}"
            ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
            met = "yes" if each.met else "NO"
            print(f"{each.name:<58}{each.value:>12.3f} {each.unit:<8}{base:>12}{ratio:>8}  {each.target:<8} {met}")
    return sum(not each.met for each in rows)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def process(*command: str, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A child of this run, ended by its own pid when the block ends."""
    child = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if not os.environ.get("BENCH_DEBUG") else None,
        text=True,
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_http(url: str, seconds: float = 30) -> float:
    """Seconds until ``url`` answers 200."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(url, timeout=5) as answer,
        ):
            if answer.status == 200:
                return time.perf_counter() - began
        time.sleep(0.01)
    raise SystemExit(f"{url} did not answer 200 within {seconds} s")


def get(port: int, target: str, headers: Mapping[str, str] | None = None) -> str:
    """The bytes of a keep-alive GET, as text."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{extra}\r\n"


def load(port: int, request: str, connections: int, seconds: float) -> Load:
    """Run the load generator in a process of its own."""
    job = {"host": "127.0.0.1", "port": port, "request": request, "connections": connections, "seconds": seconds}
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", json.dumps(job)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return Load(**json.loads(done.stdout))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory in megabytes (10^6 bytes)."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024 / 1e6
