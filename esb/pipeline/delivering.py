"""One try to deliver what was accepted, and what becomes of it: ended, put off, parked or settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from esb import crash
from esb.buffer import Delivery
from esb.clock import Clock
from esb.codecs.json import decode
from esb.errors import Outcome
from esb.model import Effect
from esb.observe import Metrics, get_logger
from esb.pipeline import endings
from esb.pipeline.again import FAULTY_TRIES, Again
from esb.pipeline.asking import Asking
from esb.pipeline.backlog import Backlog
from esb.pipeline.journal import Journal
from esb.pipeline.parts import Ending, Record, asked
from esb.pipeline.settle import Settle, Settler
from esb.pipeline.version import Lane, Version
from esb.policies.schedule import Schedule
from esb.store import Fate, Row, State, Store, Try

_FAULTY_WAIT_S = 5.0
_MOST_LOST = 5
_log = get_logger()


class Delivering:
    """Delivers with the version in use when the message was taken.

    ``done`` and ``refused`` end an exchange. What certainly did not happen, and what is idempotent, is tried again as
    often as its route says and then parked; what happens once and may have happened is settled. Mistakes of our own
    (``OUR_FAULTS``) are parked after three tries, what takes the worker down with it after five.
    """

    def __init__(
        self,
        store: Store,
        backlog: Backlog,
        asking: Asking,
        journal: Journal,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store, self._backlog, self._buffer = store, backlog, backlog.buffer
        self._asking, self._journal, self._settler = asking, journal, settler
        self._clock, self._metrics = clock, metrics

    async def deliver(self, delivery: Delivery, version: Version) -> float:
        """Try once; seconds for which the queue had better rest, 0 for none. Raises nothing but ``CancelledError``."""
        try:
            return await self._deliver(delivery, version)
        except Exception as error:
            _log.error("delivery_failed", exchange=delivery.message.id, exc_info=error)
            reason = f"internal_error: {type(error).__name__}"
            if delivery.tries + 1 >= FAULTY_TRIES:
                return await self._park(delivery, reason)
            await self._backlog.surely(lambda: self._buffer.later(delivery, _FAULTY_WAIT_S, reason, counts=True))
            return 0.0

    async def _deliver(self, delivery: Delivery, version: Version) -> float:
        row = await self._backlog.surely(lambda: self._store.find(delivery.message.id))
        lane = version.lanes.get(delivery.message.operation)
        if row is None:
            return await self._park(delivery, "not_journalled: the journal does not know the exchange")
        if damage := _damage(row):
            return await self._park(delivery, damage)
        if row.state != State.ACCEPTED:
            return await self._decided_before(delivery, row)
        if self._journal.was_not_kept(row.id):
            return await self._take_back(delivery, row)
        if row.effect == Effect.ONCE and delivery.sent:
            await self._settler.adopt(row, self._kept(delivery))
            return await self._settling(delivery)
        if 0 < delivery.message.expires <= self._backlog.now():
            return await self._expire(delivery, row)
        if reason := _parked_for(delivery, lane):
            return await self._park(delivery, reason)
        assert lane is not None
        return await self._carry(delivery, row, lane)

    async def _decided_before(self, delivery: Delivery, row: Row) -> float:
        """The worker that decided it died before it could say so, or it is being settled."""
        if row.effect == Effect.ONCE and row.state == State.UNKNOWN:
            await self._settler.adopt(row, self._kept(delivery))
            return await self._settling(delivery)
        return await self._acknowledge(delivery, row.state)

    async def _carry(self, delivery: Delivery, row: Row, lane: Lane) -> float:
        now = self._clock.monotonic()
        record = Record(asked(row, decode(row.request), now + lane.config.timeout_s), lane, now, row.cause)
        crash.at("after_take_before_map")
        ending = await self._asking.answered(record) if delivery.sent else None
        ending = ending or await self._asking.ask(record, self._before(delivery))
        crash.at("after_send_before_result")
        if ending.outcome in (Outcome.DONE, Outcome.REFUSED):
            return await self._end(delivery, record, ending)
        if endings.in_doubt(record, ending):
            return await self._doubt(delivery, record, ending)
        return await self._again(delivery, record, ending)

    def _before(self, delivery: Delivery) -> Callable[[], Awaitable[None]]:
        async def before() -> None:
            await self._buffer.sent(delivery)
            crash.at("after_journal_before_send")

        return before

    async def _end(self, delivery: Delivery, record: Record, ending: Ending) -> float:
        row = self._journal.row(record, ending)
        row = row._replace(attempts=delivery.tries + record.attempts)
        kept = await self._kept(delivery)(row, Fate.KEEP)
        crash.at("after_result_before_ack")
        if not kept:
            self._count(delivery, "lost", ending, record)
            return 0.0
        record.lane.counts[ending.outcome].inc()
        return await self._acknowledge(delivery, ending.outcome.value, ending, record)

    async def _doubt(self, delivery: Delivery, record: Record, ending: Ending) -> float:
        kept = True

        async def settle(row: Row, fate: Fate) -> bool:
            nonlocal kept
            kept = await self._kept(delivery)(row, fate)
            return kept

        result = await self._settler.doubt(record, ending, settle)
        if result.outcome is Outcome.UNKNOWN:
            return await self._settling(delivery)
        if kept:
            return await self._acknowledge(delivery, result.outcome.value)
        self._count(delivery, "lost")
        return 0.0

    def _kept(self, delivery: Delivery) -> Settle:
        """Ends an exchange, or says that it is in doubt, only while its message is still with this worker."""
        return lambda row, fate: self._backlog.surely(lambda: self._buffer.finish(delivery, row, fate))

    async def _again(self, delivery: Delivery, record: Record, ending: Ending) -> float:
        again = Again.after(self._backlog, record, ending, delivery.tries, was_sent=delivery.sent)
        finished = self._clock.now().isoformat(timespec="milliseconds")
        tried = record.tried(finished, ending) if again.counts else None
        if again.parks:
            return await self._park(delivery, again.reason, sent=again.sent, tried=tried)
        kept = await self._backlog.surely(
            lambda: self._buffer.later(
                delivery, again.wait_s, again.reason, counts=again.counts, sent=again.sent, tried=tried
            )
        )
        self._count(delivery, "later" if kept else "lost", ending, record)
        return again.rest_s

    async def _expire(self, delivery: Delivery, row: Row) -> float:
        """Its time is over: it did not happen, unless an earlier try may have arrived."""
        if delivery.sent:
            ending, fate = Ending(Outcome.UNKNOWN, "outcome_unknown", reason="expired after a try"), Fate.AGAIN
        else:
            ending, fate = Ending(Outcome.UNAVAILABLE, "expired", reason="expired"), Fate.RELEASE
        return await self._untried(delivery, row, ending, fate, "expired")

    async def _take_back(self, delivery: Delivery, row: Row) -> float:
        """Its commit seemed to fail and its caller was told that nothing was kept: so nothing happens."""
        ending = Ending(Outcome.UNAVAILABLE, "store_unavailable", reason="its commit seemed to fail")
        rest = await self._untried(delivery, row, ending, Fate.RELEASE, "not_kept")
        self._journal.taken_back(row.id)
        return rest

    async def _untried(self, delivery: Delivery, row: Row, ending: Ending, fate: Fate, result: str) -> float:
        """It ends without another try."""
        ended = row._replace(
            state=State(ending.outcome).value,
            code=ending.code,
            reason=f"{ending.reason}; {delivery.reason}" if delivery.reason else ending.reason,
            attempts=delivery.tries,
            finished=self._clock.now().isoformat(timespec="milliseconds"),
        )
        await self._kept(delivery)(ended, fate)
        return await self._acknowledge(delivery, result, ending)

    async def _acknowledge(
        self, delivery: Delivery, result: str, ending: Ending | None = None, record: Record | None = None
    ) -> float:
        kept = await self._backlog.surely(lambda: self._buffer.ack(delivery))
        self._count(delivery, result if kept else "lost", ending, record)
        return 0.0

    async def _park(
        self, delivery: Delivery, reason: str, *, sent: bool | None = None, tried: Try | None = None
    ) -> float:
        kept = await self._backlog.surely(lambda: self._buffer.park(delivery, reason, sent=sent, tried=tried))
        self._count(delivery, "parked" if kept else "lost", Ending(Outcome.ACCEPTED, "parked", reason=reason))
        return 0.0

    async def _settling(self, delivery: Delivery) -> float:
        kept = await self._backlog.surely(lambda: self._buffer.settling(delivery))
        self._count(delivery, "settling" if kept else "settled")
        return 0.0

    def _count(
        self, delivery: Delivery, result: str, ending: Ending | None = None, record: Record | None = None
    ) -> None:
        message = delivery.message
        self._metrics.queue_deliveries.labels(message.endpoint, result).inc()
        (_log.warning if result == "parked" else _log.info)(
            "exchange_delivered" if result in ("done", "refused") else f"delivery_{result}",
            exchange=message.id,
            operation=message.operation,
            endpoint=message.endpoint,
            code=ending.code if ending else "",
            reason=ending.reason if ending else "",
            attempts=delivery.tries + (record.attempts if record else 0),
        )


def _damage(row: Row) -> str:
    """What of the journal's row nobody can have written; empty when it can be worked with."""
    for kind, value in ((State, row.state), (Effect, row.effect)):
        if value not in {one.value for one in kind}:
            return f"damaged: the journal's row has the {kind.__name__.lower()} '{value[:40]}'"
    return ""


def _parked_for(delivery: Delivery, lane: Lane | None) -> str:
    """Why it is not even tried; empty when it is."""
    if lane is None:
        return "no_route: the operation has no route any more"
    if delivery.lost > _MOST_LOST:
        return f"worker_lost: {delivery.lost} workers ended while they had it"
    if delivery.tries > Schedule.of(lane.config.again).times:
        return delivery.reason or "its tries are used up"
    return ""
