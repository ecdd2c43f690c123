"""What a replay does with an exchange, by how that stands in the journal, in the queue and among the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from esb.codecs import DecodeError
from esb.codecs.json import decode
from esb.lint import Plan
from esb.model import Effect, Tree
from esb.store import State, queue
from esb.store.bodies import CorruptError, unpack
from esb.store.queue import Queued
from esb.store.tables import Row, exchange, idempotency


class Verdict(StrEnum):
    """The first two are carried out; all others are left as they are."""

    AGAIN = "again"
    """It certainly did not happen, or may be sent twice under one key: accepted once more."""
    RELEASE = "release"
    """It is parked: tried again with all its tries."""
    ANSWERED = "answered"
    """Done or refused: its answer stands, and is what the same key is given."""
    UNDER_WAY = "under_way"
    SETTLING = "settling"
    """It may have happened and happens once: what became of it is to be asked, and nothing is sent."""
    OTHER = "other"
    """Another exchange has its key, or answered it: replay that one."""
    READ = "read"
    """Nobody waits for the answer any more."""
    NO_ROUTE = "no_route"
    INVALID = "invalid"
    """The contract does not allow the request, or does not know the operation."""
    UNREADABLE = "unreadable"
    MISSING = "missing"
    FULL = "full"
    """The queue of its system holds as much as it may."""


CARRIED_OUT = (Verdict.AGAIN, Verdict.RELEASE)


@dataclass(frozen=True, slots=True)
class Judged:
    """An exchange and what becomes of it; ``row`` without ``sent``, ``raw`` and ``answer`` unpacked."""

    id: str
    verdict: Verdict
    why: str = ""
    row: Row | None = None
    request: Tree = None
    queued: Queued | None = None


def judge(connection: sa.Connection, ids: Sequence[str], plan: Plan) -> list[Judged]:
    """In the order of ``ids``, which are some hundred at most."""
    rows = {
        row.id: row
        for row in (Row(*one) for one in connection.execute(sa.select(exchange).where(exchange.c.id.in_(ids))))
    }
    waiting = {one.id: one for one in queue.found(connection, ids)}
    return [_judged(connection, one, rows.get(one), waiting.get(one), plan) for one in ids]


def _judged(connection: sa.Connection, id_: str, row: Row | None, queued: Queued | None, plan: Plan) -> Judged:
    if row is None:
        return Judged(id_, Verdict.MISSING, "the journal does not know it")
    try:
        request = decode(unpack(row.request))
        verdict, why = _verdict(connection, row, queued, request, plan)
    except (DecodeError, CorruptError, ValueError) as error:
        return Judged(id_, Verdict.UNREADABLE, f"the journal's row is damaged: {type(error).__name__}", row)
    return Judged(id_, verdict, why, row, request, queued)


def _verdict(
    connection: sa.Connection, row: Row, queued: Queued | None, request: Tree, plan: Plan
) -> tuple[Verdict, str]:
    state, effect = State(row.state), Effect(row.effect)
    if effect is Effect.READ:
        return Verdict.READ, "it changes nothing; ask again"
    if row.cause and connection.scalar(sa.select(exchange.c.id).where(exchange.c.id == row.cause)):
        return Verdict.OTHER, f"{row.cause} answered it"
    if state in (State.DONE, State.REFUSED):
        return Verdict.ANSWERED, f"{state} {row.code}".strip()
    if state in (State.RECEIVED, State.SENT) or (queued and queued.state not in (queue.PARKED, queue.SETTLING)):
        return Verdict.UNDER_WAY, queued.state if queued else str(state)
    if (queued and queued.state == queue.SETTLING) or (state is State.UNKNOWN and effect is Effect.ONCE):
        return Verdict.SETTLING, "the bus asks what became of it"
    if state is State.MALFORMED and effect is Effect.ONCE and (row.sent or row.raw):
        return Verdict.SETTLING, "it was sent and its answer cannot be read: ask the system"
    if row.operation not in plan.routes.routes:
        return Verdict.NO_ROUTE, f"'{row.operation}' has no route"
    if wrong := plan.contract.operations[row.operation].check_request(request):
        return Verdict.INVALID, ", ".join(f"{one.pointer or '/'} {one.code}" for one in wrong[:5])
    if queued:
        return Verdict.RELEASE, queued.reason
    if holder := _holder(connection, row):
        return Verdict.OTHER, f"{holder} has its key"
    return Verdict.AGAIN, f"{state} {row.code}".strip()


def _holder(connection: sa.Connection, row: Row) -> str | None:
    """Who else has its key."""
    if not row.fingerprint:
        return None
    mine = (idempotency.c[name] == getattr(row, name) for name in ("operation", "principal", "key"))
    found: str | None = connection.scalar(sa.select(idempotency.c.exchange).where(*mine))
    return found if found != row.id else None


def counts(judged: Sequence[Judged]) -> Mapping[Verdict, int]:
    """How many of each."""
    found: dict[Verdict, int] = {}
    for one in judged:
        found[one.verdict] = found.get(one.verdict, 0) + 1
    return found
