"""Settle: a once that was sent and not answered is never sent again; a read asks whether it happened."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat

from esb import crash
from esb.clock import Clock, Ids
from esb.codecs import DecodeError
from esb.codecs.json import decode
from esb.errors import Outcome
from esb.model import Effect, Exchange, Result
from esb.observe import Metrics, get_logger
from esb.pipeline import endings
from esb.pipeline.asking import Asking
from esb.pipeline.backlog import Backlog
from esb.pipeline.journal import Journal
from esb.pipeline.parts import Ending, Record, asked, details_text
from esb.pipeline.version import Lane, Version
from esb.pipeline.versions import Versions
from esb.store import Fate, Row, State

_AT_ONCE = 8
_EVERY_S, _TIMES = 60.0, 60
_LATER_S = 600.0
_MOST_OPEN = 10_000
_log = get_logger()

Settle = Callable[[Row, Fate], Awaitable[bool]]
"""Makes an end durable; False when it is another's to end."""


class Settler:
    """Asks about unknown exchanges: at once if there is time, then at the route's intervals, every minute for an hour,
    and from then on every ten minutes: what is in doubt stays in doubt, and in the metrics, until it is decided.

    A system that does not know the exchange is believed from the last of the route's intervals on: before that it may
    still be working on it. An answer about another order or slot than the one in doubt decides nothing.

    It asks with the routes and mappings of the version that the exchange ran on while that lives, which covers the
    route's intervals; after that, and after a restart, with those in use: a mended settle mapping reaches it.
    """

    def __init__(
        self,
        versions: Versions,
        asking: Asking,
        journal: Journal,
        clock: Clock,
        ids: Ids,
        sleep: Callable[[float], Awaitable[None]],
        metrics: Metrics,
        backlog: Backlog,
    ) -> None:
        self._versions, self._asking, self._journal, self._backlog = versions, asking, journal, backlog
        self._clock, self._ids, self._sleep = clock, ids, sleep
        self._open: dict[str, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        metrics.unknown_open.set_function(lambda: len(self._open))

    @property
    def full(self) -> bool:
        """True when so much is in doubt that nothing more should be begun which could come into doubt."""
        return len(self._open) >= _MOST_OPEN

    async def close(self) -> None:
        """Stop asking; the next start goes on."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def doubt(self, record: Record, ending: Ending, settle: Settle | None = None) -> Result:
        """Take over a once in doubt: ask now if there is time, else answer unknown and go on asking.

        ``settle`` makes an end durable, where that is not only the journal's business.
        """
        settle = settle or self._journal.settle
        unknown = dataclasses.replace(ending, outcome=Outcome.UNKNOWN, code="outcome_unknown")
        row = self._journal.row(record, unknown)
        if record.exchange.deadline > self._clock.monotonic():
            version, deadline = record.lane.version, record.exchange.deadline
            decided = await self._ask(row, version, record.exchange.request, deadline, last=False)
            if decided:
                decided.raw = decided.raw or ending.raw
                await settle(self._journal.row(record, decided), endings.fate(record, decided))
                return self._journal.tell(record, decided)
        if await settle(row, Fate.KEEP):
            self._watch(row, record.lane.version)
        return self._journal.tell(record, unknown)

    async def recover(self, rows: Iterable[Row]) -> None:
        """What a crash left behind: not sent is unavailable, an idempotent may run again, a once is asked about."""
        for row in rows:
            _log.warning("exchange_found_unfinished", exchange=row.id, operation=row.operation, state=row.state)
            if row.state == State.RECEIVED:
                await self._end(row, Ending(Outcome.UNAVAILABLE, "not_sent", reason="the bus stopped before sending"))
            elif row.effect != Effect.ONCE:
                await self._end(row, Ending(Outcome.UNKNOWN, "outcome_unknown", reason="the bus stopped"), Fate.AGAIN)
            else:
                await self.adopt(row)

    async def adopt(self, row: Row, settle: Settle | None = None) -> None:
        """Ask about a once that was sent before a crash, unless that is being done already; ``settle`` as ``doubt``."""
        if row.id not in self._open:
            doubtful = Ending(Outcome.UNKNOWN, "outcome_unknown", reason="the bus stopped")
            if await self._end(row, doubtful, Fate.KEEP, settle):
                self._watch(row, self._versions.current)

    def _watch(self, row: Row, version: Version) -> None:
        version.enter()
        task = asyncio.get_running_loop().create_task(self._until_decided(row, version), name=f"settle {row.id}")
        self._open[row.id] = task
        task.add_done_callback(lambda _: self._open.pop(row.id, None))
        task.add_done_callback(lambda _: version.leave())

    async def _until_decided(self, row: Row, version: Version) -> None:
        waits = self._waits(row, version)
        try:
            request = decode(row.request)
        except DecodeError as error:
            _log.error("exchange_left_unknown", exchange=row.id, operation=row.operation, reason=str(error))
            return
        for number, wait in enumerate(chain(waits, repeat(_EVERY_S, _TIMES), repeat(_LATER_S)), start=1):
            await self._sleep(wait)
            try:
                if await self._round(row, self._versions.of(version), request, last=number >= len(waits)):
                    return
            except Exception as error:  # what is in doubt is asked about for ever
                _log.error("settling_failed", exchange=row.id, operation=row.operation, exc_info=error)
            if number in (len(waits), len(waits) + _TIMES):
                _log.error("exchange_still_unknown", exchange=row.id, operation=row.operation, attempts=number)

    async def _round(self, row: Row, version: Version, request: Mapping[str, object], *, last: bool) -> bool:
        """True when nothing is left to be asked."""
        async with self._gate:
            crash.at("before_question")
            decided = await self._ask(row, version, request, None, last=last)
        if decided is None:
            return False
        crash.at("after_decision_before_record")
        await self._end(row, decided)
        return True

    def _waits(self, row: Row, version: Version) -> tuple[float, ...]:
        """The route's intervals; none without a settle route, which a reload may still bring."""
        lanes = _lanes(version, row.operation)
        if lanes is None:
            _log.error("exchange_left_unknown", exchange=row.id, operation=row.operation, reason="no settle route")
            return ()
        return lanes[0].config.settle_after_s

    async def _ask(
        self, row: Row, version: Version, request: Mapping[str, object], deadline: float | None, *, last: bool
    ) -> Ending | None:
        """One question, journalled as an exchange of its own, unless the answer itself has come meanwhile; None when
        nothing was decided.
        """
        lanes = _lanes(version, row.operation)
        if lanes is None:
            return None
        lane, settle = lanes
        if answered := await self._answered(row, lane, request):
            return answered
        record = self._question(row, settle, request, deadline)
        try:
            ending = await self._asking.ask(record)
        except asyncio.CancelledError:
            self._journal.cancelled(record)
            raise
        self._journal.end(record, ending)
        if ending.outcome is Outcome.DONE and (name := _contradiction(request, ending.body)):
            _log.error("settle_answer_contradicts", exchange=row.id, operation=row.operation, field=name)
            return None
        return _decision(ending, lane, last=last)

    async def _answered(self, row: Row, lane: Lane, request: Mapping[str, object]) -> Ending | None:
        now = self._clock.monotonic()
        ending = await self._asking.answered(Record(asked(row, request, now + lane.config.timeout_s), lane, now))
        return dataclasses.replace(ending, reason="settled: it was answered later") if ending else None

    def _question(self, row: Row, lane: Lane, request: Mapping[str, object], deadline: float | None) -> Record:
        now = self._clock.monotonic()
        latest = now + lane.config.timeout_s
        fields = lane.operation.request_schema.get("properties", {})
        exchange_id = self._ids.new()
        question = Exchange(
            id=exchange_id,
            operation=lane.operation.name,
            effect=Effect.READ,
            request={name: request[name] for name in fields if name in request},
            key=exchange_id,
            principal=row.principal,
            deadline=latest if deadline is None else min(latest, deadline),
            received=self._clock.now().isoformat(timespec="seconds"),
            request_id=row.request_id,
        )
        return Record(question, lane, now, cause=row.id)

    async def _end(self, row: Row, ending: Ending, fate: Fate | None = None, settle: Settle | None = None) -> bool:
        """False when it is another's to end."""
        is_decided = fate is None
        if is_decided and ending.outcome is Outcome.UNAVAILABLE and (entry := await self._backlog.find(row.id)):
            return await self._reopen(row, entry.tries, ending)
        if fate is None:
            fate = Fate.RELEASE if ending.outcome is Outcome.UNAVAILABLE else Fate.KEEP
        settled = row._replace(
            state=State(ending.outcome).value,
            code=ending.code,
            message=ending.message,
            details=details_text(ending.details),
            reason=ending.reason or row.reason,
            finished=self._clock.now().isoformat(timespec="milliseconds"),
            raw=ending.raw or row.raw,
            answer=ending.encoded,
        )
        if not await (settle or self._journal.settle)(settled, fate):
            return False
        if is_decided:
            if not await self._journal.written(row.id):
                return False
            crash.at("after_settled_before_ack")
            await self._backlog.settled(row.id)
        _log.info(
            "exchange_settled", exchange=row.id, operation=row.operation, outcome=ending.outcome.value, code=ending.code
        )
        return True

    async def _reopen(self, row: Row, made: int, ending: Ending) -> bool:
        """Once it is written that it is in doubt: that would be written over what comes now."""
        is_ours = await self._journal.written(row.id) and await self._backlog.reopened(row, made, ending)
        event = "exchange_reopened" if is_ours else "exchange_not_reopened"
        _log.info(event, exchange=row.id, operation=row.operation, reason=ending.reason)
        return is_ours


def _lanes(version: Version, operation: str) -> tuple[Lane, Lane] | None:
    """The lane of a once and that of the read that settles it."""
    lane = version.lanes.get(operation)
    settle = version.lanes.get(lane.config.settle or "") if lane else None
    return (lane, settle) if lane and settle else None


def _contradiction(request: Mapping[str, object], body: object) -> str:
    """The first id or number of the answer that the request has under the same name, at any depth, with another value.

    An order number may hold another slot than the one that was asked for: that it is held says nothing about this one.
    """
    asked = dict(_scalars(request))
    found = body.items() if isinstance(body, Mapping) else ()
    return next((name for name, value in found if name[-2:] in ("Id", "No") and asked.get(name, value) != value), "")


def _scalars(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _scalars(value)
        else:
            yield name, value


def _decision(ending: Ending, lane: Lane, *, last: bool) -> Ending | None:
    if ending.outcome is Outcome.DONE and not lane.operation.check_answer(ending.body):
        return dataclasses.replace(ending, reason="settled: it happened")
    absent = ending.outcome is Outcome.REFUSED and ending.decided and ending.code == "not_found"
    if absent and last:
        return Ending(Outcome.UNAVAILABLE, "not_happened", reason="settled: it did not happen", retry_after=1.0)
    return None
