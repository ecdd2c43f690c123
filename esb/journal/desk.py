"""What a person asks of the journal, beside a bus that runs: on the store itself, patients masked, looks audited."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb import audit
from esb.clock import Clock
from esb.config.settings import Settings
from esb.config.subjects import load_blind, needed
from esb.contract import load_contract
from esb.journal import received
from esb.journal.received import Wanted
from esb.journal.search import Found, Query, find, page, related, stream
from esb.journal.showing import Shower
from esb.model import Tree
from esb.store.engines import transaction


class NotFoundError(Exception):
    """The journal does not have the exchange or message; the text says which."""


class Page(NamedTuple):
    """``before`` asks for the next one; empty when there is none."""

    rows: list[dict[str, Tree]]
    before: str


class Desk:
    """The journal of one store. Every method raises ``ConfigError`` when store, contract or keys cannot be used."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        contract = load_contract(settings.schemas)
        self._operations, self._events = contract.operations, contract.events

    def marks(self, patient: str) -> tuple[str, ...]:
        """What may stand for a patient in the journal; the number itself goes no further."""
        keys = needed(load_blind(self._settings.secrets, os.environ), self._settings.secrets)
        return keys.all_of(patient) or ("nobody",)

    def list(self, query: Query, *, before: str = "", most: int = 100) -> Page:
        """The newest first."""
        with self._reading() as connection:
            found = page(connection, query, before=before, most=most + 1)
        shower = Shower(self._operations)
        more = found[most - 1].id if len(found) > most else ""
        return Page([shower.line(one) for one in found[:most]], more)

    def show(self, exchange_id: str, *, unmask: str = "") -> dict[str, Tree]:
        """One with all that it holds and what it has to do with; ``unmask`` is the reason to show patient data."""
        if unmask:
            self._audit("unmask", exchange_id, unmask, {})
        with self._reading() as connection:
            found = find(connection, exchange_id)
            if found is None:
                raise NotFoundError(f"the journal has no exchange {exchange_id}")
            near = related(connection, found)
        shower = Shower(self._operations, bare=bool(unmask))
        return {**shower.whole(found), "related": [_told(one, found) for one in near]}

    def export(self, query: Query, reason: str, *, unmask: bool = False) -> Iterator[dict[str, Tree]]:
        """Everything that a query finds, the newest first, one by one; the audit has it before the first is given."""
        self._audit("export", "journal", reason, {"query": asked(query), "unmasked": unmask})
        shower = Shower(self._operations, bare=unmask)
        with self._reading() as connection:
            for found in stream(connection, query, bodies=True):
                yield shower.whole(found)

    def received(self, wanted: Wanted, *, before: int = 0, most: int = 100) -> Page:
        """Messages that systems sent us, the newest first."""
        with self._reading() as connection:
            found = received.page(connection, wanted, before=before, most=most + 1)
        more = str(found[most - 1].position) if len(found) > most else ""
        return Page([received.line(one) for one in found[:most]], more)

    def received_one(self, which: str, *, unmask: str = "") -> dict[str, Tree]:
        """One by its position or its id, with all that it holds; ``unmask`` is the reason to show patient data."""
        if unmask:
            self._audit("unmask", f"inbox/{which}", unmask, {})
        with self._reading() as connection:
            found = received.find(connection, which)
        if found is None:
            raise NotFoundError(f"the inbox has no message {which}")
        return received.whole(found, self._events, bare=bool(unmask))

    def received_export(self, wanted: Wanted, reason: str, *, unmask: bool = False) -> Iterator[dict[str, Tree]]:
        """As ``export``."""
        self._audit("export", "inbox", reason, {"query": asked(wanted), "unmasked": unmask})
        with self._reading() as connection:
            for found in received.stream(connection, wanted):
                yield received.whole(found, self._events, bare=unmask)

    def _audit(self, action: str, on: str, reason: str, details: dict[str, Any]) -> None:
        act = audit.Act(self._clock.now(), audit.actor(), action, on, reason, details)
        with transaction(self._settings.store) as connection:
            audit.write(connection, act)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with transaction(self._settings.store, writes=False) as connection:
            yield connection


def asked(query: Query | Wanted) -> dict[str, Tree]:
    """What of a query was said, for the audit: patients are in it as marks."""
    values = {name: getattr(query, name) for name in query.__dataclass_fields__}
    return {name: _plain(value) for name, value in values.items() if value}


def _plain(value: Any) -> Tree:
    return value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value


def _told(one: Found, of: Found) -> dict[str, Tree]:
    """How ``one`` is related to ``of``: who has the other for its cause was given its answer, or asked about it."""
    names = ("id", "operation", "state", "code", "received")
    is_cause = one.id == of.facts["cause"]
    asks = bool((of if is_cause else one).facts["attempts"])
    how = _RELATIONS[is_cause, asks]
    return {"relation": how, **{name: one.facts[name] for name in names}}


_RELATIONS = {
    (True, True): "this asks about it",
    (True, False): "this was given its answer",
    (False, True): "asked about this",
    (False, False): "was given this one's answer",
}
