"""What the tests start beside the bus ends with them, also when they are killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

from tests import guarded
from tests.bus_process import ROOT

_START = """
import sys
from tests import guarded
process = guarded.start("sh", "-c", "sleep 300 & echo $!; wait", stdout=sys.stdout)
sys.stdin.read()
"""


def test_a_server_and_its_children_end_when_the_tests_are_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _START], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        child = int(tests.stdout.readline())
        assert runs(child)
        tests.kill()
    assert gone(child)


def test_a_server_that_is_ended_takes_its_children_along() -> None:
    server = guarded.start("sh", "-c", "sleep 300 & echo $!; wait", stdout=subprocess.PIPE)
    assert server.stdout is not None
    child = int(server.stdout.readline())
    guarded.kill(server)
    server.stdout.close()
    assert gone(child)


def runs(pid: int) -> bool:
    """A process that has ended and whose parent did not ask yet does not run."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 20
    while runs(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    return True
