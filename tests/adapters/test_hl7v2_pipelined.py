"""Several messages in flight on one connection, for peers that allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from esb.spi import OutcomeUnknown
from tests.adapters.hl7v2_peer import ACTION, QUERY, Connect, ack, adapters, control
from tests.adapters.suite import make_call, peer


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    async with adapters() as connect_to:
        yield connect_to


async def test_answers_in_any_order_find_their_calls_on_one_connection(adapt: Connect) -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        requests = [await reader.readuntil(b"\x1c\r") for _ in range(8)]
        for request in reversed(requests):
            writer.write(ack(b"AA", control(request), b"|" + control(request)))
        await reader.read()

    async with peer(behave) as (_, port):
        hub = adapt(port, in_flight=8)
        calls = [make_call() for _ in range(8)]
        for number, call in enumerate(calls):
            call.exchange = f"01KF0H3Y8Z6Q2V4N7R9T1W5X{number:02d}"
        answers = await asyncio.gather(*(hub.call(ACTION, QUERY, call) for call in calls))
    assert connections == 1
    for call, answer in zip(calls, answers, strict=True):
        assert answer.get("MSA", 0, 2) == answer.get("MSA", 0, 3) == control(call.wire.sent).decode()


async def test_no_more_are_in_flight_than_allowed(adapt: Connect) -> None:
    most = under_way = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, under_way

        async def answer(request: bytes) -> None:
            nonlocal under_way
            await asyncio.sleep(0.01)
            under_way -= 1
            writer.write(ack(b"AA", control(request)))

        tasks = []
        while True:
            try:
                request = await reader.readuntil(b"\x1c\r")
            except asyncio.IncompleteReadError:
                break
            under_way += 1
            most = max(most, under_way)
            tasks.append(asyncio.create_task(answer(request)))
        await asyncio.gather(*tasks, return_exceptions=True)

    async with peer(behave) as (_, port):
        hub = adapt(port, in_flight=3, connections=2)
        calls = [make_call() for _ in range(40)]
        for number, call in enumerate(calls):
            call.exchange = f"01KF0H3Y8Z6Q2V4N7R9T1W5X{number:02d}"
        await asyncio.gather(*(hub.call(ACTION, QUERY, call) for call in calls))
        await hub.close()
    assert most == 6


async def test_a_call_without_answer_leaves_the_others_alone_and_nobody_new_joins_them(adapt: Connect) -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.readuntil(b"\x1c\r")
            second = await reader.readuntil(b"\x1c\r")
            await asyncio.sleep(1.5)
            writer.write(ack(b"AA", control(second)))
        else:
            writer.write(ack(b"AA", control(await reader.readuntil(b"\x1c\r"))))
        await reader.read()

    async with peer(behave) as (_, port):
        hub = adapt(port, in_flight=4)
        silent, patient, late = make_call(1.0), make_call(), make_call()
        silent.exchange, patient.exchange, late.exchange = "A" * 26, "B" * 26, "C" * 26
        first = asyncio.create_task(hub.call(ACTION, QUERY, silent))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(hub.call(ACTION, QUERY, patient))
        with pytest.raises(OutcomeUnknown):
            await first
        third = await hub.call(ACTION, QUERY, late)
        assert (await second).get("MSA", 0, 1) == third.get("MSA", 0, 1) == "AA"
    assert connections == 2


async def test_a_reset_connection_leaves_every_call_undecided(adapt: Connect) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await reader.readuntil(b"\x1c\r")
        writer.transport.abort()

    async with peer(behave) as (_, port):
        hub = adapt(port, in_flight=4)
        calls = [make_call() for _ in range(3)]
        for number, call in enumerate(calls):
            call.exchange = f"01KF0H3Y8Z6Q2V4N7R9T1W5X{number:02d}"
        ends = await asyncio.gather(*(hub.call(ACTION, QUERY, call) for call in calls), return_exceptions=True)
    assert [type(end) for end in ends] == [OutcomeUnknown] * 3
