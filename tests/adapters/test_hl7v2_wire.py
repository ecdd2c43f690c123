"""The HL7 v2 adapter on the wire: matching by control id, framing, the pool, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.hl7v2 import Settings, Tls, connect
from esb.spi import ConfigError, Effect, Malformed, OutcomeUnknown, Unavailable
from tests.adapters.hl7v2_peer import ACTION, QUERY, Connect, ack, adapters, answering, control
from tests.adapters.suite import make_call, peer, reset


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    async with adapters() as connect_to:
        yield connect_to


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


async def test_a_flood_of_answers_to_other_messages_is_bounded(adapt: Connect) -> None:
    async with peer(answering(lambda r: ack(b"AA", b"OTHER") * 1000)) as (far, port):
        call = make_call()
        with pytest.raises(Malformed):
            await adapt(port, max_frame_bytes=4096).call(ACTION, QUERY, call)
        assert len(call.wire.received) < 5000
        await asyncio.wait_for(far.closed.wait(), 2)


async def test_a_page_of_html_is_malformed_at_the_deadline_at_the_latest(adapt: Connect) -> None:
    async with peer(answering(lambda r: b"<html>504</html>")) as (_, port):
        call = make_call(0.2)
        with pytest.raises(Malformed):
            await adapt(port).call(ACTION, QUERY, call)
        assert call.wire.received == b"<html>504</html>"


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
