"""Questions that systems ask: an operation answers, through the same pipeline as for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from esb.errors import Outcome
from esb.inbound.callbacks import Question
from esb.mapping import MappingError
from esb.model import Exchange, Result, Tree
from esb.observe import Metrics, get_logger
from esb.spi import Flaw, Inbound, Reply

_log = get_logger()


class Asked(Protocol):
    """What is asked; the pipeline is it."""

    def begin(
        self, operation: str, request: Mapping[str, Any], *, key: str | None, principal: str, request_id: str
    ) -> Exchange: ...

    async def run(self, exchange: Exchange) -> Result: ...


class Questions:
    """Those of one listener. Each has the time that the operation's route has."""

    def __init__(self, endpoint: str, asked: Asked, metrics: Metrics) -> None:
        self._endpoint, self._asked = endpoint, asked
        self._counts = {one: metrics.inbound_messages.labels(endpoint, one) for one in ("answered", "not_answered")}
        self._open: set[asyncio.Task[bytes]] = set()

    def ask(
        self, question: Question, inbound: Inbound, write: Callable[[Reply], bytes], context: dict[str, Tree]
    ) -> asyncio.Task[bytes]:
        """What to send back, by a task that never raises. Raises ``FlawError`` when it cannot be asked."""
        request = question.request(inbound.message, context)
        exchange = self._asked.begin(
            question.operation.name,
            request,
            key=None,
            principal=f"{self._endpoint}/{inbound.sender}",
            request_id=inbound.id,
        )
        task = asyncio.get_running_loop().create_task(self._answer(question, exchange, write))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task

    async def _answer(self, question: Question, exchange: Exchange, write: Callable[[Reply], bytes]) -> bytes:
        try:
            reply = _reply(question, await self._asked.run(exchange), exchange)
        except Exception as error:
            reason = str(error) if isinstance(error, MappingError) else type(error).__name__
            _log.error("question_not_answered", endpoint=self._endpoint, exchange=exchange.id, reason=reason)
            reply = Reply(question.answer.target.type, flaw=Flaw("refused", "the answer cannot be written"))
        self._counts["not_answered" if reply.flaw else "answered"].inc()
        return write(reply)


def _reply(question: Question, result: Result, exchange: Exchange) -> Reply:
    type_ = question.answer.target.type
    if result.outcome is Outcome.DONE:
        return Reply(type_, question.rows(result.body, {**exchange.context()}))
    if result.outcome is not Outcome.REFUSED:
        return Reply(type_, flaw=Flaw("unavailable", "the system that knows cannot be asked now; ask again later"))
    if result.code == "invalid_request" and result.details.get("errors"):
        first = result.details["errors"][0]
        code = "field_missing" if first["code"] == "missing" else "field_wrong"
        return Reply(type_, flaw=Flaw(code, f"{first['pointer']} of the question {first['en']}"))
    known = question.operation.refusals.get(result.code)
    return Reply(type_, flaw=Flaw("refused", result.message or (known.en if known else "") or result.code))
