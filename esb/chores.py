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

_PRUNE_S = 3600.0
_TAKE_OVER_S = 5.0
_ANCHOR_S = 86_400.0
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

    async def take_over(self) -> None:
        """Of what others who share the store left behind when they died."""
        while self._store.is_shared:
            await self._sleep(_TAKE_OVER_S)
            try:
                await self._pipeline.take_over()
            except StoreError as error:
                _log.warning("nothing_taken_over", reason=str(error))

    async def prune(self) -> None:
        """Delete what the journal need not keep any more, every hour."""
        while True:
            try:
                rows = await self._pruner.prune(Kept(self._kept, self._pipeline.retentions()))
                _log.info("journal_pruned", rows=rows)
            except StoreError as error:
                _log.warning("journal_not_pruned", reason=str(error))
            await self._sleep(_PRUNE_S)

    async def anchor(self) -> None:
        """Tell the log every day how the audit ends: logs are kept where nobody who owns the store can change them."""
        while True:
            try:
                anchor = await self._store.look(lambda connection: audit.anchor(connection, self._clock.now()))
                _log.info("audit_anchor", day=anchor.day, seq=anchor.seq, hash=anchor.hash)
            except StoreError as error:
                _log.warning("audit_not_anchored", reason=str(error))
            await self._sleep(_ANCHOR_S)
