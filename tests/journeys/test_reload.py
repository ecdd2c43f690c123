"""The configuration of a running bus changes on disk, under load, with a slow and with a failing hospital."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus_process import ROOT, Bus, start_bus
from tests.journeys.conftest import PATIENT_LOCK, QUICK, lock_request, open_slot, tomorrow
from tests.sandbox_process import Sandbox

SEARCH, LIST = "his_soap/doctor.search.yaml", "hospital_db/department.list.yaml"
OLD, NEW = "name: $d.dept_name | trim", "name: $d.dept_id"
DEPARTMENTS = "/v1/departments?level=1"


class Mappings:
    """A copy of the mappings that the bus reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "mappings", folder)

    def edit(self, file: str, old: str, new: str) -> None:
        """As most editors save: a new file in the place of the old one."""
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text
        copy = path.with_suffix(".new")
        copy.write_text(text.replace(old, new, 1), "utf-8")
        copy.replace(path)


@pytest.fixture
def mappings(tmp_path: Path) -> Mappings:
    return Mappings(tmp_path / "mappings")


@pytest.fixture
def bus(hospital: Sandbox, mappings: Mappings) -> Iterator[Bus]:
    changes = {**QUICK, "cache: 60s": "cache: 1ms"}
    with start_bus(hospital, changes=changes, environ=watching(mappings, "0.1")) as bus:
        yield bus


def watching(mappings: Mappings, seconds: str) -> dict[str, str]:
    return {"ESB_MAPPINGS": str(mappings.folder), "ESB_WATCH": seconds}


def configuration(bus: Bus) -> dict[str, Any]:
    status, _, body = bus.call("GET", "/readyz")
    assert status == 200, body
    shown: dict[str, Any] = body["configuration"]
    return shown


