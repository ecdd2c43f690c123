"""A pipeline that answers from the contract's own examples, and a facade served by real uvicorn on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade, server_config
from esb.model import Exchange, Result

SCHEMAS = Path(__file__).parents[3] / "schemas"
Answer = Callable[[Exchange], Awaitable[Result]]


class ExamplePipeline:
    """Checks requests against the contract and answers with the operation's example, unless ``answers`` says else."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.answers: dict[str, Answer] = {}
        self.begun: list[Exchange] = []
        self.ended: dict[str, Result] = {}
        self.down: dict[str, str | None] = {"his": None}
        self.probes = 0

    def begin(
        self,
        operation: str,
        request: dict[str, Any],
        *,
        key: str | None,
        principal: str,
        request_id: str,
        timeout_s: float | None = None,
    ) -> Exchange:
        exchange = Exchange(
            id=f"EX{len(self.begun) + 1}",
            operation=operation,
            effect=self.contract.operations[operation].effect,
            request=request,
            key=key or "",
            principal=principal,
            deadline=0.0,
            received="2026-01-15T09:30:00+08:00",
            request_id=request_id,
        )
        self.begun.append(exchange)
        return exchange

    async def run(self, exchange: Exchange) -> Result:
        operation = self.contract.operations[exchange.operation]
        errors = operation.check_request(exchange.request)
        if errors:
            return Result(Outcome.REFUSED, exchange.id, code="invalid_request", details={"errors": errors})
        answer = self.answers.get(exchange.operation)
        result = (
            await answer(exchange) if answer else Result(Outcome.DONE, exchange.id, body=self.example(operation.name))
        )
        self.ended[exchange.id] = result
        return result

    async def find(self, exchange_id: str, principal: str | None = None) -> Result | None:
        return self.ended.get(exchange_id) if principal == "anonymous" else None

    async def probe(self) -> dict[str, str | None]:
        self.probes += 1
        return self.down

    def example(self, name: str) -> Any:
        operation = self.contract.operations[name]
        node: Any = self.contract.document["paths"][operation.path][operation.method.lower()]
        return node["responses"][str(operation.success_status)]["content"]["application/json"]["example"]

    def always(self, name: str, outcome: Outcome, **fields: Any) -> None:
        async def answer(exchange: Exchange) -> Result:
            return Result(outcome, exchange.id, **fields)

        self.answers[name] = answer


@asynccontextmanager
async def served(facade: Facade, **options: Any) -> AsyncIterator[str]:
    """The base URL of ``facade`` on a free port of 127.0.0.1; shut down in the ordinary way at the end."""
    server = uvicorn.Server(server_config(facade, port=0, **options))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


LOCK: Mapping[str, Any] = {
    "orderNo": "R202601150001",
    "patientId": "P0001",
    "slot": {
        "slotId": "S1",
        "scheduleId": "P1",
        "departmentId": "D0101",
        "doctorId": "DR1001",
        "start": "2026-01-16T08:30:00+08:00",
        "end": "2026-01-16T09:00:00+08:00",
    },
    "fee": 2500,
}
