"""Logging in to a FHIR server: tokens fetched once, renewed once, proven by signature, told to nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json as stdlib
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from adapters import fhir
from esb.spi import Adapter, Call, ConfigError, Effect, Refused, SystemClock, Unavailable
from tests.adapters.suite import make_call
from tests.adapters.test_fhir_contract import http, read_http
from tests.ports import free_port

SECRET = "SECRETMARKER"
PATIENT = http(b'{"resourceType":"Patient","id":"1"}')


class ShiftedClock(SystemClock):
    """The machine's clock, set forward by ``shift`` seconds."""

    shift = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return SystemClock.monotonic() + self.shift

    def now(self) -> datetime:
        return SystemClock.now(self)


@dataclass
class Hospital:
    """A token server and a FHIR server on one port; counts what it was asked."""

    port: int = 0
    tokens: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    life: int = 300
    token_answer: bytes | None = None
    before_token: Callable[[], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head, _, body = (await read_http(reader)).partition(b"\r\n\r\n")
                writer.write(await self._answer(head.decode(), body.decode()))
                await writer.drain()
        writer.close()

    async def _answer(self, head: str, body: str) -> bytes:
        lines = head.split("\r\n")[1:]
        authorization = next((line[15:] for line in lines if line.lower().startswith("authorization: ")), "")
        if not head.startswith("POST /token"):
            self.used.append(authorization)
            return http(b"", "401 Unauthorized") if authorization in self.refused else PATIENT
        self.tokens.append((authorization, parse_qs(body)))
        if self.before_token is not None:
            await self.before_token()
        if self.token_answer is not None:
            return self.token_answer
        made = {"access_token": f"TOKEN{len(self.tokens)}", "token_type": "bearer", "expires_in": self.life}
        return http(stdlib.dumps(made).encode(), kind="application/json")


@pytest.fixture
async def hospital() -> AsyncIterator[Hospital]:
    it = Hospital()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    yield it
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def connected(hospital: Hospital, **auth: Any) -> AsyncIterator[Adapter]:
    base = f"http://127.0.0.1:{hospital.port}"
    if auth["kind"] in ("oauth2", "smart"):
        auth = {"token_url": f"{base}/token", "client_id": "hub", **auth}
    if auth["kind"] == "oauth2":
        auth = {"client_secret": SECRET, **auth}
    adapter = fhir.connect(fhir.Settings(base_url=f"{base}/fhir", auth=auth))  # type: ignore[arg-type]
    try:
        yield adapter
    finally:
        await adapter.close()


async def read(adapter: Adapter, call: Call | None = None) -> Any:
    return await adapter.call("read Patient", {"id": "1"}, call or make_call(2, Effect.READ))


async def test_a_fixed_token_and_a_password_travel_in_the_header(hospital: Hospital) -> None:
    async with connected(hospital, kind="bearer", token=SECRET) as adapter:
        await read(adapter)
    async with connected(hospital, kind="basic", username="hub", password="p:ä") as adapter:
        await read(adapter)
    assert hospital.used[0] == f"Bearer {SECRET}"
    assert b64decode(hospital.used[1].removeprefix("Basic ")).decode() == "hub:p:ä"


@pytest.mark.parametrize("client_auth", ["basic", "post"])
async def test_a_token_is_fetched_once_and_used_until_shortly_before_its_end(
    hospital: Hospital, client_auth: str
) -> None:
    clock = ShiftedClock()
    async with connected(hospital, kind="oauth2", scope="a b", client_auth=client_auth) as adapter:
        for shift in (0, 269, 271):
            clock.shift = shift
            call = make_call(2, Effect.READ)
            call.clock, call.deadline = clock, clock.monotonic() + 2
            await read(adapter, call)
    assert hospital.used == ["Bearer TOKEN1", "Bearer TOKEN1", "Bearer TOKEN2"]
    authorization, fields = hospital.tokens[0]
    assert (fields["grant_type"], fields["scope"]) == (["client_credentials"], ["a b"])
    if client_auth == "basic":
        assert b64decode(authorization.removeprefix("Basic ")).decode() == f"hub:{SECRET}"
    else:
        assert (fields["client_id"], fields["client_secret"]) == (["hub"], [SECRET])


async def test_many_calls_at_once_share_one_token_request(hospital: Hospital) -> None:
    async with connected(hospital, kind="oauth2") as adapter:
        await asyncio.gather(*(read(adapter) for _ in range(12)))
    assert len(hospital.tokens) == 1
    assert hospital.used == ["Bearer TOKEN1"] * 12


async def test_a_cancelled_first_caller_does_not_fail_those_who_wait_with_him(hospital: Hospital) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await go.wait()

    hospital.before_token = hold
    async with connected(hospital, kind="oauth2") as adapter:
        first = asyncio.create_task(read(adapter))
        await asked.wait()
        second = asyncio.create_task(read(adapter))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert (await second)["id"] == "1"
    assert len(hospital.tokens) == 1


async def test_a_refused_token_is_renewed_once_because_401_means_not_processed(hospital: Hospital) -> None:
    hospital.refused = {"Bearer TOKEN1"}
    async with connected(hospital, kind="oauth2") as adapter:
        call = make_call(2, Effect.ONCE)
        assert (await adapter.call("create Patient", {"active": True}, call))["id"] == "1"
    assert hospital.used == ["Bearer TOKEN1", "Bearer TOKEN2"]
    assert call.wire.sent.count(b"POST /fhir/Patient") == 2


async def test_a_second_401_is_refused_and_not_tried_again(hospital: Hospital) -> None:
    hospital.refused = {"Bearer TOKEN1", "Bearer TOKEN2"}
    async with connected(hospital, kind="oauth2") as adapter:
        with pytest.raises(Refused) as refused:
            await read(adapter)
    assert refused.value.code == "login"
    assert len(hospital.used) == len(hospital.tokens) == 2


async def test_a_401_to_a_fixed_token_is_refused_at_once(hospital: Hospital) -> None:
    hospital.refused = {f"Bearer {SECRET}"}
    async with connected(hospital, kind="bearer", token=SECRET) as adapter:
        with pytest.raises(Refused) as refused:
            await read(adapter)
    assert refused.value.code == "login"
    assert SECRET not in str(refused.value)
    assert len(hospital.used) == 1


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (http(b'{"error":"invalid_client","error_description":"SECRETMARKER"}', "401 No"), Refused, "invalid_client"),
        (http(b"<html>SECRETMARKER</html>", "400 Bad Request"), Refused, "answered 400"),
        (http(b"SECRETMARKER", "500 Oops"), Unavailable, "answered 500"),
        (http(b"<html></html>"), Unavailable, "holds no token"),
        (http(b'{"access_token":"two words"}'), Unavailable, "holds no token"),
        (http(b'{"access_token":"a\\nX-Evil: 1"}'), Unavailable, "holds no token"),
        (b"\x00\x01\r\n\r\n", Unavailable, "not HTTP"),
    ],
)
async def test_without_a_token_nothing_is_sent_and_no_secret_is_told(
    hospital: Hospital, answer: bytes, error: type[Refused | Unavailable], words: str
) -> None:
    hospital.token_answer = answer
    async with connected(hospital, kind="oauth2") as adapter:
        call = make_call(2, Effect.ONCE)
        with pytest.raises(error) as caught:
            await read(adapter, call)
    assert words in caught.value.reason
    assert SECRET not in f"{caught.value!r} {caught.value.raw!r}"
    assert not call.wire.left
    assert not hospital.used


