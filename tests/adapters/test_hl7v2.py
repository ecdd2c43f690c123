"""The HL7 v2 adapter: what is sent, acknowledgement modes, settings, lint."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.hl7v2 import Settings, connect, control_id, decode
from esb.codecs import hl7v2
from esb.spi import Malformed, OutcomeUnknown, Refused, Type
from esb.types import Lost
from tests.adapters.hl7v2_peer import ACTION, QUERY, Connect, ack, adapters, answering, control
from tests.adapters.suite import make_call, peer


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    async with adapters() as connect_to:
        yield connect_to


async def test_msh_is_made_of_the_settings_the_action_and_the_exchange(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"AA", control(r)))) as (_, port):
        hub = adapt(port, sending_application="HUB^1.2.156^ISO", receiving_facility="H1", country="CHN", version="2.4")
        call = make_call(exchange="01JEXCHANGE000000000000123")
        await hub.call(ACTION, QUERY, call)
    sent = hl7v2.decode(call.wire.sent[1:-2])
    assert sent.get("MSH", 0, 3) == "HUB^1.2.156^ISO"
    assert sent.get("MSH", 0, 6) == "H1"
    assert (sent.get("MSH", 0, 9, 1, 1), sent.get("MSH", 0, 9, 1, 3)) == ("QBP", "QBP_Q21")
    assert sent.get("MSH", 0, 12) == "2.4"
    assert sent.get("MSH", 0, 18) == "UNICODE UTF-8"
    assert len(sent.get("MSH", 0, 7) or "") == 14
    assert sent.get("QPD", 0, 3, 1, 2) == "测试患者"
    assert [segment.name for segment in sent] == ["MSH", "QPD", "RCP"]


async def test_an_item_with_msh_paths_overrides_whole_fields(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"AA", b"MINE"))) as (_, port):
        call = make_call()
        payload = [{"MSH-10": "MINE", "MSH-9.1": "ADT", "MSH-18": ""}, {"EVN-1": "A"}]
        await adapt(port).call("ADT^A28^ADT_A05", payload, call)
    sent = hl7v2.decode(call.wire.sent[1:-2])
    assert sent.get("MSH", 0, 10) == "MINE"
    assert sent.get("MSH", 0, 9) == "ADT"
    assert sent.get("MSH", 0, 18) is None


def test_groups_and_repetitions_are_written_flat() -> None:
    order = [{"ORC-1": "NW"}, [{"OBR-1": "1", "OBR-4": {"1": "GLU", "3": "LN"}}]]
    payload = [{"PID-3": [{"1": "P1", "5": "PI"}, "P2"]}, [order, [{"MSH-10": "MINE"}]]]
    hub = connect(Settings(host="127.0.0.1", port=1, charset="GBK"))
    header, *rest = hub.preview("OMG^O19^OMG_O19", payload, make_call()).splitlines()
    assert "|MINE|" in header
    assert rest == ["PID|||P1^^^^PI~P2", "ORC|NW", "OBR|1|||GLU^^LN"]


def test_a_control_id_has_20_characters_is_the_same_in_a_retry_and_another_for_another_message() -> None:
    call, settle = make_call(), make_call()
    settle.operation = "registration.find"
    assert len(control_id(call, ACTION)) == 20
    assert control_id(call, ACTION) == control_id(make_call(), ACTION)
    assert len({control_id(call, ACTION), control_id(settle, ACTION), control_id(call, "SRM^S01")}) == 3
    assert control_id(call, ACTION) != control_id(make_call(exchange="01JTESTEXCHANGE0000000009"), ACTION)


@pytest.mark.parametrize(
    "payload",
    [
        [{"PID-5": "𠮷"}],
        [{"PID-5": "a\x0bb"}],
        [{"PID-5": "a", "PV1-2": "O"}],
        [{"pid-5": "a"}],
        [{"PID-5": "a", "PID-5.1": "b"}],
        [{}],
        ["PID|1"],
        "PID|1",
        7,
        [{"MSH-10": ""}],
        [{1: "a"}],
        [{"PID-5": "a"}, [{"PID-5": {"x": "b"}}]],
        [[[]], [[7]]],
    ],
)
async def test_a_payload_that_cannot_be_written_is_refused_and_nothing_leaves(adapt: Connect, payload: Any) -> None:
    seen: list[bytes] = []
    async with peer(answering(seen=seen)) as (far, port):
        call = make_call()
        with pytest.raises(Refused) as caught:
            await adapt(port, charset="GBK").call(ACTION, payload, call)
        assert caught.value.code == "invalid"
        assert not call.wire.left
        assert far.connections == 0


@pytest.mark.parametrize("verdict", [b"AA", b"AE"])
async def test_yes_and_error_come_back_for_the_mapping_to_judge(adapt: Connect, verdict: bytes) -> None:
    async with peer(answering(lambda r: ack(verdict, control(r)))) as (_, port):
        answer = await adapt(port).call(ACTION, QUERY, make_call())
    assert answer.get("MSA", 0, 1) == verdict.decode()


@pytest.mark.parametrize("verdict", [b"AR", b"CE", b"CR"])
async def test_a_message_not_processed_is_refused_with_their_code_and_text(adapt: Connect, verdict: bytes) -> None:
    told = "|不认识\rERR||PID^1|101^Required field missing^HL70357|E".encode()
    async with peer(answering(lambda r: ack(verdict, control(r), told))) as (_, port):
        with pytest.raises(Refused) as caught:
            await adapt(port, accept_ack="AL", application_ack="AL").call(ACTION, QUERY, make_call())
    assert (caught.value.code, caught.value.message) == ("101", "不认识")
    assert caught.value.raw is not None
    assert "不认识" not in caught.value.reason


async def test_another_verdict_is_malformed(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"OK", control(r)))) as (_, port):
        with pytest.raises(Malformed):
            await adapt(port).call(ACTION, QUERY, make_call())


async def test_a_commit_is_not_the_answer_when_an_application_answer_is_due(adapt: Connect) -> None:
    def both(request: bytes) -> bytes:
        return ack(b"CA", control(request)) + ack(b"AA", control(request), b"\rQAK|QT1|OK")

    async with peer(answering(both)) as (_, port):
        answer = await adapt(port, accept_ack="AL", application_ack="AL").call(ACTION, QUERY, make_call())
    assert (answer.get("MSA", 0, 1), answer.get("QAK", 0, 2)) == ("AA", "OK")


async def test_a_commit_followed_by_silence_is_unknown(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"CA", control(r)))) as (_, port):
        call = make_call(0.3)
        with pytest.raises(OutcomeUnknown):
            await adapt(port, accept_ack="AL", application_ack="AL").call(ACTION, QUERY, call)
    assert b"|CA|" in call.wire.received


async def test_a_commit_is_the_answer_when_no_other_is_asked_for(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"CA", control(r)))) as (_, port):
        hub = adapt(port, accept_ack="AL", application_ack="NE")
        answer = await hub.call("ADT^A28", [{"EVN-1": "A28"}], make_call())
    assert answer.get("MSA", 0, 1) == "CA"


@pytest.mark.parametrize(("accept_ack", "commits"), [("AL", 1), ("", 0)])
async def test_an_answer_that_asks_for_a_commit_gets_one_in_enhanced_mode(
    adapt: Connect, accept_ack: str, commits: int
) -> None:
    seen: list[bytes] = []
    got = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\x1c\r")
        writer.write(ack(b"AA", control(request), msh=b"|||AL|NE"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\x1c\r"))
        got.set()

    async with peer(behave) as (_, port):
        hub = adapt(port, accept_ack=accept_ack)
        await hub.call(ACTION, QUERY, make_call())
        await (asyncio.wait_for(got.wait(), 2) if commits else hub.close())
    told = [hl7v2.decode(frame[1:-2]) for frame in seen]
    assert [(one.get("MSH", 0, 9), one.get("MSA", 0, 1), one.get("MSA", 0, 2)) for one in told] == [
        ("ACK", "CA", "R1")
    ] * commits


@pytest.mark.parametrize(
    "wrong",
    [
        {"charset": "KLINGON"},
        {"charset": ""},
        {"answer_charset": "UTF-16"},
        {"application_ack": "NE"},
        {"accept_ack": "MAYBE"},
        {"port": 0},
        {"connections": 0},
        {"hots": "x"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**{"host": "127.0.0.1", "port": 2575, **wrong})


def test_lint_names_what_is_wrong_and_what_is_near() -> None:
    hub = connect(Settings(host="127.0.0.1", port=2575))
    assert not list(hub.check(ACTION, ["QPD-3[2].1", "ZPI-1", "PID-3.1", "MSH-10"]))
    assert not list(hub.check("$request.kind", []))
    assert not list(hub.check("ZQQ^Z01", []))
    found = list(hub.check("QBQ^Q22", ["PID-0", "pid-5", "PID.5", "OBX[1]-5", "MSH-2", "PID-3.0"]))
    assert len(found) == 7
    assert "did you mean QBP?" in found[0]
    assert ["SEG-field[repetition]" in sentence for sentence in found[1:]] == [True, True, True, False, False, True]
    assert len(list(hub.check("find patient", []))) == 1


def test_the_tables_describe_what_is_sent_and_any_answer() -> None:
    request, answer = connect(Settings(host="127.0.0.1", port=2575, version="2.4")).describe("SRM^S01^SRM_S01")
    assert isinstance(request, Type)
    assert {name for name, inner in request.fields.items() if inner.required} == {"ARQ", "RGS"}
    assert [name for name, inner in request.fields["AIS"].fields.items() if inner.required] == ["1", "3"]
    assert request.at(["ARQ", "11", "1"]) == Type("ts", title="Range start date time")
    assert request.at(["PDI", "3"]) == Lost("PDI", tuple(request.fields))
    assert isinstance(request.at(["ZAA", "7"]), Type)
    assert not any(inner.required for inner in [*request.fields["MSH"].fields.values(), *answer.fields.values()])
    for place in ("MSA-1", "ERR-5-1", "QAK-2", "SCH-25-1", "AIS-3", "OBX-5-2"):
        assert isinstance(answer.at(place.split("-")), Type)


def test_an_example_is_text_with_line_ends() -> None:
    answer = decode("MSH|^~\\&|HIS\nMSA|AA|M1\nPID|1||P1||测试患者\n")
    assert answer.get("PID", 0, 5, 1, 1) == "测试患者"
    with pytest.raises(Malformed):
        decode("PID|1")
