"""REST, and anything else that is one HTTP request and one answer: JSON, forms, XML or text, signed or not.

Action: ``POST /openydt/api/v3/{cmd}``. Payload: a dict with the optional keys ``path`` (values of the placeholders),
``query`` (a list repeats its key, null is left out), ``headers`` and ``body`` (a tree; bytes go out as they are).
Answer: the body's tree (of XML the root's content, without its name); ``{}`` where none is promised or for status 204.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

from pydantic import AfterValidator, SecretStr, field_validator, model_validator

from adapters.rest.signers import AnySigner, Draft, known_charset
from esb.clock import Ids
from esb.codecs import DecodeError, EncodeError, form, json, xml
from esb.codecs import charset as charsets
from esb.codecs.yaml import nearest
from esb.http import HttpAnswer, HttpCarrier, HttpSettings
from esb.spi import (
    AdapterError,
    AdapterSettings,
    Call,
    Malformed,
    OutcomeUnknown,
    Refused,
    Tree,
    Unavailable,
)

Format = Literal["json", "form", "xml", "text", "none"]


class Basic(AdapterSettings):
    """HTTP Basic authentication."""

    user: str
    password: SecretStr


class Auth(AdapterSettings):
    """One of the ways to say who we are."""

    basic: Basic | None = None
    bearer: SecretStr | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("give exactly one of 'basic' and 'bearer'")
        return self

    def header(self) -> str:
        """The value of ``Authorization``."""
        if self.bearer is not None:
            return f"Bearer {self.bearer.get_secret_value()}"
        assert self.basic is not None
        pair = f"{self.basic.user}:{self.basic.password.get_secret_value()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


class Settings(HttpSettings):
    """``body`` and ``answer`` are formats; ``charset`` is that of both, of the query and of the path.

    ``errors``: a status outside ``ok_status`` raises, or with ``answer`` a decodable body is the answer, with the
    status as ``@status`` if it is a dict. By ``unavailable_status`` the system says that it did nothing, as by a 503
    with ``Retry-After``; a bare 503 or 408 may be a gateway's word about a request that went through. ``namespaces``
    (prefix -> namespace) are kept apart in trees of XML, as ``h:Order``; an example's answer is then written as a tree.
    ``key_header`` carries the idempotency key. ``probe`` is a harmless path to GET; without it the base address.
    """

    base_url: str
    body: Format = "json"
    answer: Format = "json"
    charset: str = "utf-8"
    content_type: str | None = None
    headers: dict[str, SecretStr] = {}
    auth: Auth | None = None
    sign: AnySigner | None = None
    key_header: str | None = None
    ok_status: frozenset[int] = frozenset(range(200, 300))
    unavailable_status: frozenset[int] = frozenset({425, 429})
    errors: Literal["raise", "answer"] = "raise"
    probe: str | None = None
    namespaces: Annotated[dict[str, str], AfterValidator(xml.check_namespaces)] = {}

    @field_validator("charset")
    @classmethod
    def _charset_exists(cls, name: str) -> str:
        return known_charset(name)

    @field_validator("base_url")
    @classmethod
    def _base_is_plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[!-~]+", url) or "?" in url or "#" in url:
            raise ValueError("must be an http:// or https:// address without a query")
        return url.rstrip("/")


def connect(settings: Settings) -> Rest:
    """An adapter for one system; raises ``ConfigError``."""
    return Rest(settings)


def decode(text: str) -> Tree:
    """The tree of an example's ``answer`` given as text: JSON, XML (by its first character) or itself."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return json.decode(text.encode())
    return xml.decode(text.encode()) if start == "<" else text


class Action(NamedTuple):
    """A parsed action. ``parts`` are the literal texts around ``names``."""

    method: str
    parts: tuple[str, ...]
    names: tuple[str, ...]


