"""The hospital misbehaves: the right outcome, the raw answer kept, nothing sent twice that may have happened."""

import threading
from typing import Any

import pytest

from tests.bus_process import Bus, start_bus, until
from tests.journeys.conftest import PATIENT_LOCK, QUICK, lock_request, open_slot, tomorrow
from tests.sandbox_process import Sandbox

KEPT = {"html_error": b"<html", "dtd": b"<!DOCTYPE", "gbk_undeclared": "医生甲".encode("gbk"), "truncated": b"Slot"}

Answer = tuple[int, dict[str, str], Any]


def lock(bus: Bus, request: dict[str, Any], key: str) -> Answer:
    return bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": key})


def settled(bus: Bus, answer: Answer) -> Any:
    """What became of an exchange that was answered 202."""
    status, headers, _ = answer
    assert status == 202
    return bus.until(headers["location"], lambda body: body["final"])


def locks_made(hospital: Sandbox, order: str) -> int:
    return len(hospital.control.ledger(key=order, operation="lock"))


def requests_seen(hospital: Sandbox, operation: str) -> int:
    return len(hospital.control.requests(operation=operation))


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("hang", 503, "no_answer"),
        ("reset_before", 503, "no_answer"),
        ("garbage", 502, None),
        ("html_error", 502, None),
        ("empty", 502, None),
        ("dtd", 502, None),
        ("truncated", 502, None),
        ("gbk_undeclared", 502, None),
    ],
)
def test_a_read_of_a_broken_system_is_told_as_what_it_is(
    bus: Bus, hospital: Sandbox, fault: str, status: int, code: str | None
) -> None:
    hospital.control.fault("soap", fault, operation="ListSchedules")
    got, headers, problem = bus.call("GET", f"/v1/schedules?doctorId=D001&from={tomorrow()}&to={tomorrow()}")
    assert got in ({status, 503} if fault == "truncated" else {status})
    assert code is None or problem["code"] == code
    assert got != 503 or int(headers["retry-after"]) >= 1
    row = bus.row("schedule.list", problem["exchange"])
    assert KEPT.get(fault, b"") in row["raw"], "the raw answer is kept"
    assert bool(row["raw"]) == (fault not in ("hang", "reset_before", "empty"))


def test_a_slow_read_is_retried_and_answers(bus: Bus, hospital: Sandbox) -> None:
    hospital.control.fault("soap", "reset_before", operation="ListSchedules", times=1)
    assert open_slot(bus)["doctorId"] == "D001"
    assert requests_seen(hospital, "ListSchedules") == 2


def test_a_gbk_answer_that_says_so_is_read(bus: Bus, hospital: Sandbox) -> None:
    hospital.control.fault("soap", "gbk", operation="ListSchedules")
    assert open_slot(bus)["doctorName"].startswith("医生甲")


@pytest.mark.parametrize("fault", ["reset_after", "hang_after", "garbage", "truncated", "empty"])
def test_a_lock_whose_answer_is_lost_is_settled_and_made_once(bus: Bus, hospital: Sandbox, fault: str) -> None:
    slot = open_slot(bus)
    hospital.control.fault("soap", fault, operation="LockRegistration")
    answer = lock(bus, lock_request(slot, f"RL{fault}"), f"KL-{fault}")
    if answer[0] == 202:
        assert settled(bus, answer)["outcome"] == "done"
    else:
        assert (answer[0], answer[2]["status"]) == (201, "locked")
    assert requests_seen(hospital, "LockRegistration") == 1
    assert locks_made(hospital, f"RL{fault}") == 1
    again = lock(bus, lock_request(slot, f"RL{fault}"), f"KL-{fault}")
    assert (again[0], again[2]["orderNo"]) == (201, f"RL{fault}")
    assert requests_seen(hospital, "LockRegistration") == 1


@pytest.mark.parametrize("fault", ["reset_before", "hang_before", "html_error", "http_500"])
def test_a_lock_that_never_happened_is_found_out_and_may_be_tried_again(
    bus: Bus, hospital: Sandbox, fault: str
) -> None:
    slot = open_slot(bus)
    hospital.control.fault("soap", fault, operation="LockRegistration", times=1)
    answer = lock(bus, lock_request(slot, f"RN{fault}"), f"KN-{fault}")
    assert settled(bus, answer)["outcome"] == "unavailable"
    assert requests_seen(hospital, "LockRegistration") == 1
    assert locks_made(hospital, f"RN{fault}") == 0
    again = lock(bus, lock_request(slot, f"RN{fault}"), f"KN-{fault}")
    assert again[0] == 201
    assert locks_made(hospital, f"RN{fault}") == 1


