"""How far each subscriber of events has come.

``position`` is the last one of the inbox that it has dealt with; it moves in the transaction that keeps what was made
of the events before it. ``fence`` counts who took the cursor: what an earlier holder still wants to write fails as a
whole. ``wanted`` is 1 while the configuration names the subscriber: events that it has not had are not pruned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from esb.store import accepting
from esb.store.accepting import Kept
from esb.store.inbox import Taken, Told, inbox, told
from esb.store.ordering import Key
from esb.store.tables import metadata

cursor = sa.Table(
    "cursor",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("wanted", sa.Integer, nullable=False),
)


class Hold(NamedTuple):
    """A cursor as its holder has it."""

    name: str
    fence: int
    position: int


class Step(NamedTuple):
    """From the position of ``hold`` to ``to``, with everything that was made of the events between."""

    hold: Hold
    to: int
    kept: Sequence[Kept]

    @property
    def keys(self) -> list[Key]:
        """The order keys of the messages among it."""
        return [key for one in self.kept if one.message and (key := accepting.key_of(one.message))[1]]


_MOST_COUNTED = 10_000
_ALL = sa.select(cursor.c.name, cursor.c.position, cursor.c.fence)
_LAST = sa.select(sa.func.max(inbox.c.position))
_TAKE = (
    cursor.update()
    .where(cursor.c.name == sa.bindparam("its_name"))
    .values(fence=cursor.c.fence + 1)
)  # fmt: skip
_MOVE = (
    cursor.update()
    .where(
        cursor.c.name == sa.bindparam("its_name"),
        cursor.c.fence == sa.bindparam("its_fence"),
        cursor.c.position == sa.bindparam("its_position"),
    )
    .values(position=sa.bindparam("its_end"))
)
_NEXT = (
    sa.select(inbox)
    .where(inbox.c.position > sa.bindparam("its_position"), inbox.c.position <= sa.bindparam("its_end"))
    .where(inbox.c.event == sa.bindparam("its_event"), inbox.c.state == str(Taken.EVENT))
    .order_by(inbox.c.position)
    .limit(sa.bindparam("its_most"))
)


def want(connection: sa.Connection, subscribers: Collection[tuple[str, bool]]) -> None:
    """These are all there are: name, and whether a new one begins with the oldest event instead of the next one.

    One that is named no more keeps its place for when it is named again, as long as the events are there.
    """
    connection.execute(cursor.update().values(wanted=0))
    known = {name for name, _, _ in connection.execute(_ALL)}
    for name, from_start in sorted(subscribers):
        if name in known:
            connection.execute(cursor.update().where(cursor.c.name == name).values(wanted=1))
        else:
            position = 0 if from_start else connection.scalar(_LAST) or 0
            connection.execute(cursor.insert().values(name=name, position=position, fence=0, wanted=1))


def take(connection: sa.Connection, name: str) -> Hold | None:
    """Become the one who moves it; None for a name that was never wanted."""
    if connection.execute(_TAKE, {"its_name": name}).rowcount != 1:
        return None
    found = connection.execute(_ALL.where(cursor.c.name == name)).one()
    return Hold(found.name, found.fence, found.position)


def advance(connection: sa.Connection, steps: Sequence[Step]) -> list[Hold | None]:
    """Move and keep; None for one whose cursor another has taken: nothing of it is written."""
    moved: list[Hold | None] = []
    for step in steps:
        name, fence, position = step.hold
        values = {"its_name": name, "its_fence": fence, "its_position": position, "its_end": step.to}
        is_mine = connection.execute(_MOVE, values).rowcount == 1
        if is_mine:
            accepting.keep(connection, step.kept)
        moved.append(Hold(name, fence, step.to) if is_mine else None)
    return moved


def upcoming(connection: sa.Connection, event: str, after: int, most: int) -> tuple[list[Told], int]:
    """The next events of that name behind ``after``, and the position up to which there are no others."""
    last = max(after, connection.scalar(_LAST) or 0)
    values = {"its_event": event, "its_position": after, "its_end": last, "its_most": most}
    found = list(map(told, connection.execute(_NEXT, values)))
    return found, found[-1].position if len(found) == most else last


def least(connection: sa.Connection) -> int | None:
    """The position of the slowest subscriber; None when there is none."""
    found: int | None = connection.scalar(sa.select(sa.func.min(cursor.c.position)).where(cursor.c.wanted == 1))
    return found


_WAITING = (
    sa.select(inbox.c.received)
    .where(inbox.c.position > sa.bindparam("its_position"))
    .where(inbox.c.event == sa.bindparam("its_event"), inbox.c.state == str(Taken.EVENT))
    .order_by(inbox.c.position)
    .limit(_MOST_COUNTED)
)


def lags(connection: sa.Connection, events: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Of subscribers and their events: how many each has not left behind, up to 10,000, and when the first came."""
    found = {}
    for name, position, _ in connection.execute(_ALL).all():
        if name in events:
            values = {"its_position": position, "its_event": events[name]}
            waiting = list(connection.scalars(_WAITING, values))
            found[name] = (len(waiting), waiting[0] if waiting else "")
    return found
