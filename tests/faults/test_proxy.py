"""The proxy does what its plans say: otherwise the tests that use it would try nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Drop, Hang, Hold, Pass, Plan, Proxy, Refuse, Reply


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
async def proxy(heard: list[bytes]) -> AsyncIterator[Proxy]:
    """In front of a server that answers each line in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Proxy(("127.0.0.1", server.sockets[0].getsockname()[1])) as made:
        yield made
    server.close()


async def ask(proxy: Proxy, plan: Plan, seconds: float = 2.0) -> bytes:
    """What comes back until the connection ends or a line is whole; raises what the socket raises."""
    proxy.script(plan)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"hello\n")
        async with asyncio.timeout(seconds):
            return await reader.readline()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("plan", "answer"),
    [
        (Pass(), b"HELLO\n"),
        (Reply(delay=0.05), b"HELLO\n"),
        (Reply(drip=0.001), b"HELLO\n"),
        (Reply(keep=3), b"HEL"),
        (Reply(instead=b"\x00\xff?"), b"\x00\xff?"),
    ],
)
async def test_an_answer_comes_as_the_plan_says(proxy: Proxy, heard: list[bytes], plan: Plan, answer: bytes) -> None:
    assert await ask(proxy, plan) == answer
    assert heard == [b"hello\n"]


async def test_a_refused_connection_sends_nothing_on_and_a_dropped_one_does(proxy: Proxy, heard: list[bytes]) -> None:
    with pytest.raises(ConnectionResetError):
        await ask(proxy, Refuse())
    assert (heard, proxy.forwarded) == ([], 0)
    with pytest.raises(ConnectionResetError):
        await ask(proxy, Drop())
    assert (heard, proxy.forwarded) == ([b"hello\n"], 1)


async def test_a_hanging_one_never_answers_and_a_held_one_when_it_is_released(proxy: Proxy, heard: list[bytes]) -> None:
    with pytest.raises(TimeoutError):
        await ask(proxy, Hang(), 0.2)
    assert heard == []
    held = asyncio.create_task(ask(proxy, Hold()))
    _, waiting = await asyncio.wait({held}, timeout=0.2)
    assert (len(waiting), heard) == (1, [b"hello\n"])
    proxy.release()
    assert await held == b"HELLO\n"


async def test_each_request_on_one_connection_meets_its_own_plan(proxy: Proxy) -> None:
    proxy.script(Pass(), Reply(keep=2))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for wanted in (b"HELLO\n", b"HE"):
        writer.write(b"hello\n")
        assert await reader.readline() == wanted
    writer.close()
    assert proxy.seen == {"Pass": 1, "Reply": 1}