def until(bus: Bus, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    found: dict[str, Any] = bus.until("/readyz", lambda body: wanted(body["configuration"]))["configuration"]
    return found


def metric(bus: Bus, line: str) -> float:
    found = [one for one in bus.call("GET", "/metrics")[2].decode().splitlines() if one.startswith(line + " ")]
    return float(found[0].split()[-1])


def events(bus: Bus, name: str) -> list[dict[str, Any]]:
    return [one for one in map(json.loads, bus.log().splitlines()) if one["event"] == name]


def test_under_load_every_answer_is_either_the_old_or_the_new_one(bus: Bus, mappings: Mappings) -> None:
    first = configuration(bus)["version"]
    old = bus.call("GET", DEPARTMENTS)[2]["items"]
    answers: list[tuple[int, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, _, body = bus.call("GET", DEPARTMENTS)
            answers.append((status, body))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        mappings.edit(LIST, *((OLD, NEW) if number % 2 == 0 else (NEW, OLD)))
        until(bus, lambda shown, number=number: metric(bus, 'config_reloads_total{result="loaded"}') == number + 1)
        so_far = len(answers)
        until(bus, lambda shown, so_far=so_far: len(answers) > so_far + len(threads))
    stop.set()
    for thread in threads:
        thread.join()
    names = [[one["name"] for one in old], [one["id"] for one in old]]
    assert {status for status, _ in answers} == {200}
    assert all([one["name"] for one in body["items"]] in names for _, body in answers)
    assert [any([one["name"] for one in body["items"]] == name for _, body in answers) for name in names] == [True] * 2
    assert configuration(bus)["version"] == first


def test_a_broken_file_is_kept_out_and_told_everywhere_until_it_is_mended(bus: Bus, mappings: Mappings) -> None:
    first = configuration(bus)["version"]
    mappings.edit(LIST, OLD, "name: $d.dept_name | trimm")
    shown = until(bus, lambda shown: "rejected" in shown)
    assert bus.call("GET", DEPARTMENTS)[0] == 200
    assert (shown["version"], shown["rejected"]["findings"]) == (first, 1)
    (told,) = shown["rejected"]["first"]
    line = 1 + (mappings.folder / LIST).read_text("utf-8").split("trimm")[0].count("\n")
    assert told.startswith(f"{mappings.folder / LIST}:{line}:")
    assert "did you mean 'trim'?" in told
    (logged,) = events(bus, "config_finding")
    assert (logged["file"], logged["line"], logged["reason"]) == (str(mappings.folder / LIST), line, told)
    assert metric(bus, 'config_reloads_total{result="rejected"}') == metric(bus, "config_rejected_findings") == 1
    assert metric(bus, f'config_info{{version="{first}"}}') == 1
    mappings.edit(LIST, "name: $d.dept_name | trimm", NEW)
    mended = until(bus, lambda shown: shown["version"] != first)
    assert "rejected" not in mended
    assert bus.call("GET", DEPARTMENTS)[2]["items"][0]["name"] == bus.call("GET", DEPARTMENTS)[2]["items"][0]["id"]
    assert metric(bus, f'config_info{{version="{mended["version"]}"}}') == 1


def test_a_slow_lock_ends_with_the_mapping_it_began_with_and_the_journal_says_so(
    mappings: Mappings, hospital: Sandbox
) -> None:
    with start_bus(hospital, changes=PATIENT_LOCK, environ=watching(mappings, "0.1")) as bus:
        reload_while_a_lock_is_held(bus, mappings, hospital)


def reload_while_a_lock_is_held(bus: Bus, mappings: Mappings, hospital: Sandbox) -> None:
    first = configuration(bus)["version"]
    slot = open_slot(bus)
    hospital.control.fault("soap", "hold", operation="LockRegistration")
    answers: list[Any] = []
    key = {"Idempotency-Key": "KV1"}
    sender = threading.Thread(
        target=lambda: answers.append(bus.call("POST", "/v1/registrations/locks", lock_request(slot, "RV1"), key))
    )
    sender.start()
    until(bus, lambda _: hospital.control.requests(operation="LockRegistration"))
    mappings.edit("his_soap/registration.lock.yaml", "fee: $Lock.Fee | fen", "fee: $Lock.Fee | int")
    version = until(bus, lambda shown: shown["version"] != first)["version"]
    hospital.control.clear_faults()
    sender.join()
    ((status, _, body),) = answers
    row = bus.journal("registration.lock")[-1]
    assert (status, body["fee"], row["version"]) == (201, slot["fee"], first)
    assert bus.call("GET", f"/v1/exchanges/{row['id']}")[2]["version"] == first
    open_slot(bus)
    found = bus.call("GET", f"/v1/exchanges/{bus.journal('schedule.list')[-1]['id']}")[2]
    assert found["version"] in (first, version)


def test_an_open_breaker_stays_open(hospital: Sandbox, mappings: Mappings) -> None:
    changes = {old: new.replace("50 in 30s for 1s", "2 in 30s for 60s") for old, new in QUICK.items()}
    with start_bus(hospital, changes=changes, environ=watching(mappings, "0")) as bus:
        path = f"/v1/schedules?doctorId=D001&from={tomorrow()}&to={tomorrow()}"
        hospital.control.fault("soap", "reset_before", operation="ListSchedules")
        while metric(bus, 'breaker_state{endpoint="his"}') != 2:
            bus.call("GET", path)
        hospital.control.clear_faults()
        asked = len(hospital.control.requests(operation="ListSchedules"))
        mappings.edit(SEARCH, "name: $d.Name", "name: $d.DoctorNo")
        bus.process.send_signal(signal.SIGHUP)
        until(bus, lambda _: metric(bus, 'config_reloads_total{result="loaded"}') == 1)
        status, _, problem = bus.call("GET", path)
        assert (status, problem["code"]) == (503, "endpoint_down")
        assert len(hospital.control.requests(operation="ListSchedules")) == asked
        assert metric(bus, 'breaker_state{endpoint="his"}') == 2


def test_sighup_without_a_change_changes_nothing_and_while_stopping_it_does_no_harm(
    hospital: Sandbox, mappings: Mappings
) -> None:
    with start_bus(hospital, environ=watching(mappings, "0")) as bus:
        before = configuration(bus)
        for _ in range(20):
            bus.process.send_signal(signal.SIGHUP)
        until(bus, lambda _: metric(bus, 'config_reloads_total{result="unchanged"}') >= 1)
        assert configuration(bus) == before
        bus.process.send_signal(signal.SIGTERM)
        while bus.process.poll() is None:
            bus.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        assert bus.process.wait() == 0


def test_sighup_while_the_bus_starts_is_heard_when_it_has(hospital: Sandbox, mappings: Mappings) -> None:
    with start_bus(hospital, environ=watching(mappings, "0"), while_starting=_hang_up) as bus:
        until(bus, lambda _: metric(bus, 'config_reloads_total{result="unchanged"}') >= 1)


def _hang_up(process: Any) -> None:
    """As soon as the process blocks the signal, which is before it reads its configuration."""
    while process.poll() is None:
        found = (Path("/proc") / str(process.pid) / "status").read_text()
        blocked = int(next(line for line in found.splitlines() if line.startswith("SigBlk")).split()[1], 16)
        if blocked & (1 << (signal.SIGHUP - 1)):
            break
    process.send_signal(signal.SIGHUP)
