"""The carrier against raw TCP servers on loopback: every fault is the real thing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from esb.http import HttpAnswer, HttpCarrier, HttpSettings
from esb.spi import Call, ConfigError, Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.suite import Behaviour, Peer, make_call, peer, reset
from tests.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Its: theirs\r\n\r\nok"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + await reader.readexactly(length)


def answering(*answers: bytes, seen: list[bytes] | None = None, then: str = "wait") -> Behaviour:
    """One answer a request on each connection; after the last: wait for more, close politely, or reset."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            request = await read_request(reader)
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()
        if then == "wait":
            await reader.read()
        elif then == "reset":
            await asyncio.sleep(0.02)
            reset(writer)

    return behave


@contextlib.asynccontextmanager
async def against(behaviour: Behaviour, **settings: object) -> AsyncIterator[tuple[HttpCarrier, str, Peer]]:
    async with peer(behaviour) as (far, port):
        origin = f"http://127.0.0.1:{port}"
        carrier = HttpCarrier(origin, HttpSettings.model_validate(settings))
        try:
            yield carrier, origin, far
        finally:
            await carrier.close()


async def post(carrier: HttpCarrier, url: str, call: Call, body: bytes = b"question") -> HttpAnswer:
    return await carrier.request("POST", url, headers={"Content-Type": "text/plain"}, body=body, call=call)


async def test_an_answer_comes_back_whole_and_the_wire_is_kept_without_the_query() -> None:
    seen: list[bytes] = []
    async with against(answering(OK, seen=seen)) as (carrier, origin, _):
        call = make_call()
        answer = await post(carrier, f"{origin}/a%2Fb/c?sign=SECRET", call)
    assert answer.status == 200
    assert answer.body == b"ok"
    assert answer.headers["x-its"] == "theirs"
    assert call.wire.left
    assert call.wire.sent == b"POST /a%2Fb/c\nquestion"
    assert call.wire.received == b"ok"
    assert seen[0].startswith(b"POST /a%2Fb/c?sign=SECRET HTTP/1.1\r\n")
    assert b"aiohttp" not in seen[0]


async def test_a_refused_connection_leaves_nothing() -> None:
    origin = f"http://127.0.0.1:{free_port()}"
    carrier = HttpCarrier(origin, HttpSettings())
    call = make_call()
    with pytest.raises(Unavailable, match="refused"):
        await post(carrier, f"{origin}/", call)
    assert not call.wire.left
    await carrier.close()


async def test_a_name_that_does_not_exist_leaves_nothing() -> None:
    carrier = HttpCarrier("http://no-such-host.invalid", HttpSettings())
    call = make_call(5)
    with pytest.raises(Unavailable):
        await post(carrier, "http://no-such-host.invalid/", call)
    assert not call.wire.left
    await carrier.close()


async def test_waiting_in_vain_for_a_free_connection_leaves_nothing() -> None:
    arrived = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()

    async with against(hold, connections=1) as (carrier, origin, far):
        first = asyncio.create_task(post(carrier, f"{origin}/", make_call(5)))
        await asyncio.wait_for(arrived.wait(), 2)
        call = make_call(0.1)
        with pytest.raises(Unavailable, match="in time"):
            await post(carrier, f"{origin}/", call)
        assert not call.wire.left
        assert far.connections == 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
@pytest.mark.parametrize("leave", ["reset", "close"])
async def test_a_connection_lost_after_the_request_is_unknown_and_nothing_is_sent_again(
    method: str, leave: str
) -> None:
    seen: list[bytes] = []

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        if leave == "reset":
            reset(writer)

    async with against(slam) as (carrier, origin, far):
        call = make_call()
        with pytest.raises(OutcomeUnknown):
            await carrier.request(method, f"{origin}/", headers={}, body=None, call=call)
        assert call.wire.left
        assert len(seen) == 1
        assert far.connections == 1


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_reused_connection_that_dies_under_the_request_is_not_resent(method: str) -> None:
    """The server answers once, then resets when the second request arrives on the kept connection."""
    seen: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        await writer.drain()
        seen.append(await read_request(reader))
        reset(writer)

    async with against(once) as (carrier, origin, far):
        await carrier.request(method, f"{origin}/1", headers={}, body=b"1", call=make_call())
        with pytest.raises(OutcomeUnknown):
            await carrier.request(method, f"{origin}/2", headers={}, body=b"2", call=make_call())
        assert len(seen) == 2
        assert far.connections == 1


