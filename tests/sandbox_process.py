"""The simulated hospital as a child process, for every test that needs a real other side.

    with start_sandbox() as hospital:
        hospital.url("/soap/his?wsdl")              # http://127.0.0.1:<port>/soap/his?wsdl
        hospital.mllp                               # MLLP port on 127.0.0.1
        hospital.database                           # path of the SQLite file with the views
        hospital.control.fault("soap", "reset_after", operation="LockRegistration", times=1)
        hospital.control.ledger(operation="lock")   # what really happened there
        hospital.control.reset()                    # fresh data, no faults, empty ledger and request list

Ports are free ones on the loopback, state lives in a temporary folder. The process ends with `close()` and also when
this process dies, for it holds the other end of its standard input. Start takes well under a second, `reset` some
hundredths: start one per module or session and reset between tests.
"""

from __future__ import annotations

import http.client
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 60.0


@dataclass
class Control:
    """Client of the sandbox's `/control` API. Raises AssertionError with the sandbox's own words on a refusal."""

    port: int

    def call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, "/control" + path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status < 400, f"{method} /control{path}: {answer.status} {text}"
            return json.loads(text) if text else None
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        return dict(self.call("GET", "/health"))

    def state(self) -> dict[str, Any]:
        """Counts, locks by state, clock, faults in force; `oversold` is 0 or the sandbox is broken."""
        return dict(self.call("GET", "/state"))

    def slots(self) -> dict[str, int]:
        """Slot -> places that can be taken now."""
        return dict(self.call("GET", "/slots"))

    def ledger(self, **match: Any) -> list[dict[str, Any]]:
        """Effects that really happened, oldest first, those whose fields equal `match`: seq, at, channel, operation
        (lock release expire confirm patient_created parking_paid ...), key (order number), slot, result."""
        return _matching(self.call("GET", "/ledger"), match)

    def requests(self, **match: Any) -> list[dict[str, Any]]:
        """Requests received (the last 5,000), oldest first: at, channel, operation, decoded, fault."""
        return _matching(self.call("GET", "/requests"), match)

    def fault(self, channel: str, fault: str, operation: str = "*", **more: Any) -> dict[str, Any]:
        """Set a fault; `more`: seconds, code, times (default: until cleared), effect ("done" or "none")."""
        body = {"channel": channel, "operation": operation, "fault": fault, **more}
        return dict(self.call("POST", "/faults", body))

    def clear_faults(self) -> None:
        self.call("DELETE", "/faults")

    def reset(self) -> None:
        """Fresh data, clock at real time, no faults, empty ledger and request list."""
        self.call("POST", "/reset")

    def advance(self, seconds: float) -> None:
        """Move the hospital's clock on: locks expire after 600 s, parking quotes after 600 s."""
        self.call("POST", "/clock", {"advance": seconds})

    def doctor_stop(self, doctor: str, date: str | None = None) -> None:
        self.call("POST", "/doctor_stop", {"doctor": doctor, "date": date})

    def set_slot(self, slot: str, **values: Any) -> None:
        """Change `total`, `sold` of a slot or `status` of its session (1 open, 0 stopped, 2 unreleased)."""
        self.call("POST", "/slot", {"slot": slot, **values})


def _matching(rows: list[dict[str, Any]], match: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in rows if all(row.get(name) == value for name, value in match.items())]


@dataclass
class Sandbox:
    """A running sandbox: ports on 127.0.0.1, the SQLite path, the control client."""

    http: int
    mllp: int
    database: Path
    pid: int
    state: Path
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def control(self) -> Control:
        return Control(self.http)

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def close(self) -> None:
        """End the process and remove its state; harmless when called again."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def start_sandbox(*arguments: str) -> Sandbox:
    """Start a sandbox on free ports and return when it serves. `arguments` go to `python -m sandbox` (`--seed 7`)."""
    state = Path(tempfile.mkdtemp(prefix="sandbox-"))
    command = [sys.executable, "-m", "sandbox", "--http", "0", "--mllp", "0", "--state", str(state), "--until-eof"]
    with (state / "stderr.log").open("w") as errors:
        process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    ready = _first_line(process)
    if not ready:
        process.kill()
        process.wait()
        said = (state / "stderr.log").read_text()
        shutil.rmtree(state, ignore_errors=True)
        raise RuntimeError(f"the sandbox did not start: {said}")
    facts = json.loads(ready)
    return Sandbox(facts["http"], facts["mllp"], Path(facts["database"]), facts["pid"], state, process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        if select.select([process.stdout], [], [], 0.2)[0]:
            return process.stdout.readline()
    return process.stdout.readline() if process.poll() is not None else ""
