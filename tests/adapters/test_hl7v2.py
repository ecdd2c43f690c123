"""The HL7 v2 adapter: acknowledgement modes, matching by control id, charsets, framing, TLS; against python-hl7 too."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hl7.mllp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from adapters.hl7v2 import Hl7v2Adapter, Settings, Tls, connect, control_id, decode
from esb.codecs import hl7v2
from esb.spi import ConfigError, Effect, Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.suite import Behaviour, make_call, peer, reset

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "specs" / "his-envelopes.vectors.json"
TRAPS = "珅玘昞璣晐"
"""Characters whose second byte in GBK is a delimiter or the escape character."""

QUERY = [{"QPD-1.1": "Q22", "QPD-2": "QT1", "QPD-3[1].1": "@PID.5.1", "QPD-3[1].2": "测试患者"}, {"RCP-1": "I"}]
ACTION = "QBP^Q22^QBP_Q21"

Connect = Callable[..., Hl7v2Adapter]


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    made: list[Hl7v2Adapter] = []

    def build(port: int, **settings: Any) -> Hl7v2Adapter:
        made.append(connect(Settings(host="127.0.0.1", port=port, **settings)))
        return made[-1]

    yield build
    for one in made:
        await one.close()


def control(request: bytes) -> bytes:
    return request.split(b"|")[9]


def ack(verdict: bytes, of: bytes, rest: bytes = b"", msh: bytes = b"") -> bytes:
    return b"\x0bMSH|^~\\&|HIS||||2026||RSP^K22|R1|P|2.5.1" + msh + b"\rMSA|" + verdict + b"|" + of + rest + b"\r\x1c\r"


def answering(*steps: Callable[[bytes], bytes | None], seen: list[bytes] | None = None) -> Behaviour:
    """One step for each request of a connection; what it returns is written."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in steps:
            request = await reader.readuntil(b"\x1c\r")
            if seen is not None:
                seen.append(request)
            if answer := step(request):
                writer.write(answer)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                if seen is not None:
                    seen.append(data)

    return behave


# what is sent


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


# what comes back


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


# matching and framing


async def test_an_answer_to_another_message_is_not_ours(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"AA", b"OTHER"))) as (_, port):
        hub = adapt(port)
        with pytest.raises(OutcomeUnknown):
            await hub.call(ACTION, QUERY, make_call(0.3))
        assert hub.late_answers == 1


async def test_two_frames_in_one_chunk_are_told_apart_by_control_id(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"AE", b"OLD") + ack(b"AA", control(r)))) as (_, port):
        hub = adapt(port)
        answer = await hub.call(ACTION, QUERY, make_call())
        assert answer.get("MSA", 0, 1) == "AA"
        assert hub.late_answers == 1


async def test_an_answer_in_pieces_is_one_answer(adapt: Connect) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = ack(b"AA", control(await reader.readuntil(b"\x1c\r")))
        for at in range(len(whole)):
            writer.write(whole[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async with peer(behave) as (_, port):
        assert (await adapt(port).call(ACTION, QUERY, make_call())).get("MSA", 0, 1) == "AA"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: b"GARBAGE\r\n" + frame,
        lambda frame: frame[:-1],
        lambda frame: frame[:-1] + b"\n",
        lambda frame: frame.replace(b"\r", b"\n").replace(b"\x1c\n", b"\x1c\r"),
        lambda frame: b"\x0b\xef\xbb\xbf" + frame[1:],
        lambda frame: b"\x0bMSH|half a mess" + frame,
    ],
    ids=["stray bytes before VT", "no CR after FS", "LF after FS", "LF for CR", "BOM", "a frame begun twice"],
)
async def test_lenient_framing(adapt: Connect, spoil: Callable[[bytes], bytes]) -> None:
    async with peer(answering(lambda r: spoil(ack(b"AA", control(r))))) as (_, port):
        assert (await adapt(port).call(ACTION, QUERY, make_call())).get("MSA", 0, 1) == "AA"


async def test_an_endless_frame_is_malformed_and_ends_the_connection(adapt: Connect) -> None:
    async with peer(answering(lambda r: b"\x0bMSH|^~\\&|" + b"A" * 100_000)) as (far, port):
        hub = adapt(port, max_frame_bytes=4096)
        with pytest.raises(Malformed):
            await hub.call(ACTION, QUERY, make_call())
        await asyncio.wait_for(far.closed.wait(), 2)


async def test_a_late_answer_never_meets_the_next_call(adapt: Connect) -> None:
    release = asyncio.Event()
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        request = await reader.readuntil(b"\x1c\r")
        if connections == 1:
            await release.wait()
        writer.write(ack(b"AA", control(request), b"|%d" % connections))
        await reader.read()

    async with peer(behave) as (_, port):
        hub = adapt(port)
        with pytest.raises(OutcomeUnknown):
            await hub.call(ACTION, QUERY, make_call(0.2))
        release.set()
        answer = await hub.call(ACTION, QUERY, make_call())
        assert answer.get("MSA", 0, 3) == "2", "the connection of the call that timed out is not used again"


async def test_an_answer_that_nobody_waits_for_spoils_no_connection(adapt: Connect) -> None:
    async with peer(answering(*[lambda r: ack(b"AA", control(r))] * 2)) as (far, port):
        hub = adapt(port)
        await hub.call(ACTION, QUERY, make_call())
        for writer in far._writers:
            writer.write(ack(b"AA", b"NOBODY"))
            await writer.drain()
        answer = await hub.call(ACTION, QUERY, make_call())
        assert answer.get("MSA", 0, 2) != "NOBODY"


