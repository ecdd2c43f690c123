"""The whole way in the real process: HIS tells a visit over MLLP, the wards' system hears it, whatever dies between."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hl7
import pytest
from click.testing import CliRunner

from bench.forward import Sink, configured, sink
from esb.cli import main
from tests.bus_process import ROOT, Bus, start_bus, until
from tests.journeys.test_listener import port_of, say, sender, text
from tests.sandbox_process import Sandbox

ADMITTED = (
    "PV1|1|I|D01^2^12||||D007^测试医生||||||||||||V0001|||||||||||||||||||||||||20260115091500\r"
)  # fmt: skip


@contextmanager
def forwarding(hospital: Sandbox, folder: Path, out: int) -> Iterator[Bus]:
    """A bus that tells the port ``out`` of every visit; give the folder of an earlier one to go on with its journal."""
    parts = folder / "parts"
    if not parts.exists():
        parts.mkdir()
        configured(parts)
    environ = {
        "ESB_SCHEMAS": str(parts / "schemas"),
        "ESB_MAPPINGS": str(parts / "mappings"),
        "FORWARD_IN": "mllp://127.0.0.1:0",
        "FORWARD_OUT": str(out),
    }
    with start_bus(hospital, routes=parts / "routes.yaml", folder=folder, environ=environ) as bus:
        yield bus


def states(folder: Path) -> Counter[str]:
    database = sqlite3.connect(folder / "esb.db")
    try:
        return Counter(state for (state,) in database.execute("SELECT state FROM exchange"))
    finally:
        database.close()


@pytest.fixture
def wards() -> Iterator[Sink]:
    with sink() as made:
        yield made


def test_a_visit_reaches_the_wards_as_python_hl7_reads_it(shared_hospital: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        with forwarding(shared_hospital, tmp_path, server.getsockname()[1]) as bus:
            assert "MSA|AA|M1" in say(port_of(bus), text("M1", "ADT^A01^ADT_A01", more=ADMITTED))
            line, _ = server.accept()
            with line:
                line.settimeout(60)
                message = hl7.parse(line.recv(65536).strip(b"\x0b\x1c\r").decode() + "\r")
                control = str(message.segment("MSH")[10])
                line.sendall(f"\x0bMSH|^~\\&|WARD|H1|HUB|WX|1||ACK|1|P|2.5.1\rMSA|AA|{control}\r\x1c\r".encode())
                until(lambda: states(tmp_path) == {"done": 1})
    pid, pv1 = message.segment("PID"), message.segment("PV1")
    assert (str(message.segment("MSH")[9]), str(message.segment("EVN")[2])[:8]) == ("ADT^A08^ADT_A01", time_of(bus))
    assert [str(pid[field]) for field in (3, 5, 7, 8)] == ["P0000001", "测试患者", "19000101", "M"]
    assert [str(pv1[field]) for field in (2, 3, 7, 19)] == ["I", "D01^^12", "^测试医生", "V0001"]


def time_of(bus: Bus) -> str:
    (row,) = bus.journal("visit.forward")
    return str(row["received"])[:10].replace("-", "")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_every_acknowledged_message_reaches_the_wards_and_a_repeat_is_known_by_its_id(
    shared_hospital: Sandbox, tmp_path: Path, wards: Sink, ending: signal.Signals
) -> None:
    """Three ends under load on one journal (F03): one exchange for each message, one id for each exchange."""
    log = tmp_path / "acknowledged"
    log.touch()
    for run in range(3):
        with forwarding(shared_hospital, tmp_path, wards.port) as bus:
            load = sender(port_of(bus), f"R{run}", log, 60.0)
            size = log.stat().st_size
            until(lambda size=size: log.stat().st_size >= size + 2000)  # type: ignore[misc]
            os.kill(bus.process.pid, ending)
            bus.process.wait(60)
            load.wait(60)
    with forwarding(shared_hospital, tmp_path, wards.port):
        kept = until(lambda: _all_done(tmp_path), 180.0)
    acknowledged = log.read_text().split()
    assert len(acknowledged) > 400
    assert kept >= len(acknowledged)
    seen = wards.seen()
    assert seen["ids"] == kept, "one id for one message, however often it was sent"
    assert seen["messages"] >= kept


def _all_done(folder: Path) -> int:
    database = sqlite3.connect(folder / "esb.db")
    try:
        (events,) = database.execute("SELECT count(*) FROM inbox WHERE state = 'event'").fetchone()
        (waiting,) = database.execute("SELECT count(*) FROM queue").fetchone()
    finally:
        database.close()
    return int(events) if not waiting and states(folder) == {"done": events} else 0


def test_what_the_wards_miss_while_they_are_down_they_get_from_the_queue(
    shared_hospital: Sandbox, tmp_path: Path
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with forwarding(shared_hospital, tmp_path, port) as bus:
            assert "MSA|AA|M1" in say(port_of(bus), text("M1", "ADT^A01^ADT_A01", more=ADMITTED))
            until(lambda: states(tmp_path) == {"accepted": 1})
            held.listen()
            held.settimeout(60)
            line, _ = held.accept()
            with line:
                line.settimeout(60)
                control = line.recv(65536).split(b"|", 10)[9].decode()
                line.sendall(f"\x0bMSH|^~\\&|WARD|H1|HUB|WX|1||ACK|1|P|2.5.1\rMSA|AA|{control}\r\x1c\r".encode())
                until(lambda: states(tmp_path) == {"done": 1})


def test_events_are_listed_with_what_is_a_patients_hidden(
    shared_hospital: Sandbox, tmp_path: Path, wards: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forwarding(shared_hospital, tmp_path, wards.port) as bus:
        say(port_of(bus), text("M1", "ADT^A01^ADT_A01", more=ADMITTED))
        until(lambda: states(tmp_path) == {"done": 1})
        monkeypatch.setenv("ESB_STORE", f"sqlite:///{tmp_path / 'esb.db'}")
        monkeypatch.setenv("ESB_SCHEMAS", str(ROOT / "schemas"))
        shown = CliRunner().invoke(main, ["events", "list", "--event", "visit.changed", "--json"])
        (event,) = json.loads(shown.output)["events"]
        assert (event["position"], event["source"], event["body"]["change"]) == (1, "his_inbound", "admitted")
        assert (event["body"]["patient"]["id"], event["body"]["visit"]["id"]) == ("***", "V0001")
        assert "测试患者" not in shown.output
        listed = CliRunner().invoke(main, ["events", "list", "--after", "1"])
        assert listed.output.strip() == "0 events"
        who = CliRunner().invoke(main, ["events", "subscribers"])
        assert who.output.startswith("visit.changed/visit.forward  1")
        _, _, metrics = bus.call("GET", "/metrics")
        assert b'event_exchanges_total{result="done",subscriber="visit.changed/visit.forward"} 1.0' in metrics
