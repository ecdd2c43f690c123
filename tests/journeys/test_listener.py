"""The listener of the real process: other people's senders, kill -9 under load, SIGTERM, a reload."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import open_hl7_connection

from tests.bus_process import ROOT, Bus, start_bus, until
from tests.sandbox_process import Sandbox

PEERS = ROOT / "tests" / "peers"
VT, END = b"\x0b", b"\x1c\r"


def port_of(bus: Bus, endpoint: str = "his_inbound") -> int:
    """The port that the bus says it listens on."""
    for line in bus.log().splitlines():
        if '"listener_opened"' in line and f'"{endpoint}"' in line:
            found = re.search(r'"port":\s?(\d+)', line)
            assert found
            return int(found[1])
    raise AssertionError(bus.log())


def inbox(folder: Path, columns: str = "control, state, event") -> list[tuple[Any, ...]]:
    """Rows in the order of arrival."""
    connection = sqlite3.connect(folder / "esb.db")
    try:
        return connection.execute(f"SELECT {columns} FROM inbox ORDER BY position").fetchall()
    finally:
        connection.close()


def text(control: str, kind: str = "ADT^A28^ADT_A05", pid: str = "P0000001", more: str = "") -> str:
    head = f"MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||{kind}|{control}|P|2.5.1||||||UNICODE UTF-8"
    return f"{head}\rEVN|A28|20260115093000\rPID|1||{pid}^^^HIS^PI||测试患者||19000101|M\r{more}"


def say(port: int, message: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(VT + message.encode() + END)
        heard = b""
        while not heard.endswith(END):
            data = sock.recv(65536)
            assert data, "the listener closed"
            heard += data
    return heard.strip(VT + END).decode()


@pytest.fixture(scope="module")
def bus(shared_hospital: Sandbox) -> Iterator[Bus]:
    with start_bus(shared_hospital) as made:
        yield made


def test_python_hl7_sends_and_is_acknowledged(bus: Bus) -> None:
    with MLLPClient("127.0.0.1", port_of(bus)) as client:
        answers = [hl7.parse(client.send_message(text(f"PY{n}")).strip(VT + END).decode()) for n in range(3)]
    assert [(str(one.segment("MSA")[1]), str(one.segment("MSA")[2])) for one in answers] == [
        ("AA", f"PY{n}") for n in range(3)
    ]
    assert ("PY0", "event", "patient.changed") in inbox(bus.folder)


async def test_python_hl7_asyncio_sends_and_is_acknowledged(bus: Bus) -> None:
    reader, writer = await open_hl7_connection("127.0.0.1", port_of(bus), encoding="utf-8")
    writer.writemessage(hl7.parse(text("PYA")))
    await writer.drain()
    answer = await asyncio.wait_for(reader.readmessage(), 30)
    writer.close()
    assert str(answer.segment("MSA")) == "MSA|AA|PYA"


def test_a_message_that_hl7apy_built_is_acknowledged_and_hl7apy_reads_the_answer(bus: Bus) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hl7apy.core import Message
        from hl7apy.parser import parse_message

        message = Message("ADT_A01", version="2.5")
        message.msh.msh_3, message.msh.msh_9, message.msh.msh_10 = "HIS", "ADT^A01^ADT_A01", "APY1"
        message.evn.evn_2 = "20260115093000"
        message.pid.pid_3, message.pid.pid_5 = "P0000001^^^HIS^PI", "Test^Patient"
        message.pv1.pv1_2 = "I"
        built = message.to_er7()
        answer = parse_message(say(port_of(bus), built))
        assert (answer.msa.msa_1.value, answer.msa.msa_2.value) == ("AA", "APY1")
        assert answer.validate()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_hl7_client_sends_and_is_acknowledged(bus: Bus) -> None:
    if not (PEERS / "node_modules" / "node-hl7-client").is_dir():
        pytest.skip("the peers are not installed: npm ci in tests/peers")
    done = subprocess.run(
        ["node", "hl7_client.mjs", str(port_of(bus)), "3"], cwd=PEERS, capture_output=True, text=True, timeout=90
    )
    heard = [json.loads(line) for line in done.stdout.splitlines()]
    assert heard == [{"verdict": "AA", "id": f"NODE{n}"} for n in (1, 2, 3)], done.stderr


def test_what_it_became_is_counted(bus: Bus) -> None:
    port = port_of(bus)
    assert "MSA|AR|" in say(port, text("CNT1", "ZZZ^Z01"))
    assert "MSA|AE|CNT2" in say(port, text("CNT2", pid=""))
    _, _, metrics = bus.call("GET", "/metrics")
    shown = metrics.decode()
    for result in ("unwanted", "parked"):
        assert re.search(rf'inbound_messages_total{{endpoint="his_inbound",result="{result}"}} [1-9]', shown)
    assert "测试患者" not in bus.log()


def sender(port: int, prefix: str, log: Path, seconds: float) -> subprocess.Popen[str]:
    job = {"port": port, "connections": 16, "seconds": seconds, "prefix": prefix, "log": str(log)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.mllp_load", json.dumps(job)], cwd=ROOT, stdout=subprocess.DEVNULL, text=True
    )


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_no_acknowledged_message_is_lost_and_none_is_there_twice(
    shared_hospital: Sandbox, tmp_path: Path, ending: signal.Signals
) -> None:
    """Three ends under load on one journal; the sender's log against the inbox."""
    log = tmp_path / "acknowledged"
    log.touch()
    for run in range(3):
        with start_bus(shared_hospital, folder=tmp_path) as bus:
            load = sender(port_of(bus), f"R{run}", log, 60.0)
            size = log.stat().st_size
            until(lambda size=size: log.stat().st_size >= size + 4000)  # type: ignore[misc]
            os.kill(bus.process.pid, ending)
            bus.process.wait(60)
            load.wait(60)
    acknowledged = log.read_text().split()
    kept = Counter(control for control, state, event in inbox(tmp_path) if (state, event) == ("event", "visit.changed"))
    assert len(acknowledged) > 900
    assert set(acknowledged) <= set(kept), f"{len(set(acknowledged) - set(kept))} acknowledged messages are lost"
    assert max(kept.values()) == 1


