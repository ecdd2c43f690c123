"""What the facade needs of the pipeline, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from esb.model import Exchange, Result, Tree


class Pipeline(Protocol):
    """Runs exchanges. ``run`` and ``find`` tell every problem of the bus and its systems as a ``Result``."""

    def begin(
        self,
        operation: str,
        request: Mapping[str, Tree],
        *,
        key: str | None,
        principal: str,
        request_id: str,
        timeout_s: float | None = None,
    ) -> Exchange:
        """A new exchange with its id and deadline; nothing has happened yet."""

    async def run(self, exchange: Exchange) -> Result:
        """Carry it out."""

    async def find(self, exchange_id: str, principal: str | None = None) -> Result | None:
        """What became of an exchange of ``principal``; ``accepted`` or ``unknown`` until that is certain.

        Raises ``StoreError`` when the journal cannot be read.
        """

    async def probe(self) -> dict[str, str | None]:
        """Endpoint -> None, or why it is down."""