async def test_a_token_server_that_is_down_or_silent_means_unavailable(hospital: Hospital) -> None:
    async with connected(hospital, kind="oauth2", token_url=f"http://127.0.0.1:{free_port()}/token") as adapter:
        with pytest.raises(Unavailable, match="no token"):
            await read(adapter)
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    hospital.before_token = hang
    async with connected(hospital, kind="oauth2") as adapter:
        call = make_call(0.2, Effect.READ)
        with pytest.raises(Unavailable, match="no token before the deadline"):
            await read(adapter, call)
        assert not call.wire.left
    never.set()


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def _part(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
async def test_a_smart_backend_proves_itself_by_a_short_signed_assertion(hospital: Hospital, algorithm: str) -> None:
    rs, es = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())
    pem = _pem(rs if algorithm == "RS384" else es)
    auth = {"kind": "smart", "private_key": pem, "kid": "k1", "algorithm": algorithm, "scope": "system/*.read"}
    hospital.life = 0
    async with connected(hospital, **auth) as adapter:
        await read(adapter)
        await read(adapter)
    claims = []
    for _, fields in hospital.tokens:
        assert fields["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        head, body, signature = fields["client_assertion"][0].split(".")
        signed, raw = f"{head}.{body}".encode(), _part(signature)
        if algorithm == "RS384":
            rs.public_key().verify(raw, signed, padding.PKCS1v15(), hashes.SHA384())
        else:
            dss = encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))
            es.public_key().verify(dss, signed, ec.ECDSA(hashes.SHA384()))
        assert stdlib.loads(_part(head)) == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
        claims.append(stdlib.loads(_part(body)))
    assert len(claims) == 2
    now = SystemClock().now().timestamp()
    for claim in claims:
        assert (claim["iss"], claim["sub"]) == ("hub", "hub")
        assert claim["aud"] == f"http://127.0.0.1:{hospital.port}/token"
        assert now < claim["exp"] <= now + 300
    assert claims[0]["jti"] != claims[1]["jti"]


@pytest.mark.parametrize("key", ["not a key", _pem(ec.generate_private_key(ec.SECP256R1()))])
@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_key_that_does_not_fit_is_a_finding_at_load(key: str, algorithm: str) -> None:
    auth = {"kind": "smart", "token_url": "http://127.0.0.1:1/t", "client_id": "hub", "kid": "k", "private_key": key}
    settings = fhir.Settings(base_url="http://127.0.0.1:1/fhir", auth={**auth, "algorithm": algorithm})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"auth\.private_key") as error:
        fhir.connect(settings)
    assert key not in str(error.value)


def test_settings_do_not_tell_their_secrets() -> None:
    for auth in (
        {"kind": "bearer", "token": SECRET},
        {"kind": "basic", "username": "u", "password": SECRET},
        {"kind": "oauth2", "token_url": "http://h/t", "client_id": "c", "client_secret": SECRET},
        {"kind": "smart", "token_url": "http://h/t", "client_id": "c", "kid": "k", "private_key": SECRET},
    ):
        settings = fhir.Settings(base_url="http://127.0.0.1:1/fhir", auth=auth)  # type: ignore[arg-type]
        assert SECRET not in f"{settings!r} {settings.model_dump_json()}"
    keyed = fhir.Settings(base_url="http://127.0.0.1:1/fhir", headers={"X-Key": SECRET})  # type: ignore[dict-item]
    assert SECRET not in f"{keyed!r} {keyed.model_dump_json()}"
