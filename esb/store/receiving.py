"""New messages into the inbox, repeats out of it. Everything here runs in the one thread that writes.

Where the message of an id stands is kept in memory for the latest messages, and written down for many of them at once:
an index that is kept with every message costs a page of the disk for each sender at every commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.observe import get_logger
from esb.store import answers, driver, many
from esb.store.answers import Brought
from esb.store.bodies import CorruptError
from esb.store.inbox import COLUMNS, Arrival, Offer, Settled, Taken, arrival_of, inbox, inbox_key, inbox_mark, stored
from esb.store.tables import clean

_WRITTEN_DOWN_AFTER = 2048
_TRIED_AGAIN = (Taken.PARKED, Taken.UNWANTED)
_NO_KEY = (Taken.CONFLICT, Taken.SUPERSEDED, Taken.ANSWER)

_Key = tuple[str, str, str]
_log = get_logger()


class _Earlier(NamedTuple):
    """The message that has a key."""

    position: int
    arrival: Arrival
    is_new: bool


class Receiving:
    """Settles offers in the order in which they come. One for each store, for it knows the latest keys.

    What it knows may be of rows that were never committed: nothing is believed that the table does not confirm.
    """

    def __init__(self) -> None:
        self._latest: dict[_Key, int] | None = None
        self._last = 0
        self._written: set[_Key] = set()

    def settle(self, connection: sa.Connection, offers: Sequence[Offer]) -> list[Settled]:
        """Keep what is new. Raises what the database raises; nothing is kept then."""
        if connection.dialect.name == "postgresql":
            return self._settle_shared(connection, offers)
        latest = self._latest
        if latest is None:
            latest = self._read(connection)
            self._last = connection.scalar(_HIGHEST) or 0
            self._latest = latest
        if len(latest) > _WRITTEN_DOWN_AFTER:
            self._write_down(connection, latest)
        is_clear = not driver.run(connection, _ORDERED)
        batch = _Batch(connection, self._last, dict(_held(connection, latest, offers)), is_clear=is_clear)
        settled = [batch.settle(offer) for offer in offers]
        batch.insert()
        self._last = batch.last
        latest.update(batch.keys)
        return settled

    def _settle_shared(self, connection: sa.Connection, offers: Sequence[Offer]) -> list[Settled]:
        """Others receive too: one at a time from here to the commit, so that positions are seen in their order."""
        connection.execute(_ALONE)
        last = connection.scalar(_HIGHEST) or 0
        batch = _Batch(connection, last, dict(_held(connection, {}, offers)))
        settled = [batch.settle(offer) for offer in offers]
        batch.insert()
        _write_keys(connection, batch.keys)
        return settled

    def _read(self, connection: sa.Connection) -> dict[_Key, int]:
        """The keys that were not written down before the last end."""
        mark = connection.scalar(sa.select(inbox_mark.c.position)) or 0
        columns = (inbox.c.endpoint, inbox.c.sender, inbox.c.control, inbox.c.position, inbox.c.state)
        rows = connection.execute(sa.select(*columns).where(inbox.c.position > mark).order_by(inbox.c.position))
        return {(row[0], row[1], row[2]): row[3] for row in rows if row[2] and row[4] not in _NO_KEY}

    def _write_down(self, connection: sa.Connection, latest: dict[_Key, int]) -> None:
        """In this transaction, which may yet fail: what was written down stays in memory until the next time."""
        for key in self._written:
            latest.pop(key, None)
        self._written = set(latest)
        _write_keys(connection, latest)
        connection.execute(inbox_mark.delete())
        connection.execute(inbox_mark.insert().values(position=self._last))


class _Batch:
    """What one transaction keeps; ``keys`` are where its messages stand."""

    def __init__(
        self, connection: sa.Connection, last: int, held: dict[_Key, _Earlier], *, is_clear: bool = False
    ) -> None:
        self._connection, self._held, self._is_clear = connection, held, is_clear
        self._rows: list[tuple[Any, ...]] = []
        self._answers: dict[Brought, int] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self.last = last
        self.keys: dict[_Key, int] = {}

    def settle(self, offer: Offer) -> Settled:
        arrival = offer.arrival
        if offer.answers is not None:
            return self._answer(arrival, offer.row, offer.answers)
        key = (arrival.endpoint, arrival.sender, arrival.control)
        earlier = self._held.get(key) if arrival.control else None
        if earlier is None or earlier.arrival.received < offer.since:
            return self._keep(key, offer) if offer.misplaced is None else self._counted(key, offer, offer.misplaced)
        if earlier.arrival.digest != arrival.digest:
            return self._conflict(offer.conflict())
        if earlier.arrival.state not in _TRIED_AGAIN or earlier.is_new:
            return _repeated(earlier.arrival)
        if offer.misplaced is not None and self._expected(arrival) not in (None, arrival.sequence):
            return _repeated(earlier.arrival)
        return self._again(key, earlier, offer)

    def _counted(self, key: _Key, offer: Offer, misplaced: Callable[[int], Arrival]) -> Settled:
        arrival, expected = offer.arrival, self._expected(offer.arrival)
        if arrival.sequence == 0:
            return _repeated(misplaced(expected or 1))
        if expected is not None and arrival.sequence != expected:
            wrong = misplaced(expected)
            return self._keep(key, replace(offer, arrival=wrong, row=stored(wrong)))
        if arrival.state == Taken.EVENT:
            self._sequences[arrival.endpoint, arrival.sender] = arrival.sequence
        return self._keep(key, offer)

    def _expected(self, arrival: Arrival) -> int | None:
        """None of a sender of whom nothing is known: it may begin anywhere."""
        key = (arrival.endpoint, arrival.sender)
        if key not in self._sequences:
            last = self._connection.scalar(_LAST, {"its_endpoint": key[0], "its_sender": key[1]})
            if last is None:
                return None
            self._sequences[key] = last
        return self._sequences[key] + 1

    def insert(self) -> None:
        many.insert(self._connection, inbox, ("position", *COLUMNS), self._rows)
        if self._answers:
            answers.insert(self._connection, self._answers.items())

    def _answer(self, arrival: Arrival, row: tuple[Any, ...], question: tuple[str, str]) -> Settled:
        """Told from others by what it answers: systems number acknowledgements as they like, or not at all."""
        word, control = clean(question[0]), clean(question[1])
        its = (word, control, arrival.digest)
        if its in self._answers or answers.known(self._connection, its):
            return _repeated(arrival)
        self._add(row)
        self._answers[its] = self.last
        return self._settled(arrival)

    def _keep(self, key: _Key, offer: Offer) -> Settled:
        self._add(offer.row)
        if offer.arrival.control:
            self._held[key] = _Earlier(self.last, offer.arrival, is_new=True)
            self.keys[key] = self.last
        return self._settled(offer.arrival)

    def _conflict(self, arrival: Arrival) -> Settled:
        self._add(stored(arrival))
        return self._settled(arrival)

    def _settled(self, arrival: Arrival) -> Settled:
        """Of the row that was added last."""
        return Settled(Taken(arrival.state), arrival.answer, False, arrival.id, self.last, self._is_clear)

    def _add(self, row: tuple[Any, ...]) -> None:
        self.last += 1
        self._rows.append((self.last, *row))

    def _again(self, key: _Key, earlier: _Earlier, offer: Offer) -> Settled:
        """Now an event: a new row, for readers of events have passed the old one. Else it stands where it stood, with
        its first id and time, for times grow with positions.
        """
        arrival, where = offer.arrival, inbox.c.position == earlier.position
        if arrival.state == Taken.EVENT:
            self._connection.execute(inbox.update().where(where).values(state=str(Taken.SUPERSEDED)))
            self._sequences.pop((arrival.endpoint, arrival.sender), None)
            return self._keep(key, offer) if offer.misplaced is None else self._counted(key, offer, offer.misplaced)
        first = earlier.arrival
        values = dict(zip(COLUMNS, offer.row, strict=True)) | {"id": first.id, "received": first.received}
        self._connection.execute(inbox.update().where(where).values(**values))
        return Settled(Taken(arrival.state), arrival.answer, True, first.id)


def _repeated(arrival: Arrival) -> Settled:
    return Settled(Taken(arrival.state), arrival.answer, True, arrival.id)


def _sound(row: Sequence[Any]) -> Arrival | None:
    """None for a damaged row, which stays for whoever mends it: its repeat is kept anew, or it would be refused for
    ever.
    """
    try:
        arrival = arrival_of(row[1:])
        if not isinstance(arrival.received, str):
            raise CorruptError("it has no time")
        return arrival
    except CorruptError as error:
        _log.error("inbox_row_corrupt", position=row[0], reason=str(error))
        return None


def _held(
    connection: sa.Connection, latest: dict[_Key, int], offers: Sequence[Offer]
) -> Iterator[tuple[_Key, _Earlier]]:
    """The message of each key that a message has."""
    keys = {(one.arrival.endpoint, one.arrival.sender, one.arrival.control) for one in offers if one.arrival.control}
    known = {key: latest[key] for key in keys if key in latest}
    join = "CROSS JOIN" if connection.dialect.name == "sqlite" else "JOIN"
    others = [key for key in keys if key not in latest]
    for found in many.with_rows(connection, "WITH wanted(endpoint, sender, control) AS (", _KEY, others, _WHERE[join]):
        known |= {(row[0], row[1], row[2]): row[3] for row in found}
    for key, position in known.items():
        row = connection.execute(_ROW, {"its_position": position}).first()
        arrival = _sound(row) if row is not None else None
        if arrival is not None and (arrival.endpoint, arrival.sender, arrival.control) == key:
            yield key, _Earlier(position, arrival, is_new=False)


_LAST = (
    sa.select(inbox.c.sequence)
    .where(inbox.c.endpoint == sa.bindparam("its_endpoint"), inbox.c.sender == sa.bindparam("its_sender"))
    .where(inbox.c.sequence > 0, inbox.c.state == str(Taken.EVENT))
    .order_by(inbox.c.position.desc())
    .limit(1)
)
_HIGHEST = sa.select(sa.func.max(inbox.c.position))
_ALONE = sa.select(sa.func.pg_advisory_xact_lock(0x65736201))
_ORDERED = "SELECT 1 FROM queue WHERE order_key <> '' LIMIT 1"  # as it is asked in every transaction
_ROW = sa.select(inbox).where(inbox.c.position == sa.bindparam("its_position"))


_KEY = ("text", "text", "text")
_WHERE = {
    join: (
        f") SELECT wanted.endpoint, wanted.sender, wanted.control, position FROM wanted {join} inbox_key USING "
        "(endpoint, sender, control)"
    )
    for join in ("JOIN", "CROSS JOIN")
}
"""SQLite goes through those that are wanted, and not through all there are, if it is told to cross."""
_KEY_NAMES = ("endpoint", "sender", "control", "position")
_NEWEST = "ON CONFLICT (endpoint, sender, control) DO UPDATE SET position = excluded.position"


def _write_keys(connection: sa.Connection, keys: dict[_Key, int]) -> None:
    rows = sorted((*key, position) for key, position in keys.items())
    many.insert(connection, inbox_key, _KEY_NAMES, rows, _NEWEST)
