"""The HL7 v2 adapter: charsets both ways, with python-hl7 as the other side."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hl7.mllp
import pytest

from tests.adapters.hl7v2_peer import ACTION, QUERY, Connect, ack, adapters, answering, control
from tests.adapters.suite import make_call, peer

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "specs" / "his-envelopes.vectors.json"
TRAPS = "珅玘昞璣晐"
"""Characters whose second byte in GBK is a delimiter or the escape character."""


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    async with adapters() as connect_to:
        yield connect_to


@pytest.mark.parametrize("charset", ["GB 18030-2000", "GBK", "UNICODE UTF-8"])
async def test_names_with_trap_characters_travel_both_ways_with_python_hl7(adapt: Connect, charset: str) -> None:
    codec = "utf-8" if "UTF" in charset else "gbk"
    got: list[str] = []

    async def serve(reader: Any, writer: Any) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = await reader.readmessage()
                got.append(str(message.segment("PID")[5]))
                answer = message.create_ack()
                answer.append(message.segment("PID"))
                writer.writemessage(answer)
                await writer.drain()
        writer.close()

    server = await hl7.mllp.start_hl7_server(serve, "127.0.0.1", 0, encoding=codec)
    async with server:
        hub = adapt(server.sockets[0].getsockname()[1], charset=charset)
        for name in (TRAPS, f"测试{TRAPS}"):
            patient = {"PID-3.1": "P1", "PID-5.1": name, "PID-8": "M"}
            answer = await hub.call("ADT^A28^ADT_A05", [patient], make_call())
            assert answer.get("MSA", 0, 1) == "AA"
            assert (answer.get("PID", 0, 5, 1, 1), answer.get("PID", 0, 8)) == (name, "M")
        await hub.close()
    assert got == [TRAPS, f"测试{TRAPS}"]


def test_the_trap_characters_are_those_of_the_shared_vectors() -> None:
    if not VECTORS.exists():
        pytest.skip("the shared vectors are not here")
    traps = json.loads(VECTORS.read_text(encoding="utf-8"))["hl7v2_gb18030"]["traps"]
    assert "".join(trap["char"] for trap in traps) == TRAPS
    assert all(trap["char"].encode("gbk").hex() == trap["gbk_hex"] for trap in traps)


@pytest.mark.parametrize(
    ("declared", "codec"),
    [("UNICODE UTF-8", "gb18030"), ("GB 18030-2000", "utf-8"), ("", "gb18030"), ("KLINGON", "utf-8")],
)
async def test_an_answer_in_another_charset_than_declared_is_read(adapt: Connect, declared: str, codec: str) -> None:
    name = f"|{TRAPS}测试患者".encode(codec)
    msh = b"||||||" + declared.encode()
    async with peer(answering(lambda r: ack(b"AA", control(r), name, msh))) as (_, port):
        answer = await adapt(port).call(ACTION, QUERY, make_call())
    assert answer.get("MSA", 0, 3) == f"{TRAPS}测试患者"
    assert answer.deviations


async def test_a_configured_charset_wins_over_a_declared_one(adapt: Connect) -> None:
    name = "|é".encode("latin-1")
    async with peer(answering(lambda r: ack(b"AA", control(r), name, b"||||||UNICODE UTF-8"))) as (_, port):
        answer = await adapt(port, answer_charset="8859/1").call(ACTION, QUERY, make_call())
    assert answer.get("MSA", 0, 3) == "é"
