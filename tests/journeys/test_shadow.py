"""A hospital about to move to a new HIS: live reads are asked there too, and the report says where it differs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus_process import ROOT, Bus, start_bus
from tests.sandbox_process import Sandbox

DOCTORS = "doctor.search:       {to: his, timeout: 3s, retry: 2, cache: 30s}"
NEW_HIS = """
  new_his:
    adapter: soap
    dialect: jkt_12320
    settings:
      wsdl: $file.schemas/wsdl/his12320.wsdl
      address: $env.HIS12320_URL ?? http://127.0.0.1:18080/soap/12320
    envelope:
      - xml_string: {operation: HisInterface, parameter: xml}
      - sealed_12320: {user: HUB, aes_key: $secret.jkt_aes_key, md5_key: $secret.jkt_md5_key}
    site: {hospital: '1001'}
callbacks:
"""
SHADOWED = {
    "\ncallbacks:\n": NEW_HIS,
    DOCTORS: (
        "doctor.search: {to: his, timeout: 3s, retry: 2, shadow: {to: new_his, ignore: ['items[].departmentName']}}"
    ),
}


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    """A copy in which the new system's mapping gets the fee wrong."""
    copy = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", copy)
    file = copy / "jkt_12320" / "doctor.search.yaml"
    text, right = file.read_text("utf-8"), "fee: $d.REG_FEE | int"
    assert right in text
    file.write_text(text.replace(right, f"{right} | plus(5)"), encoding="utf-8")
    return copy


@pytest.fixture
def bus(hospital: Sandbox, mappings: Path) -> Iterator[Bus]:
    with start_bus(hospital, changes=SHADOWED, environ={"ESB_MAPPINGS": str(mappings)}) as bus:
        yield bus


def doctors(bus: Bus) -> Any:
    status, _, body = bus.call("GET", "/v1/doctors?departmentId=010101")
    assert status == 200
    return body


def report(bus: Bus, *arguments: str) -> tuple[int, str]:
    environ = {**os.environ, "ESB_STORE": f"sqlite:///{bus.folder / 'esb.db'}"}
    command = [sys.executable, "-m", "esb.cli", "shadow", "report", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def reported(bus: Bus, wanted: str) -> str:
    for _ in range(40):
        _, text = report(bus)
        if wanted in text:
            return text
    raise AssertionError(f"{wanted!r} is not in {text}")


def test_the_report_names_the_field_that_the_new_system_answers_otherwise(bus: Bus, hospital: Sandbox) -> None:
    bodies = [doctors(bus) for _ in range(5)]
    text = reported(bus, "doctor.search beside new_his: 5 compared, 0 alike")
    field, first, *_ = text.splitlines()[1:]
    assert field == "  items[].fee: 5 of 5"
    fee = bodies[0]["items"][0]["fee"]
    assert first.endswith(f": {fee} -> {fee + 5}")
    assert len([line for line in text.splitlines() if line.startswith("  items")]) == 1, "no other field differs"
    status, shown = report(bus, "--operation", "doctor.search", "--since", "1h", "--json")
    assert (status, json.loads(shown)["shadows"][0]["fields"][0]["name"]) == (1, "items[].fee")
    assert report(bus, "--operation", "report.get") == (2, "nothing was compared\n")
    assert len(hospital.control.requests(channel="12320", operation="2002")) == 5


def test_a_new_system_that_hangs_or_breaks_is_never_noticed(bus: Bus, hospital: Sandbox) -> None:
    """I10: more reads than copies are held; all are answered by the live system while the copies hang."""
    hospital.control.fault("12320", "hang", operation="2002")
    for _ in range(20):
        doctors(bus)
    hospital.control.clear_faults()
    hospital.control.fault("12320", "garbage", operation="2002")
    doctors(bus)
    assert bus.call("GET", "/readyz")[0] == 200
    calls = bus.call("GET", "/metrics")[2].decode()
    assert 'endpoint_calls_total{endpoint="his",outcome="done"} 21' in calls


def test_a_reload_brings_another_shadow(bus: Bus) -> None:
    doctors(bus)
    reported(bus, "1 compared, 0 alike")
    routes = bus.folder / "routes.yaml"
    text = routes.read_text("utf-8")
    changed = text.replace("['items[].departmentName']", "['items[].departmentName', 'items[].fee']")
    assert changed != text
    routes.write_text(changed, "utf-8")
    bus.process.send_signal(signal.SIGHUP)
    bus.until("/readyz", lambda body: '"config_loaded"' in bus.log())
    doctors(bus)
    reported(bus, "2 compared, 1 alike")
