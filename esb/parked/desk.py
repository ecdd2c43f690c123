"""What a person sees and does of what waits, beside a running bus: on the store itself, a transaction for each act."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from esb import audit
from esb.clock import SHANGHAI, Clock, Ids
from esb.codecs.json import decode
from esb.config.settings import Settings
from esb.config.subjects import load_blind
from esb.contract import Operation, load_contract
from esb.explain.masking import Masker
from esb.model import Effect, Tree
from esb.parked.editing import NotEditedError, edited, fingerprints, keep, store
from esb.parked.likeness import grouped, likeness
from esb.store import Fate, Row, State, queue
from esb.store.bodies import unpack
from esb.store.engines import transaction
from esb.store.leases import now_ms
from esb.store.queue import Queued
from esb.store.tables import exchange

_MOST = 1_000_000


class NotParkedError(Exception):
    """Only what waits for a person is released or discarded; the text says where the exchange is."""


class Desk:
    """The queues of one store. Every method raises ``ConfigError`` when the store cannot be used."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock, self._ids = settings, clock, Ids(clock)

    def waiting(self, where: tuple[str, ...], endpoint: str, most: int) -> list[dict[str, Tree]]:
        """What waits, in the order of its acceptance."""
        with self._reading() as connection:
            return [self._facts(row) for row in queue.listed(connection, where, endpoint, most)]

    def show(self, exchange_id: str) -> dict[str, Tree]:
        """One with its request, patient data masked."""
        with self._reading() as connection:
            facts = self._facts(_queued(exchange_id, queue.find(connection, exchange_id)))
            row = _journalled(connection, exchange_id)
        operation = load_contract(self._settings.schemas).operations.get(row.operation)
        shown = _masked(operation, decode(row.request)) if operation else "the contract has no such operation"
        return {**facts, "key": row.key, "received": row.received, "version": row.version, "request": shown}

    def groups(self, operation: str, endpoint: str) -> list[dict[str, Tree]]:
        """What is parked, alike ones taken together, the largest group first."""
        with self._reading() as connection:
            found = grouped(self._all_parked(connection, operation, endpoint))
        return [
            {
                "operation": one.operation,
                "endpoint": one.endpoint,
                "reason": one.reason,
                "count": one.count,
                "oldest_s": self._age(one.oldest),
                "example": one.example,
            }
            for one in found
        ]

    def like(self, exchange_id: str) -> list[str]:
        """The parked ones with the same operation, endpoint and kind of reason, itself among them."""
        with self._reading() as connection:
            one = _parked(exchange_id, queue.find(connection, exchange_id))
            others = self._all_parked(connection, one.operation, one.endpoint)
        return [other.id for other in others if likeness(other) == likeness(one)]

    def release(self, exchange_ids: Iterable[str], reason: str) -> None:
        """Let all of them be tried again, with all their tries and all their time, or none when one is not parked."""
        with self._store() as connection:
            chosen = self._locked(connection, exchange_ids)
            for parked in chosen:
                queue.release(connection, parked, now_ms(connection), _by("released", reason))
            self._audit_all(connection, "release", chosen, reason)

    def edit(self, exchange_id: str, texts: Mapping[str, str | None], reason: str) -> None:
        """Change fields of its request, which stays parked; what was asked before is in the journal.

        Raises ``NotEditedError``: where the contract does not allow it, and where the system may have the request as it
        was.
        """
        with self._store() as connection:
            (parked,) = self._locked(connection, [exchange_id])
            if parked.sent:
                raise NotEditedError(f"an earlier try of {exchange_id} may have arrived as it was: discard it")
            row = _journalled(connection, exchange_id)
            operation = self._operation(row.operation)
            before = decode(row.request)
            after = edited(operation, before, texts, parked.order_key)
            kept = self._ids.new()
            keep(connection, row, kept, self._now(), f"what was asked before it was {_by('edited', reason)}")
            store(connection, row, operation, after, load_blind(self._settings.secrets, os.environ))
            was, now = fingerprints(before, after)
            self._audit(connection, "edit", parked, reason, fields=sorted(texts), kept_as=kept, before=was, after=now)

    def discard(self, exchange_ids: Iterable[str], reason: str) -> None:
        """End the exchanges of all of them and free their keys, or of none when one is not parked."""
        with self._store() as connection:
            chosen = self._locked(connection, exchange_ids)
            for parked in chosen:
                self._discard(connection, parked, reason)
            self._audit_all(connection, "discard", chosen, reason)

    def _discard(self, connection: sa.Connection, parked: Queued, reason: str) -> None:
        row = _journalled(connection, parked.id)
        again = row.effect != Effect.ONCE and parked.sent
        ended = row._replace(
            state=(State.UNKNOWN if again else State.UNAVAILABLE).value,
            code="outcome_unknown" if again else "discarded",
            reason=f"{_by('discarded', reason)}; it was parked for {parked.reason}",
            finished=self._now(),
            attempts=parked.tries,
        )
        queue.discard(connection, ended, Fate.AGAIN if again else Fate.RELEASE)

    def _audit_all(self, connection: sa.Connection, action: str, chosen: Iterable[Queued], reason: str) -> None:
        """Last of all: who waits for the audit holds its rows, and two must not wait for each other."""
        for parked in chosen:
            self._audit(connection, action, parked, reason)

    def _audit(self, connection: sa.Connection, action: str, parked: Queued, reason: str, **more: Tree) -> None:
        details = {"operation": parked.operation, "endpoint": parked.endpoint, "parked_for": parked.reason, **more}
        audit.write(connection, audit.Act(self._clock.now(), audit.actor(), action, parked.id, reason, details))

    def _all_parked(self, connection: sa.Connection, operation: str, endpoint: str) -> list[Queued]:
        found = queue.listed(connection, (queue.PARKED,), endpoint, _MOST)
        return [one for one in found if operation in ("", one.operation)]

    def _operation(self, name: str) -> Operation:
        found = load_contract(self._settings.schemas).operations.get(name)
        if found is None:
            raise NotEditedError(f"the contract has no operation '{name}'")
        return found

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="milliseconds")

    def _age(self, accepted: int) -> int:
        return int((self._clock.now() - _moment(accepted)).total_seconds())

    def _store(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._settings.store)

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        """Who only looks keeps nobody from writing."""
        return transaction(self._settings.store, writes=False)

    def _locked(self, connection: sa.Connection, exchange_ids: Iterable[str]) -> list[Queued]:
        """All of them parked, and nobody else releases or discards one meanwhile."""
        ids = sorted(set(exchange_ids))
        rows = queue.lock(connection, ids)
        return [_parked(one, rows.get(one)) for one in ids]

    def _facts(self, row: Queued) -> dict[str, Tree]:
        return {
            "id": row.id,
            "operation": row.operation,
            "endpoint": row.endpoint,
            "where": row.state,
            "age_s": self._age(row.accepted),
            "tries": row.tries,
            "may_have_arrived": row.sent,
            "next": _moment(row.due).isoformat(timespec="seconds") if row.due and row.state == queue.LATER else None,
            "expires": _moment(row.expires).isoformat(timespec="seconds") if row.expires else None,
            "reason": row.reason,
        }


