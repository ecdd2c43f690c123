"""Which parked messages are alike: the reason without what is each one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from esb.store.queue import Queued

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_OWN = re.compile(r"\b(?=\w*\d)\w+(?:[-:.]\w*\d\w*)*\b")
_PLACE = re.compile(r"[\w.-]+\.yaml:\d+")


def fingerprint(reason: str) -> str:
    """The reason with every id, number and quoted value as ``#``; file and line of a mapping stay."""
    places: list[str] = []

    def keep(match: re.Match[str]) -> str:
        places.append(match[0])
        return "\0"

    text = _OWN.sub("#", _QUOTED.sub("#", _PLACE.sub(keep, reason)))
    for place in places:
        text = text.replace("\0", place, 1)
    return text


@dataclass(slots=True)
class Group:
    """Alike by operation, endpoint and reason; ``oldest`` is when the first was accepted, in milliseconds."""

    operation: str
    endpoint: str
    reason: str
    count: int
    oldest: int
    example: str


def grouped(rows: Iterable[Queued]) -> list[Group]:
    """The largest first; the example is the oldest."""
    found: dict[tuple[str, str, str], Group] = {}
    for row in rows:
        key = likeness(row)
        group = found.setdefault(key, Group(*key, 0, row.accepted, row.id))
        group.count += 1
        if row.accepted < group.oldest:
            group.oldest, group.example = row.accepted, row.id
    return sorted(found.values(), key=lambda one: -one.count)


def likeness(row: Queued) -> tuple[str, str, str]:
    """Equal for those that are alike."""
    return row.operation, row.endpoint, fingerprint(row.reason)
