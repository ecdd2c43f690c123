"""The figures of one pair and of all: expected resources by type, and expected leaves of six types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.hl7_to_fhir.compare import Difference, aligned, compare, resources
from tests.hl7_to_fhir.corpus import Pair, to_fhir

FIELDS_OF = ("Patient", "Encounter", "Appointment", "DiagnosticReport", "Observation", "ServiceRequest")


@dataclass
class Tally:
    """What is expected and what of it is there; ``surplus`` is ours that was not expected."""

    found: int = 0
    expected: int = 0
    surplus: int = 0

    def add(self, found: int, expected: int, surplus: int) -> None:
        self.found, self.expected, self.surplus = self.found + found, self.expected + expected, self.surplus + surplus

    @property
    def share(self) -> float:
        return self.found / self.expected if self.expected else 1.0


@dataclass
class Score:
    """Counts and leaves by type of resource, and the leaves that differ, by type."""

    counts: dict[str, Tally] = field(default_factory=dict)
    fields: dict[str, Tally] = field(default_factory=dict)
    differences: list[tuple[str, Difference]] = field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        total = Score({}, {}, [*self.differences, *other.differences])
        for part in (self, other):
            for mine, theirs in ((total.counts, part.counts), (total.fields, part.fields)):
                for name, tally in theirs.items():
                    mine.setdefault(name, Tally()).add(tally.found, tally.expected, tally.surplus)
        return total

    def all_counts(self) -> Tally:
        return _sum(self.counts)

    def all_fields(self) -> Tally:
        """The leaves of the six types of ``FIELDS_OF``."""
        return _sum({name: tally for name, tally in self.fields.items() if name in FIELDS_OF})


def score(pair: Pair) -> Score:
    """The figures of one pair."""
    return score_bundles(pair.expected, to_fhir(pair.kind, pair.message))


def score_bundles(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Score:
    wanted, given = map(resources, aligned(expected, found))
    result = Score()
    for kind in sorted(set(wanted) | set(given)):
        left, right = wanted.get(kind, []), given.get(kind, [])
        both = min(len(left), len(right))
        result.counts[kind] = Tally(both, len(left), len(right) - both)
        leaves = compare(left, right)
        result.fields[kind] = Tally(leaves.equal, leaves.expected, leaves.surplus)
        result.differences += [(kind, difference) for difference in leaves.differences]
    return result


def reasons(differences: Iterable[tuple[str, Difference]]) -> Counter[str]:
    """How often each path differs, by type and path."""
    return Counter(f"{kind} {difference.path.removeprefix('[].')}" for kind, difference in differences)


def _sum(tallies: Mapping[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.add(tally.found, tally.expected, tally.surplus)
    return total
