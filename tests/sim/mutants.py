"""Buses with a mistake in them, one each, that the judge must find: a judge that never says no is worth nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from esb.buffer import SqlBuffer
from esb.pipeline import settle
from esb.pipeline.delivering import Delivering
from esb.pipeline.parts import Record
from esb.pipeline.version import Lane
from esb.policies.bulkhead import Bulkhead
from esb.spi import Wire
from esb.store import Fate, Store, queue

Mutant = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def sends_a_once_again() -> Iterator[None]:
    """Silence is answered with the same request, as if it were a read."""

    def attempt(self: Record) -> Wire:
        self.attempts += 1
        self.wire = Wire()
        return self.wire

    made = Lane.__init__

    def retries(self: Lane, *args: Any) -> None:
        made(self, *args)
        self.retries = 2

    with patch.object(Record, "attempt", attempt), patch.object(Lane, "__init__", retries):
        yield


@contextlib.contextmanager
def acknowledges_before_the_result_is_stored() -> Iterator[None]:
    """A crash between the two loses an accepted exchange."""

    async def end(self: Delivering, delivery: Any, record: Any, ending: Any) -> float:
        rest = await self._acknowledge(delivery, ending.outcome.value, ending, record)
        await self._store.finish(self._journal.row(record, ending), Fate.KEEP)
        return rest

    with patch.object(Delivering, "_end", end):
        yield


def drops_what_is_held() -> Any:
    """Nobody lets go what waits behind another of its order key."""
    return patch.object(queue, "let_go", lambda connection, endpoint, order_key: None)


@contextlib.contextmanager
def believes_an_early_no() -> Iterator[None]:
    """The first not_found counts, though the hospital may still be working on it."""
    decide = settle._decision
    with patch.object(settle, "_decision", lambda ending, lane, *, last: decide(ending, lane, last=True)):
        yield


@contextlib.contextmanager
def forgets_keys() -> Iterator[None]:
    """A key is free again once its exchange has ended."""
    finish = Store.finish_in

    def released(self: Store, connection: Any, row: Any, fate: Fate) -> None:
        finish(self, connection, row, Fate.RELEASE)

    with patch.object(Store, "finish_in", released):
        yield


@contextlib.contextmanager
def takes_no_notice_of_order() -> Iterator[None]:
    """Messages are accepted as if they had no order key."""
    accept = SqlBuffer.accept

    async def unordered(self: SqlBuffer, row: Any, message: Any) -> Any:
        return await accept(self, row, message._replace(order_key=""))

    with patch.object(SqlBuffer, "accept", unordered):
        yield


def has_no_bulkhead() -> Any:
    """As many calls at once as come."""

    async def enter(self: Bulkhead, wait_s: float, effect: Any = None) -> None:
        self.in_flight += 1

    return patch.object(Bulkhead, "enter", enter)


def does_not_mark_what_it_sends() -> Any:
    """After a crash nobody knows that bytes may have left."""

    async def sent(self: SqlBuffer, delivery: Any) -> None:
        """Nothing is written."""

    return patch.object(SqlBuffer, "sent", sent)


@contextlib.contextmanager
def tells_the_opposite() -> Iterator[None]:
    """What the hospital refused is told as done, without a body."""
    finish = Store.finish_in

    def rosy(self: Store, connection: Any, row: Any, fate: Fate) -> None:
        finish(self, connection, row._replace(state="done") if row.state == "refused" else row, fate)

    with patch.object(Store, "finish_in", rosy):
        yield


MUTANTS: dict[str, tuple[Mutant, str]] = {
    "sends a once again": (sends_a_once_again, "I8 .* was sent after"),
    "acknowledges before the result is stored": (
        acknowledges_before_the_result_is_stored,
        "I1 .* was accepted, has no end and is in no queue",
    ),
    "drops what is held": (drops_what_is_held, "I11 .* is still held in the queue"),
    "believes an early no": (believes_an_early_no, "I3 .* is unavailable not_happened; .* took effect"),
    "forgets keys": (forgets_keys, "I2 key .* was carried out"),
    "takes no notice of order": (takes_no_notice_of_order, "I9 .* overtook"),
    "has no bulkhead": (has_no_bulkhead, "I10 .* calls at once"),
    "does not mark what it sends": (does_not_mark_what_it_sends, "I8 .* was sent after"),
    "tells the opposite": (tells_the_opposite, "I3 .* was told that it has a place"),
}
"""A mistake, and the promise that it breaks, as the judge says it."""