async def test_silence_is_unknown_at_the_deadline() -> None:
    async with against(answering(b"")) as (carrier, origin, _):
        call = make_call(0.15)
        started = call.clock.monotonic()
        with pytest.raises(OutcomeUnknown, match="deadline"):
            await post(carrier, f"{origin}/", call)
        assert 0.1 < call.clock.monotonic() - started < 0.6


@pytest.mark.parametrize("then", ["close", "reset", "wait"])
async def test_a_body_that_breaks_off_is_unknown_and_kept(then: str) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<half>"
    async with against(answering(half, then=then)) as (carrier, origin, _):
        call = make_call(0.3)
        with pytest.raises(OutcomeUnknown, match="within the answer") as caught:
            await post(carrier, f"{origin}/", call)
        assert caught.value.raw == b"<half>"
        assert call.wire.received == b"<half>"


@pytest.mark.parametrize("blob", [b"SSH-2.0-OpenSSH_9.2\r\n", b"MSH|^~\\&|SECRET\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_an_answer_that_is_not_http_is_malformed(blob: bytes) -> None:
    async with against(answering(blob, then="close")) as (carrier, origin, _):
        with pytest.raises(Malformed) as caught:
            await post(carrier, f"{origin}/", make_call())
        assert "SECRET" not in str(caught.value)
        assert caught.value.raw


async def test_headers_beyond_any_size_are_malformed() -> None:
    huge = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"
    async with against(answering(huge)) as (carrier, origin, _):
        with pytest.raises(Malformed):
            await post(carrier, f"{origin}/", make_call())


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_over_the_limit_is_malformed_with_its_beginning(chunked: bool) -> None:
    body = b"0123456789" * 1000
    if chunked:
        head = b"Transfer-Encoding: chunked\r\n\r\n"
        wire = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        head, wire = b"Content-Length: %d\r\n\r\n" % len(body), body
    async with against(answering(b"HTTP/1.1 200 OK\r\n" + head + wire), max_answer_bytes=500) as (carrier, origin, _):
        with pytest.raises(Malformed, match="500 bytes") as caught:
            await post(carrier, f"{origin}/", make_call())
        assert caught.value.raw == body[:500]


async def test_a_zip_bomb_is_cut_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(bomb), bomb)
    async with against(answering(answer), max_answer_bytes=100_000) as (carrier, origin, _):
        with pytest.raises(Malformed, match="larger"):
            await post(carrier, f"{origin}/", make_call(5))


async def test_compressed_answers_are_read_and_broken_ones_are_malformed() -> None:
    good = zlib.compress(b"all is well")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n"
    broken = head % 4 + b"\x1f\x8b!!"
    async with against(answering(head % len(good) + good, broken)) as (carrier, origin, _):
        assert (await post(carrier, f"{origin}/", make_call())).body == b"all is well"
        with pytest.raises(Malformed, match="compression"):
            await post(carrier, f"{origin}/", make_call())


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    seen: list[bytes] = []
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n"
    async with against(answering(moved, OK, seen=seen)) as (carrier, origin, _):
        assert (await post(carrier, f"{origin}/", make_call())).status == 302
        await post(carrier, f"{origin}/", make_call())
        assert len(seen) == 2
        assert b"cookie" not in seen[1].lower()


async def test_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    async with against(answering(OK)) as (carrier, origin, _):
        assert (await post(carrier, f"{origin}/", make_call())).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "https://{host}/",
        "http://{host}0/",
        "http://{host}@evil.invalid/",
        "http://evil@{host}/",
        "http://{host}.evil.invalid/",
        "http://{host}\\@evil.invalid/",
        "//{host}/",
        "/",
        "",
    ],
)
async def test_another_origin_is_never_contacted(url: str) -> None:
    async with against(answering(OK)) as (carrier, origin, far):
        call = make_call()
        with pytest.raises(Refused):
            await post(carrier, url.format(host=origin.removeprefix("http://")), call)
        assert not call.wire.left
        assert far.connections == 0


@pytest.mark.parametrize("url", ["/a b", "/a\r\nX: y", "/病人", "/a\x00"])
async def test_an_address_that_is_not_encoded_is_not_sent(url: str) -> None:
    async with against(answering(OK)) as (carrier, origin, far):
        with pytest.raises(Refused, match="percent-encoded"):
            await post(carrier, origin + url, make_call())
        assert far.connections == 0


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nEvil: b"), ("X", "a\nb"), ("X", "\x00"), ("X\r\nY", "b")])
async def test_a_header_with_a_line_break_is_not_sent(name: str, value: str) -> None:
    async with against(answering(OK)) as (carrier, origin, far):
        with pytest.raises(Refused, match="control character"):
            await carrier.request("GET", f"{origin}/", headers={name: value}, body=None, call=make_call())
        assert far.connections == 0


