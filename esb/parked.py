"""What a person sees and does of what waits, beside a running bus: on the store itself, one transaction each."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from esb.clock import SHANGHAI, Clock
from esb.codecs.json import decode
from esb.config.settings import Settings
from esb.contract import Operation, load_contract
from esb.explain.masking import Masker
from esb.model import Effect, Tree
from esb.store import Fate, Row, State, queue
from esb.store.bodies import unpack
from esb.store.engines import transaction
from esb.store.queue import Queued
from esb.store.tables import exchange

_T = TypeVar("_T")


class NotParkedError(Exception):
    """Only what waits for a person is released or discarded; the text says where the exchange is."""


class Desk:
    """The queues of one store. Every method raises ``ConfigError`` when the store cannot be used."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock

    def list(self, where: tuple[str, ...], endpoint: str, most: int) -> list[dict[str, Tree]]:
        """What waits, in the order of its acceptance."""
        with self._store() as connection:
            return [self._facts(row) for row in queue.listed(connection, where, endpoint, most)]

    def show(self, exchange_id: str) -> dict[str, Tree]:
        """One with its request, patient data masked."""
        with self._store() as connection:
            facts = self._facts(self._queued(connection, exchange_id))
            row = _journalled(connection, exchange_id)
        operation = load_contract(self._settings.schemas).operations.get(row.operation)
        shown = _masked(operation, decode(row.request)) if operation else "the contract has no such operation"
        return {**facts, "key": row.key, "received": row.received, "version": row.version, "request": shown}

    def release(self, exchange_id: str, reason: str) -> None:
        """Let it be tried again, with all its tries."""
        with self._store() as connection:
            self._parked(connection, exchange_id)
            values = {"state": queue.LATER, "due": 0, "tries": 0, "lost": 0, "reason": _by("released", reason)}
            queue.change(connection, exchange_id, (queue.PARKED,), values)

    def discard(self, exchange_id: str, reason: str) -> None:
        """End its exchange and free its key."""
        with self._store() as connection:
            parked = self._parked(connection, exchange_id)
            row = _journalled(connection, exchange_id)
            again = row.effect != Effect.ONCE and parked.sent
            ended = row._replace(
                state=(State.UNKNOWN if again else State.UNAVAILABLE).value,
                code="outcome_unknown" if again else "discarded",
                reason=f"{_by('discarded', reason)}; it was parked for {parked.reason}",
                finished=self._clock.now().isoformat(timespec="milliseconds"),
                attempts=parked.tries,
            )
            queue.discard(connection, ended, Fate.AGAIN if again else Fate.RELEASE)

    def _store(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._settings.store)

    def _queued(self, connection: sa.Connection, exchange_id: str) -> Queued:
        found = queue.find(connection, exchange_id)
        if found is None:
            raise NotParkedError(
                f"{exchange_id} is not in a queue; GET /v1/exchanges/{exchange_id} says what it became"
            )
        return found

    def _parked(self, connection: sa.Connection, exchange_id: str) -> Queued:
        found = self._queued(connection, exchange_id)
        if found.state != queue.PARKED:
            raise NotParkedError(f"{exchange_id} is {found.state}, not parked")
        return found

    def _facts(self, row: Queued) -> dict[str, Tree]:
        age = self._clock.now() - _moment(row.accepted)
        return {
            "id": row.id,
            "operation": row.operation,
            "endpoint": row.endpoint,
            "where": row.state,
            "age_s": int(age.total_seconds()),
            "tries": row.tries,
            "may_have_arrived": row.sent,
            "next": _moment(row.due).isoformat(timespec="seconds") if row.due and row.state == queue.LATER else None,
            "expires": _moment(row.expires).isoformat(timespec="seconds") if row.expires else None,
            "reason": row.reason,
        }


def _by(done: str, reason: str) -> str:
    return f"{done} by {getpass.getuser()}: {reason}"


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
