"""Who waits for which answer that comes by a listener, of this process or another (``esb.spi.Answers``)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from esb.observe import get_logger
from esb.policies import Limited
from esb.store import Store, StoreError
from esb.store import answers as kept
from esb.store.answers import Came, Question

_T = TypeVar("_T")
_LOOK_S = 0.2
_log = get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """``after`` is the position of the newest answer before the message went out."""

    question: Question
    after: int
    answer: asyncio.Future[bytes]


class Answers:
    """One event loop. What this process hears is handed on at once; for the rest the store is looked at five times a
    second while somebody waits.
    """

    def __init__(self, store: Store, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store, self._sleep = store, sleep
        self._waiting: set[_Waiting] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def expecting(self, word: str, id: str) -> AsyncIterator[asyncio.Future[bytes]]:
        """See ``esb.spi.Answers``."""
        question = (word, id)
        before = await self._read(lambda connection: kept.newest(connection, [question]))
        waiting = _Waiting(question, before.get(question, 0), asyncio.get_running_loop().create_future())
        self._waiting.add(waiting)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield waiting.answer
        finally:
            self._waiting.discard(waiting)

    async def newest(self, word: str, id: str) -> bytes | None:
        """See ``esb.spi.Answers``."""
        found = await self._read(partial(_newer, {(word, id): 0}))
        for came in found.values():
            if came.raw is None:
                _damaged(came)
            return came.raw
        return None

    def heard(self, question: Question, position: int, raw: bytes) -> None:
        """An answer is durable."""
        for one in self._waiting:
            if one.question == question and position > one.after and not one.answer.done():
                one.answer.set_result(raw)

    async def _look(self) -> None:
        """Until nobody waits any more. A damaged row is nobody's answer: whoever waits for another is not held up."""
        passed: dict[Question, int] = {}
        try:
            while waiting := [one for one in self._waiting if not one.answer.done()]:
                await self._sleep(_LOOK_S)
                wanted = {one.question: max(one.after, passed.get(one.question, 0)) for one in waiting}
                try:
                    found = await self._store.look(partial(_newer, wanted))
                except StoreError as error:
                    _log.warning("answers_not_looked_for", reason=str(error))
                    continue
                for question, came in found.items():
                    if came.raw is None:
                        passed[question] = came.position
                        _damaged(came)
                    else:
                        self.heard(question, came.position, came.raw)
        finally:
            self._looking = None

    async def _read(self, work: Callable[[sa.Connection], _T]) -> _T:
        try:
            return await self._store.look(work)
        except StoreError as error:  # the system is not to blame: its breaker stays as it is and no try is used up
            raise Limited("store_unavailable", f"the answers that have come cannot be read: {error}") from None


def _damaged(came: Came) -> None:
    _log.error("inbox_row_corrupt", position=came.position, reason="it is an answer, and nobody can read it")


def _newer(wanted: dict[Question, int], connection: sa.Connection) -> dict[Question, Came]:
    newest = kept.newest(connection, list(wanted))
    found = {question: position for question, position in newest.items() if position > wanted[question]}
    by_position = {came.position: came for came in kept.read(connection, found.values())}
    return {question: by_position[position] for question, position in found.items() if position in by_position}
