"""Everything beside the operations: the contract and its browser, health, metrics. A small Starlette application."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from esb.clock import Clock
from esb.codecs import json
from esb.facade.answer import retry_after
from esb.facade.pipeline import Pipeline
from esb.facade.problems import MEDIA_TYPE, Problem, encode_problem

Configuration: TypeAlias = Callable[[], Mapping[str, Any]]

_STATIC = Path(__file__).parent / "static"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PROBE_FRESH_S = 3.0
_PROBE_DEADLINE_S = 2.0


class Readiness:
    """Which endpoints are down. One probe at a time, its result kept for a few seconds: asking often is harmless."""

    def __init__(self, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._lock = asyncio.Lock()
        self._until = float("-inf")
        self._state: Mapping[str, str | None] = {}

    async def state(self) -> Mapping[str, str | None]:
        """Endpoint -> None, or why it is down."""
        async with self._lock:
            if self._clock.monotonic() >= self._until:
                self._state = await self._probe()
                self._until = self._clock.monotonic() + _PROBE_FRESH_S
        return self._state

    async def _probe(self) -> Mapping[str, str | None]:
        try:
            async with asyncio.timeout(_PROBE_DEADLINE_S):
                return await self._pipeline.probe()
        except TimeoutError:
            return {"*": f"the probes did not end within {_PROBE_DEADLINE_S:g} s"}


def make_pages(
    document: Mapping[str, Any],
    pipeline: Pipeline,
    clock: Clock,
    registry: CollectorRegistry,
    is_open: Any,
    configuration: Configuration | None = None,
) -> Starlette:
    """The application. ``is_open()`` is false from the moment that a shutdown began.

    A rejected configuration does not make ``/readyz`` fail: the one in use serves.
    """
    contract = json.encode(document)
    tag = f'"{hashlib.sha256(contract).hexdigest()[:32]}"'
    readiness = Readiness(pipeline, clock)

    async def openapi(request: Request) -> Response:
        headers = {"etag": tag, "cache-control": "no-cache"}
        known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
        if tag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(contract, media_type="application/json", headers=headers)

    async def docs(request: Request) -> Response:
        return FileResponse(_STATIC / "index.html", headers={"content-security-policy": _CSP})

    async def docs_slash(request: Request) -> Response:
        return RedirectResponse("/docs", 308)

    async def healthz(request: Request) -> Response:
        return _json(200, {"status": "up"})

    async def readyz(request: Request) -> Response:
        state = await readiness.state() if is_open() else {"*": "shutting down"}
        down = {name: why for name, why in state.items() if why is not None}
        shown: dict[str, Any] = {"status": "down" if down else "ready", "endpoints": _endpoints(state)}
        if configuration is not None:
            shown["configuration"] = configuration()
        return _json(503 if down else 200, shown)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    routes = [
        Route("/v1/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/", docs_slash),
        Mount("/docs", StaticFiles(directory=_STATIC)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    pages = Starlette(routes=routes, exception_handlers={HTTPException: _problem})
    pages.router.redirect_slashes = False
    return pages


def _endpoints(state: Mapping[str, str | None]) -> dict[str, dict[str, str]]:
    return {
        name: {"status": "up"} if why is None else {"status": "down", "reason": why}
        for name, why in sorted(state.items())
    }


def _json(status: int, tree: dict[str, Any]) -> Response:
    headers = {"cache-control": "no-store"}
    headers |= {name.decode(): value.decode() for name, value in retry_after(status, None, random.random)}
    return Response(json.encode(tree), status, media_type="application/json", headers=headers)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "route_unknown"
    status, body = encode_problem(Problem(code))
    return Response(body, status, {**(error.headers or {}), "content-type": MEDIA_TYPE.decode()})