class Rest:
    """One system behind one base address."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._carrier = HttpCarrier(settings.base_url, settings)
        self._prefix = settings.base_url[len(self._carrier.origin) :]
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        if settings.auth is not None:
            self._headers["Authorization"] = settings.auth.header()
        self._headers.setdefault("Accept", _ACCEPT[settings.answer])

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        """See the module and ``esb.spi.Adapter``."""
        draft, query, body = self._written(action, payload, call)
        answer = await self._carrier.request(
            draft.method,
            f"{self._carrier.origin}{draft.path}" + (f"?{query}" if query else ""),
            headers=draft.headers,
            body=body,
            call=call,
            sent=self._shown(draft, body),
        )
        return self._answer(answer, call)

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """Request line, body; what a signature adds and the settings' headers are masked."""
        draft, _, body = self._written(action, payload, call)
        return self._shown(draft, body).decode(self._settings.charset, "replace")

    async def probe(self, call: Call) -> None:
        """Any HTTP answer is life."""
        try:
            await self._carrier.request(
                "GET",
                self._carrier.origin + (self._prefix + (self._settings.probe or "") or "/"),
                headers=self._headers,
                body=None,
                call=call,
            )
        except AdapterError as error:
            raise Unavailable(error.reason) from None

    async def close(self) -> None:
        await self._carrier.close()

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """Sentences about a wrong method, path, placeholder or payload key."""
        try:
            names = parse(action).names
        except ValueError as error:
            yield str(error)
            return
        for name in fields:
            if name not in _KEYS:
                hint = nearest(name, _KEYS)
                yield f"a REST request has no '{name}', only body, headers, path and query" + (
                    f"; {hint}" if hint else ""
                )
        if names and "path" not in fields:
            yield f"the action's {{{names[0]}}} needs a value under 'path'"
        if "path" in fields and not names:
            yield "'path' is given but the action has no {placeholder}"
        if "body" in fields and self._settings.body == "none":
            yield "'body' is given but the endpoint's settings say body: none"

    # request

    def _written(self, action: str, payload: Tree, call: Call) -> tuple[Draft, str, bytes | None]:
        """The signed draft, its query and its body as they go out."""
        draft = self._draft(action, payload, call)
        try:
            if self._settings.sign is not None:
                self._settings.sign.sign(draft)
            body = self._encode_body(draft.body)
            query = self._encode_query(draft.query)
        except (EncodeError, ValueError) as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None
        if body is not None:
            draft.headers.setdefault("Content-Type", self._content_type())
        return draft, query, body

    def _draft(self, action: str, payload: Tree, call: Call) -> Draft:
        try:
            parsed = parse(action)
            given = {} if payload is None else payload
            if not isinstance(given, dict) or not given.keys() <= _KEYS:
                raise ValueError("a REST payload is a dict of body, headers, path and query")
            path = self._prefix + self._path(parsed, given.get("path") or {})
            headers = {
                **self._headers,
                **{k: _text(v) for k, v in (given.get("headers") or {}).items() if v is not None},
            }
        except ValueError as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None
        if self._settings.key_header:
            headers[self._settings.key_header] = call.key
        query = {k: v for k, v in (given.get("query") or {}).items() if v is not None}
        nonce = Ids(call.clock).new()
        return Draft(
            parsed.method,
            path,
            query,
            headers,
            given.get("body"),
            self._encode_query,
            self._encode_body,
            call.clock.now(),
            nonce,
        )

    def _path(self, action: Action, values: dict[str, Tree]) -> str:
        if set(values) != set(action.names):
            raise ValueError(f"the path needs {sorted(action.names)}, the payload gives {sorted(values)}")
        written = [action.parts[0]]
        for name, part in zip(action.names, action.parts[1:], strict=True):
            text = _text(values[name])
            if text in ("", ".", ".."):
                raise ValueError(f"the path's {{{name}}} must not be empty, '.' or '..'")
            written += [quote(text.encode(self._settings.charset), safe=""), part]
        return "".join(written)

    def _encode_query(self, query: dict[str, Tree]) -> str:
        return form.encode(query, charset=self._settings.charset).decode() if query else ""

    def _encode_body(self, body: Tree) -> bytes | None:
        kind, charset = self._settings.body, self._settings.charset
        if body is None or kind == "none":
            return None
        if isinstance(body, bytes):
            return body
        if kind == "json":
            data = json.encode(body)
            return data if charset == "utf-8" else _transcode(data, charset)
        if kind == "form":
            return form.encode(body, charset=charset)
        if kind == "xml":
            return xml.encode(body, declaration=True, charset=charset, namespaces=self._settings.namespaces)
        return _text(body).encode(charset)

    def _content_type(self) -> str:
        if self._settings.content_type:
            return self._settings.content_type
        name = _TYPES[self._settings.body]
        return (
            name
            if self._settings.charset == "utf-8" and name != "text/plain"
            else f"{name}; charset={self._settings.charset}"
        )

    def _shown(self, draft: Draft, body: bytes | None) -> bytes:
        query = self._encode_query({k: v for k, v in draft.query.items() if k not in draft.signed})
        return f"{draft.method} {draft.path}{'?' + query if query else ''}\n".encode() + (body or b"")

    # answer

    def _answer(self, answer: HttpAnswer, call: Call) -> Tree:
        if answer.status in self._settings.ok_status:
            if self._settings.answer == "none" or answer.status == HTTPStatus.NO_CONTENT:
                return {}
            try:
                return self._decode(answer)
            except DecodeError as error:
                raise Malformed(f"the answer is not {self._settings.answer}: {error.reason}", raw=answer.body) from None
        return self._failed(answer, call)

    def _failed(self, answer: HttpAnswer, call: Call) -> Tree:
        status, body = answer.status, answer.body
        wait = answer.retry_after
        if status in self._settings.unavailable_status or (status == 503 and wait is not None):
            raise Unavailable(f"HTTP status {status}", raw=body, retry_after=wait)
        try:
            tree = self._decode(answer)
        except DecodeError:
            tree = None
        if self._settings.errors == "answer" and tree is not None:
            return {**tree, "@status": status} if isinstance(tree, dict) else tree
        if status >= 500 or status == 408:
            raise OutcomeUnknown(f"HTTP status {status}", raw=body)
        if status < 400:
            raise Malformed(f"HTTP status {status} where an answer was agreed", raw=body)
        raise Refused(f"HTTP status {status}", code=str(status), message=_message(tree), raw=body)

    def _decode(self, answer: HttpAnswer) -> Tree:
        kind, body = self._settings.answer, answer.body
        charset = _declared(answer) or self._settings.charset
        start = body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if not start:
            raise DecodeError("it is empty")
        if start.startswith((b"<!doctype html", b"<html")):
            raise DecodeError("it is an HTML page")
        if kind == "json":
            return json.decode(body if charset == "utf-8" else _text_of(body, charset).encode())
        if kind == "form":
            return form.decode(body, charset=charset)
        if kind == "xml":
            said = None if charset == "utf-8" else charset
            return xml.decode(body, charset=said, namespaces=self._settings.namespaces)
        return _text_of(body, charset)


