"""Digests, and the codings that some wire formats carry inside a field. Text is taken as its UTF-8 bytes."""

from __future__ import annotations

import base64 as b64
import hashlib
import hmac
import uuid as uuids
from decimal import Decimal
from json import JSONEncoder
from urllib.parse import quote, unquote_to_bytes

from esb.codecs import DecodeError, EncodeError
from esb.codecs import json as codec
from esb.mapping.functions.registry import bounded, function, need_text
from esb.mapping.functions.sorts import AnyText, Blob
from esb.mapping.values import FunctionError, kind
from esb.model import Tree


@function(("'abc' | md5", "900150983cd24fb0d6963f7d28e17f72"))
def md5(value: Blob) -> str:
    """MD5 in small hexadecimal letters, for formats that ask for it; it protects nothing."""
    return hashlib.md5(_bytes(value), usedforsecurity=False).hexdigest()


@function(("'abc' | sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"))
def sha1(value: Blob) -> str:
    """SHA-1 in small hexadecimal letters, for formats that ask for it; it protects nothing."""
    return hashlib.sha1(_bytes(value), usedforsecurity=False).hexdigest()


@function(("'abc' | sha256 | slice(0, 8)", "ba7816bf"))
def sha256(value: Blob) -> str:
    """SHA-256 in small hexadecimal letters."""
    return hashlib.sha256(_bytes(value)).hexdigest()


@function(("'abc' | sm3 | slice(0, 8)", "66c7f0f4"))
def sm3(value: Blob) -> str:
    """SM3 (GB/T 32905) in small hexadecimal letters, where the system's OpenSSL has it."""
    try:
        return hashlib.new("sm3", _bytes(value)).hexdigest()
    except ValueError:
        raise FunctionError("cannot be digested: this system's OpenSSL has no SM3") from None


@function(("'abc' | hmac_sha256('key') | slice(0, 8)", "9c196e32"))
def hmac_sha256(value: Blob, key: str) -> str:
    """HMAC of SHA-256 in small hexadecimal letters; signatures of whole messages belong into envelopes."""
    return hmac.digest(_bytes(key), _bytes(value), "sha256").hex()


@function(("'张' | base64", "5byg"))
def base64(value: Blob) -> str:
    """Base64 of bytes or of text, with padding and without line breaks."""
    data = _bytes(value)
    bounded(len(data) * 4 // 3)
    return b64.b64encode(data).decode()


@function(("'5byg' | unbase64", "张"), ("'5byg!' | unbase64", FunctionError))
def unbase64(value: AnyText) -> str:
    """The UTF-8 text in a Base64 text; white space in it is ignored, anything else refused."""
    try:
        return b64.b64decode("".join(need_text(value).split()), validate=True).decode()
    except ValueError:
        raise FunctionError("is not Base64 of UTF-8 text") from None


@function(("'张' | hex", "e5bca0"))
def hex_(value: Blob) -> str:
    """Bytes or text in small hexadecimal letters."""
    data = _bytes(value)
    bounded(len(data) * 2)
    return data.hex()


@function(("'E5BCA0' | unhex", "张"), ("'E5BCA' | unhex", FunctionError))
def unhex(value: AnyText) -> str:
    """The UTF-8 text in hexadecimal letters of either size."""
    try:
        return bytes.fromhex(need_text(value)).decode()
    except ValueError:
        raise FunctionError("is not UTF-8 text in hexadecimal letters") from None


@function(("'心内 a/b' | url_encode", "%E5%BF%83%E5%86%85%20a%2Fb"))
def url_encode(value: AnyText) -> str:
    """Text as one part of a URL, everything but letters, digits and -._~ percent-encoded."""
    data = _bytes(need_text(value))
    bounded(len(data) * 3)
    return quote(data, safe="")


@function(("'%E5%BF%83+a' | url_decode", "心+a"), ("'%FF' | url_decode", FunctionError))
def url_decode(value: AnyText) -> str:
    """The UTF-8 text of a percent-encoded one; a plus stays a plus."""
    try:
        return unquote_to_bytes(_bytes(need_text(value))).decode()
    except ValueError:
        raise FunctionError("is not UTF-8 text") from None


@function(
    ("$x | json", '{"心":[1]}', {"x": {"心": [1]}}),
    ("'a' | json", '"a"'),
    name="json",
)
def json_(value: Tree) -> str:
    """A value as compact JSON text, for fields that hold a document; numbers keep their digits."""
    try:
        text = codec.encode(value).decode()
    except (EncodeError, RecursionError, ValueError):
        raise FunctionError("has no form in JSON") from None
    bounded(len(text))
    return text


@function(
    ("'{\"a\":[1]}' | read_json | pluck('a')", [[1]]),
    ("'null' | read_json ?? 'none'", "none"),
    ("'{' | read_json", FunctionError),
    may_miss=True,
)
def read_json(value: AnyText) -> Tree:
    """The value in a JSON text; nothing for null."""
    try:
        return codec.decode(_bytes(need_text(value)))
    except (DecodeError, RecursionError):
        raise FunctionError("is not JSON") from None


@function(("'H1/P0000001' | uuid", "b7a85f38-101e-5754-b5e8-e24fef04d02a"))
def uuid(value: AnyText) -> str:
    """A UUID made of a text (RFC 9562, version 5, URL namespace): the same text always gives the same one."""
    return str(uuids.uuid5(uuids.NAMESPACE_URL, _bytes(need_text(value)).decode("utf-8", "replace")))


@function(
    ("$x | digest_id == ($y | digest_id)", True, {"x": {"a": 1, "b": ["c"]}, "y": {"b": ["c"], "a": 1}}),
    ("['a', 'b'] | digest_id == (['b', 'a'] | digest_id)", False),
)
def digest_id(value: Tree) -> str:
    """An id of 32 characters made of a whole value: the same content, whatever the order of fields, gives the same."""
    return content(value)[:32]


def content(value: Tree) -> str:
    """SHA-256 of a value's content in hexadecimal letters; keys are ordered, numbers keep their digits."""
    found, size = hashlib.sha256(), 0
    try:
        for at, piece in enumerate(_ENCODER.iterencode(value)):
            size += len(piece)
            bounded(max(size, at * 10))
            found.update(piece.encode())
    except (RecursionError, ValueError):
        raise FunctionError("is too deep or too large to be digested") from None
    return found.hexdigest()


def _written(value: Tree) -> Tree:
    """What JSON has no form for, with what it is: a decimal, bytes, something of an HL7 message."""
    if isinstance(value, Decimal | bytes):
        return {kind(value): value.hex() if isinstance(value, bytes) else str(value)}
    if isinstance(text := getattr(value, "text", None), str):
        return {kind(value): text}
    raise FunctionError(f"holds {kind(value)}, which has no content to digest")


_ENCODER = JSONEncoder(sort_keys=True, separators=(",", ":"), default=_written)


def _bytes(value: Tree) -> bytes:
    return value if isinstance(value, bytes) else need_text(value).encode("utf-8", "surrogatepass")
