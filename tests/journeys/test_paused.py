"""Processes that are stopped for longer than their lease and go on after others took over: the hospital's ledger judges
(I2, I7, I8, I16).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from tests.bus_process import Bus, until
from tests.journeys.conftest import LOCK, PATIENT_LOCK, open_slot
from tests.journeys.test_scale_out import QUEUED, Part, effects, lock, unlock
from tests.journeys.test_scale_out import part as part
from tests.journeys.test_scale_out import store as store
from tests.sandbox_process import Sandbox

LIMIT_S = 60.0


@pytest.fixture
def patient(hospital: Sandbox, store: str) -> Iterator[Part]:
    """As ``part``, and a lock is waited for as long as the test holds it."""
    with ExitStack() as running:
        yield Part(hospital, store, running, {**QUEUED, LOCK: PATIENT_LOCK[LOCK]})


@pytest.fixture
def few(hospital: Sandbox, store: str) -> Iterator[Part]:
    """As ``part``, with room for three messages."""
    changes = {**QUEUED, "concurrency: 32, queue: 500,": "concurrency: 32, queue: 500, backlog: 3,"}
    with ExitStack() as running:
        yield Part(hospital, store, running, changes)


@contextmanager
def paused(bus: Bus) -> Iterator[None]:
    """SIGSTOP; it goes on at the end."""
    bus.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        bus.process.send_signal(signal.SIGCONT)


def states(store: str, operation: str) -> list[tuple[str, str]]:
    with psycopg.connect(store) as connection:
        query = "SELECT state, owner FROM exchange WHERE operation = %s AND cause = '' ORDER BY id"
        return connection.execute(query, (operation,)).fetchall()


def is_buried(store: str, bus: Bus) -> bool:
    """Whether others have ended the lease of this process."""
    with psycopg.connect(store) as connection:
        query = "SELECT 1 FROM lease WHERE name LIKE %s"
        return connection.execute(query, (f"instance/%/{bus.process.pid}/%",)).fetchone() is None


def lost_lease(bus: Bus) -> bool:
    return b"\nleases_lost_total 1" in bus.call("GET", "/metrics")[2]


def test_a_paused_front_neither_sends_nor_changes_what_another_settled(
    hospital: Sandbox, patient: Part, store: str
) -> None:
    """Stopped with a lock on the wire; when it goes on its answer is late, and another has decided long ago."""
    part = patient
    front, other = part("serve"), part("serve")
    slot = open_slot(front)
    hospital.control.fault("soap", "hold_after", operation="LockRegistration", times=1)
    told: list[Any] = []
    asking = threading.Thread(target=lambda: told.append(lock(front, slot, "P1")))
    asking.start()
    until(lambda: states(store, "registration.lock") and states(store, "registration.lock")[0][0] == "sent")
    with paused(front):
        until(lambda: states(store, "registration.lock") == [("done", "")])
        until(lambda: is_buried(store, front))
        assert effects(hospital, "P1") == ["lock"]
    hospital.control.clear_faults()
    asking.join(LIMIT_S)
    until(lambda: lost_lease(front))
    assert states(store, "registration.lock") == [("done", "")]
    for bus in (front, other):
        status, headers, _ = lock(bus, slot, "P1")
        assert (status, headers["idempotency-replayed"]) == (201, "true")
    assert told[0][0] in (201, 202, 504), told
    assert effects(hospital, "P1") == ["lock"]
    assert lock(front, open_slot(front, skip=1), "P2")[0] == 201


def test_a_paused_worker_leaves_what_another_delivered_as_it_is(hospital: Sandbox, part: Part, store: str) -> None:
    """Stopped with messages under way; others deliver them, and what it does with them afterwards changes nothing."""
    front, worker = part("serve"), part("work")
    orders = [f"Q{number}" for number in range(6)]
    for number, order in enumerate(orders):
        assert lock(front, open_slot(front, skip=number % 3), order)[0] == 201
    hospital.control.fault("soap", "hold", operation="UnlockRegistration")
    places = [unlock(front, order) for order in orders]
    until(lambda: hospital.control.requests(operation="UnlockRegistration"))
    with paused(worker):
        hospital.control.clear_faults()
        part("work")
        for where in places:
            assert front.until(where, lambda body: body.get("final"))["outcome"] == "done"
        until(lambda: is_buried(store, worker))
    until(lambda: lost_lease(worker))
    late = unlock(front, orders[0] + "x")
    front.until(late, lambda body: body.get("final"))
    assert {state for state, _ in states(store, "registration.unlock")} <= {"done", "refused"}
    for order in orders:
        assert effects(hospital, order)[:2] == ["lock", "release"]
        assert effects(hospital, order).count("release") == 1


def test_a_front_accepts_as_long_as_others_deliver(hospital: Sandbox, few: Part) -> None:
    """I10: its queue is as long as what waits, and not as all that it ever accepted."""
    front, _ = few("serve"), few("work")
    for number in range(8):

        def accepted(order: str = f"B{number}") -> str:
            headers = {"Idempotency-Key": f"U-{order}"}
            status, found, _ = front.call("DELETE", f"/v1/registrations/locks/{order}", headers=headers)
            return found["location"] if status == 202 else ""

        front.until(until(accepted), lambda body: body.get("final"))
