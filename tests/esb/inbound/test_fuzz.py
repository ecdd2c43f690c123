"""The listener against storms of connections that send anything; ten minutes of it: tests/fuzz/hl7_listener.py."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.hl7_listener import run


def test_the_listener_stands_whatever_is_sent(tmp_path: Path) -> None:
    assert run(tmp_path, seconds=0.0, examples=60) >= 60
