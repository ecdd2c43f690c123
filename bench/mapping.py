"""What a mapping costs: ``python -m bench.mapping [--json] [--seconds N]``.

Three transformations against jsonata-python, JMESPath, JSONata on Node.js and a hand-written Python function, after all
of them gave the same result. They run in turn, seven rounds; of the times the middle counts, and of the ratios the
middle of those within one round. The query languages cannot read HL7 v2: the report is made of its JSON by all of them,
and once more by us and by hand of a message that nobody has looked into yet. Then 500 mappings: loading, lint, memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bench.baselines.node_peer import running
from bench.baselines.query_languages import Node, jmespath_function, jsonata_function
from bench.harness import Row, report, row
from bench.many_mappings import measure
from bench.transformations import Transformation, transformations

ROUNDS = 7
HOW_TO_READ = (
    "Ratios with >= say how many times faster the mapping is than the baseline, with <= how many times as long it "
    "takes.\nSteps that JMESPath cannot say (arithmetic, code tables, times) are those written by hand."
    "\nORU as HL7 v2: splitting the message is in our time, while the query languages are given its JSON ready made."
)

Clock = Callable[[int], float]
"""Seconds that so many runs take."""


def clock(function: Callable[[Any], Any], inputs: Callable[[int], list[Any]]) -> Clock:
    """The inputs are made before the time begins; the collector runs as it does in service."""

    def timed(count: int) -> float:
        given = inputs(count)
        began = perf_counter()
        for one in given:
            function(one)
        return perf_counter() - began

    return timed


def contenders(one: Transformation, peer: Node) -> dict[str, Clock]:
    """A clock for each, warm; refuses to time what gives another result."""
    given, queries = one.inputs(1)[0], lambda count: [one.tree] * count
    wanted = one.by_hand(given)
    by_jmespath, by_jsonata = jmespath_function(one.name), jsonata_function(one.name)
    results = {
        "mapping": one.ours(given),
        "jsonata-python": by_jsonata(one.tree),
        "JMESPath": by_jmespath(one.tree),
        "JSONata on Node.js": peer.load(one.name, one.tree),
    }
    for name, result in results.items():
        if result != wanted:
            raise SystemExit(f"{one.title}: {name} gives another result")
    return {
        "mapping": clock(one.ours, one.inputs),
        "jsonata-python": clock(by_jsonata, queries),
        "JMESPath": clock(by_jmespath, queries),
        "JSONata on Node.js": peer.seconds,
        "by hand": clock(one.by_hand, one.inputs),
    }


def count_for(timed: Clock, seconds: float) -> int:
    """How many runs take about that long; running them warms caches and just-in-time compilers."""
    count, taken = 1, timed(1)
    while taken < seconds / 4:
        count = max(count * 2, int(count * seconds / 2 / max(taken, 1e-6)) if taken > 1e-3 else count * 4)
        taken = timed(count)
    return max(1, int(count * seconds / taken))


def compare(one: Transformation, peer: Node, seconds: float) -> list[Row]:
    """A row for each baseline."""
    clocks = contenders(one, peer)
    counts = {name: count_for(timed, seconds) for name, timed in clocks.items()}
    rounds = [{name: timed(counts[name]) / counts[name] for name, timed in clocks.items()} for _ in range(ROUNDS)]
    return [_row(one, name, target, rounds) for name, target in one.targets.items()]


def _row(one: Transformation, name: str, target: str, rounds: list[dict[str, float]]) -> Row:
    ratios = [each[name] / each["mapping"] for each in rounds]
    if target.startswith("<="):
        ratios = [1 / ratio for ratio in ratios]
    ours, theirs = (statistics.median(each[key] for each in rounds) * 1e6 for key in ("mapping", name))
    return row(f"{one.title}, against {name}", ours, "us", target, theirs, statistics.median(ratios))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each contender in each of seven rounds")
    options = parser.parse_args()
    with running(Node) as peer:
        rows = [found for one in transformations() for found in compare(one, peer, options.seconds)]
    report("bench.mapping: trees into trees", HOW_TO_READ, [*rows, *measure()], options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