async def test_calls_at_once_never_cross_and_wait_for_the_one_connection(adapt: Connect) -> None:
    def echo(request: bytes) -> bytes:
        return ack(b"AA", control(request), b"\rQAK|" + request.split(b"QPD|")[1].split(b"|")[1].split(b"\r")[0])

    async with peer(answering(*[echo] * 40)) as (far, port):
        hub = adapt(port, connections=1)

        async def ask(number: int) -> str | None:
            call = make_call(5, exchange=f"01J000000000000000000{number:04d}")
            return (await hub.call(ACTION, [{"QPD-1.1": "Q22", "QPD-2": f"QT{number}"}], call)).get("QAK", 0, 1)

        assert await asyncio.gather(*map(ask, range(40))) == [f"QT{number}" for number in range(40)]
        assert far.connections == 1


async def test_a_pool_opens_no_more_connections_than_it_may(adapt: Connect) -> None:
    async with peer(answering(*[lambda r: ack(b"AA", control(r))] * 30)) as (far, port):
        hub = adapt(port, connections=3)
        calls = [hub.call(ACTION, QUERY, make_call(5, exchange=f"01J0000000000000000000{n:02d}")) for n in range(30)]
        await asyncio.gather(*calls)
        assert 1 < far.connections <= 3


async def test_no_free_connection_until_the_deadline_is_unavailable(adapt: Connect) -> None:
    arrived = asyncio.Event()
    async with peer(answering(lambda r: arrived.set())) as (_, port):
        hub = adapt(port)
        first = asyncio.create_task(hub.call(ACTION, QUERY, make_call(0.7)))
        await asyncio.wait_for(arrived.wait(), 2)
        waiting = make_call(0.2)
        with pytest.raises(Unavailable):
            await hub.call(ACTION, QUERY, waiting)
        assert not waiting.wire.left
        await hub.probe(make_call(0.2, Effect.READ))
        with pytest.raises(OutcomeUnknown):
            await first


async def test_closing_ends_a_call_under_way_as_unknown(adapt: Connect) -> None:
    arrived = asyncio.Event()
    async with peer(answering(lambda r: arrived.set())) as (_, port):
        hub = adapt(port)
        task = asyncio.create_task(hub.call(ACTION, QUERY, make_call(5)))
        await asyncio.wait_for(arrived.wait(), 2)
        await hub.close()
        with pytest.raises(OutcomeUnknown):
            await task


async def test_a_connection_idle_for_long_is_replaced(adapt: Connect) -> None:
    async with peer(answering(*[lambda r: ack(b"AA", control(r))] * 2)) as (far, port):
        hub = adapt(port, idle_s=0.05)
        await hub.call(ACTION, QUERY, make_call())
        await asyncio.sleep(0.1)
        await hub.call(ACTION, QUERY, make_call())
        assert far.connections == 2


async def test_a_reset_in_the_middle_of_the_answer_is_unknown_and_keeps_what_came(adapt: Connect) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ack(b"AA", control(await reader.readuntil(b"\x1c\r")))[:40])
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    async with peer(behave) as (_, port):
        call = make_call()
        with pytest.raises(OutcomeUnknown):
            await adapt(port).call(ACTION, QUERY, call)
        assert call.wire.received.startswith(b"MSH|")


# charsets


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


# TLS


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "his.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("his.test")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kind, form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, form))
    return pem, secret


async def test_mutual_tls_and_an_untrusted_certificate(adapt: Connect, tmp_path: Path) -> None:
    pem, key = _certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(ack(b"AA", control(await reader.readuntil(b"\x1c\r"))))
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        good = adapt(port, tls=Tls(ca=pem, client_cert=pem, client_key=key, server_name="his.test"))
        assert (await good.call(ACTION, QUERY, make_call())).get("MSA", 0, 1) == "AA"
        stranger = make_call()
        with pytest.raises(Unavailable, match="certificate"):
            await adapt(port, tls=Tls(server_name="his.test")).call(ACTION, QUERY, stranger)
        assert not stranger.wire.left
        await good.close()


@pytest.mark.parametrize("tls", [{"ca": "missing.pem"}, {"client_cert": "missing.pem", "client_key": "missing.pem"}])
def test_a_certificate_that_cannot_be_read_is_a_finding(tls: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        connect(Settings(host="127.0.0.1", port=1, tls=Tls(**tls)))


# settings, lint, examples


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
    found = list(hub.check("QBQ^Q22", ["PDI-3", "PID-0", "pid-5", "PID.5", "OBX[1]-5", "MSH-2", "PID-3.0"]))
    assert len(found) == 8
    assert "did you mean QBP?" in found[0]
    assert "did you mean PID?" in found[1]
    assert ["SEG-field[repetition]" in sentence for sentence in found[2:]] == [True, True, True, False, False, True]
    assert len(list(hub.check("find patient", []))) == 1


def test_an_example_is_text_with_line_ends() -> None:
    answer = decode("MSH|^~\\&|HIS\nMSA|AA|M1\nPID|1||P1||测试患者\n")
    assert answer.get("PID", 0, 5, 1, 1) == "测试患者"
    with pytest.raises(Malformed):
        decode("PID|1")
