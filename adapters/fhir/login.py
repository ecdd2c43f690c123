"""Logging in: the Authorization header of each request, and tokens fetched once for all who wait for one."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote_plus

from pydantic import SecretStr

from adapters.fhir.settings import Basic, Bearer, ClientCredentials, NoLogin, Settings, SmartBackend
from esb.clock import Ids
from esb.codecs import DecodeError, form, json
from esb.http import HttpAnswer, HttpCarrier
from esb.spi import AdapterError, Call, Effect, Refused, Unavailable, Wire

TOKEN_TIMEOUT_S = 10.0
ASSERTION_LIFE_S = 240
_DEFAULT_LIFE_S = 300.0
_MAX_TOKEN_BYTES = 65_536
if TYPE_CHECKING:
    from adapters.fhir.assertion import Signer

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login(Protocol):
    """``header``: the value of Authorization, "" for none. ``renew``: forget a refused one, False if no other is."""

    async def header(self, call: Call) -> str: ...
    def renew(self, refused: str) -> bool: ...
    async def close(self) -> None: ...


def login(settings: Settings) -> Login:
    """The login the settings ask for; raises ``ConfigError`` for a key that does not fit."""
    auth = settings.auth
    match auth:
        case NoLogin():
            return Fixed("")
        case Bearer():
            return Fixed(f"Bearer {auth.token.get_secret_value()}")
        case Basic():
            return Fixed(_basic(auth.username, auth.password.get_secret_value()))
        case ClientCredentials() | SmartBackend():
            return Tokens(auth, settings)


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


class Fixed:
    """A header that never changes."""

    def __init__(self, header: str) -> None:
        self._header = SecretStr(header)

    async def header(self, call: Call) -> str:
        return self._header.get_secret_value()

    def renew(self, refused: str) -> bool:
        return False

    async def close(self) -> None:
        return None


class Tokens:
    """An OAuth2 access token, kept until shortly before its end; one request for a new one serves all who wait."""

    def __init__(self, auth: ClientCredentials | SmartBackend, settings: Settings) -> None:
        self._auth = auth
        self._carrier = HttpCarrier(auth.token_url, settings)
        self._signer = _signer(auth) if isinstance(auth, SmartBackend) else None
        self._header = SecretStr("")
        self._until = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def header(self, call: Call) -> str:
        if not self._header or call.clock.monotonic() >= self._until:
            await self._shared_fetch(call)
        return self._header.get_secret_value()

    def renew(self, refused: str) -> bool:
        if self._header.get_secret_value() == refused:
            self._until = 0.0
        return True

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
        await self._carrier.close()

    async def _shared_fetch(self, call: Call) -> None:
        """The fetch outlives the caller who began it: his deadline or cancellation must not fail the others."""
        if call.remaining() <= 0:
            raise Unavailable("the deadline had passed before anything was sent")
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(call))
            self._fetching.add_done_callback(self._fetched)
        done, _ = await asyncio.wait({self._fetching}, timeout=call.remaining())
        if not done:
            raise Unavailable("no token before the deadline, the request was not sent")
        task = done.pop()
        if task.cancelled():
            raise Unavailable("the connection to this system was closed")
        if error := task.exception():
            raise error.with_traceback(None)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # so that asyncio does not report an error that nobody waited for

    async def _fetch(self, call: Call) -> None:
        clock = call.clock
        own = replace(call, effect=Effect.READ, deadline=clock.monotonic() + TOKEN_TIMEOUT_S, wire=Wire())
        headers, fields = self._request(own)
        try:
            answer = await self._carrier.request(
                "POST",
                self._auth.token_url,
                headers=headers,
                body=form.encode(fields),
                call=own,
                max_bytes=_MAX_TOKEN_BYTES,
                sent=b"",
            )
        except AdapterError as error:
            raise Unavailable(f"no token, the request was not sent: {error.reason}") from None
        token, life = _token(answer)
        self._header = SecretStr(f"Bearer {token}")
        self._until = clock.monotonic() + life - min(30.0, life / 3)

    def _request(self, call: Call) -> tuple[dict[str, str], dict[str, str]]:
        auth = self._auth
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        fields = {"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}
        if isinstance(auth, SmartBackend):
            return headers, fields | {
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": self._assertion(call),
            }
        secret = auth.client_secret.get_secret_value()
        if auth.client_auth == "post":
            return headers, fields | {"client_id": auth.client_id, "client_secret": secret}
        return headers | {"Authorization": _basic(quote_plus(auth.client_id), quote_plus(secret))}, fields

    def _assertion(self, call: Call) -> str:
        auth = self._auth
        assert isinstance(auth, SmartBackend)
        assert self._signer is not None
        claims = {
            "iss": auth.client_id,
            "sub": auth.client_id,
            "aud": auth.token_url,
            "exp": int(call.clock.now().timestamp()) + ASSERTION_LIFE_S,
            "jti": Ids(call.clock).new(),
        }
        return self._signer.sign(claims)


def _signer(auth: SmartBackend) -> Signer:
    from adapters.fhir.assertion import Signer

    return Signer(auth)


def _token(answer: HttpAnswer) -> tuple[str, float]:
    """Token and life in seconds. Whatever is wrong here, the request itself was certainly not sent."""
    if answer.status in (400, 401, 403):
        raise Refused(f"the token server answered {answer.status}{_why(answer)}", code="login")
    if answer.status != 200:
        raise Unavailable(f"the token server answered {answer.status}, the request was not sent")
    tree = _tree(answer)
    token = tree.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token or not token:
        raise Unavailable("the token server's answer holds no token, the request was not sent")
    try:
        return token, max(0.0, float(str(tree.get("expires_in", _DEFAULT_LIFE_S))))
    except ValueError:
        return token, _DEFAULT_LIFE_S


def _why(answer: HttpAnswer) -> str:
    """OAuth2's own word for it (RFC 6749 section 5.2); never its description, which may repeat what was sent."""
    error = _tree(answer).get("error")
    known = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope")
    return f" ({error})" if error in known else ""


def _tree(answer: HttpAnswer) -> dict[str, object]:
    try:
        tree = json.decode(answer.body)
    except DecodeError:
        return {}
    return tree if isinstance(tree, dict) else {}
