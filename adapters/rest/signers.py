"""Signatures over requests, described by templates instead of one class a vendor.

``text`` says what is signed and ``put`` where the signature and its companions go. Both are templates of fixed
placeholders; ``{{`` and ``}}`` are braces:

    {key} {secret} {ts} {nonce}       settings, the present time, a text never used before
    {method} {path} {query} {target}  as sent, percent-encoded; the query without the signature; target = path?query
    {sorted}                          name=value pairs in order of their names (see ``Sorted``)
    {field:NAME}                      one field of a form or JSON body, raw
    {body} {body_md5} {body_sha256}   the body as sent; lower-case hex digests of it
    {sign}                            only in ``put``

What ``put`` adds without ``{sign}`` is there before ``text`` is made, so that it can be signed too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from esb.codecs.form import fields as form_fields
from esb.spi import AdapterSettings, Tree

if TYPE_CHECKING:
    from adapters.rest.rsa import Key

Output = Literal["hex", "HEX", "base64"]


@dataclass(slots=True)
class Draft:
    """A request on its way to be signed. ``query`` and ``body`` are trees; ``encode`` makes the bytes that will go."""

    method: str
    path: str
    query: dict[str, Tree]
    headers: dict[str, str]
    body: Tree
    encode_query: Callable[[dict[str, Tree]], str]
    encode_body: Callable[[Tree], bytes | None]
    now: datetime
    nonce: str
    signed: set[str] = field(default_factory=set)
    """Names in the query that the journal need not show."""


def known_charset(name: str) -> str:
    """``name`` if Python knows a charset of that name; ``ValueError`` otherwise."""
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"no charset is called {name!r}") from None
    return name


class Put(AdapterSettings):
    """One value added to a request. ``into: body`` sets a field of the body; ``number`` makes it a number there."""

    into: Literal["query", "header", "body"]
    name: str = Field(min_length=1)
    value: str = "{sign}"
    encode: Literal["none", "base64"] = "none"
    number: bool = False


class Sorted(AdapterSettings):
    """How ``{sorted}`` is made: empty values, lists and dicts are always left out."""

    of: Literal["body", "query", "all"] = "body"
    exclude: frozenset[str] = frozenset()
    equals: str = "="
    join: str = "&"


class Signer(AdapterSettings):
    """What all signers share. ``timestamp`` is ``unix``, ``unix_ms`` or a strftime format of Shanghai time."""

    key: str = ""
    text: str = Field(min_length=1)
    timestamp: str = "unix"
    sorted: Sorted = Sorted()
    put: tuple[Put, ...] = Field(min_length=1)
    charset: str = "utf-8"

    @abstractmethod
    def digest(self, text: bytes) -> str:
        """The signature of ``text`` as it is written."""

    def secret_text(self) -> str:
        """What ``{secret}`` stands for."""
        return ""

    def sign(self, draft: Draft) -> None:
        """Add to ``draft`` whatever ``put`` asks for."""
        values = {"key": self.key, "ts": self._timestamp(draft.now), "nonce": draft.nonce}
        for put in self.put:
            if "{sign}" not in put.value:
                self._put(draft, put, values)
        text = _fill(self.text, {**values, "secret": self.secret_text()}, draft, self)
        values["sign"] = self.digest(text.encode(self.charset))
        for put in self.put:
            if "{sign}" in put.value:
                self._put(draft, put, values)

    def pairs(self, draft: Draft) -> str:
        """``{sorted}`` of ``draft``."""
        rule = self.sorted
        own = {put.name for put in self.put if "{sign}" in put.value}
        found: dict[str, str] = {}
        for source in ("query", "body"):
            tree = getattr(draft, source)
            if rule.of in (source, "all") and isinstance(tree, dict):
                found.update(_flat(tree))
        names = sorted(name for name in found if name not in rule.exclude and name not in own)
        return rule.join.join(f"{name}{rule.equals}{found[name]}" for name in names)

    def _timestamp(self, now: datetime) -> str:
        if self.timestamp == "unix":
            return str(int(now.timestamp()))
        if self.timestamp == "unix_ms":
            return str(int(now.timestamp() * 1000))
        return now.strftime(self.timestamp)

    def _put(self, draft: Draft, put: Put, values: dict[str, str]) -> None:
        value = _fill(put.value, values, draft, self)
        if put.encode == "base64":
            value = base64.b64encode(value.encode(self.charset)).decode()
        if put.into == "header":
            draft.headers[put.name] = value
        elif put.into == "query":
            draft.query = {**draft.query, put.name: value}
            draft.signed.add(put.name)
        elif isinstance(draft.body, dict):
            draft.body = {**draft.body, put.name: int(value) if put.number else value}
        else:
            raise ValueError("a signature inside of the body needs a body with fields")

    @field_validator("charset")
    @classmethod
    def _charset_exists(cls, name: str) -> str:
        return known_charset(name)

    @model_validator(mode="after")
    def _templates_are_right(self) -> Signer:
        inside = any(put.into == "body" and "{sign}" in put.value for put in self.put)
        known = _KNOWN - _BODY if inside else _KNOWN
        for name in _names(self.text):
            if name not in known and not name.startswith("field:"):
                raise ValueError(f"'text' knows no {{{name}}} here; it knows {_listed(known)}")
        for put in self.put:
            for name in _names(put.value):
                if name not in ("sign", "key", "ts", "nonce"):
                    raise ValueError(f"'put' knows no {{{name}}}; it knows {{key}} {{nonce}} {{sign}} {{ts}}")
        if not any("{sign}" in put.value for put in self.put):
            raise ValueError("no item of 'put' holds {sign}")
        return self


class _Hashed(Signer):
    secret: SecretStr
    output: Output = "hex"

    def secret_text(self) -> str:
        return self.secret.get_secret_value()

    def hashed(self, text: bytes) -> bytes:
        raise NotImplementedError

    def digest(self, text: bytes) -> str:
        return _written(self.hashed(text), self.output)


class Md5(_Hashed):
    """MD5 of the text, which holds the secret: what most parking, bank and HIS platforms of the country use."""

    signer: Literal["md5"]

    def hashed(self, text: bytes) -> bytes:
        return hashlib.md5(text, usedforsecurity=False).digest()

    @model_validator(mode="after")
    def _is_keyed(self) -> Md5:
        if "{secret}" not in self.text:
            raise ValueError("'text' of an MD5 signature must hold {secret}, or anyone can make it")
        return self


class HmacSha256(_Hashed):
    """HMAC-SHA256 of the text under the secret."""

    signer: Literal["hmac_sha256"]

    def hashed(self, text: bytes) -> bytes:
        return hmac.digest(self.secret_text().encode(self.charset), text, "sha256")


class RsaSha256(Signer):
    """RSASSA-PKCS1-v1_5 with SHA-256; ``private_key`` is a PEM text."""

    signer: Literal["rsa_sha256"]
    private_key: SecretStr
    output: Output = "base64"

    def digest(self, text: bytes) -> str:
        return _written(self._key.sign(text), self.output)

    @cached_property
    def _key(self) -> Key:
        from adapters.rest.rsa import Key

        return Key(self.private_key.get_secret_value())

    @model_validator(mode="after")
    def _key_is_readable(self) -> RsaSha256:
        try:
            self._key.sign(b"")
        except (ValueError, TypeError):
            raise ValueError("'private_key' is not a PEM text of an unencrypted RSA key") from None
        return self


AnySigner = Annotated[Md5 | HmacSha256 | RsaSha256, Field(discriminator="signer")]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_BODY = {"body", "body_md5", "body_sha256"}
_KNOWN = {"key", "secret", "ts", "nonce", "method", "path", "query", "target", "sorted", *_BODY}


def _names(template: str) -> Iterator[str]:
    for match in _PLACEHOLDER.finditer(template):
        if match[0] in ("{", "}"):
            raise ValueError(f"a lone '{match[0]}' in {template[:60]!r}; write it twice")
        if match[1] is not None:
            yield match[1]


def _listed(names: set[str]) -> str:
    return " ".join(f"{{{name}}}" for name in sorted(names)) + " {field:NAME}"


def _fill(template: str, values: dict[str, str], draft: Draft, signer: Signer) -> str:
    def one(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0][0]
        return values[name] if name in values else _of_request(name, draft, signer)

    return _PLACEHOLDER.sub(one, template)


def _of_request(name: str, draft: Draft, signer: Signer) -> str:
    if name in ("method", "path"):
        return str(getattr(draft, name))
    if name in ("query", "target"):
        query = draft.encode_query(draft.query)
        return query if name == "query" else draft.path + ("?" + query if query else "")
    if name == "sorted":
        return signer.pairs(draft)
    if name.startswith("field:"):
        return dict(_flat(draft.body)).get(name[6:], "") if isinstance(draft.body, dict) else ""
    body = draft.encode_body(draft.body) or b""
    if name == "body":
        return body.decode(signer.charset)
    return hashlib.new(name[5:], body, usedforsecurity=False).hexdigest()


def _flat(tree: dict[str, Tree]) -> Iterator[tuple[str, str]]:
    plain = {name: value for name, value in tree.items() if not isinstance(value, dict | list)}
    return ((name, text) for name, text in form_fields(plain) if text)


def _written(digest: bytes, output: Output) -> str:
    if output == "base64":
        return base64.b64encode(digest).decode()
    return digest.hex() if output == "hex" else digest.hex().upper()
