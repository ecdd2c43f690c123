"""The drill of docs/operations.md, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys

from tests.bus_process import ROOT


def test_the_drill_kills_the_bus_and_says_that_no_promise_was_broken() -> None:
    command = [sys.executable, "-m", "tests.faults.drill", "--deaths", "2", "--every", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "verdict: no promise was broken (I1, I2, I3, I8, I9, I11)"), done.stderr
    assert lines.count("kill -9 of the bus") == 2
    assert ", 2 starts after a death, " in lines[-2]
