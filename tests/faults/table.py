"""Which fault was tried on which backend how often: a line for each run, and the table of all of them.

ESB_FAULT_TABLE=var/faults.jsonl python -m pytest tests/faults     # adds a line for each run
python -m tests.faults.table var/faults.jsonl                      # fault x backend: runs, and how many were broken
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.bus_process import ROOT
from tests.faults.backends import NAMES

PROPERTY = "fault"
Tried = Callable[[str, str], None]
"""A test calls it with fault and backend when a run begins."""


class Run(NamedTuple):
    """One run of a fault; ``commit`` is what was tried."""

    fault: str
    backend: str
    kept: bool
    commit: str = ""


def runs_of(properties: Iterable[tuple[str, Any]], passed: bool, commit: str) -> list[Run]:
    """What a test did, from its report: when it failed, its last run broke something."""
    tried = [value for name, value in properties if name == PROPERTY]
    last = len(tried) - 1
    return [Run(fault, backend, passed or at < last, commit) for at, (fault, backend) in enumerate(tried)]


def add(file: Path, runs: Iterable[Run]) -> None:
    """Append them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(one) + "\n" for one in runs)


def read(file: Path) -> list[Run]:
    return [Run(*json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def shown(runs: Iterable[Run]) -> str:
    """The table, as Markdown. A cell has its runs, and in brackets how many of them broke a promise."""
    counted: Counter[tuple[str, str]] = Counter()
    broken: Counter[tuple[str, str]] = Counter()
    for run in runs:
        counted[run.fault, run.backend] += 1
        broken[run.fault, run.backend] += not run.kept
    lines = ["| fault | " + " | ".join(NAMES) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for fault in sorted({fault for fault, _ in counted}):
        cells = [_cell(counted[fault, name], broken[fault, name]) for name in NAMES]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(runs: int, broken: int) -> str:
    return f"{runs} ({broken} BROKEN)" if broken else str(runs or "")


def commit() -> str:
    """What is tried: the commit, with a plus when the tree has changes."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip()


def main() -> int:
    """Print the table of the files that are named; status 1 when a promise was broken."""
    runs = [run for name in sys.argv[1:] or ["var/faults.jsonl"] for run in read(Path(name))]
    total, bad = len(runs), sum(not run.kept for run in runs)
    sys.stdout.write(
        f"{shown(runs)}\n\n{total} runs, {bad} broken; {', '.join(sorted({run.commit for run in runs}))}\n"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
