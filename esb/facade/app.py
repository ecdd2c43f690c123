"""The ASGI application: one lean endpoint for every operation of the contract, everything else in ``pages``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

from esb.clock import Clock, Ids, SystemClock
from esb.codecs import json
from esb.contract import Contract, Operation
from esb.errors import Outcome
from esb.facade.answer import (
    JSON,
    Answer,
    Header,
    Jitter,
    answer_pending,
    answer_problem,
    answer_result,
    common_refusals,
    state_tree,
)
from esb.facade.metrics import Metrics
from esb.facade.pages import Configuration, make_pages
from esb.facade.pipeline import Pipeline
from esb.facade.problems import Problem
from esb.facade.request import CLOSE, ClientGone, Head, Limits, Receive, Scope, read_tree
from esb.facade.routing import Router, Target
from esb.facade.running import Running
from esb.model import Effect, Result
from esb.observe import get_logger
from esb.store import StoreError

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_COMMON: tuple[Header, ...] = (_NOSNIFF, (b"cache-control", b"no-store"))
_FIND = "exchange.find"
_log = get_logger()


def principal_of(scope: Scope) -> str:
    """Who calls. Every caller is the same one until callers can prove who they are."""
    return "anonymous"


class Facade:
    """The HTTP side of the bus. ``lifespan`` is entered before the first request and left after the last exchange.

    ``registry`` receives the facade's metrics and is what ``/metrics`` shows; ``configuration`` gives what ``/readyz``
    says of the configuration in use. Without ``operations`` there are only the pages beside them.
    """

    def __init__(
        self,
        contract: Contract,
        pipeline: Pipeline,
        *,
        limits: Limits | None = None,
        lifespan: Lifespan | None = None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        jitter: Jitter = random.random,
        drain_s: float = 10.0,
        configuration: Configuration | None = None,
        operations: bool = True,
    ) -> None:
        registry = registry or CollectorRegistry()
        clock = clock or SystemClock()
        self._refusals = common_refusals(contract.operations.values())
        self._pipeline = pipeline
        self._limits = limits or Limits()
        self._lifespan = lifespan
        self._jitter = jitter
        self._drain_s = drain_s
        self._ids = Ids(clock)
        self._router = Router([*contract.operations.values(), *contract.own.values()] if operations else [])
        self._running = Running()
        self._metrics = Metrics(registry)
        self._open = True
        self._pages = make_pages(contract.document, pipeline, clock, registry, lambda: self._open, configuration)

    def stop_accepting(self) -> None:
        """From now on every operation is answered 503 and ``/readyz`` is down; what runs goes on."""
        self._open = False

    async def drain(self) -> None:
        """Stop accepting and wait for the effects under way, at most ``drain_s`` seconds."""
        self.stop_accepting()
        left = await self._running.drain(self._drain_s)
        if left:
            _log.warning("drain_timed_out", count=left, after_s=self._drain_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        head = Head(scope["headers"])
        request = _Request(head.request_id or self._ids.new())
        try:
            target = self._route(scope, head, request)
            if target is None:
                await self._pages(scope, receive, _with_headers(send, request.id))
                return
            answer = await self._answer(target, scope, head, receive, request)
        except Problem as problem:
            answer = answer_problem(problem, request.exchange, self._jitter)
        except ClientGone:
            return
        except asyncio.CancelledError:
            answer = self._cut_off(request)
        except Exception as error:
            answer = self._failed(error, request)
        await _send(send, answer, request.id)
        self._metrics.answered(request.operation, answer.status, time.perf_counter() - started)

    def _route(self, scope: Scope, head: Head, request: _Request) -> Target | None:
        raw_path: bytes = scope["raw_path"]
        limits = self._limits
        if head.size > limits.headers:
            raise Problem("headers_too_large", f"the limit is {limits.headers} bytes", headers=[CLOSE])
        if len(raw_path) + len(scope["query_string"]) > limits.target:
            raise Problem("uri_too_long", f"the limit is {limits.target} bytes")
        found = self._router.find(scope["method"], raw_path)
        if found is None:
            return None
        target, request.values = found
        request.operation = target.operation.name
        if not self._open:
            raise Problem("shutting_down", headers=[CLOSE])
        return target

    async def _answer(self, target: Target, scope: Scope, head: Head, receive: Receive, request: _Request) -> Answer:
        operation = target.operation
        key = head.key(required=operation.key_required)
        tree = await read_tree(target, request.values, scope["query_string"], head, receive, self._limits)
        if operation.name == _FIND:
            return await self._find(operation, tree, principal_of(scope))
        exchange = self._pipeline.begin(
            operation.name, tree, key=key, principal=principal_of(scope), request_id=request.id
        )
        request.exchange = exchange.id
        request.is_effect = operation.effect is not Effect.READ
        result = await self._running.run(operation.effect, self._pipeline.run(exchange), receive)
        return answer_result(operation, result, self._jitter)

    async def _find(self, operation: Operation, tree: dict[str, Any], principal: str) -> Answer:
        errors = operation.check_request(tree)
        if errors:
            raise Problem("invalid_request", errors=errors)
        try:
            result = await self._pipeline.find(tree["exchangeId"], principal)
        except StoreError:
            raise Problem("store_unavailable") from None
        if result is None:
            raise Problem("not_found")
        return Answer(200, JSON, json.encode(state_tree(result, self._refusals)))

    def _cut_off(self, request: _Request) -> Answer:
        """The stop has waited long enough. What changes something goes on or is settled: its caller hears where."""
        if request.is_effect:
            return answer_pending(Result(Outcome.UNKNOWN, request.exchange))
        return answer_problem(Problem("shutting_down", headers=[CLOSE]), request.exchange, self._jitter)

    def _failed(self, error: Exception, request: _Request) -> Answer:
        """The last resort. The log keeps class and place of the error only: its text may hold a body."""
        _log.error(
            "request_failed",
            exchange=request.exchange,
            request_id=request.id,
            operation=request.operation,
            exc_info=error,
        )
        return answer_problem(Problem("internal_error"), request.exchange, self._jitter)

    async def _live(self, receive: Receive, send: Send) -> None:
        stack = AsyncExitStack()
        await receive()
        try:
            if self._lifespan is not None:
                await stack.enter_async_context(self._lifespan())
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.drain()
        await stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _Request:
    """What is known of a request so far, for its answer, its metrics and the log line if it fails."""

    __slots__ = ("exchange", "id", "is_effect", "operation", "values")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.exchange = ""
        self.is_effect = False
        self.operation = ""
        self.values: list[bytes] = []


async def _send(send: Send, answer: Answer, request_id: str) -> None:
    headers = [
        (b"content-type", answer.media_type),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
        *_COMMON,
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _with_headers(send: Send, request_id: str) -> Send:
    async def send_with(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), _NOSNIFF]
        await send(message)

    return send_with
