"""The way of one message: which callback, its event, one commit, and only then the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from esb import crash
from esb.clock import Clock, Ids
from esb.inbound.callbacks import Callbacks, FlawError, Question
from esb.inbound.questions import Questions
from esb.model import Tree
from esb.observe import Metrics, get_logger
from esb.spi import Answer, Flaw, Inbound, Reply
from esb.store import Arrival, Settled, Store, StoreError, Taken

_DIGEST_BYTES = 16
_STATES = {"unreadable": Taken.UNREADABLE, "unwanted": Taken.UNWANTED, "unwanted_event": Taken.UNWANTED}
_log = get_logger()


class Desk:
    """The intake of one listener (``esb.spi.Intake``). ``callbacks`` may be replaced at any time.

    ``told`` is called with the name of each event once it is durable, ``heard`` with what an answer answers, where it
    stands and its bytes.
    """

    def __init__(
        self,
        endpoint: str,
        callbacks: Callbacks,
        store: Store,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        questions: Questions | None = None,
    ) -> None:
        self.endpoint, self.callbacks = endpoint, callbacks
        self.same_id_s = 0.0
        self.told: Callable[[str], None] = _nobody
        self.heard: Callable[[tuple[str, str], int, bytes], None] = _nobody
        self._store, self._clock, self._ids = store, clock, ids
        self._taken = {one: metrics.inbound_messages.labels(endpoint, one) for one in (*Taken, "repeat", "not_kept")}
        self._seen = metrics.inbound_seen
        self._questions = questions
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def full(self) -> bool:
        """See ``esb.spi.Intake``."""
        return self._store.full

    def count(self, what: str) -> None:
        """See ``esb.spi.Intake``."""
        self._seen.labels(self.endpoint, what).inc()

    def take(self, inbound: Inbound, answer: Answer) -> asyncio.Future[bytes]:
        """See ``esb.spi.Intake``."""
        now = self._clock.now()
        received = now.isoformat(timespec="milliseconds")
        if inbound.reply is not None and inbound.flaw is None and self._questions is not None:
            question = self.callbacks.question(inbound.kind)
            if question is not None:
                try:
                    context = _context(inbound, question.operation.name, received)
                    return self._questions.ask(question, inbound, inbound.reply, context)
                except FlawError as error:
                    answer = partial(_unanswered, inbound.reply, question)
                    inbound = replace(inbound, flaw=error.flaw)
        counted = inbound.sequence
        flaw, event, body, mapping = self._event(inbound, received)
        good = Taken.EVENT if inbound.answers is None else Taken.ANSWER
        arrival = Arrival(
            id=self._ids.new(),
            endpoint=self.endpoint,
            sender=inbound.sender,
            control=inbound.id,
            kind=inbound.kind,
            peer=inbound.peer,
            received=received,
            state=str(_STATES.get(flaw.code, Taken.PARKED) if flaw else good),
            event=event,
            reason=f"{flaw.code}: {flaw.text}" if flaw else "",
            mapping=mapping,
            version=self.callbacks.version,
            sequence=-1 if counted is None else counted,
            digest=hashlib.blake2b(inbound.raw, digest_size=_DIGEST_BYTES).digest(),
            raw=inbound.raw,
            body=body,
            answer=answer(flaw) if counted is None else answer(flaw, counted if flaw else counted + 1),
        )
        crash.at("before_kept")
        misplaced = None if counted is None else partial(_misplaced, arrival, answer)
        conflict = partial(_conflict, arrival, answer)
        kept = self._store.receive(arrival, self._since(now), conflict, misplaced, inbound.answers)
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        kept.add_done_callback(partial(self._kept, done, answer, arrival))
        if inbound.answers is not None:
            kept.add_done_callback(partial(self._answered, inbound.answers, inbound.raw))
        return done

    def _event(self, inbound: Inbound, received: str) -> tuple[Flaw | None, str, bytes, str]:
        """Why it becomes no event, or the event: its name, its body and by which mapping."""
        if inbound.flaw is not None or inbound.answers is not None:
            return inbound.flaw, "", b"", ""
        event = mapped_by = ""
        try:
            callback = self.callbacks.find(inbound.kind)
            event, mapped_by = callback.event.name, callback.mapped_by
            return None, event, callback.make(inbound.message, _context(inbound, event, received)), mapped_by
        except FlawError as error:
            return error.flaw, event, b"", mapped_by

    def _since(self, now: datetime) -> str:
        seconds = self.same_id_s
        return (now - timedelta(seconds=seconds)).isoformat(timespec="milliseconds") if seconds else ""

    def _kept(
        self, done: asyncio.Future[bytes], answer: Answer, arrival: Arrival, kept: asyncio.Future[Settled]
    ) -> None:
        if done.cancelled():
            return
        error = kept.exception()
        if error is None:
            crash.at("after_kept_before_answer")
            settled = kept.result()
            self._taken["repeat" if settled.is_repeat else settled.state].inc()
            if settled.state is Taken.EVENT:
                if not settled.is_repeat:
                    self.told(arrival.event)
            elif settled.state is not Taken.ANSWER:
                self._tell(settled, arrival)
            done.set_result(settled.answer)
            return
        self._taken["not_kept"].inc()
        text = "it could not be stored; send it again" if isinstance(error, StoreError) else "it failed; send it again"
        _log.error("message_not_kept", endpoint=self.endpoint, reason=str(error), exchange=arrival.id)
        done.set_result(answer(Flaw("not_kept", text)))

    def _answered(self, question: tuple[str, str], raw: bytes, kept: asyncio.Future[Settled]) -> None:
        if not kept.cancelled() and kept.exception() is None and (position := kept.result().position):
            self.heard(question, position, raw)

    def _tell(self, settled: Settled, arrival: Arrival) -> None:
        """By the id of its row, for the journal finds no other."""
        state, conflict = settled.state, "another message was sent with the same id"
        reason = arrival.reason if state is not Taken.CONFLICT else conflict
        _log.warning(f"message_{state}", endpoint=self.endpoint, exchange=settled.id, reason=reason)


def _nobody(*_: object) -> None:
    """Nobody waits for events, nor for answers."""


def _context(inbound: Inbound, operation: str, received: str) -> dict[str, Tree]:
    """What a translation sees as ``$exchange``; ``now`` in whole seconds."""
    return {"id": inbound.id, "key": inbound.id, "operation": operation, "now": received[:19] + received[23:]}


def _unanswered(
    reply: Callable[[Reply], bytes], question: Question, flaw: Flaw | None, expected: int | None = None
) -> bytes:
    """The answer to a question that cannot be asked as it is."""
    return reply(Reply(question.answer.target.type, flaw=flaw))


def _misplaced(arrival: Arrival, answer: Answer, expected: int) -> Arrival:
    """The row of a message that comes before its turn, or the answer to the question whose turn it is."""
    if arrival.sequence == 0:
        return arrival._replace(state=str(Taken.EVENT), answer=answer(None, expected))
    flaw = Flaw("misplaced", f"its number should be {expected}")
    reason = f"{flaw.code}: {flaw.text}"
    return arrival._replace(
        state=str(Taken.PARKED), event="", body=b"", reason=reason, answer=answer(flaw, expected), sequence=-1
    )


def _conflict(arrival: Arrival, answer: Answer) -> Arrival:
    """The row of a message whose id another has. The event that it would have been is not made."""
    flaw = Flaw("conflict", "another message was sent with this id before")
    reason = f"{flaw.code}: {flaw.text}"
    return arrival._replace(state=str(Taken.CONFLICT), event="", body=b"", reason=reason, answer=answer(flaw))
