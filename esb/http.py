"""HTTP for every adapter that speaks it: one pool of connections to one origin, every failure told apart.

What matters is whether bytes may have left: before that a failure is ``Unavailable``, after it ``OutcomeUnknown``,
and an answer that came but cannot be used is ``Malformed``. Nothing is ever sent twice, redirected, sent through a
proxy of the environment or to an origin that was not configured.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from errno import ECONNREFUSED
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, NoReturn

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import ResolveResult
from aiohttp.connector import Connection
from aiohttp.http_exceptions import ContentEncodingError
from pydantic import Field, SecretStr
from yarl import URL

from esb.spi import AdapterSettings, Call, ConfigError, Finding, Malformed, OutcomeUnknown, Refused, Unavailable

__all__ = ["HttpAnswer", "HttpCarrier", "HttpSettings"]


class HttpSettings(AdapterSettings):
    """What every adapter over HTTP can be told about its connections.

    ``connections`` is 0 for as many as the endpoint's ``concurrency`` lets through: its queue is fair, while one that
    waits for a connection behind a smaller number may be overtaken until its deadline.
    ``keepalive_s`` is below the 5 s after which the impatient web servers close an idle connection, so that a request
    rarely meets a closing one. ``ca`` is a PEM file or folder trusted beside the machine's authorities;
    ``client_cert`` and ``client_key`` are PEM files.
    """

    connections: int = Field(default=0, ge=0, le=1000)
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    keepalive_s: float = Field(default=4.0, ge=0, le=300)
    max_answer_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    verify: bool = True
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    client_key_password: SecretStr | None = None


class HttpAnswer(NamedTuple):
    """A whole answer. ``headers`` finds names in any case; ``body`` is decompressed and within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds of ``Retry-After``, at most a day; a date counts from the answer's own ``Date``. None without one."""
        text = self.headers.get("Retry-After") or ""
        if text.isascii() and text.isdigit():
            return min(float(text), 86_400.0)
        try:
            wait = parsedate_to_datetime(text) - parsedate_to_datetime(self.headers.get("Date") or "")
        except (ValueError, TypeError):
            return 30.0 if text else None
        return min(max(wait.total_seconds(), 0.0), 86_400.0)


class HttpCarrier:
    """The connections to one origin (``scheme://host:port``), made on the first request, on the running loop."""

    def __init__(self, origin: str, settings: HttpSettings) -> None:
        """``origin`` may be any URL of the system. Raises ``ConfigError``; opens no connection."""
        self.origin = _origin(origin)
        self._settings = settings
        self._tls = _tls(settings) if self.origin.startswith("https:") else True
        self._session: ClientSession | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        call: Call,
        max_bytes: int | None = None,
        sent: bytes | None = None,
    ) -> HttpAnswer:
        """Send once and return the answer, whatever its status, before ``call``'s deadline.

        ``url`` is complete and percent-encoded. The journal is given ``sent``; by default the method, the path without
        its query (which may hold a signature) and the body. ``call.wire.received`` holds the body, or what came of it.
        Raises ``Unavailable``, ``OutcomeUnknown`` or ``Malformed`` (over ``max_bytes``, not HTTP).
        """
        remaining = call.remaining()
        target = self._admit(url, headers, remaining)
        timeout = ClientTimeout(
            total=remaining, sock_connect=self._settings.connect_timeout_s, ceil_threshold=float("inf")
        )
        kept = sent if sent is not None else f"{method} {target.raw_path}\n".encode() + (body or b"")
        token = _leaving.set((call, kept))
        try:
            response = await self._open().request(
                method, target, data=body, headers=headers, allow_redirects=False, timeout=timeout
            )
        except (ClientError, OSError, TimeoutError, RuntimeError) as error:
            _raise(error, call, b"")
        finally:
            _leaving.reset(token)
        received = await _read(response, call, max_bytes or self._settings.max_answer_bytes)
        return HttpAnswer(response.status, response.headers, received)

    async def close(self) -> None:
        """Close every connection; a second close does nothing, a request after it is ``Unavailable``."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _admit(self, url: str, headers: Mapping[str, str], remaining: float) -> URL:
        if self._closed:
            raise Unavailable("the connection to this system was closed")
        if remaining <= 0:
            raise Unavailable("the deadline had passed before anything was sent")
        if not self._is_ours(url):
            raise Refused("the address lies outside of the configured origin, nothing was sent", code="invalid")
        if not _PRINTABLE(url):
            raise Refused("the address holds a character that is not percent-encoded, nothing was sent", code="invalid")
        for name, value in headers.items():
            if not _HEADER(value) or not _TOKEN(name):
                raise Refused(f"the header {name[:40]!r} holds a control character, nothing was sent", code="invalid")
        return URL(url, encoded=True)

    def _is_ours(self, url: str) -> bool:
        if url.startswith(self.origin) and url[len(self.origin) : len(self.origin) + 1] in ("", "/", "?"):
            return True
        try:
            return _origin(url, exactly=False) == _origin(self.origin, exactly=False)
        except ConfigError:
            return False

    def _open(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(
                limit=self._settings.connections,
                keepalive_timeout=self._settings.keepalive_s,
                ssl=self._tls,
                resolver=_Resolver(),
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                headers={"User-Agent": "hospital-esb"},
                skip_auto_headers=("Accept-Encoding", "Content-Type"),
                request_class=_Request,
            )
            self._session._retry_connection = False  # no public switch; aiohttp resends GET, PUT and DELETE otherwise
        return self._session


_PRINTABLE = re.compile(r"[!-~]+").fullmatch
_HEADER = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_leaving: ContextVar[tuple[Call, bytes]] = ContextVar("leaving")


class _Request(ClientRequest):
    """aiohttp calls ``send`` with a connection in hand, just before it writes: the moment the wire has to know."""

    async def send(self, conn: Connection) -> ClientResponse:
        call, kept = _leaving.get()
        call.wire.sending(kept)
        return await super().send(conn)


class _Resolver(ThreadedResolver):
    """Names that lead to a link-local address (cloud metadata lives there) lead nowhere."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        allowed = [one for one in found if not _is_metadata(one["host"])]
        if not allowed:
            raise OSError(None, "the name leads to a link-local address")
        return allowed


