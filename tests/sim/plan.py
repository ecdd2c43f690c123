"""What a seed does: who is there, how the routes are written, what breaks and how often.

Most seeds have few kinds of faults and some have many: what goes wrong only when nothing else does is found too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

LONGEST_LATE_S = 5.0
"""The hospital does nothing later than this after it was asked; settling must not believe sooner that it did not."""
SETTLE_AFTER, SETTLE_AFTER_S = ["500ms", "1s", "2s", "4s"], (0.5, 1.0, 2.0, 4.0)
LONGEST_SCHEDULE_S = 8.0
BEHAVIOURS = (
    "refuse",
    "busy",
    "reset_before",
    "lose_reply",
    "hang_before",
    "hang_after",
    "late",
    "garbage",
    "odd",
    "other_order",
)
Routes = dict[str, dict[str, Any]]


@dataclass
class Version:
    """One state of routes.yaml."""

    name: str
    routes: Routes
    limits: dict[str, Any]
    broken: frozenset[str] = frozenset()


@dataclass
class Plan:
    """Shares are of calls or commits, times in seconds, ``crashes`` and ``stops`` in steps of the loop."""

    seed: int
    frontends: int
    intents: int
    slots: int
    capacity: int
    versions: list[Version]
    in_flight: int
    his_s: float
    deduplicates: bool
    behaviours: dict[str, float]
    down: list[tuple[float, float]]
    crashes: list[int]
    crash_after_commit: float
    crash_while_asked: float
    stops: list[int]
    disk_fails: list[tuple[float, float]]
    outcome_unknown: float
    read_fails: float
    clock_steps: list[tuple[float, float]]
    operator: bool
    window: bool
    ordered: str | None = field(default=None)
    moves: bool = False


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")

    def often(share: float) -> bool:
        return rng.random() < share

    faulty = often(0.85)
    chosen = rng.sample(BEHAVIOURS, rng.choice((1, 1, 2, 3, len(BEHAVIOURS)))) if faulty and often(0.8) else []
    ordered = rng.choice((None, "$orderNo", "$orderNo", "$patientId"))
    moves = often(0.15)
    disk = faulty and often(0.25)
    return Plan(
        seed=seed,
        frontends=rng.choice((1, 2, 3, 5)),
        intents=rng.choice((2, 2, 3)),
        slots=rng.choice((1, 2, 4)),
        capacity=rng.choice((1, 2, 5, 50)),
        versions=_versions(rng, ordered, moves),
        in_flight=rng.choice((4, 50, 2000)),
        his_s=rng.choice((0.02, 0.2, 1.0)),
        deduplicates=often(0.3),
        behaviours=dict.fromkeys(chosen, rng.choice((0.05, 0.2, 0.6)) / max(1, len(chosen))),
        down=[_span(rng, 20, 8)] if faulty and often(0.3) else [],
        crashes=sorted(rng.randrange(30, 1200) for _ in range(rng.choice((1, 2, 4)))) if faulty and often(0.5) else [],
        crash_after_commit=rng.choice((0.0, 0.01, 0.03)) if faulty and often(0.3) else 0.0,
        crash_while_asked=rng.choice((0.1, 0.3)) if faulty and often(0.2) else 0.0,
        stops=[rng.randrange(100, 2000)] if often(0.15) else [],
        disk_fails=[_span(rng, 20, 6) for _ in range(rng.choice((1, 2)))] if disk else [],
        outcome_unknown=rng.choice((0.0, 0.5, 1.0)) if disk else 0.0,
        read_fails=0.03 if disk and often(0.5) else 0.0,
        clock_steps=[(rng.uniform(1, 20), rng.choice((-600.0, 600.0, 90.0))) for _ in range(rng.choice((1, 2)))]
        if faulty and often(0.2)
        else [],
        operator=often(0.6),
        window=often(0.3),
        ordered=ordered,
        moves=moves,
    )


def _span(rng: random.Random, within: float, longest: float) -> tuple[float, float]:
    begin = rng.uniform(0, within)
    return begin, begin + rng.uniform(0.5, longest)


def _versions(rng: random.Random, ordered: str | None, moves: bool) -> list[Version]:
    first = _version(rng, "v0", ordered, "his")
    later = [
        _version(rng, f"v{number}", ordered, rng.choice(("his", "his2")) if moves else "his")
        for number in range(1, rng.choice((1, 1, 1, 2, 4)))
    ]
    for version in later[:-1]:
        if rng.random() < 0.3:
            version.broken = frozenset({rng.choice(("registration.lock", "registration.unlock"))})
        elif rng.random() < 0.2:
            del version.routes["registration.unlock"]
    return [first, *later]


def _version(rng: random.Random, name: str, ordered: str | None, to: str) -> Version:
    queued: dict[str, Any] = {"deliver": "queued", "priority": rng.choice(("high", "normal", "low"))}
    lock: dict[str, Any] = {"to": to, "timeout": rng.choice(("1s", "2s")), "settle": "registration.find"}
    lock["settle_after"] = SETTLE_AFTER
    unlock: dict[str, Any] = {"to": to, "timeout": "2s", "retry": rng.choice((0, 2))}
    if rng.random() < 0.6:
        lock |= queued | ({"ordered": ordered} if ordered else {})
    if rng.random() < 0.6:
        unlock |= queued | {"retry": rng.choice(("2 over 3s", "4 over 8s"))}
        if ordered == "$orderNo":
            unlock["ordered"] = ordered
    for one in (lock, unlock):
        if "deliver" in one and rng.random() < 0.2:
            one["ttl"] = rng.choice(("2s", "10s"))
    find: dict[str, Any] = {"to": to, "timeout": "1s", "retry": rng.choice((0, 1))}
    if rng.random() < 0.3:
        find["cache"] = "2s"
    limits: dict[str, Any] = {"concurrency": rng.choice((1, 2, 8)), "queue": rng.choice((0, 3, 100))}
    limits["breaker"] = rng.choice(("5 in 30s for 2s", "3 in 10s for 1s", "99 in 1s"))
    limits["backlog"] = rng.choice((3, 1000, 1000))
    if rng.random() < 0.15:
        limits["rate"] = rng.choice(("5/s", "20/s"))
    return Version(name, {"registration.lock": lock, "registration.unlock": unlock, "registration.find": find}, limits)
