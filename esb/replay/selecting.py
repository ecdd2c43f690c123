"""Which exchanges: named, or found in the journal or among what is parked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import sqlalchemy as sa

from esb.journal.search import Found, Query, stream
from esb.store import queue

MOST = 100_000


class TooManyError(Exception):
    """More than a person can have looked at."""


@dataclass(frozen=True, slots=True)
class Selection:
    """``ids`` alone, or what ``query`` finds. ``parked``: those that wait for a person, of the query's operation and
    endpoint.
    """

    ids: Sequence[str] = ()
    query: Query = field(default_factory=Query)
    parked: bool = False


def selected(connection: sa.Connection, selection: Selection) -> list[str]:
    """Their ids in the order in which they were received, each once; raises ``TooManyError``."""
    if selection.parked:
        found = [one.id for one in _parked(connection, selection.query)]
    elif selection.ids:
        found = list(selection.ids)
    else:
        found = _first(stream(connection, selection.query))
    if len(found) > MOST:
        raise TooManyError(f"more than {MOST} exchanges: narrow it with --since and --until")
    return sorted(set(found))


def _parked(connection: sa.Connection, query: Query) -> list[queue.Queued]:
    found = queue.listed(connection, (queue.PARKED,), query.endpoint, MOST + 1)
    return [one for one in found if query.operation in ("", one.operation)]


def _first(found: Iterable[Found]) -> list[str]:
    return [one.id for one in islice(found, MOST + 1)]
