"""Answers of systems to messages of ours that came by a listener: where in the inbox each stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from esb.store import many
from esb.store.bodies import CorruptError
from esb.store.inbox import arrival_of, inbox
from esb.store.inbox import inbox_answer as answer

Question = tuple[str, str]
"""The word that client and listener share, and the id of our message."""
Brought = tuple[str, str, bytes]
"""The same, and the digest of the answer."""
_LARGEST = 100
_DIGESTS = (
    sa.select(inbox.c.position, inbox.c.digest)
    .join(answer, answer.c.position == inbox.c.position)
    .where(answer.c.word == sa.bindparam("its_word"), answer.c.control == sa.bindparam("its_control"))
)
_ROW = sa.select(inbox).where(inbox.c.position == sa.bindparam("its_position"))


class Came(NamedTuple):
    """One answer; ``raw`` is None where its row is damaged."""

    position: int
    raw: bytes | None


def known(connection: sa.Connection, brought: Brought) -> bool:
    """Whether it is there: an answer that is brought again says nothing new."""
    rows = connection.execute(_DIGESTS, {"its_word": brought[0], "its_control": brought[1]})
    return any(bytes(one.digest) == brought[2] for one in rows)


def insert(connection: sa.Connection, positions: Iterable[tuple[Brought, int]]) -> None:
    """Answers that are in the inbox at these positions."""
    rows = [(*brought[:2], position) for brought, position in positions]
    many.insert(connection, answer, ("word", "control", "position"), rows)


def newest(connection: sa.Connection, questions: Collection[Question]) -> dict[Question, int]:
    """The position of the latest answer to each question that has one."""
    pair, wanted = sa.tuple_(answer.c.word, answer.c.control), list(questions)
    found: dict[Question, int] = {}
    for at in range(0, len(wanted), _LARGEST):
        query = sa.select(answer.c.word, answer.c.control, sa.func.max(answer.c.position))
        query = query.where(pair.in_(wanted[at : at + _LARGEST])).group_by(answer.c.word, answer.c.control)
        found |= {(word, control): position for word, control, position in connection.execute(query)}
    return found


def read(connection: sa.Connection, positions: Iterable[int]) -> list[Came]:
    """Those that are there."""
    rows = (connection.execute(_ROW, {"its_position": position}).first() for position in positions)
    return [Came(row[0], _raw(row)) for row in rows if row is not None]


def _raw(row: Sequence[Any]) -> bytes | None:
    try:
        return arrival_of(row[1:]).raw
    except CorruptError:
        return None
