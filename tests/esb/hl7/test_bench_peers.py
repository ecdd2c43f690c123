"""``esb hl7 send`` and ``listen`` with peers of other people's making and their faults."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esb.codecs.hl7v2 import decode
from esb.hl7.address import Address
from tests.esb.hl7.bench import listening, sent
from tests.esb.hl7.commands import ADT

hl7 = pytest.importorskip("hl7", reason="python-hl7 is not installed")
mllp = pytest.importorskip("hl7.mllp")
apy = pytest.importorskip("hl7apy.mllp", reason="hl7apy is not installed")

PEERS = Path(__file__).resolve().parents[2] / "peers"


@pytest.fixture
def node() -> str:
    reason = "node is not installed" if shutil.which("node") is None else ""
    if not (PEERS / "node_modules" / "node-hl7-server").is_dir():
        reason = reason or "the peers are not installed: npm ci in tests/peers"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return "node"


async def test_python_hl7_serves() -> None:
    async def serve(reader: Any, writer: Any) -> None:
        while not writer.is_closing():
            try:
                message = await reader.readmessage()
            except asyncio.IncompleteReadError:
                break
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    server = await mllp.start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8")
    async with server:
        at = Address(*server.sockets[0].getsockname()[:2])
        tally = await sent(at, 30, connections=2, pipelined=3)
    assert (tally.accepted, tally.mismatched, tally.lost) == (30, 0, 0)


async def test_python_hl7_sends(tmp_path: Path) -> None:
    async with listening(into=tmp_path) as (_, at):
        reader, writer = await mllp.open_hl7_connection(*at, encoding="utf-8")
        for number in range(3):
            writer.writemessage(hl7.parse(ADT.replace("|C1|", f"|C{number}|")))
            await writer.drain()
            answer = await reader.readmessage()
            assert (str(answer.segment("MSA")[1]), str(answer.segment("MSA")[2])) == ("AA", f"C{number}")
        writer.close()
        await writer.wait_closed()
    assert len(os.listdir(tmp_path)) == 3


async def test_the_blocking_client_of_python_hl7_sends() -> None:
    client = pytest.importorskip("hl7.client")

    def talk(at: Address) -> bytes:
        with client.MLLPClient(*at) as connection:
            answer: bytes = connection.send_message(ADT)
            return answer

    async with listening(ack="AE") as (_, at):
        answer = await asyncio.to_thread(talk, at)
    assert decode(answer[1:-2]).get("MSA", 0, 1) == "AE"


class Accepting(apy.AbstractHandler):  # type: ignore[name-defined, misc]
    def reply(self) -> str:
        control = self.incoming_message.split("|")[9]
        return f"\x0bMSH|^~\\&|L|L|H|H|2026||ACK|A{control}|P|2.5\rMSA|AA|{control}\r\x1c\r"


@pytest.fixture
def hl7apy_server() -> Iterator[Address]:
    server = apy.MLLPServer("127.0.0.1", 0, {"ADT^A08^ADT_A01": (Accepting,)})
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Address(*server.server_address[:2])
    server.shutdown()
    server.server_close()
    thread.join()


async def test_hl7apy_closes_after_every_message(hl7apy_server: Address) -> None:
    tally = await sent(hl7apy_server, 20, each=1, connections=2)
    assert (tally.accepted, tally.lost, tally.connections) == (20, 0, 20)


async def test_hl7apy_on_one_connection_is_opened_again_and_every_message_accounted_for(
    hl7apy_server: Address,
) -> None:
    tally = await sent(hl7apy_server, 20)
    assert tally.sent == 20
    assert tally.accepted + tally.lost == 20
    assert tally.accepted >= 10


async def test_node_hl7_server_answers_again_what_it_answered_before(node: str) -> None:
    process = await asyncio.create_subprocess_exec(
        node, "hl7_server.mjs", cwd=PEERS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = json.loads(await process.stdout.readline())["port"]
    tally = await sent(Address("127.0.0.1", port), 4)
    await process.communicate(b"")
    assert (tally.accepted, tally.mismatched) == (4, 1 + 2 + 3)


async def test_node_hl7_client_sends(node: str, tmp_path: Path) -> None:
    async with listening(into=tmp_path) as (_, at):
        process = await asyncio.create_subprocess_exec(
            node, "hl7_client.mjs", str(at.port), "3", cwd=PEERS, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert [json.loads(line) for line in out.splitlines()] == [
        {"verdict": "AA", "id": f"NODE{number}"} for number in (1, 2, 3)
    ]
    kept = [decode(file.read_bytes()) for file in sorted(map(tmp_path.joinpath, os.listdir(tmp_path)))]
    assert [message.get("PID", 0, 3) for message in kept] == ["P0000001", "P0000002", "P0000003"]
