"""What every buffer promises: the contract of ``tests/esb/buffer/suite.py``, in words.

A message is the name of an accepted exchange; what the exchange asks for is in the journal. It is in the buffer from
the transaction that accepts the exchange until it is acknowledged or discarded, whatever crashes in between. It is
delivered at least once: a worker that dies gives its messages back when their leases end. Time is the wall clock in
milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from esb.store import Earlier, Fate, Row, StoreError, Try


class Lost(StoreError):
    """The delivery is not this worker's any more: its lease ended and another has the message, or it was discarded."""


class Where(StrEnum):
    """What a message is waiting for."""

    READY = "ready"
    """A worker."""
    LATER = "later"
    """Its next try."""
    HELD = "held"
    """An earlier one with the same order key."""
    TAKEN = "taken"
    """The worker that has it."""
    SETTLING = "settling"
    """Somebody who knows whether it happened."""
    PARKED = "parked"
    """A person."""


class Message(NamedTuple):
    """``id`` is the exchange's. ``priority``: the lower the sooner. ``order_key``: messages of one endpoint with the
    same key, which is not empty, are delivered one after another as they were accepted. ``expires``: 0 for never.
    """

    id: str
    endpoint: str
    operation: str
    priority: int = 1
    order_key: str = ""
    accepted: int = 0
    expires: int = 0


@dataclass(slots=True)
class Delivery:
    """A message with a worker.

    ``tries`` were made before, not counting those in which our own limits stood in the way. ``lost`` is how often a
    worker died with it. ``sent``: its bytes may have reached the system before. ``reason`` is why it was not dealt with
    then. ``position`` and ``takes`` are the receipt: what was taken again since has another, which a worker that has
    it under way already takes over (``again``).
    """

    message: Message
    position: int
    takes: int
    tries: int = 0
    lost: int = 0
    sent: bool = False
    reason: str = ""

    def again(self, newer: Delivery) -> bool:
        """Go on by the receipt of ``newer``, the same message as this worker took it again when its lease had ended.

        False when another had it between: what that one did with it this one does not know.
        """
        if newer.takes != self.takes + 1:
            return False
        self.takes = newer.takes
        return True


class Entry(NamedTuple):
    """A message as people see it. ``due`` is when it is tried next or its lease ends; ``reason`` why it still waits."""

    message: Message
    where: Where
    tries: int
    lost: int
    sent: bool
    due: int
    reason: str


class Buffer(Protocol):
    """Messages in queues, one for each endpoint. One event loop. Whatever waits for the store raises ``StoreError``."""

    async def start(self) -> None:
        """Open it; whoever had messages before is gone where only one process may work at a time."""

    async def close(self) -> None:
        """Take and publish nothing more; what was taken and not dealt with is another worker's when its lease ends."""

    async def accept(self, row: Row, message: Message) -> Earlier | None:
        """Journal ``row``, take its key and keep ``message``: all in one transaction, or say who has the key."""

    def noted(self, messages: Sequence[Message]) -> None:
        """These were kept by a transaction of somebody else."""

    def length(self, endpoint: str) -> int:
        """How many messages the endpoint's queue holds, parked ones too, as far as this process knows."""

    async def measure(self) -> None:
        """Find out how long the queues are: other processes accept and deliver."""

    async def take(self, endpoint: str, most: int) -> list[Delivery]:
        """The next messages for this worker: by priority, then as accepted; with an order key only the first of it.

        Those whose lease has ended or whose next try is due are among them.
        """

    async def expired(self, most: int) -> list[Delivery]:
        """Messages of any queue whose time is over and that nobody has, for this worker; parked ones stay."""

    async def wait(self, endpoint: str, seconds: float) -> None:
        """Return when there may be something to take, at the latest after ``seconds``."""

    async def renew(self, deliveries: Iterable[Delivery]) -> None:
        """Begin their leases anew; to be called well within a lease for all that is under way."""

    async def sent(self, delivery: Delivery) -> None:
        """From now on its bytes may be with the system; raises ``Lost``."""

    async def finish(self, delivery: Delivery, row: Row, fate: Fate) -> bool:
        """Make the end of its exchange durable and the fate of its key; to be acknowledged next. Else as ``ack``."""

    async def ack(self, delivery: Delivery) -> bool:
        """It is dealt with; False when it was not this worker's any more, and then nothing is changed."""

    async def later(
        self,
        delivery: Delivery,
        wait_s: float,
        reason: str,
        *,
        counts: bool,
        sent: bool | None = None,
        tried: Try | None = None,
    ) -> bool:
        """Try again after ``wait_s``; ``counts`` as a try. Else as ``ack``.

        ``sent`` says whether it may have arrived in this try or an earlier one; None leaves what was said before.
        ``tried`` is kept with the exchange, in the same transaction.
        """

    async def park(
        self, delivery: Delivery, reason: str, *, sent: bool | None = None, tried: Try | None = None
    ) -> bool:
        """Leave it to a person; what is ordered behind it waits. ``sent``, ``tried`` as ``later``, else as ``ack``."""

    async def settling(self, delivery: Delivery) -> bool:
        """Keep it until ``settled`` or ``reopen``; what is ordered behind it waits. Else as ``ack``."""

    async def settled(self, exchange: str) -> bool:
        """What was settling is decided and done with; False when this exchange is not in the buffer."""

    async def reopen(self, exchange: str, wait_s: float, reason: str) -> Entry | None:
        """What was settling did not happen: accepted again, to be tried after ``wait_s``.

        None when it is not in the buffer, or when this process does not have the exchange in doubt (any more).
        """

    async def route(self, endpoints: Mapping[str, str]) -> None:
        """Move what waits to the queue that its operation has now; park what has no route any more."""

    async def find(self, exchange: str) -> Entry | None:
        """Where the message of an exchange is; None when it is not here."""

    async def list(self, where: Sequence[Where] = (), endpoint: str = "", most: int = 100) -> list[Entry]:
        """Messages in the order of their acceptance."""

    async def counts(self) -> dict[tuple[str, Where], tuple[int, int]]:
        """How many messages are where, by endpoint, and when the oldest of them was accepted."""