def test_an_order_that_holds_another_slot_does_not_settle_a_lost_lock_as_done(bus: Bus, hospital: Sandbox) -> None:
    held, wanted = open_slot(bus), open_slot(bus, skip=1)
    assert lock(bus, lock_request(held, "RX1"), "KX1")[0] == 201
    hospital.control.fault("soap", "reset_before", operation="LockRegistration", times=1)
    status, _, body = lock(bus, lock_request(wanted, "RX1"), "KX2")
    assert (status, body["outcome"]) == (202, "unknown")


def test_an_order_whose_lock_was_released_is_not_told_that_it_holds_the_slot(bus: Bus, hospital: Sandbox) -> None:
    request = lock_request(open_slot(bus), "RR1")
    assert lock(bus, request, "KR1")[0] == 201
    assert bus.call("DELETE", "/v1/registrations/locks/RR1")[0] == 200
    status, _, problem = lock(bus, request, "KR2")
    assert (status, problem["code"]) == (409, "order_conflict")


def test_a_busy_hospital_is_unavailable_and_the_key_stays_free(bus: Bus, hospital: Sandbox) -> None:
    slot = open_slot(bus)
    hospital.control.fault("soap", "business_error", operation="LockRegistration", code="-999", times=1)
    assert lock(bus, lock_request(slot, "RB1"), "KB1")[0] == 503
    assert lock(bus, lock_request(slot, "RB1"), "KB1")[0] == 201


def test_a_key_gives_its_first_answer_again_and_refuses_another_body(bus: Bus, hospital: Sandbox) -> None:
    slot, other = open_slot(bus), open_slot(bus, skip=1)
    first, second = (lock(bus, lock_request(slot, "RK1"), "KK1") for _ in range(2))
    assert first[0] == second[0] == 201
    assert first[2] == second[2]
    assert requests_seen(hospital, "LockRegistration") == 1
    status, _, problem = lock(bus, lock_request(other, "RK2"), "KK1")
    assert (status, problem["code"]) == (422, "idempotency_conflict")


def test_the_same_key_while_it_still_runs_is_a_conflict(hospital: Sandbox) -> None:
    hospital.control.fault("soap", "hold", operation="LockRegistration")
    answers: list[Answer] = []
    with start_bus(hospital, changes=PATIENT_LOCK) as bus:
        slot = open_slot(bus)

        def send() -> None:
            answers.append(lock(bus, lock_request(slot, "RK3"), "KK3"))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) == 3)
        hospital.control.clear_faults()
        for thread in threads:
            thread.join()
    assert sorted(status for status, _, _ in answers) == [201, 409, 409, 409]
    assert {problem["code"] for status, _, problem in answers if status == 409} == {"idempotency_running"}
    assert locks_made(hospital, "RK3") == 1


def test_a_dead_hospital_is_unavailable_at_once_and_not_ready(hospital: Sandbox) -> None:
    changes = {**QUICK, "address: $env.HIS_URL ?? http://127.0.0.1:18080/soap/his": "address: http://127.0.0.1:9/soap"}
    with start_bus(hospital, changes=changes) as bus:
        status, _, problem = bus.call("GET", f"/v1/schedules?from={tomorrow()}&to={tomorrow()}")
        assert (status, problem["code"]) == (503, "unavailable")
        status, _, ready = bus.call("GET", "/readyz")
        assert status == 503
        assert "his" in str(ready)
        assert bus.call("GET", "/healthz")[0] == 200
        assert bus.call("GET", "/v1/departments?level=1")[0] == 200


def test_a_bus_killed_while_a_lock_is_out_settles_it_when_it_comes_back(hospital: Sandbox) -> None:
    with start_bus(hospital, changes=QUICK) as bus:
        slot = open_slot(bus)
        hospital.control.fault("soap", "hang_after", operation="LockRegistration")
        sender = threading.Thread(target=_lost, args=(bus, lock_request(slot, "RC1"), "KC1"))
        sender.start()
        until(lambda: locks_made(hospital, "RC1"))
        bus.kill()
        sender.join()
        hospital.control.clear_faults()
        with start_bus(hospital, changes=QUICK, folder=bus.folder) as second:
            row = second.journal("registration.lock")[-1]
            end = second.until(f"/v1/exchanges/{row['id']}", lambda body: body["final"])
            assert end["outcome"] == "done"
            again = lock(second, lock_request(slot, "RC1"), "KC1")
            assert (again[0], again[2]["orderNo"]) == (201, "RC1")
    assert requests_seen(hospital, "LockRegistration") == 1
    assert locks_made(hospital, "RC1") == 1


def _lost(bus: Bus, request: dict[str, Any], key: str) -> None:
    try:
        lock(bus, request, key)
    except OSError:
        return


def test_sigterm_ends_the_bus_with_status_zero(hospital: Sandbox) -> None:
    with start_bus(hospital) as bus:
        assert bus.call("GET", "/healthz")[0] == 200
        assert bus.stop() == 0
