"""Queued delivery with the real process behind a broker: the bus and the broker are killed, the ledger is the judge.

F03, F04, F10, F11: I1 an accepted exchange ends, I2 one effect for one intent, I8 what happens once is not sent twice.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.bus_process import Bus, start_bus
from tests.journeys.conftest import open_slot
from tests.journeys.test_queued import QUEUED, effects, ended, lock, metric, unlock
from tests.rabbit_node import Node, session_node
from tests.sandbox_process import Sandbox


@pytest.fixture
def node() -> Node:
    return session_node()


def outcome(bus: Bus, slot: dict[str, Any], order: str) -> str:
    """Ask again with the same key until it is decided."""
    status, headers, _ = lock(bus, slot, order)
    if status == 202:
        ended(bus, headers["location"], 60)
        status, headers, _ = lock(bus, slot, order)
    assert status in (201, 409, 422), status
    return "done" if status == 201 else "refused"


def test_bus_and_broker_are_killed_and_every_lock_is_made_and_released_once(
    hospital: Sandbox, node: Node, tmp_path: Path
) -> None:
    environ = {"ESB_BROKER": node.url, "ESB_BROKER_PREFIX": "journey"}
    hospital.control.fault("soap", "delay", operation="LockRegistration", seconds=0.1)
    orders = [f"R{number}" for number in range(40)]
    left = list(orders)

    def offer(bus: Bus, slots: dict[str, dict[str, Any]], most: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for order in left[:most]:
                assert lock(bus, slots[order], order)[0] in (201, 202, 409, 422)
                left.remove(order)

    with start_bus(hospital, changes=QUEUED, folder=tmp_path, environ=environ) as bus:
        four = [open_slot(bus, skip=skip) for skip in range(4)]
        slots = {order: four[number % 4] for number, order in enumerate(orders)}
        killer = threading.Timer(0.3, bus.kill)
        killer.start()
        offer(bus, slots, 20)
        killer.join()
    with start_bus(hospital, changes=QUEUED, folder=tmp_path, environ=environ) as bus:
        offer(bus, slots, 5)
        node.kill()
        offer(bus, slots, 5)
        node.wipe()
        bus.kill()
    node.start()
    with start_bus(hospital, changes=QUEUED, folder=tmp_path, environ=environ) as bus:
        offer(bus, slots, len(orders))
        hospital.control.clear_faults()
        ends = {order: outcome(bus, slots[order], order) for order in orders}
        for path in [unlock(bus, order)[1]["location"] for order in orders if ends[order] == "done"]:
            assert ended(bus, path, 60)["outcome"] == "done"
        assert metric(bus, 'broker_up{use="reading"}') == 1
    assert "done" in ends.values()
    for order, end in ends.items():
        assert effects(hospital, order) == ({"lock": 1, "release": 1} if end == "done" else {}), order
    assert hospital.control.state()["oversold"] == 0


def test_a_bus_that_starts_without_its_broker_accepts_and_delivers_when_it_is_there(
    hospital: Sandbox, node: Node, tmp_path: Path
) -> None:
    node.kill()
    environ = {"ESB_BROKER": node.url, "ESB_BROKER_PREFIX": "later"}
    with start_bus(hospital, changes=QUEUED, folder=tmp_path, environ=environ) as bus:
        status, headers, _ = lock(bus, open_slot(bus), "L1")
        assert (status, metric(bus, 'broker_up{use="writing"}')) == (202, 0)
        node.start()
        assert ended(bus, headers["location"], 60)["outcome"] == "done"
    assert effects(hospital, "L1") == {"lock": 1}
