"""Running an exchange while its client may leave: reads stop with the client, effects never do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from esb.facade.request import ClientGone, Receive
from esb.model import Effect, Result

_WATCH_AFTER_S = 0.25


class Running:
    """The exchanges under way. Effects are tracked so that a shutdown can wait for them."""

    def __init__(self) -> None:
        self._effects: set[asyncio.Task[Result]] = set()

    async def run(self, effect: Effect, work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
        """The result of ``work``; raises ``ClientGone`` when a read was given up because nobody waits for it."""
        if effect is Effect.READ:
            return await _run_read(work, receive)
        task = asyncio.create_task(work)
        self._effects.add(task)
        task.add_done_callback(self._effects.discard)
        return await asyncio.shield(task)

    async def drain(self, timeout_s: float) -> int:
        """Wait for the effects under way; returns how many had not ended in time."""
        if self._effects:
            await asyncio.wait(set(self._effects), timeout=timeout_s)
        return len(self._effects)


async def _run_read(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    watch = _Watch(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.gone:
            raise ClientGone from None
        raise
    finally:
        watch.stop()


class _Watch:
    """Cancels the task that made it once the client has gone. Starts late: most reads are answered before that."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.gone = False
        self._reader = task
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._start)

    def stop(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._reader.cancel()
