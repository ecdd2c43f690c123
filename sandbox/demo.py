"""``make demo``: the sandbox hospital, the bus in front of it, and the first requests. Ctrl-C ends everything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.clock import SHANGHAI

LOG = Path("var/bus.log")
HTTP, MLLP, BUS = 18080, 12575, 8080
PATIENT = {"documentType": "id_card", "documentNumber": "110101190001011236", "name": "患者一"}


def main() -> int:
    """Start both, show the first requests, wait for Ctrl-C. Returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children: list[subprocess.Popen[str]] = []
    try:
        hospital = start(children, "sandbox", "--http", str(HTTP), "--mllp", str(MLLP), "--state", "var/sandbox")
        ready = json.loads(hospital.stdout.readline() or "{}") if hospital.stdout else {}
        if not ready:
            return failed("the sandbox hospital did not start", hospital)
        print(f"sandbox hospital: http://127.0.0.1:{ready['http']} and MLLP on {ready['mllp']}", flush=True)
        bus = start(children, "esb.cli", "run", "--port", str(BUS), log=LOG)
        if not wait_ready(bus):
            return failed(f"the bus did not become ready, see {LOG}", bus)
        print(f"bus:              http://127.0.0.1:{BUS} (API at /docs, log in {LOG})", flush=True)
        first_requests()
        print("\nBoth keep running. Ctrl-C ends them.", flush=True)
        return bus.wait()
    except KeyboardInterrupt:
        print()
        return 0
    finally:
        stop(children)


def start(children: list[subprocess.Popen[str]], *module: str, log: Path | None = None) -> subprocess.Popen[str]:
    with log.open("w") if log else contextlib.nullcontext() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", *module],
            env={**os.environ, "ESB_SECRETS": "sandbox/secrets"},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    children.append(child)
    return child


def stop(children: list[subprocess.Popen[str]]) -> None:
    for child in reversed(children):
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def failed(message: str, child: subprocess.Popen[str]) -> int:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(2)
    print(f"{message} (exit status {child.poll()}); is one of the ports {BUS}, {HTTP}, {MLLP} in use?", file=sys.stderr)
    return 1


def wait_ready(bus: subprocess.Popen[str]) -> bool:
    for _ in range(600):
        if bus.poll() is not None:
            return False
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            with urllib.request.urlopen(f"http://127.0.0.1:{BUS}/readyz", timeout=5):
                return True
        time.sleep(0.05)
    return False


def call(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{BUS}{path}",
        method=method,
        data=None if body is None else json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return show(method, path, answer.status, json.load(answer))
    except urllib.error.HTTPError as error:
        return show(method, path, error.code, json.load(error))


def show(method: str, path: str, status: int, answer: Any) -> Any:
    text = json.dumps(answer, ensure_ascii=False)
    print(f"\n{method} {path}\n  {status} {text[:240]}{' ...' if len(text) > 240 else ''}", flush=True)
    return answer


def first_requests() -> None:
    """One request to each kind of hospital system: SQL, SOAP, HL7 v2, FHIR, REST."""
    tomorrow = (datetime.now(SHANGHAI) + timedelta(days=1)).date()
    call("GET", "/v1/departments?level=1")
    slots = call("GET", f"/v1/schedules?doctorId=D001&from={tomorrow}&to={tomorrow}")
    found = call("POST", "/v1/patients/search", PATIENT)
    patient, slot = found["items"][0]["id"], next(one for one in slots["items"] if one["status"] == "open")
    order = f"R{time.time_ns() // 1_000_000}"
    choice = {key: slot[key] for key in ("slotId", "scheduleId", "departmentId", "doctorId", "start", "end")}
    lock = {"orderNo": order, "patientId": patient, "slot": choice, "fee": slot["fee"]}
    call("POST", "/v1/registrations/locks", lock, {"Idempotency-Key": order})
    call("DELETE", f"/v1/registrations/locks/{order}")
    call("GET", f"/v1/patients/{patient}/reports")
    call("GET", f"/v1/parking/fees?plate={quote('京A12345')}")


if __name__ == "__main__":
    sys.exit(main())
