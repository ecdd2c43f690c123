"""Prints how much of the expected FHIR our mappings make: ``python -m tests.hl7_to_fhir [--pair ID] [--all-types]``."""

from __future__ import annotations

import argparse
import sys
from functools import reduce

from tests.hl7_to_fhir.corpus import CORPUS, Pair, pairs
from tests.hl7_to_fhir.score import FIELDS_OF, Score, Tally, reasons, score


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hl7_to_fhir", description=__doc__)
    parser.add_argument("--pair", help="show every leaf that differs in the pairs whose id begins so")
    parser.add_argument("--paths", action="store_true", help="count the leaves that differ by path")
    parser.add_argument("--all-types", action="store_true", help="not only those of the six types")
    options = parser.parse_args(arguments)
    chosen = [pair for pair in pairs() if pair.id.startswith(options.pair or "")]
    if not chosen:
        print(f"no pairs in {CORPUS}" if not options.pair else f"no pair begins with {options.pair}")
        return 1
    scores = [(pair, score(pair)) for pair in chosen]
    total = reduce(Score.__add__, (found for _, found in scores))
    if not options.all_types:
        total.differences = [entry for entry in total.differences if entry[0] in FIELDS_OF]
    _print_pairs(scores)
    _print_types(total)
    if options.pair:
        for kind, difference in total.differences:
            print(f"{kind} {difference.path.removeprefix('[].')}: {difference.expected!r} <- {difference.found!r}")
    if options.paths:
        for path, count in reasons(total.differences).most_common():
            print(f"{count:5} {path}")
    return 0


def _print_pairs(scores: list[tuple[Pair, Score]]) -> None:
    print(f"{'pair':28}{'resources':>22}{'fields':>22}")
    for pair, found in scores:
        print(f"{pair.id:28}{_share(found.all_counts()):>22}{_share(found.all_fields()):>22}")


def _print_types(total: Score) -> None:
    print(f"\n{'type':28}{'resources':>22}{'surplus':>9}{'fields':>22}{'surplus':>9}")
    for kind in sorted(total.counts):
        _print_row(kind + (" *" if kind in FIELDS_OF else ""), total.counts[kind], total.fields[kind])
    _print_row("all, fields of those with *", total.all_counts(), total.all_fields())


def _print_row(name: str, counts: Tally, fields: Tally) -> None:
    print(f"{name:28}{_share(counts):>22}{counts.surplus:9}{_share(fields):>22}{fields.surplus:9}")


def _share(tally: Tally) -> str:
    return f"{tally.found}/{tally.expected} {tally.share:7.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
