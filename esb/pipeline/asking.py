"""Map, call, interpret, validate: the stages in which a system is asked, for exchanges and for settling alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from esb.clock import Clock
from esb.codecs import EncodeError
from esb.codecs.json import encode
from esb.errors import AdapterError, Malformed, Outcome, OutcomeUnknown, Refused, Unavailable
from esb.mapping import MappingError
from esb.model import Effect, Exchange, Tree
from esb.observe import get_logger
from esb.pipeline import endings
from esb.pipeline.parts import Ending, Record
from esb.policies.retry import Retry
from esb.spi import Answers, Call, Wire
from esb.store import StoreError

_log = get_logger()

Before = Callable[[], Awaitable[None]]


class Asking:
    """Asks the system of a record's lane and says how it ended; raises nothing but ``CancelledError``."""

    def __init__(self, clock: Clock, retry: Retry, answers: Answers | None = None) -> None:
        self._clock = clock
        self._retry = retry
        self._answers = answers

    async def ask(self, record: Record, before: Before | None = None) -> Ending:
        """``before`` is awaited before the first byte may leave; when it raises ``StoreError`` nothing is sent."""
        try:
            return await self._mapped(record, before)
        except MappingError as error:
            return Ending(Outcome.MALFORMED, "mapping_failed", reason=str(error))
        except AdapterError as error:
            return endings.after_silence(record, endings.of_error(error))
        except StoreError as error:
            return Ending(Outcome.UNAVAILABLE, "store_unavailable", reason=str(error), retry_after=5.0)
        except Exception as error:
            _log.error("exchange_failed", exchange=record.exchange.id, exc_info=error)
            return endings.of_fault(record, error)

    async def answered(self, record: Record) -> Ending | None:
        """How an exchange that was sent before ended by an answer that came later; None when none that decides has.

        Nothing is sent. Only a yes and a no decide: that the system did nothing may be the answer to an earlier try,
        and what cannot be read says nothing.
        """
        call = self._call(record.exchange, Wire())
        try:
            ending = await self._heard(record, call)
        except Refused as error:
            ending = endings.of_error(error)
        except (AdapterError, MappingError) as error:
            ending = Ending(Outcome.UNKNOWN, reason=str(error))
        except Exception as error:
            _log.error("exchange_failed", exchange=record.exchange.id, exc_info=error)
            return None
        if ending is None:
            return None
        if ending.outcome in (Outcome.DONE, Outcome.REFUSED) and call.wire.received:
            return replace(ending, raw=call.wire.received)
        _log.warning("answer_decides_nothing", exchange=record.exchange.id, reason=ending.reason)
        return None

    async def _heard(self, record: Record, call: Call) -> Ending | None:
        exchange, lane = record.exchange, record.lane
        context: dict[str, Tree] = {**exchange.context()}
        answer = await lane.endpoint.answered(lambda: lane.mapping.build(exchange.request, context, lane.site), call)
        return None if answer is None else self._interpret(record, answer, context)

    async def _mapped(self, record: Record, before: Before | None) -> Ending:
        exchange, lane = record.exchange, record.lane
        context: dict[str, Tree] = {**exchange.context()}
        action, payload = lane.mapping.build(exchange.request, context, lane.site)
        self._mark(record, "map")

        async def attempt() -> Ending:
            try:
                return await self._attempt(record, action, payload, context, before)
            except OutcomeUnknown:
                record.silent = True
                raise

        return await self._retry.run(attempt, lane.retries, exchange.deadline)

    async def _attempt(
        self, record: Record, action: str, payload: Tree, context: dict[str, Tree], before: Before | None
    ) -> Ending:
        exchange, lane = record.exchange, record.lane
        call = self._call(exchange, record.attempt())
        try:
            answer = await lane.endpoint.call(action, payload, call, before if record.attempts == 1 else None)
        except Unavailable as error:
            raise _checked(error, call) from error.__cause__
        finally:
            self._mark(record, "call")
        ending = self._interpret(record, answer, context)
        self._mark(record, "interpret")
        return ending

    def _call(self, exchange: Exchange, wire: Wire) -> Call:
        return Call(
            exchange.operation,
            exchange.id,
            exchange.key,
            exchange.effect,
            exchange.deadline,
            self._clock,
            wire,
            self._answers,
        )

    def _interpret(self, record: Record, answer: Tree, context: dict[str, Tree]) -> Ending:
        lane = record.lane
        try:
            verdict = lane.mapping.interpret(answer, record.exchange.request, context, lane.site)
        except MappingError as error:
            raise Malformed(str(error)) from None
        ending = endings.of_verdict(verdict)
        if ending.outcome is Outcome.DONE and (errors := lane.operation.check_answer(ending.body)):
            raise endings.breaks_contract(errors)
        if ending.body is not None:
            try:
                ending.encoded = encode(ending.body)
            except EncodeError as error:
                raise Malformed(f"the answer has no JSON form: {error.reason}") from None
        return ending

    def _mark(self, record: Record, stage: str) -> None:
        record.marks.append((stage, self._clock.monotonic()))


def _checked(error: Unavailable, call: Call) -> AdapterError:
    """Once bytes of something that changes the system have left, only an answer can say that nothing happened."""
    silent = call.wire.left and not call.wire.received and not error.raw
    if silent and call.effect is not Effect.READ:
        return OutcomeUnknown(f"bytes had left without an answer: {error.reason}")
    return error
