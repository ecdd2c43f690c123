"""After a new key: whom the rows of the journal are about, written again under it, beside a bus that runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from esb import audit
from esb.clock import Clock
from esb.codecs import DecodeError, json
from esb.config.settings import Settings
from esb.config.subjects import load_blind, needed
from esb.contract import load_contract
from esb.model import Tree
from esb.pipeline.subject import Subject
from esb.store.bodies import CorruptError, unpack
from esb.store.engines import transaction
from esb.store.tables import exchange

_CHUNK = 200
_Row: TypeAlias = Any


@dataclass(slots=True)
class Tally:
    """``written`` rows have the key in use now; ``kept`` have what they had: nobody can tell any more whom they are
    about, and their key is needed as long as they are kept.
    """

    written: int = 0
    kept: int = 0


def reindex(
    settings: Settings, clock: Clock, reason: str, rest: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, Tally]]:
    """Operation by operation, a few rows a transaction, with a rest after each; says after each how far it is.

    What has the key in use is not looked at: whoever is stopped begins again and goes on where it was. Raises
    ``ConfigError``.
    """
    blind = needed(load_blind(settings.secrets, os.environ), settings.secrets)
    with transaction(settings.store) as connection:
        audit.write(connection, audit.Act(clock.now(), audit.actor(), "reindex", "journal", reason))
    for name, operation in sorted(load_contract(settings.schemas).operations.items()):
        subject, tally, after = Subject.of(operation, blind), Tally(), ""
        while subject.is_somebody and (rows := _page(settings.store, name, blind.current, after)):
            began = clock.monotonic()
            marks = {row.id: mark for row in rows if (mark := _mark(subject, row))}
            _write(settings.store, marks)
            tally.written += len(marks)
            tally.kept += sum(row.subject != "" and row.id not in marks for row in rows)
            after = rows[-1].id
            yield name, tally
            rest(clock.monotonic() - began)


def _page(store: str, operation: str, current: str, after: str) -> list[_Row]:
    columns = exchange.c
    lacking = sa.select(columns.id, columns.subject, columns.request, columns.answer).where(
        columns.operation == operation, columns.id > after, columns.subject.not_like(f"{current}%")
    )
    with transaction(store, writes=False) as connection:
        return list(connection.execute(lacking.order_by(columns.id).limit(_CHUNK)).all())


def _mark(subject: Subject, row: _Row) -> str:
    return subject.mark(_tree(row.request), _tree(row.answer))


def _tree(stored: bytes) -> Tree:
    """None for what is empty or broken."""
    try:
        return json.decode(unpack(stored))
    except (CorruptError, DecodeError):
        return None


def _write(store: str, marks: Mapping[str, str]) -> None:
    if not marks:
        return
    update = exchange.update().where(exchange.c.id == sa.bindparam("its_id"))
    values = [{"its_id": one, "its_subject": mark} for one, mark in marks.items()]
    with transaction(store) as connection:
        connection.execute(update.values(subject=sa.bindparam("its_subject")), values)
