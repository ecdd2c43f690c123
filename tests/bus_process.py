"""The bus as a child process, as an operator runs it: ``esb run`` on a free port with its own journal.

with start_bus(hospital) as bus:
    status, headers, body = bus.call("GET", "/v1/departments")
    bus.journal("registration.lock")      # rows of the journal, oldest first
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esb.store.writer import unpack
from tests.sandbox_process import Sandbox

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 90.0


@dataclass
class Bus:
    """A running bus on 127.0.0.1:``port``; ``folder`` holds its journal, log and routes."""

    port: int
    folder: Path
    process: subprocess.Popen[str] = field(repr=False)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case) and body (decoded when it is JSON)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = raw if raw is not None else None if body is None else json.dumps(body, ensure_ascii=False).encode()
            kind = {} if data is None else {"Content-Type": "application/json"}
            connection.request(method, path, data, {**kind, **(headers or {})})
            answer = connection.getresponse()
            read = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            is_json = "json" in found.get("content-type", "")
            return answer.status, found, json.loads(read) if is_json else read
        finally:
            connection.close()

    def journal(self, operation: str) -> list[dict[str, Any]]:
        """The journal's rows of one operation, oldest first, bodies unpacked."""
        with contextlib.closing(sqlite3.connect(self.folder / "esb.db")) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute("SELECT * FROM exchange WHERE operation = ? ORDER BY id", (operation,)).fetchall()
        return [{name: _unpacked(name, row[name]) for name in row.keys()} for row in rows]  # noqa: SIM118

    def row(self, operation: str, value: str, column: str = "id") -> dict[str, Any]:
        """The row of the journal that has ``value`` in ``column``; a read's is written after its answer."""
        for _ in _tries(30.0):
            found = [row for row in self.journal(operation) if row[column] == value]
            if found:
                return found[0]
        raise AssertionError(f"the journal does not hold {value}")

    def until(self, path: str, wanted: Any, seconds: float = 60.0) -> Any:
        """Ask ``path`` until ``wanted(body)`` is true."""
        for _ in _tries(seconds):
            _, _, body = self.call("GET", path)
            if wanted(body):
                return body
        raise AssertionError(f"{path} is still {body}")

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def kill(self) -> None:
        """kill -9: no goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def until(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    for _ in _tries(seconds):
        if found := look():
            return found
    raise AssertionError("it did not come to that")


def _unpacked(name: str, value: Any) -> Any:
    return unpack(value) if name in ("request", "sent", "raw", "answer") else value


def _tries(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def routes_for(folder: Path, source: Path, changes: Mapping[str, str]) -> Path:
    """A copy of a routes file with texts replaced; its ``$file`` paths go on meaning the same files."""
    text = source.read_text("utf-8")
    for old, new in changes.items():
        assert old in text, f"{source} does not hold {old!r}"
        text = text.replace(old, new)
    text = re.sub(r"\$file\.([^\s,}]+)", lambda match: f"$file.{(source.parent / match[1]).resolve()}", text)
    copy = folder / "routes.yaml"
    copy.write_text(text, encoding="utf-8")
    return copy


@contextlib.contextmanager
def start_bus(
    hospital: Sandbox,
    *,
    routes: Path = ROOT / "routes.yaml",
    changes: Mapping[str, str] | None = None,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    while_starting: Callable[[subprocess.Popen[str]], None] = lambda process: None,
    module: str = "esb.cli",
    role: str = "run",
) -> Iterator[Bus]:
    """A bus in front of ``hospital``; give the ``folder`` of an earlier one to go on with its journal.

    ``module`` has the command line that is run: a benchmark's own leaves something out of it. ``role`` is its command.
    """
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bus-")))
        env = {
            **os.environ,
            "ESB_SECRETS": str(ROOT / "sandbox" / "secrets"),
            "HOSPITAL_DB": f"sqlite:///{hospital.database}",
            "HIS_URL": hospital.url("/soap/his"),
            "HIS12320_URL": hospital.url("/soap/12320"),
            "LIS_URL": hospital.url("/fhir/r4"),
            "PARKING_URL": hospital.url(),
            "INDEX_PORT": str(hospital.mllp),
            "HIS_INBOUND": "mllp://127.0.0.1:0",
            "LIS_INBOUND": "mllp://127.0.0.1:0",
            "ESB_ROUTES": str(routes_for(folder, routes, changes or {})),
            "ESB_STORE": f"sqlite:///{folder / 'esb.db'}",
            "ESB_PORT": "0",
            "ESB_WATCH": "0",
            **(environ or {}),
        }
        log = stack.enter_context((folder / "log").open("w", encoding="utf-8"))
        process = subprocess.Popen([sys.executable, "-m", module, role], cwd=ROOT, env=env, stderr=log, text=True)
        stack.callback(_end, process)
        while_starting(process)
        yield Bus(_port(process, folder / "log"), folder, process)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    for _ in _tries(START_LIMIT_S):
        match = re.search(r'"bus_started".*?"port":\s?(\d+)|"port":\s?(\d+).*?"bus_started"', log.read_text("utf-8"))
        if match:
            return int(match[1] or match[2])
        assert process.poll() is None, log.read_text("utf-8")
    raise AssertionError(f"the bus did not start: {log.read_text('utf-8')}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
