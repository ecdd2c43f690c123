"""One subscriber as it is configured: which event, which operation, and the request that one makes of the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from esb.clock import crockford
from esb.codecs import json
from esb.mapping import Filling
from esb.model import Effect, Exchange, Tree
from esb.store import Told

_STAMP = 10
"""So many characters of an id are its time."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """``label`` tells it apart from the others of its event. Without ``filling`` the event is the request."""

    event: str
    label: str
    operation: str
    from_start: bool = False
    filling: Filling | None = None
    name: str = field(init=False, compare=False)
    """Its cursor's name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.event}/{self.label}")

    def exchange_id(self, told: Told) -> str:
        """The id of the one exchange that this event may make of this subscriber, whoever makes it and however often.

        It begins with the event's time, as if it had been made then.
        """
        digest = hashlib.blake2b(f"{told.id} {self.name}".encode(), digest_size=10).digest()
        return told.id[:_STAMP] + crockford(int.from_bytes(digest, "big"), 16)

    def request(self, told: Told, body: Tree) -> Tree:
        """What the operation is asked; raises ``MappingError``."""
        if self.filling is None:
            return body
        return self.filling.fill(body, {**_moment(told), "operation": self.operation})

    def exchange(self, told: Told, request: Tree, effect: Effect, deadline: float) -> Exchange:
        """The event's exchange. Tried again after a crash it is the same, and so is all that is made of it."""
        exchange_id = self.exchange_id(told)
        return Exchange(
            id=exchange_id,
            operation=self.operation,
            effect=effect,
            request=request,
            key=exchange_id,
            principal=f"event:{self.name}",
            deadline=deadline,
            received=told.received[:19] + told.received[23:],
        )


def body_of(told: Told) -> Tree:
    """The event as a tree."""
    return json.decode(told.body)


def _moment(told: Told) -> dict[str, Tree]:
    now = told.received[:19] + told.received[23:]
    return {"id": told.control, "key": told.control, "now": now, "source": told.endpoint, "sender": told.sender}
