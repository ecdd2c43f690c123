"""The frozen nouns that travel between the parts of the bus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from esb.errors import Outcome

Tree: TypeAlias = Any
"""What codecs read and write: None, bool, int, Decimal, str, bytes, list and dict of trees; for HL7 v2 a Message."""


class Effect(StrEnum):
    """What an operation does to the hospital; it decides what is safe (DESIGN section 5)."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One operation on its way. ``deadline`` is on the clock's monotonic time base, in seconds."""

    id: str
    operation: str
    effect: Effect
    request: Mapping[str, Tree]
    key: str
    principal: str
    deadline: float
    received: str
    request_id: str = ""

    def context(self) -> dict[str, str]:
        """What a mapping sees as ``$exchange``."""
        return {"id": self.id, "key": self.key, "operation": self.operation, "now": self.received}


@dataclass(frozen=True, slots=True)
class Result:
    """How an exchange ended. ``body`` is set when done; ``code`` and ``message`` otherwise.

    ``encoded`` may carry the body as JSON already, so that a cached answer is not encoded again. ``retry_after`` is in
    seconds. ``replayed`` marks the stored first answer to a repeated idempotency key. ``version`` is that of the
    configuration which the exchange ran on, where the journal was asked; ``delivery`` then says what an accepted one
    is doing: ``waiting``, ``sending``, ``parked``.
    """

    outcome: Outcome
    exchange: str
    body: Tree = None
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    encoded: bytes | None = None
    replayed: bool = False
    details: Mapping[str, Tree] = field(default_factory=dict)
    version: str = ""
    delivery: str = ""
