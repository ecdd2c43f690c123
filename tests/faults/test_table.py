"""The table says what was run, and that a promise was broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults import table

NOTED = [("fault", ["kill", "sqlite-sql"]), ("other", 1), ("fault", ["kill", "sqlite-sql"])]


def test_a_test_that_fails_has_broken_something_in_its_last_run() -> None:
    assert [one.kept for one in table.runs_of(NOTED, True, "c")] == [True, True]
    assert [one.kept for one in table.runs_of(NOTED, False, "c")] == [True, False]


@pytest.mark.parametrize(("passed", "status", "cell"), [(True, 0, "2"), (False, 1, "2 (1 BROKEN)")])
def test_the_table_counts_runs_by_fault_and_backend(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    passed: bool,
    status: int,
    cell: str,
) -> None:
    file = tmp_path / "var" / "faults.jsonl"
    table.add(file, table.runs_of(NOTED, passed, "abc"))
    table.add(file, [table.Run("drain", "postgresql-rabbit", True, "abc")])
    monkeypatch.setattr(sys, "argv", ["table", str(file)])
    assert table.main() == status
    head, _, drain, kill, _, total = capsys.readouterr().out.splitlines()
    assert head == "| fault | sqlite-sql | sqlite-rabbit | postgresql-sql | postgresql-rabbit |"
    assert (drain, kill) == ("| drain |  |  |  | 1 |", f"| kill | {cell} |  |  |  |")
    assert total == f"3 runs, {1 - passed} broken; abc"
