"""What is done now and then beside the exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from esb import audit
from esb.clock import Clock
from esb.observe import get_logger
from esb.pipeline import Pipeline
from esb.store import Kept, Pruner, Store, StoreError

_MEASURE_S = 1.0
_PRUNE_S = 3600.0
_TAKE_OVER_S = 5.0
_ANCHOR_S, _LOOK_S = 86_400.0, 3600.0
_log = get_logger()


class Chores:
    """Each runs until it is cancelled; a store that is away only puts it off. ``kept`` is for exchanges whose route
    says nothing else.
    """

    def __init__(
        self,
        store: Store,
        pipeline: Pipeline,
        clock: Clock,
        kept: timedelta,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._pipeline, self._kept, self._sleep = store, pipeline, kept, sleep
        self._clock, self._pruner = clock, Pruner(store, clock, sleep)
        self._anchored = float("-inf")

    async def take_over(self) -> None:
        """Of what others who share the store left behind when they died."""
        while self._store.is_shared:
            await self._sleep(_TAKE_OVER_S)
            await self._try("nothing_taken_over", self._pipeline.take_over)

    async def measure(self) -> None:
        """How long the queues are that others empty: this process accepts until they are full."""
        while True:
            await self._sleep(_MEASURE_S)
            await self._try("queues_not_measured", self._pipeline.buffer.measure)

    async def prune(self) -> None:
        """Delete what the journal need not keep any more, every hour."""
        while True:
            await self._try("journal_not_pruned", self._prune)
            await self._sleep(_PRUNE_S)

    async def _prune(self) -> None:
        rows = await self._pruner.prune(Kept(self._kept, self._pipeline.retentions()))
        _log.info("journal_pruned", rows=rows)

    async def anchor(self) -> None:
        """Tell the log every day how the audit ends: logs are kept where nobody who owns the store can change them. Of
        the processes on one store one does it, and another from two or three hours after its death on.
        """
        while True:
            await self._try("audit_not_anchored", self._anchor)
            await self._sleep(_LOOK_S)

    async def _anchor(self) -> None:
        is_mine = await self._store.lease("anchor", 2 * _LOOK_S) is not None
        now = self._clock.monotonic()
        if not is_mine or now < self._anchored + _ANCHOR_S:
            return
        anchor = await self._store.look(lambda connection: audit.anchor(connection, self._clock.now()))
        _log.info("audit_anchor", day=anchor.day, seq=anchor.seq, hash=anchor.hash)
        self._anchored = now

    async def _try(self, failed: str, chore: Callable[[], Awaitable[None]]) -> None:
        """One that fails is done again when its time comes, whatever it failed for: nobody would begin it anew."""
        try:
            await chore()
        except StoreError as error:
            _log.warning(failed, reason=str(error))
        except Exception as error:
            _log.error(failed, exc_info=error)
