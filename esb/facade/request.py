"""An ASGI request -> one request tree, typed by the contract; what is unacceptable is named before anything runs."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote_to_bytes

from esb.codecs import DecodeError, json
from esb.contract import FieldError
from esb.contract.check import pointer, unknown_field
from esb.facade.problems import Problem
from esb.facade.routing import Target
from esb.model import Tree

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

CLOSE = (b"connection", b"close")
_DISCARDED = 32 * 1024 * 1024
_DISCARD_S = 5.0
_KEY = re.compile(rb"[!-~]{1,128}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_MEDIA_TYPE = re.compile(rb'application/json(\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ClientGone(Exception):
    """The client closed its connection before it had sent its request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request, in bytes and seconds."""

    body: int = 256 * 1024
    target: int = 8 * 1024
    headers: int = 16 * 1024
    depth: int = 32
    body_s: float = 10.0


class Head:
    """The headers that the facade reads; all others are counted and ignored."""

    __slots__ = ("content_length", "content_type", "has_body", "is_encoded", "keys", "request_id", "size", "waits")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.content_type = b""
        self.content_length = 0
        self.has_body = self.is_encoded = self.waits = False
        self.keys: list[bytes] = []
        self.request_id = ""
        self.size = 0
        for name, value in headers:
            self.size += len(name) + len(value)
            read = _HEADERS.get(name)
            if read is not None:
                read(self, value)

    def key(self, *, required: bool) -> str | None:
        """The idempotency key; raises when it is required and missing, malformed, or there twice."""
        if not self.keys:
            if required:
                raise Problem("idempotency_key_missing")
            return None
        if len(self.keys) > 1 or not _KEY.fullmatch(self.keys[0]):
            raise Problem("idempotency_key_malformed")
        return self.keys[0].decode("ascii")


def _content_type(head: Head, value: bytes) -> None:
    head.content_type = value


def _content_length(head: Head, value: bytes) -> None:
    head.content_length = int(value) if value.isdigit() and len(value) < 19 else 1 << 62
    head.has_body = head.has_body or head.content_length > 0


def _transfer_encoding(head: Head, value: bytes) -> None:
    head.has_body = True


def _content_encoding(head: Head, value: bytes) -> None:
    head.is_encoded = value.strip().lower() != b"identity"


def _expect(head: Head, value: bytes) -> None:
    head.waits = value.strip().lower() == b"100-continue"


def _idempotency_key(head: Head, value: bytes) -> None:
    head.keys.append(value)


def _request_id(head: Head, value: bytes) -> None:
    if _REQUEST_ID.fullmatch(value):
        head.request_id = value.decode("ascii")


_HEADERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"content-type": _content_type,
    b"content-length": _content_length,
    b"transfer-encoding": _transfer_encoding,
    b"content-encoding": _content_encoding,
    b"expect": _expect,
    b"idempotency-key": _idempotency_key,
    b"x-request-id": _request_id,
}


async def read_tree(
    target: Target, values: list[bytes], query: bytes, head: Head, receive: Receive, limits: Limits
) -> dict[str, Tree]:
    """The request tree; raises ``Problem`` with every wrong field when the transport shape itself is wrong."""
    tree: dict[str, Tree] = {}
    errors: list[FieldError] = []
    for parameter, value in zip(target.path, values, strict=True):
        tree[parameter.name] = parameter.read(_text(value, "path_malformed"))
    if query:
        _read_query(target, query, tree, errors)
    if target.operation.has_body:
        body = target.operation.typed(await _read_body(head, receive, limits))
        _merge(target, body, tree, errors)
    elif head.has_body:
        raise Problem("body_unexpected", headers=[CLOSE])
    if errors:
        raise Problem("invalid_request", errors=_once([*errors, *target.operation.check_request(tree)]))
    return tree


def _read_query(target: Target, query: bytes, tree: dict[str, Tree], errors: list[FieldError]) -> None:
    if not query.isascii():
        raise Problem("query_malformed", "the query has bytes that are not percent-encoded")
    for pair in query.split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.replace(b"+", b" ").partition(b"=")
        name, value = _text(raw_name, "query_malformed"), _text(raw_value, "query_malformed")
        parameter = target.query.get(name)
        if parameter is None:
            errors.append(unknown_field((), name, target.query))
        elif parameter.repeated:
            tree.setdefault(name, []).append(parameter.read(value))
        elif name in tree:
            errors.append(FieldError(pointer((name,)), "repeated", "参数重复", "is given more than once"))
        else:
            tree[name] = parameter.read(value)


def _merge(target: Target, body: Tree, tree: dict[str, Tree], errors: list[FieldError]) -> None:
    if not isinstance(body, dict):
        errors.append(FieldError("", "wrong_type", "请求体应为对象", "must be an object"))
        return
    for name in body.keys() & target.names:  # a body never replaces what the address says
        errors.append(unknown_field((), name, ()))
        del body[name]
    tree.update(body)


async def _read_body(head: Head, receive: Receive, limits: Limits) -> Tree:
    if head.content_length > limits.body:
        await _too_large(head, receive, limits.body)
    if head.is_encoded or not _MEDIA_TYPE.fullmatch(head.content_type):
        raise Problem("media_type_unsupported", headers=[CLOSE] if head.has_body else ())
    try:
        async with asyncio.timeout(limits.body_s):
            data = await _receive_body(head, receive, limits.body)
    except TimeoutError:
        raise Problem("body_timeout", headers=[CLOSE]) from None
    try:
        return json.decode(data, max_depth=limits.depth)
    except DecodeError as error:
        raise Problem("json_malformed", error.reason) from None


async def _too_large(head: Head, receive: Receive, limit: int) -> NoReturn:
    """Refuse a body that is too large, so that its sender hears it.

    To close on one who still sends would reset the connection under the answer. What comes is thrown away for a while;
    who waits for 100 Continue has not begun.
    """
    left = 0 if head.waits else _DISCARDED
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    break
    raise Problem("body_too_large", f"the limit is {limit} bytes", headers=[CLOSE])


async def _receive_body(head: Head, receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        data: bytes = message.get("body", b"")
        if len(data) <= limit:
            return data
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            await _too_large(head, receive, limit)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def _text(raw: bytes, code: str) -> str:
    if b"%" in raw:
        if _BAD_PERCENT.search(raw):
            raise Problem(code, "a % is not followed by two hexadecimal digits")
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(code, "the percent-encoded bytes are not UTF-8") from None
    if _CONTROL.search(text):
        raise Problem(code, "control characters are not allowed")
    return text


def _once(errors: list[FieldError]) -> list[FieldError]:
    return list({(error.pointer, error.code): error for error in errors}.values())