def test_who_sends_again_after_a_crash_hears_the_same_and_makes_no_second_event(
    shared_hospital: Sandbox, tmp_path: Path
) -> None:
    with start_bus(shared_hospital, folder=tmp_path) as bus:
        first = say(port_of(bus), text("M1"))
        bus.kill()
    with start_bus(shared_hospital, folder=tmp_path) as bus:
        assert say(port_of(bus), text("M1")) == first
        assert "MSA|AE|M1|another message was sent with this id before" in say(port_of(bus), text("M1", pid="P9"))
    assert [(control, state) for control, state, _ in inbox(tmp_path)] == [("M1", "event"), ("M1", "conflict")]


def test_a_reload_changes_callbacks_under_an_open_connection(shared_hospital: Sandbox, tmp_path: Path) -> None:
    with (
        start_bus(shared_hospital, folder=tmp_path) as bus,
        socket.create_connection(("127.0.0.1", port_of(bus)), timeout=30) as sock,
    ):
        routes = tmp_path / "routes.yaml"

        def ask(control: str) -> bytes:
            sock.sendall(VT + text(control, "ADT^A29", more="").encode() + END)
            return sock.recv(65536)

        assert b"MSA|AR|K1" in ask("K1")
        routes.write_text(routes.read_text("utf-8").replace("ADT^A28, ADT^A31", "ADT^A28, ADT^A29, ADT^A31"), "utf-8")
        bus.process.send_signal(signal.SIGHUP)
        until(lambda: '"config_loaded"' in bus.log())
        assert b"MSA|AE|K2" in ask("K2"), "A29 is wanted now and has no word in the table of its mapping"


def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_kept_and_room_is_enough_to_recover(
    shared_hospital: Sandbox, tmp_path: Path
) -> None:
    """F35, I1: no file of the process may grow; AE, and CE in enhanced mode, until it may."""
    more = "OBX|1|TX|||" + "x" * 2000 + "\r"
    with start_bus(shared_hospital, folder=tmp_path) as bus:
        port, pid = port_of(bus), bus.process.pid
        verdicts = {"D0": verdict_of(say(port, text("D0", more=more)))}
        longest = max(one.stat().st_size for one in tmp_path.glob("esb.db*"))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (longest + 100_000, resource.RLIM_INFINITY))
        for number in range(1, 151):
            verdicts[f"D{number}"] = verdict_of(say(port, text(f"D{number}", more=more)))
        enhanced = text("E1", more=more).replace("|2.5.1||||||", "|2.5.1|||AL|AL||")
        assert verdict_of(say(port, enhanced)) == "CE"
        assert bus.call("GET", "/healthz")[0] < 500
        refused = [control for control, verdict in verdicts.items() if verdict == "AE"]
        assert set(verdicts.values()) == {"AA", "AE"}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert {verdict_of(say(port, text(control, more=more))) for control in refused} == {"AA"}
        bus.kill()
    kept = Counter(control for control, state, _ in inbox(tmp_path) if state == "event")
    assert kept == Counter(list(verdicts))


def verdict_of(answer: str) -> str:
    """MSA-1."""
    return answer.split("\rMSA|")[1][:2]
