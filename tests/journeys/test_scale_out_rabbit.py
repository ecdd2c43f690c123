"""Several processes on one PostgreSQL and one RabbitMQ: both workers deliver, and either may be the broker's relay.

F05, F11, F12: I1 an accepted exchange ends, I2 one effect for one intent. The ledger of the hospital is the judge.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests import postgres
from tests.bus_process import Bus
from tests.faults.backends import RUNS
from tests.journeys.conftest import open_slot
from tests.journeys.test_queued import metric
from tests.journeys.test_scale_out import Part, effects, lock, unlock
from tests.rabbit_node import Node, session_node
from tests.sandbox_process import Sandbox

Fault = Callable[[Bus, Node], None]
_RELAY = b"SELECT holder FROM lease WHERE name = 'relay' AND until_ms > extract(epoch FROM clock_timestamp()) * 1000"


@pytest.fixture
def node() -> Node:
    return session_node()


class Hall:
    """A front and two workers, the first of which is the relay; ``ask`` accepts what the workers deliver."""

    def __init__(self, hospital: Sandbox, part: Part, node: Node, store: str) -> None:
        self.hospital, self._part, self._store = hospital, part, store
        self._environ = {"ESB_BROKER": node.url, "ESB_BROKER_PREFIX": f"hall{secrets.token_hex(4)}"}
        self.workers = [self._worker(), self._worker()]
        self.front = part("serve", **self._environ)
        self._asked = itertools.count()
        self._where: dict[str, str] = {}

    def fresh(self) -> None:
        """Two workers, and nothing asked for yet."""
        self.workers = [one if one.process.poll() is None else self._worker() for one in self.workers]
        self._where = {}

    def _worker(self) -> Bus:
        return self._part("work", **self._environ)

    def ask(self, count: int) -> None:
        """Take places and give them back; giving back is queued."""
        for _ in range(count):
            order = f"H{next(self._asked)}"
            assert lock(self.front, open_slot(self.front), order)[0] == 201
            self._where[order] = unlock(self.front, order)

    def relay(self, but: Bus | None = None) -> Bus:
        """The process that has the lease ``relay``, as soon as it is another than ``but``."""
        processes = {one.process.pid: one for one in (*self.workers, self.front)}
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with psycopg.connect(self._store.replace("+psycopg", "")) as connection:
                found = connection.execute(_RELAY).fetchone()
            holder = processes.get(int(found[0].split("/")[-2])) if found else None
            if holder is not None and holder is not but:
                return holder
            time.sleep(0.05)
        raise AssertionError("nobody is the relay")

    def worker_that_is_relay(self) -> Bus:
        """A front that is it stands still until its lease is over and a worker has it."""
        found = self.relay()
        if found is self.front:
            os.kill(found.process.pid, signal.SIGSTOP)
            found = self.relay(but=found)
            go_on(self.front)
        return found

    def judge(self) -> None:
        """Everything that was asked for is done, once."""
        for where in self._where.values():
            assert self.front.until(where, lambda body: body.get("final"), 60)["outcome"] == "done"
        found = {order: effects(self.hospital, order) for order in self._where}
        assert found == {order: ["lock", "release"] for order in self._where}


@pytest.fixture(scope="module")
def shared_hall(shared_hospital: Sandbox) -> Iterator[Hall]:
    with postgres.database() as store, contextlib.ExitStack() as running:
        yield Hall(shared_hospital, Part(shared_hospital, store, running), session_node(), store)


@pytest.fixture
def hall(shared_hall: Hall, hospital: Sandbox, node: Node) -> Iterator[Hall]:
    shared_hall.fresh()
    yield shared_hall
    for worker in shared_hall.workers:
        go_on(worker)


def go_on(worker: Bus) -> None:
    if worker.process.poll() is None:
        worker.process.send_signal(signal.SIGCONT)


def delivered(worker: Bus) -> float:
    text = worker.call("GET", "/metrics")[2].decode()
    return sum(map(float, re.findall(r"^queue_deliveries_total\{.*\} (\S+)$", text, re.MULTILINE)))


def test_both_workers_deliver_and_each_message_is_delivered_once(hall: Hall) -> None:
    """I2."""
    hall.hospital.control.fault("soap", "delay", operation="UnlockRegistration", seconds=0.05)
    hall.ask(60)
    hall.judge()
    shares = [delivered(worker) for worker in hall.workers]
    assert min(shares) > 0, shares
    assert metric(hall.workers[0], 'broker_up{use="reading"}') == 1


def killed(relay: Bus, node: Node) -> None:
    relay.kill()


def stopped(relay: Bus, node: Node) -> None:
    os.kill(relay.process.pid, signal.SIGSTOP)


def killed_and_the_broker_wiped(relay: Bus, node: Node) -> None:
    node.wipe()
    relay.kill()


def stopped_and_the_broker_wiped(relay: Bus, node: Node) -> None:
    os.kill(relay.process.pid, signal.SIGSTOP)
    node.wipe()


FAULTS = [stopped_and_the_broker_wiped, killed_and_the_broker_wiped, *([stopped, killed] if RUNS > 1 else [])]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_relay_is_gone_and_the_other_takes_over(hall: Hall, node: Node, fault: Fault) -> None:
    """F05, F11, F12: what was under way is delivered once, and nothing waits for the one that stands still."""
    hall.ask(8)
    gone = hall.worker_that_is_relay()
    fault(gone, node)
    hall.ask(8)
    if not node.is_up:
        node.start()
    hall.judge()
    hall.relay(but=gone)
    go_on(gone)
    hall.ask(4)
    hall.judge()
