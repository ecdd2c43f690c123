"""What the facade itself costs, without server and pipeline."""

from __future__ import annotations

import json
import sys
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

import pytest

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade
from esb.model import Exchange, Result
from tests.esb.facade.doubles import LOCK, ExamplePipeline

BODY = json.dumps(LOCK).encode()
MOST_CALLS = {"body": 300, "path": 125, "query": 140}


class TrivialPipeline(ExamplePipeline):
    """Answers at once with bytes that are ready."""

    async def run(self, exchange: Exchange) -> Result:
        return Result(Outcome.DONE, exchange.id, encoded=b'{"items":[]}')


def scope(
    method: str, path: bytes, query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> dict[str, Any]:
    common = [
        (b"host", b"127.0.0.1:8080"),
        (b"user-agent", b"test"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip"),
    ]
    return {"type": "http", "method": method, "raw_path": path, "query_string": query, "headers": [*common, *headers]}


SCOPES = {
    "query": scope("GET", b"/v1/schedules", b"departmentId=D0101&from=2026-01-16&to=2026-01-22"),
    "path": scope("GET", b"/v1/patients/P0001/reports"),
    "body": scope(
        "POST",
        b"/v1/registrations/locks",
        headers=((b"content-type", b"application/json"), (b"content-length", b"260"), (b"idempotency-key", b"k1")),
    ),
}


@pytest.mark.parametrize("kind", sorted(SCOPES))
async def test_a_request_takes_few_steps_through_the_facade(contract: Contract, kind: str) -> None:
    """Calls of functions are counted, not time: they are the same on every machine, however busy. ``bench.facade`` has
    the times.
    """
    facade = Facade(contract, TrivialPipeline(contract))
    statuses: list[int] = []
    calls = 0

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    await facade(SCOPES[kind], receive, send)
    sys.setprofile(count)
    try:
        await facade(SCOPES[kind], receive, send)
    finally:
        sys.setprofile(None)
    assert set(statuses) == {201 if kind == "body" else 200}
    assert calls <= MOST_CALLS[kind]
