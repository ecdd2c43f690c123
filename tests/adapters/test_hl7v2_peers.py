"""The client against the servers of python-hl7 and hl7apy, whose faults are those of real systems."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hl7.mllp import start_hl7_server

from adapters.hl7v2 import Settings, connect
from tests.adapters.suite import make_call
from tests.esb.inbound.kit import station

PATIENT = [{"EVN-1": "A28"}, {"PID-3.1": "P0000001", "PID-3.4": "HIS", "PID-5.1": "测试|患者"}, {"PV1-2": "N"}]
ACTION = "ADT^A28^ADT_A05"


@pytest.fixture
def hl7apy_port() -> Iterator[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hl7apy.mllp import AbstractHandler, MLLPServer

    class Handler(AbstractHandler):  # type: ignore[misc]
        def reply(self) -> str:
            control = self.incoming_message.split("|")[9]
            text = f"MSH|^~\\&|HIS|H1|HUB|WX|2026||ACK^A28^ACK|R1|P|2.5.1\rMSA|AA|{control}\r"
            return f"\x0b{text}\x1c\r"

    server = MLLPServer("127.0.0.1", 0, {"ADT^A28^ADT_A05": (Handler,)})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_hl7apy_closes_after_every_message_and_is_given_a_connection_for_each(hl7apy_port: int) -> None:
    hub = connect(Settings(host="127.0.0.1", port=hl7apy_port, idle_s=0))
    for _ in range(3):
        answer = await hub.call(ACTION, PATIENT, make_call())
        assert answer.get("MSA", 0, 1) == "AA"
    await hub.close()


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_python_hl7_answers(in_flight: int) -> None:
    async def connected(reader: Any, writer: Any) -> None:
        while not writer.is_closing():
            try:
                message = await reader.readmessage()
            except Exception:
                break
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    server = await start_hl7_server(connected, "127.0.0.1", 0, encoding="utf-8")
    hub = connect(Settings(host="127.0.0.1", port=server.sockets[0].getsockname()[1], in_flight=in_flight))
    for _ in range(3):
        assert (await hub.call(ACTION, PATIENT, make_call())).get("MSA", 0, 1) == "AA"
    await hub.close()
    server.close()


@pytest.mark.parametrize(
    "modes", [{}, {"accept_ack": "AL", "application_ack": "AL"}, {"accept_ack": "AL", "application_ack": "NE"}]
)
async def test_our_own_two_halves_agree_in_every_mode(tmp_path: Path, modes: dict[str, str]) -> None:
    async with station(tmp_path) as his:
        hub = connect(Settings(host="127.0.0.1", port=his.port, in_flight=4, **modes))  # type: ignore[arg-type]
        answer = await hub.call(ACTION, PATIENT, make_call())
        await hub.close()
        rows = await his.rows()
    assert answer.get("MSA", 0, 1) == ("CA" if modes.get("application_ack") == "NE" else "AA")
    assert [row.state for row in rows] == ["event"]
