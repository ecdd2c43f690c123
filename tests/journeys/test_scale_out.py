"""Several processes of one bus on one PostgreSQL store: what one accepts another delivers and, when it dies, ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.bus_process import ROOT, Bus, start_bus, until
from tests.journeys.conftest import QUICK, lock_request, open_slot
from tests.sandbox_process import Sandbox

UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
QUEUED = {**QUICK, UNLOCK: "registration.unlock: {to: his, timeout: 4s, deliver: queued, ordered: $orderNo}"}


@pytest.fixture
def store() -> Iterator[str]:
    with postgres.database() as url:
        yield url


class Part:
    """Starts processes in front of one hospital and on one store; each ends with the test."""

    def __init__(
        self,
        hospital: Sandbox,
        store: str,
        running: contextlib.ExitStack,
        changes: Mapping[str, str] = QUEUED,
    ) -> None:
        self._hospital, self._store, self._running, self._changes = hospital, store, running, changes

    def __call__(self, role: str, **environ: str) -> Bus:
        environ = {"ESB_STORE": self._store, "ESB_LEASE": "2", **environ}
        return self._running.enter_context(start_bus(self._hospital, changes=self._changes, environ=environ, role=role))


@pytest.fixture
def part(hospital: Sandbox, store: str) -> Iterator[Part]:
    with contextlib.ExitStack() as running:
        yield Part(hospital, store, running)


def lock(bus: Bus, slot: Mapping[str, Any], order: str) -> tuple[int, dict[str, str], Any]:
    return bus.call("POST", "/v1/registrations/locks", lock_request(slot, order), {"Idempotency-Key": f"K-{order}"})


def unlock(bus: Bus, order: str) -> str:
    status, headers, body = bus.call(
        "DELETE", f"/v1/registrations/locks/{order}", headers={"Idempotency-Key": f"U-{order}"}
    )
    assert status == 202, body
    return headers["location"]


def effects(hospital: Sandbox, order: str) -> list[str]:
    return [row["operation"] for row in hospital.control.ledger(key=order)]


def test_one_accepts_another_delivers_and_any_of_them_answers(hospital: Sandbox, part: Part) -> None:
    first = part("serve")
    until(lambda: '"journal_pruned"' in first.log() and '"audit_anchor"' in first.log())
    second, worker = part("serve"), part("work")
    slot = open_slot(first)
    assert lock(first, slot, "S1")[0] == 201
    status, headers, _ = lock(second, slot, "S1")
    assert (status, headers["idempotency-replayed"]) == (201, "true")
    where = unlock(first, "S1")
    end = second.until(where, lambda body: body.get("final"))
    assert (end["outcome"], end["answer"]["status"]) == ("done", "released")
    assert effects(hospital, "S1") == ["lock", "release"]
    assert worker.call("GET", "/v1/departments")[0] == 404
    assert worker.call("GET", "/readyz")[0] == 200
    assert b"queue_deliveries_total" in worker.call("GET", "/metrics")[2]


def test_two_workers_share_a_queue_and_each_message_is_delivered_once(hospital: Sandbox, part: Part) -> None:
    front, *workers = part("serve"), part("work"), part("work")
    orders = [f"W{number}" for number in range(40)]
    slots = [open_slot(front, skip=number) for number in range(4)]
    locked = [order for number, order in enumerate(orders) if lock(front, slots[number % 4], order)[0] == 201]
    assert len(locked) >= 4
    for where in [unlock(front, order) for order in locked]:
        assert front.until(where, lambda body: body.get("final"))["outcome"] == "done"
    assert [effects(hospital, order) for order in locked] == [["lock", "release"]] * len(locked)
    assert all(worker.process.poll() is None for worker in workers)


def test_what_a_killed_worker_had_under_way_another_delivers(hospital: Sandbox, part: Part) -> None:
    """F05 with the machine gone for good, I1, I2."""
    front = part("serve")
    assert lock(front, open_slot(front), "S2")[0] == 201
    doomed = part("work", ESB_CRASH_AT="after_take_before_map")
    where = unlock(front, "S2")
    assert doomed.process.wait(60) == 137
    part("work")
    assert front.until(where, lambda body: body.get("final"))["outcome"] == "done"
    assert effects(hospital, "S2") == ["lock", "release"]


def test_what_a_killed_front_had_sent_another_settles(hospital: Sandbox, part: Part) -> None:
    """CP05 with the machine gone for good, I8: asked whether it happened, never sent again."""
    doomed = part("serve", ESB_CRASH_AT="after_reply_before_result")
    slot = open_slot(part("serve"))

    def send() -> None:
        with contextlib.suppress(OSError):
            lock(doomed, slot, "S3")

    thread = threading.Thread(target=send)
    thread.start()
    assert doomed.process.wait(60) == 137
    thread.join()
    other = part("serve")
    end, status = time.monotonic() + 60, 0
    while status != 201 and time.monotonic() < end:
        status, headers, _ = lock(other, slot, "S3")
        time.sleep(0.1)
    assert (status, headers["idempotency-replayed"]) == (201, "true")
    assert effects(hospital, "S3") == ["lock"]


@pytest.mark.parametrize("role", ["serve", "work"])
def test_a_part_refuses_a_store_that_cannot_be_shared(role: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esb.cli", role],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "ESB_SECRETS": "sandbox/secrets",
            "ESB_STORE": f"sqlite:///{tmp_path}/esb.db",
            "ESB_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 2
    assert f"esb {role} is one process of several, and they share a store" in done.stderr