def _queued(exchange_id: str, found: Queued | None) -> Queued:
    if found is None:
        raise NotParkedError(f"{exchange_id} is not in a queue; GET /v1/exchanges/{exchange_id} says what it became")
    return found


def _parked(exchange_id: str, found: Queued | None) -> Queued:
    row = _queued(exchange_id, found)
    if row.state != queue.PARKED:
        raise NotParkedError(f"{exchange_id} is {row.state}, not parked")
    return row


def _by(done: str, reason: str) -> str:
    return f"{done} by {audit.actor()}: {reason}"


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, SHANGHAI)


def _journalled(connection: sa.Connection, exchange_id: str) -> Row:
    row = Row(*connection.execute(sa.select(exchange).where(exchange.c.id == exchange_id)).one())
    return row._replace(
        request=unpack(row.request), sent=unpack(row.sent), raw=unpack(row.raw), answer=unpack(row.answer)
    )


def _masked(operation: Operation, tree: Tree) -> Tree:
    masker = Masker(operation, ())
    return _each(tree, (), lambda path, value: masker.shown(value, masker.of(path), described=True).value)


def _each(tree: Tree, path: tuple[str, ...], change: Callable[[str, Any], Tree]) -> Tree:
    if isinstance(tree, dict):
        return {name: _each(value, (*path, name), change) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_each(item, path, change) for item in tree]
    return change(".".join(("request", *path)), tree)
