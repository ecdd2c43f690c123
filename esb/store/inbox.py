"""What systems told us: every message raw, with its answer and the event it became or the reason why it became none.

One message is one row, written together with the event, so that an answer which promises that the message is kept can
be sent after one commit. ``position`` grows with the order of arrival and is what consumers of events go by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store.bodies import CorruptError, pack, unpack
from esb.store.tables import Big, clean, metadata, partial_index


class Taken(StrEnum):
    """What became of a message."""

    EVENT = "event"
    PARKED = "parked"
    """Understood and wanted, and yet no event: ``reason`` says why. Sent again it is tried again."""
    UNWANTED = "unwanted"
    """Nobody asked for this kind of message; sent again it is tried again."""
    CONFLICT = "conflict"
    """Another message had the same id before."""
    UNREADABLE = "unreadable"
    SUPERSEDED = "superseded"
    """Parked or unwanted once, an event when it was sent again."""
    ANSWER = "answer"
    """An application's answer to a message of ours."""


class Arrival(NamedTuple):
    """A row of ``inbox`` without its position.

    ``sender`` and ``control`` together are who sent it and by which id; a row with an empty ``control`` is no repeat of
    any other. ``digest`` is that of ``raw``. ``event`` is the name of the event and ``body`` the event as JSON.
    ``sequence`` is the number that its sender gave it: 0 asks for the one that is expected, -1 is none.
    """

    id: str
    endpoint: str
    sender: str
    control: str
    kind: str
    peer: str
    received: str
    state: str
    event: str
    reason: str
    mapping: str
    version: str
    sequence: int
    digest: bytes
    raw: bytes
    body: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Offer:
    """An arrival that may be a repeat, and its row. ``since``: earlier ones received before it do not count;
    ``conflict`` makes the arrival of a message whose id an other message has. ``misplaced`` makes that of one whose
    number is not the expected one; of a sender that does not count there is none. ``answers`` is what it is an answer
    to (``esb.store.answers``): then nothing but the same answer to the same is a repeat of it.
    """

    arrival: Arrival
    row: tuple[str | int | bytes, ...]
    since: str
    conflict: Callable[[], Arrival]
    misplaced: Callable[[int], Arrival] | None = None
    answers: tuple[str, str] | None = None


class Settled(NamedTuple):
    """The row that stands for the offered message, the stored one when it is a repeat.

    ``id`` is that of the row. ``position`` is the row's when it is a new one, otherwise 0. ``is_clear``: nothing that
    is ordered waited in any queue when it was kept, so nothing that it would have to wait behind; False where that is
    not known.
    """

    state: Taken
    answer: bytes
    is_repeat: bool
    id: str
    position: int = 0
    is_clear: bool = False


class Told(NamedTuple):
    """An event as its consumers get it: in the order of ``position``, which is never used twice.

    ``body`` is empty where the stored one is damaged.
    """

    position: int
    id: str
    endpoint: str
    sender: str
    control: str
    kind: str
    received: str
    event: str
    body: bytes


