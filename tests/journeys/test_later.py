"""Applications that accept a message at once and answer later, where our listener is: whichever process sent it."""

from __future__ import annotations

import contextlib
import http.client
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient

from tests import postgres
from tests.bus_process import Bus, start_bus
from tests.journeys.conftest import lock_request
from tests.journeys.test_listener import END, VT, port_of
from tests.journeys.test_second_hospital import FOLDER, open_slots
from tests.sandbox_process import Sandbox

INTERVALS = ", ".join(["100ms", "300ms", *["500ms"] * 60])
CHANGES = {
    "      receiving_facility: H1\n    limits: {concurrency: 1}\n": """      receiving_facility: H1
      accept_ack: AL
      application_ack: AL
      later_answers: scheduler
    limits: {concurrency: 4}
  scheduler_inbound:
    adapter: hl7v2
    dialect: hl7_events
    settings: {listen: '$env.HIS_INBOUND', later_answers: scheduler}
  scheduler_now:
    adapter: hl7v2
    dialect: hl7_siu
    settings: {host: 127.0.0.1, port: $env.INDEX_PORT, charset: GB 18030-2000, version: '2.4'}
""",
    "      port: $env.INDEX_PORT ?? 12575\n      charset": "      port: $env.LATER_PORT\n      charset",
    "registration.lock:   {to: scheduler, timeout: 6s, settle: registration.find}": (
        f"registration.lock: {{to: scheduler, timeout: 2s, settle: registration.find, settle_after: [{INTERVALS}]}}"
    ),
    "registration.find:   {to: scheduler,": "registration.find: {to: scheduler_now,",
    "routes:\n": "callbacks:\n  "
    "his.patient: {from: scheduler_inbound, on: [ADT^A28], emits: patient.changed}\nroutes:\n",
}


class Application(socketserver.ThreadingTCPServer):
    """Accepts each message with CA, has the hospital perform it, and brings the hospital's answer where it is told to.

    Of python-hl7 and sockets. What it performs is the hospital's, so the hospital's ledger and queries know of it.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, hospital: Sandbox) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.hospital = hospital
        self.port = self.server_address[1]
        self.listener = 0
        """Where it brings answers at once; 0: it keeps them until ``bring``."""
        self.asked: list[str] = []
        self.answers: list[bytes] = []
        self.performed = threading.Semaphore(0)

    def perform(self, frame: bytes) -> None:
        with MLLPClient("127.0.0.1", self.hospital.mllp) as hospital:
            answer = hospital.send(frame)
        self.answers.append(answer)
        if self.listener:
            self.bring(self.listener)
        self.performed.release()

    def bring(self, listener: int) -> str:
        """The newest answer; what our listener says of it."""
        wanting = self.answers[-1].replace(b"|P|2.4|||||", b"|P|2.4|||AL|NE|")
        with MLLPClient("127.0.0.1", listener) as bus:
            heard = hl7.parse(bus.send(wanting).strip(VT + END).decode("gb18030"))
        return str(heard.segment("MSA")[1])


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        application = self.server
        assert isinstance(application, Application)
        buffer = b""
        while data := self.request.recv(65536):
            buffer += data
            while END in buffer:
                frame, _, buffer = buffer.partition(END)
                message = hl7.parse(frame.strip(VT).decode("gb18030"))
                application.asked.append(str(message.segment("MSH")[9]).partition("^S")[0])
                self.wfile.write(VT + str(message.create_ack("CA")).encode() + END)
                threading.Thread(target=application.perform, args=[frame + END], daemon=True).start()


@pytest.fixture
def application(hospital: Sandbox) -> Iterator[Application]:
    with Application(hospital) as made:
        threading.Thread(target=made.serve_forever, args=[0.05], daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def store() -> Iterator[str]:
    with postgres.database() as url:
        yield url


@contextlib.contextmanager
def bus_for(application: Application, role: str = "run", folder: Path | None = None, **environ: str) -> Iterator[Bus]:
    environ = {"LATER_PORT": str(application.port), "ESB_LEASE": "2", **environ}
    with start_bus(
        application.hospital,
        routes=FOLDER / "routes.yaml",
        changes=CHANGES,
        environ=environ,
        role=role,
        folder=folder,
    ) as bus:
        yield bus


def ask(bus: Bus, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    return bus.call("POST", "/v1/registrations/locks", request, {"Idempotency-Key": f"K-{request['orderNo']}"})


def lock(bus: Bus, order: str) -> tuple[int, dict[str, str], Any]:
    return ask(bus, lock_request(open_slots(bus)[0], order))


def send(bus: Bus, request: dict[str, Any]) -> None:
    """To one that will not live to answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(bus, request)


