"""500 seeds of the whole core, and proof that the judge can say no (RELIABILITY A6 T1).

I1 I2 I3 I7 I8 I9 I10 I11, and F01 F02 F03 F05 F06 F09 F13 F15 F16 F17 F18 F19 F20 F34 F35.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.__main__ import commit, several
from tests.sim.mutants import MUTANTS
from tests.sim.world import report, simulate

_ROOT = Path(__file__).parents[2]
_SEEDS, _SHARES = 500, 10
_FINDS_WITHIN = 400
_PRINT = "from tests.sim.world import simulate; import sys; sys.stdout.write(simulate({}).history.text())"


@pytest.mark.parametrize("share", range(_SHARES))
def test_every_promise_is_kept_whatever_breaks(share: int) -> None:
    size = _SEEDS // _SHARES
    broken = [seed for seed, _, found in several(range(share * size, (share + 1) * size), 1) if found]
    assert not broken, report(simulate(broken[0]), commit())


@pytest.mark.parametrize("name", MUTANTS)
def test_the_judge_finds_a_bus_that(name: str) -> None:
    """The same seeds as above, with a mistake put in: one of them must break the promise that the mistake breaks."""
    mutant, promise = MUTANTS[name]
    with mutant():
        found = any(
            re.match(promise, line) for seed in range(_FINDS_WITHIN) for line in simulate(seed).broken
        )  # fmt: skip
    assert found


@pytest.mark.parametrize("seed", [1, 66, 97])
def test_a_seed_is_one_history_in_every_process(seed: int) -> None:
    """Byte for byte, whatever the order of sets and whatever ran before."""
    here = simulate(seed).history.text().encode()
    there = [
        subprocess.run(
            [sys.executable, "-c", _PRINT.format(seed)],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for hash_seed in ("1", "4242")
    ]
    assert len(here) > 1000
    assert [hashlib.sha256(one).hexdigest() for one in there] == [hashlib.sha256(here).hexdigest()] * 2


def test_a_failure_names_seed_commit_and_what_led_to_it() -> None:
    mutant, _ = MUTANTS["tells the opposite"]
    with mutant():
        run = next(run for run in map(simulate, range(50)) if run.broken)
    text = report(run, "abc1234", most=20)
    assert f"seed {run.seed} commit abc1234" in text
    assert run.broken[0] in text
    assert len(text.splitlines()) < 30
