"""Counts and latencies of a bench run."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from esb.model import Tree

_GROWTH = 1.02
_EDGES = [0.00001 * _GROWTH**step for step in range(900)]
PERCENTILES = (50, 90, 99, 99.9)


class Latencies:
    """Seconds in classes of 2 %, so that memory stays flat over any number of messages."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.count, self.total, self.longest = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        self._classes[bisect_left(_EDGES, seconds)] += 1
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def percentile(self, percent: float) -> float:
        """At most 2 % too high, in seconds; 0 when nothing was measured."""
        wanted, seen = self.count * percent / 100, 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= wanted:
                return min(_EDGES[min(number, len(_EDGES) - 1)], self.longest)
        return 0.0


@dataclass(slots=True)
class Tally:
    """What became of the messages that were sent."""

    sent: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    lost: int = 0
    unsent: int = 0
    mismatched: int = 0
    unreadable: int = 0
    dropped_connections: int = 0
    connections: int = 0
    seconds: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def accepted(self) -> int:
        return self.verdicts["AA"] + self.verdicts["CA"]

    @property
    def answered(self) -> int:
        return self.verdicts.total()

    @property
    def all_accepted(self) -> bool:
        """Whether every message was sent and every one accepted."""
        return self.accepted == self.sent and not self.unsent

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def tree(self) -> dict[str, Tree]:
        """As JSON; times in milliseconds."""
        ms = {f"p{percent:g}": _ms(self.latencies.percentile(percent)) for percent in PERCENTILES}
        mean = self.latencies.total / self.latencies.count if self.latencies.count else 0.0
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "acknowledgements": dict(sorted(self.verdicts.items())),
            "errors": dict(self.errors.most_common()),
            "no_answer": self.silent,
            "lost": self.lost,
            "not_sent": self.unsent,
            "mismatched": self.mismatched,
            "unreadable_answers": self.unreadable,
            "connections": self.connections,
            "lost_connections": self.dropped_connections,
            "seconds": Decimal(f"{self.seconds:.3f}"),
            "rate": Decimal(f"{self.rate:.1f}"),
            "latency_ms": {**ms, "max": _ms(self.latencies.longest), "mean": _ms(mean)},
        }

    def text(self) -> str:
        """The same for people; lines of zeros are left out."""
        facts = self.tree()
        lines = [f"{self.sent} sent, {self.accepted} accepted in {self.seconds:.2f} s: {self.rate:.0f} messages/s"]
        lines += [f"{name} {count}" for name, count in sorted(self.verdicts.items())]
        lines += [f"ERR-3 {code} {count}" for code, count in self.errors.most_common()]
        lines += [
            f"{label}: {facts[name]}"
            for name, label in (
                ("no_answer", "no answer in time"),
                ("lost", "in flight when the connection was lost"),
                ("not_sent", "not sent"),
                ("mismatched", "answers whose MSA-2 is of no message under way"),
                ("unreadable_answers", "answers that are no HL7 v2"),
                ("lost_connections", "connections lost"),
            )
            if facts[name]
        ]
        if self.latencies.count:
            times = facts["latency_ms"]
            assert isinstance(times, dict)
            lines.append("latency ms: " + "  ".join(f"{name} {value:.2f}" for name, value in times.items()))
        return "\n".join(lines)


def _ms(seconds: float) -> Decimal:
    return Decimal(f"{seconds * 1000:.3f}")
