"""What shadows found since an hour, for people who decide whether the second system may take over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import orjson

from esb.fields import SAMPLES, Difference, Sample
from esb.model import Tree
from esb.store.shadow import ALIKE, COMPARED, Count


@dataclass(slots=True)
class Shadow:
    """One operation beside its shadow: how many exchanges were compared and were alike, and the fields that differ."""

    operation: str
    endpoint: str
    compared: int = 0
    alike: int = 0
    fields: dict[str, Difference] = field(default_factory=dict)

    def add(self, count: Count) -> None:
        if count.field == COMPARED:
            self.compared += count.exchanges
        elif count.field == ALIKE:
            self.alike += count.exchanges
        else:
            found = self.fields.setdefault(count.field, Difference(self.operation, "answers", count.field))
            found.exchanges += count.exchanges
            samples = [Sample(**one) for one in orjson.loads(count.samples or b"[]")]
            found.samples = [*found.samples, *samples][-SAMPLES:]


def report(counts: Iterable[Count]) -> list[Shadow]:
    """By operation and endpoint; the samples are the latest."""
    found: dict[tuple[str, str], Shadow] = {}
    for count in counts:
        key = (count.operation, count.endpoint)
        found.setdefault(key, Shadow(*key)).add(count)
    for shadow in found.values():
        for one in shadow.fields.values():
            one.compared = shadow.compared
    return list(found.values())


def as_tree(shadows: Iterable[Shadow]) -> list[dict[str, Tree]]:
    """The report for programs."""
    return [{**asdict(one), "fields": [asdict(each) for each in _worst(one)]} for one in shadows]


def as_text(shadows: Iterable[Shadow]) -> str:
    """The report for people: what differs most first, with some exchanges, live -> shadow."""
    lines: list[str] = []
    for one in shadows:
        lines.append(f"{one.operation} beside {one.endpoint}: {one.compared} compared, {one.alike} alike")
        for each in _worst(one):
            lines.append(f"  {each.name}: {each.exchanges} of {each.compared}")
            lines += [f"    {s.exchange}: {_or_nothing(s.before)} -> {_or_nothing(s.after)}" for s in each.samples]
    return "\n".join(lines) or "nothing was compared"


def _worst(shadow: Shadow) -> list[Difference]:
    return sorted(shadow.fields.values(), key=lambda one: (-one.exchanges, one.name))


def _or_nothing(value: str | None) -> str:
    return "(nothing)" if value is None else value
