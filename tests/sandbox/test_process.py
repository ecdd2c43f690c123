"""The sandbox as a process: one line when ready, a clean end, no code shared with the bus."""

from __future__ import annotations

import ast
import json
import shlex
import signal
import socket
import subprocess
import sys

import pytest

from tests.sandbox_process import ROOT, start_sandbox


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, None])
def test_it_ends_cleanly_on_a_signal_and_with_its_parent(ending: signal.Signals | None) -> None:
    with start_sandbox() as sandbox:
        with socket.create_connection(("127.0.0.1", sandbox.mllp), timeout=5):
            if ending is None:
                assert sandbox.process.stdin
                sandbox.process.stdin.close()
            else:
                sandbox.process.send_signal(ending)
            assert sandbox.process.wait(30) == 0


def test_a_port_in_use_is_said_in_one_line(running) -> None:
    command = [sys.executable, "-m", "sandbox", "--http", str(running.http), "--mllp", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{running.http}" in done.stderr
    assert "--http" in done.stderr


def test_it_says_its_ports_database_and_pid(running) -> None:
    health = running.control.health()
    assert (health["http"], health["mllp"], health["pid"]) == (running.http, running.mllp, running.process.pid)
    assert running.database.exists()


def test_the_state_shows_places_locks_and_faults(hospital) -> None:
    state = hospital.control.state()
    assert (state["oversold"], state["held"], state["locks"], state["faults"]) == (0, 0, {}, [])
    assert 0 < state["sold"] < state["places"]


def test_the_sandbox_shares_no_code_with_the_bus() -> None:
    for path in (ROOT / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"esb", "adapters", "envelopes"}, path


def test_every_control_command_of_the_readme_runs(hospital) -> None:
    commands = [line for line in (ROOT / "sandbox" / "README.md").read_text().splitlines() if line.startswith("curl ")]
    assert len(commands) == 10
    for command in commands:
        words = shlex.split(command.replace("18080", str(hospital.http)), comments=True)
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        answer = json.loads(said.stdout)
        assert isinstance(answer, list) or "error" not in answer, command