_COMPRESS_FROM = 4096
"""To compress less than a page saves no page, and each time gives the interpreter's lock to the thread that writes."""
_PLAIN = Arrival._fields[: Arrival._fields.index("raw")]
_NUMBERS = ("sequence", "raw_bytes", "body_bytes")
_BLOBS = ("digest", "content")
COLUMNS = (*_PLAIN, "raw_bytes", "body_bytes", "content")
"""``content`` is raw message, event and answer one behind the other: they say much the same and compress together."""
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("position", Big, primary_key=True, autoincrement=False),
    *(
        sa.Column(name, sa.LargeBinary if name in _BLOBS else Big if name in _NUMBERS else sa.Text, nullable=False)
        for name in COLUMNS
    ),
)
partial_index("inbox_sequence", inbox.c.endpoint, inbox.c.sender, inbox.c.position, where=inbox.c.sequence > 0)
inbox_key = sa.Table(
    "inbox_key",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("sender", sa.Text, primary_key=True),
    sa.Column("control", sa.Text, primary_key=True),
    sa.Column("position", Big, nullable=False),
    sqlite_with_rowid=False,
)
"""Where the newest message of each id stands; lags behind ``inbox`` by what ``inbox_mark`` says."""
inbox_mark = sa.Table("inbox_mark", metadata, sa.Column("position", Big, primary_key=True, autoincrement=False))
"""One row: the keys of all positions up to this one are in ``inbox_key``."""
inbox_answer = sa.Table(
    "inbox_answer",
    metadata,
    sa.Column("word", sa.Text, primary_key=True),
    sa.Column("control", sa.Text, primary_key=True),
    sa.Column("position", Big, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Where answers to messages of ours stand: by the word that client and listener share, and the id of our message."""
sa.Index("inbox_answer_position", inbox_answer.c.position)


def stored(arrival: Arrival) -> tuple[str | int | bytes, ...]:
    """The row without its position. To compress it is not for the one thread that writes."""
    raw, body, answer = arrival[-3:]
    plain = [clean(value) if type(value) is str else value for value in arrival[:-3]]
    return (*plain, len(raw), len(body), pack(raw + body + answer, _COMPRESS_FROM))


def arrival_of(row: Sequence[Any]) -> Arrival:
    """The arrival of a row without its position; raises ``CorruptError`` for one that was not made by ``stored``."""
    *plain, raw_bytes, body_bytes, content = row
    try:
        rest = unpack(content)
        answer = rest[raw_bytes + body_bytes :]
    except TypeError:
        raise CorruptError("a column holds what it should not") from None
    return Arrival._make((*plain, rest[:raw_bytes], rest[raw_bytes : raw_bytes + body_bytes], answer))


def events_after(connection: sa.Connection, position: int, most: int) -> list[Told]:
    """The next events behind ``position``, in order."""
    query = sa.select(inbox).where(inbox.c.position > position, inbox.c.state == str(Taken.EVENT))
    rows = connection.execute(query.order_by(inbox.c.position).limit(most))
    return list(map(told, rows))


def newest(connection: sa.Connection, count: int, *conditions: sa.ColumnElement[bool]) -> list[tuple[int, Arrival]]:
    """The latest rows with their positions, newest first, bodies unpacked."""
    rows = connection.execute(sa.select(inbox).where(*conditions).order_by(inbox.c.position.desc()).limit(count))
    return [(row[0], arrival_of(row[1:])) for row in rows]


def prune_inbox(connection: sa.Connection, before: str, chunk: int, bound: int | None = None) -> int:
    """Delete at most ``chunk`` of the oldest rows received before ``before``, up to the position ``bound``; never the
    last one, whose position must not be given to another.
    """
    query = sa.select(inbox.c.position, inbox.c.received).order_by(inbox.c.position).limit(chunk)
    oldest = connection.execute(query if bound is None else query.where(inbox.c.position <= bound))
    old = [position for position, received in oldest if isinstance(received, str) and received < before]
    if not old:
        return 0
    last = connection.scalar(sa.select(sa.func.max(inbox.c.position)))
    gone = sa.and_(inbox.c.position <= old[-1], inbox.c.position < last)
    keys = sa.select(inbox.c.endpoint, inbox.c.sender, inbox.c.control).where(gone)
    named = sa.tuple_(inbox_key.c.endpoint, inbox_key.c.sender, inbox_key.c.control).in_(keys)
    connection.execute(inbox_key.delete().where(named, inbox_key.c.position <= old[-1]))
    connection.execute(inbox_answer.delete().where(inbox_answer.c.position <= old[-1], inbox_answer.c.position < last))
    return connection.execute(inbox.delete().where(gone)).rowcount


def told(row: Sequence[Any]) -> Told:
    """The event that a row holds: one that is damaged keeps nobody from the others."""
    try:
        arrival = arrival_of(row[1:])
    except CorruptError:
        arrival = arrival_of((*row[1:-3], 0, 0, b""))
    return Told(row[0], *(getattr(arrival, name) for name in Told._fields[1:]))