_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_KEYS = {"path", "query", "headers", "body"}
_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "application/xml",
    "text": "text/plain",
    "none": "application/octet-stream",
}
_ACCEPT = {**_TYPES, "text": "*/*", "none": "*/*", "form": "*/*"}
_ACTION = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?#]*)")
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_NAME = re.compile(r"\{([^{}]*)\}")


@lru_cache(maxsize=1024)
def parse(action: str) -> Action:
    """``POST /a/{b}`` in its parts; raises ``ValueError`` with a sentence."""
    match = _ACTION.fullmatch(action)
    if match is None:
        raise ValueError(f"an action is METHOD /path/{{placeholder}}, without a query; this is {action[:80]!r}")
    pieces = _NAME.split(match[2])
    parts, names = tuple(pieces[::2]), tuple(pieces[1::2])
    for name in names:
        if not name.isidentifier() or names.count(name) > 1:
            raise ValueError(f"{{{name}}} is not a name that stands once in the path")
    for part in parts:
        if not _LITERAL.fullmatch(part) or re.search(r"(^|/)\.\.?(/|$)", part):
            raise ValueError(f"the path's {part[:60]!r} must be percent-encoded and without '.' and '..' steps")
    return Action(match[1], parts, names)


def _text(value: Tree) -> str:
    if isinstance(value, dict | list) or value is None:
        raise ValueError(f"a {type(value).__name__} stands where a text is needed")
    return next(form.fields({"value": value}))[1]


def _text_of(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        raise DecodeError(f"it is not {charset} at byte {error.start}", error.start) from None


def _declared(answer: HttpAnswer) -> str | None:
    """The charset that the answer says it is in, if it is one: servers say GBK where the interface agreed on UTF-8."""
    label = _CHARSET.search(answer.headers.get("Content-Type") or "")
    try:
        return charsets.codec(label[1]) if label else None
    except DecodeError:
        return None


def _transcode(data: bytes, charset: str) -> bytes:
    try:
        return data.decode().encode(charset)
    except UnicodeEncodeError as error:
        raise EncodeError(f"character {error.object[error.start]!r} is not in {charset}", "$") from None


def _message(tree: Tree) -> str:
    """What the system says about its refusal, if it says so in one of the usual places."""
    if isinstance(tree, dict):
        for name in ("message", "msg", "detail", "error_description", "error", "title"):
            if isinstance(tree.get(name), str):
                return str(tree[name])[:200]
    return ""


__all__ = ["Auth", "Basic", "Rest", "Settings", "connect", "decode", "parse"]
