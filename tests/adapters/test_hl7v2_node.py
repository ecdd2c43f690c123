"""The HL7 v2 adapter against a server of other people's making (tests/peers/hl7_server.mjs) and its faults."""

from __future__ import annotations

import json as stdlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.hl7v2 import Hl7v2Adapter, Settings, connect
from esb.codecs import hl7v2
from esb.spi import Refused
from tests.adapters.suite import make_call

PEERS = Path(__file__).resolve().parents[1] / "peers"
PATIENT = [{"EVN-1": "A28"}, {"PID-3.1": "P0000001", "PID-3.4": "HIS", "PID-5.1": "测试|患者"}, {"PV1-2": "N"}]


def _missing() -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (PEERS / "node_modules" / "node-hl7-server").is_dir():
        return "the peers are not installed: npm ci in tests/peers"
    return ""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if reason := _missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with subprocess.Popen(
        ["node", "hl7_server.mjs"], cwd=PEERS, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the peer ended before it listened"
        yield stdlib.loads(line)["port"]
        process.communicate(timeout=5)


def adapter(port: int) -> Hl7v2Adapter:
    return connect(Settings(host="127.0.0.1", port=port, sending_application="HUB", receiving_application="HIS"))


async def test_a_message_is_acknowledged(port: int) -> None:
    hub = adapter(port)
    answer = await hub.call("ADT^A28^ADT_A05", PATIENT, make_call())
    assert answer.get("MSA", 0, 1) == "AA"
    assert answer.get("MSH", 0, 3) == "HIS"
    await hub.close()


async def test_a_rejected_message_is_refused(port: int) -> None:
    hub = adapter(port)
    with pytest.raises(Refused) as caught:
        await hub.call("ADT^A28^ADT_A05", [{"PID-3.1": "UNKNOWN"}], make_call())
    assert caught.value.code == "AR"
    await hub.close()


async def test_acknowledgements_of_earlier_messages_are_never_taken_for_ours(port: int) -> None:
    """The server repeats the acknowledgement of every earlier message of the connection before it gives the new one."""
    hub = adapter(port)
    for number in range(3):
        call = make_call(exchange=f"01J00000000000000000000{number}")
        answer = await hub.call("ADT^A28^ADT_A05", PATIENT, call)
        assert answer.get("MSA", 0, 2) == hl7v2.decode(call.wire.sent[1:-2]).get("MSH", 0, 10)
    assert hub.late_answers == 1 + 2
    await hub.close()
