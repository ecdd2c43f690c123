"""One sandbox hospital and one bus in front of it for the journeys; each test begins with a fresh hospital."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from esb.clock import SystemClock
from tests.bus_process import Bus, start_bus
from tests.sandbox_process import Sandbox, start_sandbox

SCHEDULES = "schedule.list:       {to: his, timeout: 3s, retry: 2, cache: 5s}"
LOCK = "registration.lock:   {to: his, timeout: 4s, settle: registration.find}"
QUICK = {
    LOCK: ("registration.lock: {to: his, timeout: 3s, settle: registration.find, settle_after: [100ms, 300ms, 600ms]}"),
    SCHEDULES: ("schedule.list: {to: his, timeout: 3s, retry: 1}"),
    "breaker: 5 in 30s for 5s": "breaker: 50 in 30s for 1s",
}
"""Short waits, no cache: what a test asks, the hospital is asked. A busy machine answers within them all the same."""

PATIENT_LOCK = {**QUICK, LOCK: QUICK[LOCK].replace("timeout: 3s", "timeout: 60s")}
"""A lock is waited for as long as a test holds it."""


@pytest.fixture(scope="session")
def shared_hospital() -> Iterator[Sandbox]:
    with start_sandbox() as hospital:
        yield hospital


@pytest.fixture
def hospital(shared_hospital: Sandbox) -> Sandbox:
    shared_hospital.control.reset()
    return shared_hospital


@pytest.fixture(scope="session")
def shared_bus(shared_hospital: Sandbox) -> Iterator[Bus]:
    with start_bus(shared_hospital, changes=QUICK) as bus:
        yield bus


@pytest.fixture
def bus(shared_bus: Bus, hospital: Sandbox) -> Bus:
    return shared_bus


def tomorrow() -> str:
    return (SystemClock().now() + timedelta(days=1)).date().isoformat()


def open_slot(bus: Bus, doctor: str = "D001", skip: int = 0) -> dict[str, Any]:
    """An open slot of tomorrow, as the schedule shows it."""
    status, _, body = bus.call("GET", f"/v1/schedules?doctorId={doctor}&from={tomorrow()}&to={tomorrow()}")
    assert status == 200, body
    slots: list[dict[str, Any]] = [slot for slot in body["items"] if slot["status"] == "open"]
    return slots[skip]


def lock_request(slot: dict[str, Any], order: str, patient: str = "P0000001") -> dict[str, Any]:
    names = ("slotId", "scheduleId", "departmentId", "doctorId", "start", "end")
    return {"orderNo": order, "patientId": patient, "slot": {name: slot[name] for name in names}, "fee": slot["fee"]}
