"""A small HTTP/1.1 server on asyncio and httptools, so that a fault may do to the connection what real ones suffer."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools

from sandbox.faults import Fault

BODY_LIMIT = 16 * 1024 * 1024
REASONS = {
    200: "OK",
    201: "Created",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
}
REASONS |= {409: "Conflict", 412: "Precondition Failed", 413: "Content Too Large", 415: "Unsupported Media Type"}
REASONS |= {422: "Unprocessable Content", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}
LINGER_NONE = struct.pack("ii", 1, 0)
HTML_PAGE = "<html><head><title>系统繁忙</title></head><body><h1>服务器错误</h1><p>请稍后再试</p></body></html>"
DTD_XML = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'


@dataclass(slots=True)
class Request:
    """One request: method, path without query (decoded), raw query, lower-case headers, body."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def params(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(slots=True)
class Response:
    """One answer; Content-Length is added on the way out."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        reason = REASONS.get(self.status, "Status")
        head = f"HTTP/1.1 {self.status} {reason}\r\nContent-Type: {self.content_type}\r\n"
        for name, value in self.headers.items():
            head += f"{name}: {value}\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


App = Callable[[Request, "HttpProtocol"], Response | Awaitable[None]]


class HttpProtocol(asyncio.Protocol):
    """One connection: keep-alive, pipelined requests answered in order, faults played through the Wire methods."""

    def __init__(self, app: App, connections: set[HttpProtocol]) -> None:
        self._app = app
        self._connections = connections
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._keep_alive = True

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.send(Response(400, str(error).encode(), "text/plain"))
            self.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > BODY_LIMIT:
            self.send(Response(413, b"body too large", "text/plain"))
            self.close()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        self._keep_alive = self._parser.should_keep_alive()
        self._waiting.append(Request(method, unquote(path), query, self._headers, b"".join(self._body)))
        if self._task is None:
            self._next()

    def _next(self) -> None:
        while self._waiting and not self.transport.is_closing():
            answer = self._answer(self._waiting.popleft())
            if not isinstance(answer, Response):
                self._task = asyncio.ensure_future(self._faulty(answer))
                return
            self.send(answer)

    def _answer(self, request: Request) -> Response | Awaitable[None]:
        try:
            return self._app(request, self)
        except Exception:
            logging.exception("%s %s failed", request.method, request.path)
            return Response(500, b"the sandbox itself failed, see its standard error", "text/plain")

    async def _faulty(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except Exception:
            logging.exception("a faulty call failed")
            self.close()
        finally:
            self._task = None
        self._next()

    def encode(self, answer: Any) -> bytes:
        return bytes(answer.encoded())

    def send(self, answer: Any) -> None:
        self.send_raw(answer.encoded())
        if not self._keep_alive:
            self.close()

    def send_raw(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def reset(self) -> None:
        reset(self.transport)

    def close(self) -> None:
        self.transport.close()

    async def gone(self) -> None:
        await self._gone.wait()

    def spoil(self, fault: Fault, answer: Any) -> Any:
        return spoiled(fault, answer)


def reset(transport: asyncio.BaseTransport) -> None:
    """Break a TCP connection with RST: nothing lingers, nothing buffered is sent."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        transport.abort()  # type: ignore[attr-defined]


def spoiled(fault: Fault, answer: Response) -> Response:
    """The answer as the fault would have it; delays and business errors leave it as it is."""
    kind = fault.fault
    if kind == "garbage":
        return Response(answer.status, b"\x00\xff\xfe<<{]]\x07 not a message", answer.content_type, answer.headers)
    if kind in ("gbk", "gbk_undeclared"):
        return _gbk(answer, declared=kind == "gbk")
    if kind == "html_error":
        return Response(int(fault.code or 200), HTML_PAGE.encode(), "text/html; charset=utf-8")
    if kind == "http_500":
        return Response(int(fault.code or 500), b"internal error", "text/plain")
    if kind == "empty":
        return Response(answer.status, b"", answer.content_type, answer.headers)
    if kind == "dtd":
        return _with_dtd(answer)
    return answer


def _gbk(answer: Response, declared: bool) -> Response:
    text = answer.body.decode("utf-8")
    if declared:
        text = text.replace('encoding="UTF-8"', 'encoding="GBK"', 1).replace("encoding='UTF-8'", "encoding='GBK'", 1)
        kind = answer.content_type.split(";")[0] + "; charset=GBK"
    else:
        kind = answer.content_type
    return Response(answer.status, text.encode("gb18030"), kind, answer.headers)


def _with_dtd(answer: Response) -> Response:
    if "xml" not in answer.content_type:
        return Response(answer.status, DTD_XML.encode(), "application/xml")
    head, mark, rest = answer.body.partition(b"?>")
    if not mark:
        head, rest = b'<?xml version="1.0" encoding="UTF-8"', answer.body
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    return Response(answer.status, head + b"?>" + entities + rest, answer.content_type, answer.headers)
