"""uvicorn with the bounds it lacks: how large and how slow the head of a request may be."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esb.facade.answer import retry_after
from esb.facade.problems import CATALOGUE, MEDIA_TYPE, Problem, encode_problem

MAX_HEAD = 64 * 1024
HEAD_S = 10.0
MAX_CONNECTIONS = 4000


class _Corked:
    """A transport that holds the head of an answer back until its body, so that both leave in one system call."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():  # uvicorn tells only the last request of a pipeline that its client has gone
            self._head = b""
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head and not self._transport.is_closing():
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head over ``MAX_HEAD`` bytes or over ``HEAD_S`` seconds, more than ``MAX_CONNECTIONS`` at once, and
    answers bad HTTP in our own form.
    """

    _head_size = 0
    _is_in_head = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast("asyncio.Transport", _Corked(transport, self.loop)))
        if len(self.connections) > MAX_CONNECTIONS:
            return self._refuse("overloaded")
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse("headers_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        self._is_in_head = True
        self._arm()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("http_malformed")

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(HEAD_S, self._head_timed_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_timed_out(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse("head_timeout")
        else:  # an earlier request on this connection is still being answered
            self._arm()

    def _refuse(self, code: str) -> None:
        self._disarm()
        self._is_in_head = False
        if self.transport.is_closing():
            return
        status, body = encode_problem(Problem(code))
        head = (
            f"HTTP/1.1 {status} {CATALOGUE[code].en[:40]}\r\ncontent-type: {MEDIA_TYPE.decode()}\r\n"
            f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
        ).encode("ascii")
        later = b"".join(b"%s: %s\r\n" % header for header in retry_after(status, None, random.random))
        self.transport.write(head + later + b"\r\n" + body)
        self.transport.close()


def server_config(app: Any, *, host: str = "127.0.0.1", port: int = 8080, **options: Any) -> uvicorn.Config:
    """How the facade is served. ``options`` are uvicorn's own and win.

    A stop takes at most 30 seconds: ten for requests, ten for the facade's effects and ten for the pipeline's. What is
    still under way then is in the journal, and the next start settles it.
    """
    settings: dict[str, Any] = {
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": 10,
    }
    return uvicorn.Config(app, host=host, port=port, **(settings | options))
