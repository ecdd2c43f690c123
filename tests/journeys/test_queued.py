"""Queued delivery with the real process and the sandbox's ledger. What is killed is in ``tests/faults``."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bus_process import Bus, start_bus
from tests.journeys.conftest import LOCK, QUICK, lock_request, open_slot
from tests.sandbox_process import Sandbox

UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
QUICK_LOCK = QUICK[LOCK]
QUEUED = {
    **QUICK,
    LOCK: QUICK_LOCK.replace("{to: his,", "{to: his, deliver: queued, ordered: $orderNo,"),
    UNLOCK: "registration.unlock: {to: his, timeout: 1500ms, deliver: queued, retry: 30 over 1m, ordered: $orderNo}",
}
AT = ("ready", "later", "taken")


@contextlib.contextmanager
def queued(hospital: Sandbox, changes: Mapping[str, str] = QUEUED, **more: Any) -> Iterator[Bus]:
    with start_bus(hospital, changes=changes, **more) as bus:
        yield bus


def lock(bus: Bus, slot: dict[str, Any], order: str) -> tuple[int, dict[str, str], Any]:
    return bus.call("POST", "/v1/registrations/locks", lock_request(slot, order), {"Idempotency-Key": f"K-{order}"})


def unlock(bus: Bus, order: str) -> tuple[int, dict[str, str], Any]:
    return bus.call("DELETE", f"/v1/registrations/locks/{order}", headers={"Idempotency-Key": f"U-{order}"})


def ended(bus: Bus, path: str, seconds: float = 30.0) -> Any:
    return bus.until(path, lambda body: body.get("final"), seconds)


def effects(hospital: Sandbox, order: str) -> dict[str, int]:
    return dict(Counter(row["operation"] for row in hospital.control.ledger(key=order)))


def metric(bus: Bus, line: str) -> float:
    text = bus.call("GET", "/metrics")[2].decode()
    return next((float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line)), 0.0)


def test_a_queued_lock_is_accepted_and_its_exchange_shows_the_lock(hospital: Sandbox) -> None:
    with queued(hospital) as bus:
        slot = open_slot(bus)
        status, headers, body = lock(bus, slot, "Q1")
        assert (status, body["outcome"], body["message"]["en"]) == (
            202,
            "accepted",
            "The request was accepted and is being carried out",
        )
        end = ended(bus, headers["location"])
        assert (end["outcome"], end["answer"]["orderNo"]) == ("done", "Q1")
        status, headers, body = lock(bus, slot, "Q1")
        assert (status, body, headers["idempotency-replayed"]) == (201, end["answer"], "true")
        status, headers, _ = unlock(bus, "Q1")
        assert (status, ended(bus, headers["location"])["answer"]["status"]) == (202, "released")
        refused = ended(bus, unlock(bus, "Q404")[1]["location"])
        assert (refused["outcome"], refused["problem"]["code"]) == ("refused", "not_found")
        assert metric(bus, 'queue_deliveries_total{endpoint="his",result="done"}') == 2
        assert metric(bus, 'queue_accepted_total{endpoint="his"}') == 3
    assert effects(hospital, "Q1") == {"lock": 1, "release": 1}


def test_a_dead_hospital_is_waited_for(hospital: Sandbox) -> None:
    with queued(hospital) as bus:
        ended(bus, lock(bus, open_slot(bus), "D1")[1]["location"])
        hospital.control.fault("soap", "reset_before", operation="UnlockRegistration")
        path = unlock(bus, "D1")[1]["location"]
        bus.until(path, lambda _: metric(bus, 'queue_deliveries_total{endpoint="his",result="later"}') >= 2)
        state = bus.until(path, lambda body: body["delivery"] == "waiting")
        assert (state["outcome"], state["final"]) == ("accepted", False)
        hospital.control.clear_faults()
        assert ended(bus, path)["outcome"] == "done"
    assert effects(hospital, "D1") == {"lock": 1, "release": 1}


def test_a_system_that_hangs_leaves_the_others_alone(hospital: Sandbox) -> None:
    other = (
        "  other:\n    adapter: soap\n    dialect: his_soap\n    settings:\n      wsdl: $file.schemas/wsdl/his.wsdl\n"
    )
    changes = {
        **QUEUED,
        "  index:   ": f"{other}      address: $env.HIS_URL\n  index:   ",
        "limits: {concurrency: 32, queue: 500": "limits: {concurrency: 4, queue: 500",
        UNLOCK: QUEUED[UNLOCK].replace("to: his", "to: other"),
        LOCK: QUEUED[LOCK].replace("timeout: 3s", "timeout: 60s"),
    }
    with queued(hospital, changes) as bus:
        slots = [open_slot(bus, skip=skip) for skip in range(5)]
        ended(bus, lock(bus, slots[0], "H0")[1]["location"])
        hospital.control.fault("soap", "hold", operation="LockRegistration")
        held = [lock(bus, slots[number % 4], f"H{number}")[1]["location"] for number in range(1, 20)]
        assert ended(bus, unlock(bus, "H0")[1]["location"])["outcome"] == "done"
        assert not any(bus.call("GET", path)[2]["final"] for path in held)
        hospital.control.clear_faults()


def test_a_stuck_order_leaves_other_orders_alone(hospital: Sandbox) -> None:
    with queued(hospital) as bus:
        for order in ("S1", "S2"):
            ended(bus, lock(bus, open_slot(bus), order)[1]["location"])
        hospital.control.fault("soap", "reset_before", operation="UnlockRegistration", times=3)
        stuck = unlock(bus, "S1")[1]["location"]
        behind = bus.call("DELETE", "/v1/registrations/locks/S1")[1]["location"]
        bus.until(stuck, lambda body: body.get("delivery") == "waiting" and _tried(bus))
        passing = ended(bus, unlock(bus, "S2")[1]["location"])
        assert passing["outcome"] == "done"
        assert ended(bus, stuck)["outcome"] == ended(bus, behind)["outcome"] == "done"
        rows = {row["id"]: row["finished"] for row in bus.journal("registration.unlock")}
        first, second = (rows[path.rpartition("/")[2]] for path in (stuck, behind))
        assert first <= second


def _tried(bus: Bus) -> bool:
    return metric(bus, 'queue_deliveries_total{endpoint="his",result="later"}') >= 1


def test_a_queued_exchange_runs_with_the_version_in_use_when_it_is_taken(hospital: Sandbox) -> None:
    with queued(hospital) as bus:
        ended(bus, lock(bus, open_slot(bus), "V1")[1]["location"])
        hospital.control.fault("soap", "reset_before", operation="UnlockRegistration")
        path = unlock(bus, "V1")[1]["location"]
        before = bus.call("GET", path)[2]["version"]
        routes = bus.folder / "routes.yaml"
        routes.write_text(routes.read_text("utf-8").replace("1500ms, deliver", "1600ms, deliver"), encoding="utf-8")
        os.kill(bus.process.pid, signal.SIGHUP)
        bus.until("/readyz", lambda body: body["configuration"]["version"] != before)
        hospital.control.clear_faults()
        after = ended(bus, path)
        assert (after["outcome"], after["version"] != before) == ("done", True)
        assert after["version"] == bus.call("GET", "/readyz")[2]["configuration"]["version"]


def test_a_stop_lets_what_is_sent_end_and_keeps_the_rest(hospital: Sandbox, tmp_path: Path) -> None:
    hospital.control.fault("soap", "delay", operation="LockRegistration", seconds=2.0)
    changes = {**QUEUED, "limits: {concurrency: 32, queue: 500": "limits: {concurrency: 4, queue: 500"}
    with queued(hospital, changes, folder=tmp_path) as bus:
        slot = open_slot(bus)
        paths = [lock(bus, slot, f"T{number}")[1]["location"] for number in range(12)]
        bus.until(paths[0], lambda body: body.get("delivery") == "sending" or body["final"])
        assert bus.stop() == 0
        states = Counter(row["state"] for row in bus.journal("registration.lock"))
        assert set(states) <= {"done", "refused", "accepted"}
        assert states["accepted"] > 0
        hospital.control.clear_faults()
    assert len(hospital.control.requests(operation="LockRegistration")) == 12 - states["accepted"]
    with queued(hospital, changes, folder=tmp_path) as bus:
        assert {ended(bus, path)["outcome"] for path in paths} <= {"done", "refused"}
    assert len(hospital.control.requests(operation="LockRegistration")) == 12


def test_over_the_bound_the_caller_is_told_when_to_come_back(hospital: Sandbox) -> None:
    changes = {**QUEUED, "limits: {concurrency: 32, queue: 500": "limits: {backlog: 3, concurrency: 32, queue: 500"}
    with queued(hospital, changes) as bus:
        hospital.control.fault("soap", "hang", operation="UnlockRegistration")
        answers = [unlock(bus, f"B{number}") for number in range(6)]
        assert [status for status, _, _ in answers] == [202] * 3 + [503] * 3
        assert (answers[5][2]["code"], int(answers[5][1]["retry-after"]) >= 5) == ("queue_full", True)
        hospital.control.clear_faults()


def test_the_depth_and_the_age_of_a_queue_are_in_the_metrics(hospital: Sandbox) -> None:
    with queued(hospital) as bus:
        hospital.control.fault("soap", "hang", operation="UnlockRegistration")
        for number in range(3):
            unlock(bus, f"G{number}")
        bus.until(
            "/readyz", lambda _: sum(metric(bus, f'queue_depth{{endpoint="his",where="{at}"}}') for at in AT) == 3
        )
        assert metric(bus, 'queue_oldest_seconds{endpoint="his"}') > 0
        hospital.control.clear_faults()
