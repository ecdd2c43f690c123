"""A replay beside a running bus: the sandbox's ledger is the judge of what happened how often (I2, I8)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bus_process import ROOT, Bus, start_bus
from tests.journeys.conftest import QUICK, lock_request, open_slot
from tests.journeys.test_queued import LOCK, effects, lock, unlock
from tests.rabbit_node import private_node
from tests.sandbox_process import Sandbox

UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
DIRECT = {**QUICK, UNLOCK: "registration.unlock: {to: his, timeout: 1500ms}"}


def esb(bus: Bus, *arguments: str) -> tuple[int, str]:
    environ = {
        **os.environ,
        "ESB_STORE": f"sqlite:///{bus.folder / 'esb.db'}",
        "ESB_ROUTES": str(bus.folder / "routes.yaml"),
        "ESB_SECRETS": str(ROOT / "sandbox" / "secrets"),
    }
    command = [sys.executable, "-m", "esb.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def ended(bus: Bus, exchange: str) -> Any:
    return bus.until(f"/v1/exchanges/{exchange}", lambda body: body.get("final") and body["outcome"] == "done", 40)


@pytest.fixture(params=["sql", "rabbit"])
def broker(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a bus whose queue is the store's own, or is dispatched by RabbitMQ."""
    if request.param == "sql":
        yield {}
        return
    with private_node() as node:
        yield {"ESB_BROKER": node.url, "ESB_BROKER_PREFIX": "replay"}


def test_direct_effects_that_did_not_happen_are_delivered_by_the_running_bus(
    hospital: Sandbox, broker: dict[str, str]
) -> None:
    with start_bus(hospital, changes=DIRECT, environ=broker) as bus:
        orders = [f"D{at}" for at in range(6)]
        for order in orders:
            slot = open_slot(bus)
            assert lock(bus, slot, order)[0] == 201
        hospital.control.fault("soap", "business_error", operation="UnlockRegistration", code="-999")
        failed = [unlock(bus, order)[0] for order in orders]
        assert set(failed) == {503}
        hospital.control.clear_faults()
        assert unlock(bus, orders[0])[0] == 200, "its own client asks again before anybody replays"
        query = ("--operation", "registration.unlock", "--outcome", "unavailable")
        status, text = esb(bus, "replay", *query)
        assert (status, "5 of 6 would be carried out; nothing was sent" in text) == (1, True), text
        assert "5 x registration.unlock again" in text
        assert all(effects(hospital, order) == {"lock": 1} for order in orders[1:])
        status, text = esb(bus, "replay", *query, "--really", "--reason", "the HIS is back", "--rate", "50/s")
        assert (status, "5 of 6 are with the workers" in text) == (1, True), text
        rows = [row for row in bus.journal("registration.unlock") if row["state"] in ("accepted", "done")]
        for row in rows:
            ended(bus, row["id"])
        status, text = esb(bus, "replay", *query, "--really", "--reason", "again")
        assert status == 2, text
        assert unlock(bus, orders[3])[1]["idempotency-replayed"] == "true"
    assert [effects(hospital, order) for order in orders] == [{"lock": 1, "release": 1}] * 6


def test_what_is_unknown_is_settled_and_not_sent(hospital: Sandbox) -> None:
    """I8: the answer to a lock is lost; a replay leaves it to the settling."""
    changes = {**QUICK, LOCK: QUICK[LOCK].replace("600ms]", ", ".join(["600ms"] + ["1s"] * 40) + "]")}
    with start_bus(hospital, changes=changes) as bus:
        slot = open_slot(bus)
        hospital.control.fault("soap", "reset_after", operation="LockRegistration", times=1)
        hospital.control.fault("soap", "business_error", operation="FindRegistration", code="-999")
        status, headers, body = bus.call(
            "POST", "/v1/registrations/locks", lock_request(slot, "U1"), {"Idempotency-Key": "K-U1"}
        )
        assert (status, body["outcome"]) == (202, "unknown")
        exchange = headers["location"].rsplit("/", 1)[1]
        status, text = esb(bus, "replay", exchange, "--really", "--reason", "why not")
        assert (status, f"{exchange} settling" in text) == (2, True), text
        hospital.control.clear_faults()
        ended(bus, exchange)
    assert effects(hospital, "U1") == {"lock": 1}
    assert len(hospital.control.requests(operation="LockRegistration")) == 1
