"""What clients do to connections: leave early, send slowly, send rubbish; and how a shutdown ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from esb.contract import Contract
from esb.errors import Outcome
from esb.facade import Facade, Limits, server
from esb.model import Exchange, Result
from tests.esb.facade.doubles import LOCK, ExamplePipeline, served

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET /v1/doctors HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def talk(url: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send ``data`` and read one answer."""
    async with connected(url) as (reader, writer):
        writer.write(data)
        return await read_answer(reader)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def post(headers: str, body: bytes = b"") -> bytes:
    head = "POST /v1/patients/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + "\r\n"
    return head.encode() + body


class Stall:
    """An answer that waits until released and remembers how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.how = ""

    async def __call__(self, exchange: Exchange) -> Result:
        self.entered.set()
        try:
            await self.release.wait()
            self.how = "done"
            return Result(Outcome.DONE, exchange.id, body={"items": []})
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise
        finally:
            self.ended.set()


async def test_a_read_is_given_up_when_its_client_goes(url: str, pipeline: ExamplePipeline) -> None:
    stall = pipeline.answers["doctor.search"] = Stall()
    async with connected(url) as (_, writer):
        writer.write(GET)
        await stall.entered.wait()
    await asyncio.wait_for(stall.ended.wait(), 5)
    assert stall.how == "cancelled"


async def test_an_effect_runs_to_its_end_when_its_client_goes(url: str, pipeline: ExamplePipeline) -> None:
    stall = pipeline.answers["registration.lock"] = Stall()
    body = json.dumps(LOCK).encode()
    request = (
        b"POST /v1/registrations/locks HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n"
    )
    async with connected(url) as (_, writer):
        writer.write(request + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await stall.entered.wait()
    await asyncio.sleep(0.1)
    stall.release.set()
    await asyncio.wait_for(stall.ended.wait(), 5)
    assert stall.how == "done"


async def test_a_read_that_takes_longer_than_the_watch_is_answered(url: str, pipeline: ExamplePipeline) -> None:
    stall = pipeline.answers["doctor.search"] = Stall()
    async with connected(url) as (reader, writer):
        writer.write(GET)
        await stall.entered.wait()
        await asyncio.sleep(0.1)
        stall.release.set()
        assert (await read_answer(reader))[0] == 200
        writer.write(GET)
        assert (await read_answer(reader))[0] == 200


async def test_pipelined_requests_are_answered_in_order(url: str, pipeline: ExamplePipeline) -> None:
    stall = pipeline.answers["doctor.search"] = Stall()
    async with connected(url) as (reader, writer):
        writer.write(GET + b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        await stall.entered.wait()
        await asyncio.sleep(0.1)
        stall.release.set()
        assert [(await read_answer(reader))[0] for _ in range(2)] == [200, 404]


async def test_a_shutdown_waits_for_effects_even_when_their_clients_have_gone(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    stall = pipeline.answers["registration.lock"] = Stall()
    events: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        events.append("open")
        yield
        events.append(f"closed after {stall.how}")

    async with served(Facade(contract, pipeline, lifespan=lifespan)) as url:
        async with aiohttp.ClientSession(url) as http:
            asked = asyncio.create_task(
                http.post("/v1/registrations/locks", json=LOCK, headers={"Idempotency-Key": "k"})
            )
            await stall.entered.wait()
            asked.cancel()
        asyncio.get_running_loop().call_later(0.3, stall.release.set)
    assert events == ["open", "closed after done"]


async def test_a_drain_gives_up_after_its_time(contract: Contract, pipeline: ExamplePipeline) -> None:
    stall = pipeline.answers["registration.lock"] = Stall()
    facade = Facade(contract, pipeline, drain_s=0.05)
    async with served(facade) as url, aiohttp.ClientSession(url) as http:
        asked = asyncio.create_task(http.post("/v1/registrations/locks", json=LOCK, headers={"Idempotency-Key": "k"}))
        await stall.entered.wait()
        await asyncio.wait_for(facade.drain(), 2)
        assert not stall.ended.is_set()
        stall.release.set()
        assert (await asked).status == 201


async def test_a_start_that_fails_is_told_and_nothing_is_served(contract: Contract, pipeline: ExamplePipeline) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise OSError("no journal")
        yield

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await Facade(contract, pipeline, lifespan=lifespan)({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "OSError: no journal"}]


@pytest.mark.parametrize(
    "data",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/doctors HTTP/1.1\r\nHost: x\r\nA\x00B: c\r\n\r\n",
        post("Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"{}"),
        post("Transfer-Encoding: chunked\r\n", b"zz\r\n"),
        post("Content-Length: -1\r\n"),
    ],
)
async def test_bad_http_is_a_400_problem_and_the_end_of_the_connection(url: str, data: bytes) -> None:
    status, headers, body = await talk(url, data)
    assert (status, headers["connection"]) == (400, "close")
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "http_malformed"


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/doctors?keyword=%zz", 400, "query_malformed"),
        ("/v1/doctors?keyword=%ff", 400, "query_malformed"),
        ("/v1/doctors?keyword=%00", 400, "query_malformed"),
        ("/v1/doctors?%0a=1", 400, "query_malformed"),
        ("/v1/reports/%zz", 400, "path_malformed"),
        ("/v1/reports/%c3%28", 400, "path_malformed"),
        ("/v1/reports/%7f", 400, "path_malformed"),
        ("/v1/%64octors", 404, "route_unknown"),
        ("//v1/doctors", 404, "route_unknown"),
    ],
)
async def test_percent_encoding_is_strict(url: str, target: str, status: int, code: str) -> None:
    found, _, body = await talk(url, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (found, json.loads(body)["code"]) == (status, code)


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(url: str) -> None:
    async with connected(url) as (reader, writer):
        writer.write(post("Content-Length: 10000000\r\nExpect: 100-continue\r\n"))
        status, headers, body = await read_answer(reader)
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body)["code"] == "body_too_large"
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_who_sends_ten_megabytes_without_asking_hears_why_they_are_refused(url: str) -> None:
    async with connected(url) as (reader, writer):
        writer.write(post("Content-Length: 10000000\r\n") + b"x" * 10_000_000)
        await writer.drain()
        status, _, body = await read_answer(reader)
        assert (status, json.loads(body)["code"]) == (413, "body_too_large")


async def test_a_client_that_waits_for_100_continue_gets_it(url: str) -> None:
    async with connected(url) as (reader, writer):
        writer.write(post("Content-Length: 2\r\nExpect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await read_answer(reader))[0] == 422


async def test_a_body_that_comes_in_pieces_is_put_together(url: str, pipeline: ExamplePipeline) -> None:
    body = json.dumps({"documentType": "other", "documentNumber": "1", "name": "测试"}).encode()
    async with connected(url) as (reader, writer):
        writer.write(post(f"Content-Length: {len(body)}\r\n"))
        for part in (body[:7], body[7:30], body[30:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        assert (await read_answer(reader))[0] == 200
    assert pipeline.begun[-1].request["name"] == "测试"


async def test_a_slow_body_is_408_and_a_client_that_leaves_is_forgotten(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    async with served(Facade(contract, pipeline, limits=Limits(body_s=0.1))) as url:
        status, headers, body = await talk(url, post("Content-Length: 9\r\n", b'{"a"'))
        assert (status, headers["connection"], json.loads(body)["code"]) == (408, "close", "body_timeout")
        async with connected(url) as (_, writer):
            writer.write(post("Content-Length: 9\r\n", b'{"a"'))
            await writer.drain()
        async with aiohttp.ClientSession(url) as http, http.get("/v1/doctors") as answer:
            assert answer.status == 200
    assert [exchange.operation for exchange in pipeline.begun] == ["doctor.search"]


async def test_a_slow_or_endless_head_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, body = await talk(url, b"GET /v1/doctors HTTP/1.1\r\n" + b"X-A: %s\r\n" % (b"y" * 1000) * 100)
    assert (status, json.loads(body)["code"]) == (431, "headers_too_large")
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    status, headers, body = await talk(url, b"GET /v1/doctors HTTP/1.1\r\nHost:")
    assert (status, headers["connection"], json.loads(body)["code"]) == (408, "close", "head_timeout")


async def test_requests_in_flight_do_not_mix(url: str, pipeline: ExamplePipeline) -> None:
    async def echo(exchange: Exchange) -> Result:
        await asyncio.sleep(0)
        return Result(Outcome.DONE, exchange.id, body={"items": [], "asked": exchange.request["keyword"]})

    pipeline.answers["doctor.search"] = echo
    async with aiohttp.ClientSession(url) as http:

        async def ask(number: int) -> Any:
            async with http.get("/v1/doctors", params={"keyword": f"k{number}"}) as answer:
                return (await answer.json())["asked"]

        assert await asyncio.gather(*(ask(n) for n in range(100))) == [f"k{n}" for n in range(100)]


async def test_a_connection_over_the_bound_is_told_when_to_come_back(
    contract: Contract, pipeline: ExamplePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F22, I10."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    alive = GET.replace(b"/v1/doctors", b"/healthz")
    async with served(Facade(contract, pipeline)) as url:
        async with connected(url), connected(url) as (reader, writer):
            for _ in range(2):
                writer.write(alive)
                assert (await read_answer(reader))[0] == 200
                status, headers, body = await talk(url, b"")
                assert (status, json.loads(body)["code"], headers["connection"]) == (503, "overloaded", "close")
                assert int(headers["retry-after"]) >= 1


async def test_whom_a_stop_cuts_off_is_told_what_may_have_become_of_it(
    contract: Contract, pipeline: ExamplePipeline
) -> None:
    """F09: a read may be asked again, something that changes the system is found under its exchange."""
    read = pipeline.answers["doctor.search"] = Stall()
    effect = pipeline.answers["registration.lock"] = Stall()
    lock = {"json": LOCK, "headers": {"Idempotency-Key": "k"}}
    async with aiohttp.ClientSession() as http:
        async with served(Facade(contract, pipeline, drain_s=0.05), timeout_graceful_shutdown=0.1) as url:
            asked = [
                asyncio.create_task(http.get(f"{url}/v1/doctors")),
                asyncio.create_task(http.post(f"{url}/v1/registrations/locks", **lock)),
            ]
            await asyncio.gather(read.entered.wait(), effect.entered.wait())
        refused, pending = await asyncio.gather(*asked)
        assert (refused.status, (await refused.json())["code"]) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) >= 1
        assert (pending.status, pending.headers["location"][:14]) == (202, "/v1/exchanges/")
    assert (read.how, effect.how) == ("cancelled", "")
    effect.release.set()
    await effect.ended.wait()
