"""How much of the expected FHIR our mappings make of HL7 v2, and what returns of FHIR that is sent as HL7 v2.

python -m tests.hl7_to_fhir [--pair ID] [--paths] [--all-types]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import reduce

from tests.hl7_to_fhir.corpus import CORPUS, Pair, pairs
from tests.hl7_to_fhir.round_trip import round_trips
from tests.hl7_to_fhir.score import FIELDS_OF, Score, Tally, reasons, score


def main(arguments: list[str]) -> int:
    """Print the figures; 1 when there are no pairs."""
    options = _parser().parse_args(arguments)
    chosen = [pair for pair in pairs() if pair.id.startswith(options.pair)]
    lines = report(chosen, options) if chosen else [f"no pair in {CORPUS.name} begins with '{options.pair}'"]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0 if chosen else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hl7_to_fhir", description=__doc__)
    parser.add_argument("--pair", default="", help="only pairs whose id begins so, with every leaf that differs")
    parser.add_argument("--paths", action="store_true", help="count the leaves that differ by path")
    parser.add_argument("--all-types", action="store_true", help="leaves of all types, not only of the six")
    return parser


def report(chosen: list[Pair], options: argparse.Namespace) -> Iterator[str]:
    """The lines that are printed: by pair, by type, by type of the round trip, and what differs."""
    scores = [(pair, score(pair)) for pair in chosen]
    forth = reduce(Score.__add__, (found for _, found in scores))
    back = reduce(Score.__add__, (found for pair in chosen for found in round_trips(pair)), Score())
    yield from _pairs(scores)
    yield from _types(forth)
    yield from _types(back, "FHIR as HL7 v2 and back")
    shown = [entry for entry in forth.differences if options.all_types or entry[0] in FIELDS_OF]
    for title, differences in (("HL7 v2 to FHIR", shown), ("FHIR as HL7 v2 and back", back.differences)):
        if options.pair or options.paths:
            yield f"\n{title}: what differs"
        if options.paths:
            yield from (f"{count:5} {path}" for path, count in reasons(differences).most_common())
        elif options.pair:
            yield from (
                f"{kind} {path.removeprefix('[].')}: {left!r}, ours {right!r}"
                for kind, (path, left, right) in differences
            )


def _pairs(scores: list[tuple[Pair, Score]]) -> Iterator[str]:
    yield f"{'pair':28}{'resources':>22}{'fields':>22}"
    for pair, found in scores:
        yield f"{pair.id:28}{_share(found.all_counts()):>22}{_share(found.all_fields()):>22}"


def _types(total: Score, title: str = "HL7 v2 to FHIR") -> Iterator[str]:
    yield f"\n{title:28}{'resources':>22}{'surplus':>9}{'fields':>22}{'surplus':>9}"
    for kind in sorted(total.counts):
        yield _row(kind + (" *" if kind in FIELDS_OF else ""), total.counts[kind], total.fields[kind])
    yield _row("all, fields of those with *", total.all_counts(), total.all_fields())


def _row(name: str, counts: Tally, fields: Tally) -> str:
    return f"{name:28}{_share(counts):>22}{counts.surplus:9}{_share(fields):>22}{fields.surplus:9}"


def _share(tally: Tally) -> str:
    return f"{tally.found}/{tally.expected} {tally.share:7.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
