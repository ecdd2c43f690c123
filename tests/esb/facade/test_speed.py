"""What the facade itself costs, without server and pipeline."""

from __future__ import annotations

import json
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade
from esb.model import Exchange, Result
from tests.esb.facade.doubles import LOCK, ExamplePipeline

BODY = json.dumps(LOCK).encode()
BUDGET_S = 120e-6


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
async def test_a_request_costs_the_facade_less_than_120_microseconds(contract: Contract, kind: str) -> None:
    facade = Facade(contract, TrivialPipeline(contract))
    statuses: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(50):
            await facade(SCOPES[kind], receive, send)
        best = min(best, (time.perf_counter() - started) / 50)
    assert set(statuses) == {201 if kind == "body" else 200}
    assert best < BUDGET_S
