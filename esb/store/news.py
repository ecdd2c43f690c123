"""Processes on one PostgreSQL database tell each other that there is something to do, so that nobody has to wait until
he looks the next time.

Only a hint: who looks finds it all the same within a second, so it may be late, doubled or lost. It is sent after the
commit, on its own and then not for ``_REST_S``, whatever happened meanwhile in one: NOTIFY within the transaction of
each message would take a lock of the whole server until that is on the disk, one process after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from esb.observe import get_logger
from esb.store.tables import StoreError

if TYPE_CHECKING:
    import psycopg

CHANNEL = "esb_news"
_REST_S = 0.1
_AGAIN_S = 2.0
_LARGEST = 7000
"""Bytes that a NOTIFY may carry are 8,000."""
_QUIET = sa.text("SET LOCAL synchronous_commit = off")
_NOTIFY = sa.text("SELECT pg_notify(:channel, :topics)")
_log = get_logger()

Look = Callable[[Callable[[sa.Connection], None]], Awaitable[None]]
Connect = Callable[[], Awaitable["psycopg.AsyncConnection[tuple[object, ...]]"]]


class News:
    """One event loop. ``connect`` opens the connection that listens, ``look`` runs a short transaction.

    A topic is a kind and a name. Of a file nobody else works on, nothing is told.
    """

    def __init__(self, connect: Connect | None, look: Look, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep):
        self._connect, self._look, self._sleep = connect, look, sleep
        self._listeners: dict[str, Callable[[str], object]] = {}
        self._topics: set[tuple[str, str]] = set()
        self._some = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._origin = uuid.uuid4().hex

    def hear(self, kind: str, listener: Callable[[str], object]) -> None:
        """``listener`` gets the name of what another process told; an empty one when anything may have been missed."""
        self._listeners[kind] = listener

    def tell(self, kind: str, name: str) -> None:
        """The others hear of it soon. It was committed before."""
        if self._tasks:
            self._topics.add((kind, name))
            self._some.set()

    def start(self) -> None:
        """Tell and hear until ``close``."""
        if self._connect is not None:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._hear(self._connect)), loop.create_task(self._tell())]

    async def close(self) -> None:
        """What was not told yet others find by themselves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _tell(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            topics, self._topics = sorted(self._topics), set()
            text = json.dumps([self._origin, topics])
            values = {"channel": CHANNEL, "topics": text if len(text) <= _LARGEST else json.dumps(["all", []])}

            def work(connection: sa.Connection, values: dict[str, str] = values) -> None:
                connection.execute(_QUIET)
                connection.execute(_NOTIFY, values)

            with contextlib.suppress(StoreError):
                await self._look(work)
            await self._sleep(_REST_S)

    async def _hear(self, connect: Connect) -> None:
        import psycopg  # an extra, and large: not for a store in a file

        while True:
            try:
                async with await connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._spread("")
                    async for one in connection.notifies():
                        self._spread(one.payload)
                reason = "the database ended the connection"
            except (psycopg.Error, OSError) as error:
                reason = type(error).__name__
            _log.warning("news_not_heard", reason=reason)
            await self._sleep(_AGAIN_S)

    def _spread(self, payload: str) -> None:
        origin, topics = _read(payload)
        if origin == self._origin:
            return
        for kind, name in topics or [(kind, "") for kind in self._listeners]:
            if listener := self._listeners.get(kind):
                listener(name)


def _read(payload: str) -> tuple[str, list[tuple[str, str]]]:
    """Who told it, and the topics; none for what cannot be read."""
    try:
        origin, topics = json.loads(payload)
        return str(origin), [(str(kind), str(name)) for kind, name in topics]
    except (ValueError, TypeError, RecursionError):
        return "", []
