"""The event loop of production is stricter than the standard one about what is done with a closed connection."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade
from tests.esb.facade.doubles import ExamplePipeline, served

GET = b"GET /v1/doctors HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_client_that_leaves_a_pipeline_unread_is_no_error(
    contract: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> int:
        pipeline = ExamplePipeline(contract)
        pipeline.always("doctor.search", Outcome.DONE, encoded=b" " * 20_000_000)
        async with served(Facade(contract, pipeline)) as url:
            host, port = url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(GET * 5)
            while len(pipeline.begun) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            for _ in range(50):  # now the second answer waits for the first to be read
                await asyncio.sleep(0)
            writer.transport.abort()
        return len(pipeline.begun)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        begun = runner.run(leave())
    assert 0 < begun < 5
    assert [record.message for record in caplog.records if record.name == "uvicorn.error"] == []
