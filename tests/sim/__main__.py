"""``python -m tests.sim --seeds 20000`` runs so many seeds, ``--seed 123`` shows one; see docs/operations.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.sim.world import Run, report, simulate

_SHARE = 25


def several(seeds: range, jobs: int) -> Iterator[tuple[int, int, list[str]]]:
    """Seed, steps and what went wrong with it, of each seed."""
    shares = [seeds[at : at + _SHARE] for at in range(0, len(seeds), _SHARE)]
    if jobs == 1:
        for share in shares:
            yield from _share(share)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for results in pool.map(_share, shares):
            yield from results


def _share(seeds: range) -> list[tuple[int, int, list[str]]]:
    return [(run.seed, run.steps, run.broken) for run in map(simulate, seeds)]


def commit() -> str:
    """Of the code that ran, with a mark when it is not what was committed."""
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(seed: int) -> int:
    run: Run = simulate(seed, logs=True)
    sys.stdout.write(run.history.text())
    _say(f"seed {seed} commit {commit()}: {len(run.history.events)} events, {run.steps} steps, {run.seconds:.1f} s "
          f"of the hospital's time, {run.processes} processes")  # fmt: skip
    _say("\n".join(run.broken) or "every promise was kept")
    return 1 if run.broken else 0


def _run(first: int, count: int, jobs: int) -> int:
    began, steps, broken = time.monotonic(), 0, 0
    for seed, some, found in several(range(first, first + count), jobs):
        steps += some
        if found:
            broken += 1
            _say(report(simulate(seed), commit()))
    seconds = time.monotonic() - began
    _say(f"{count} seeds from {first}, {steps} steps, {seconds:.0f} s, {broken} seeds broke a promise; {commit()}")
    return 1 if broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seed", type=int, help="show the whole history of this one")
    parser.add_argument("--seeds", type=int, default=500, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="begin with this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to share them among")
    asked = parser.parse_args()
    return _show(asked.seed) if asked.seed is not None else _run(asked.first, asked.seeds, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