def effects(application: Application, order: str) -> list[str]:
    return [row["operation"] for row in application.hospital.control.ledger(key=order)]


def no_query_is_answered(application: Application) -> None:
    application.hospital.control.fault("hl7", "reset_before", operation="SQM^S25")


def test_one_process_sends_and_another_hears_the_answer(application: Application, store: str) -> None:
    with (
        bus_for(application, "work", ESB_STORE=store) as worker,
        bus_for(application, "serve", ESB_STORE=store) as front,
    ):
        application.listener = port_of(worker, "scheduler_inbound")
        no_query_is_answered(application)
        status, _, body = lock(front, "L1")
        assert (status, body["orderNo"], body["status"]) == (201, "L1", "confirmed")
    assert effects(application, "L1") == ["lock", "confirm"]
    assert application.asked == ["SRM"]


def test_what_a_killed_sender_was_answered_meanwhile_ends_its_exchange(application: Application, store: str) -> None:
    """F05, I8: the answer is kept by whoever hears it, and the exchange ends by it when another takes it up."""
    with bus_for(application, "work", ESB_STORE=store) as worker:
        with bus_for(application, "serve", ESB_STORE=store) as doomed:
            no_query_is_answered(application)
            request = lock_request(open_slots(doomed)[0], "L2")
            sending = threading.Thread(target=send, args=[doomed, request])
            sending.start()
            assert application.performed.acquire(timeout=60)
            doomed.kill()
            sending.join()
        assert application.bring(port_of(worker, "scheduler_inbound")) == "CA"
        with bus_for(application, "serve", ESB_STORE=store) as front:
            end, status = time.monotonic() + 60, 0
            while status != 201 and time.monotonic() < end:
                status, headers, body = ask(front, request)
                time.sleep(0.1)
            assert (status, body["orderNo"], headers["idempotency-replayed"]) == (201, "L2", "true")
    assert effects(application, "L2") == ["lock", "confirm"]
    assert application.asked == ["SRM"]


def test_what_is_never_answered_is_settled_by_its_query(application: Application, tmp_path: Path) -> None:
    with bus_for(application, folder=tmp_path) as bus:
        status, headers, body = lock(bus, "L3")
        assert (status, body["outcome"]) == (202, "unknown")
        end = bus.until(headers["location"], lambda body: body.get("final"), 60.0)
        assert (end["outcome"], end["answer"]["orderNo"]) == ("done", "L3")
        (row,) = bus.journal("registration.lock")
        assert row["reason"] == "settled: it happened"
    assert application.asked == ["SRM"]


@pytest.mark.parametrize("taken", [False, True], ids=["booked", "refused"])
def test_what_is_answered_late_ends_by_the_answer(application: Application, tmp_path: Path, taken: bool) -> None:
    with bus_for(application, folder=tmp_path) as bus:
        no_query_is_answered(application)
        if taken:
            application.hospital.control.fault("hl7", "business_error", operation="SRM^S01", code="1001")
        status, headers, body = lock(bus, "L4")
        assert (status, body["outcome"]) == (202, "unknown")
        assert application.performed.acquire(timeout=60)
        assert application.bring(port_of(bus, "scheduler_inbound")) == "CA"
        end = bus.until(headers["location"], lambda body: body.get("final"), 60.0)
        if taken:
            assert (end["outcome"], end["problem"]["code"]) == ("refused", "slot_full")
        else:
            assert (end["outcome"], end["answer"]["orderNo"]) == ("done", "L4")
        (row,) = bus.journal("registration.lock")
        assert row["reason"] == "settled: it was answered later"
        assert b"SRR" in row["raw"]
    assert application.asked == ["SRM"]
