"""Who of all that share a store does what one does for all: it has the lease ``relay``."""

from __future__ import annotations

from contextlib import suppress

from esb.clock import Clock
from esb.store import Store, StoreError

_NAME = "relay"


class Leader:
    """Asks for the lease, and renews it, three times in its life, which is that of the process's own lease.

    Alone on a SQLite file there is nobody to ask.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._leads, self._asked = False, float("-inf")

    async def leads(self, *, fit: bool) -> bool:
        """Whether it is this process; raises ``StoreError``. More than one may sweep for a moment: it does no harm.

        One that is not ``fit``, because it does not reach the broker, lets another do it.
        """
        if not self._store.is_shared:
            return True
        if not fit:
            await self.resign()
            return False
        lease_s = self._store.instance.ttl_s
        if self._clock.monotonic() >= self._asked + lease_s / 3:
            self._leads = await self._store.lease(_NAME, lease_s) is not None
            self._asked = self._clock.monotonic()
        return self._leads

    async def resign(self) -> None:
        """Let another do it at once."""
        if self._leads:
            self._leads, self._asked = False, float("-inf")
            with suppress(StoreError):
                await self._store.release(_NAME)