@pytest.mark.parametrize(
    "origin",
    [
        "ftp://host/",
        "host:80",
        "http://",
        "http://user:password@host/",
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://100.100.100.200/",
    ],
)
def test_an_origin_that_cannot_be_right_is_refused_at_once(origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpCarrier(origin, HttpSettings())
    assert "password@" not in str(caught.value)


async def test_a_decimal_address_is_not_a_way_to_the_metadata_service() -> None:
    carrier = HttpCarrier("http://2852039166", HttpSettings())
    call = make_call()
    with pytest.raises(Unavailable):
        await post(carrier, "http://2852039166/", call)
    assert not call.wire.left
    await carrier.close()


async def test_a_name_that_leads_to_the_metadata_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rebound(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    carrier = HttpCarrier("http://his.invalid", HttpSettings())
    with pytest.raises(Unavailable):
        await post(carrier, "http://his.invalid/", make_call())
    await carrier.close()


async def test_the_default_port_may_be_written_or_not() -> None:
    carrier = HttpCarrier("http://127.0.0.1:80", HttpSettings())
    assert carrier._is_ours("http://127.0.0.1/x")
    assert carrier._is_ours("http://127.0.0.1:80/x")
    assert not carrier._is_ours("http://127.0.0.1:8080/x")


async def test_a_cancelled_request_frees_its_connection() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read()
        gone.set()

    async with against(hold, connections=1) as (carrier, origin, _):
        task = asyncio.create_task(post(carrier, f"{origin}/", make_call(5)))
        await asyncio.wait_for(arrived.wait(), 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 2)


async def test_calls_at_once_keep_their_wires_apart() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = (await read_request(reader)).partition(b"\r\n\r\n")[2]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with against(echo, connections=4) as (carrier, origin, far):
        calls = [make_call() for _ in range(40)]
        await asyncio.gather(*(post(carrier, f"{origin}/", call, b"%d" % n) for n, call in enumerate(calls)))
        for n, call in enumerate(calls):
            assert call.wire.sent == b"POST /\n%d" % n
            assert call.wire.received == b"%d" % n
        assert far.connections <= 4


async def test_closing_twice_is_fine_and_a_request_after_it_is_unavailable() -> None:
    async with against(answering(OK)) as (carrier, origin, far):
        await carrier.close()
        await carrier.close()
        with pytest.raises(Unavailable):
            await post(carrier, f"{origin}/", make_call())
        assert far.connections == 0


class Certificates:
    """An authority made here, with one certificate for a server and one for a client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandbox authority")])
        self.ca = self._write("ca", self._sign(self.name, self.key, None), self.key)
        self.server = self._issue("server", "localhost")
        self.client = self._issue("client", "hub")

    def _issue(self, file: str, host: str) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        return self._write(file, self._sign(name, key, host), key)

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, host: str | None) -> x509.Certificate:
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return built.sign(self.key, hashes.SHA256())

    def _write(self, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
        path = self.folder / f"{file}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return path


@contextlib.asynccontextmanager
async def tls_server(certificates: Certificates) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    far = Peer(answering(OK))
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        far.abort()
        await server.wait_closed()


async def test_mutual_tls_works_and_an_untrusted_certificate_leaves_nothing(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    async with tls_server(made) as origin:
        good = HttpCarrier(origin, HttpSettings(ca=made.ca, client_cert=made.client))
        assert (await post(good, f"{origin}/", make_call())).body == b"ok"
        await good.close()
        call = make_call()
        stranger = HttpCarrier(origin, HttpSettings())
        with pytest.raises(Unavailable, match="certificate"):
            await post(stranger, f"{origin}/", call)
        assert not call.wire.left
        await stranger.close()


async def test_plain_text_where_tls_was_agreed_leaves_nothing() -> None:
    async with against(answering(b"", then="close")) as (_, origin, __):
        secure = origin.replace("http:", "https:")
        carrier = HttpCarrier(secure, HttpSettings(connect_timeout_s=0.3))
        call = make_call()
        with pytest.raises(Unavailable):
            await post(carrier, f"{secure}/", call)
        assert not call.wire.left
        await carrier.close()


@pytest.mark.parametrize("name", ["ca", "client_cert"])
def test_a_certificate_file_that_is_missing_or_broken_is_a_finding(name: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=name):
            HttpCarrier("https://his.invalid", HttpSettings.model_validate({name: path}))