async def _read(response: ClientResponse, call: Call, limit: int) -> bytes:
    """The whole body; whatever goes wrong, what had come is kept as ``raw`` and the connection is given up."""
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                call.wire.received = b"".join(chunks)[:limit]
                raise Malformed(f"the answer is larger than {limit} bytes", raw=call.wire.received)
    except (ClientError, OSError, TimeoutError) as error:
        response.close()
        _raise(error, call, b"".join([*chunks, *response.content._buffer])[:limit])
    except BaseException:
        response.close()
        raise
    call.wire.received = received = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return received


def _raise(error: Exception, call: Call, received: bytes) -> NoReturn:
    if not call.wire.left:
        raise Unavailable(_why_not_sent(error)) from None
    if isinstance(error, ClientResponseError):
        call.wire.received = error.message.encode()  # the parser's excerpt of what came instead of HTTP
        raise Malformed("the answer is not HTTP", raw=call.wire.received) from None
    call.wire.received = received
    if isinstance(error.__cause__, ContentEncodingError):
        raise Malformed("the answer's compression is broken", raw=received) from None
    within = "within the answer" if received else "before an answer"
    if isinstance(error, TimeoutError):
        raise OutcomeUnknown(f"no end of the answer before the deadline, silence {within}", raw=received) from None
    raise OutcomeUnknown(f"the connection broke {within} ({type(error).__name__})", raw=received) from None


def _why_not_sent(error: Exception) -> str:
    """Without the error's text, which repeats addresses."""
    if isinstance(error, ClientConnectorDNSError):
        return "the system's name is not found"
    if isinstance(error, ClientConnectorCertificateError):
        return "the system's certificate is not trusted"
    if isinstance(error, ClientConnectorSSLError):
        return "the TLS handshake failed"
    if (
        isinstance(error, ConnectionRefusedError)
        or getattr(error, "os_error", None).__class__ is ConnectionRefusedError
    ):
        return "the connection was refused"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError) or error.os_error.errno == ECONNREFUSED
        return "the connection was refused" if refused else f"no connection ({type(error.os_error).__name__})"
    return f"nothing was sent ({type(error).__name__})"


def _origin(text: str, *, exactly: bool = True) -> str:
    """Scheme, host and port of ``text``, as written there or in normal form."""
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError
        normal = str(url.origin())
    except ValueError:
        raise _fault("the address is not http:// or https:// with a host") from None
    if url.user is not None or url.password is not None:
        raise _fault("the address must not hold a user or a password; there are settings for them")
    if _is_metadata(url.host):
        raise _fault("the address is link-local, where no hospital system lives")
    written = _WRITTEN.match(text)
    return written[0] if exactly and written else normal


_WRITTEN = re.compile(r"https?://[^/?#]+")
_METADATA = {ip_address("100.100.100.200"), ip_address("fd00:ec2::254")}


def _is_metadata(host: str) -> bool:
    """Link-local, or where a cloud keeps the machine's credentials."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or address in _METADATA


def _tls(settings: HttpSettings) -> ssl.SSLContext:
    try:
        authority = settings.ca
        context = ssl.create_default_context(
            cafile=str(authority) if authority and authority.is_file() else None,
            capath=str(authority) if authority and authority.is_dir() else None,
        )
        if authority and not authority.exists():
            raise FileNotFoundError
    except OSError:
        raise _fault("'ca' cannot be read as PEM certificates") from None
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert is not None:
        password = settings.client_key_password
        try:
            context.load_cert_chain(
                settings.client_cert, settings.client_key, password.get_secret_value() if password else ""
            )
        except (OSError, ValueError):
            raise _fault("'client_cert' and 'client_key' cannot be read, or do not belong together") from None
    return context


def _fault(message: str) -> ConfigError:
    return ConfigError([Finding("settings", 0, 0, message)])
