"""Digests and Base64 that some wire formats carry inside a field."""

from __future__ import annotations

import base64 as b64
import hashlib

from esb.mapping.functions.registry import function, need_text
from esb.mapping.values import FunctionError
from esb.model import Tree


@function(("'abc' | md5", "900150983cd24fb0d6963f7d28e17f72"))
def md5(value: Tree) -> str:
    """MD5 of the UTF-8 text in small hexadecimal letters, for formats that ask for it; it protects nothing."""
    return hashlib.md5(_bytes(value), usedforsecurity=False).hexdigest()


@function(("'abc' | sha256 | slice(0, 8)", "ba7816bf"))
def sha256(value: Tree) -> str:
    """SHA-256 of the UTF-8 text in small hexadecimal letters."""
    return hashlib.sha256(_bytes(value)).hexdigest()


@function(("'张' | base64", "5byg"))
def base64(value: Tree) -> str:
    """Base64 of bytes or of the UTF-8 text, with padding and without line breaks."""
    return b64.b64encode(_bytes(value)).decode()


@function(("'5byg' | unbase64", "张"), ("'5byg!' | unbase64", FunctionError))
def unbase64(value: Tree) -> str:
    """The UTF-8 text in a Base64 text; white space in it is ignored, anything else refused."""
    try:
        return b64.b64decode("".join(need_text(value).split()), validate=True).decode()
    except ValueError:
        raise FunctionError("is not Base64 of UTF-8 text") from None


def _bytes(value: Tree) -> bytes:
    return value if isinstance(value, bytes) else need_text(value).encode("utf-8", "surrogatepass")
