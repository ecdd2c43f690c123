"""application/x-www-form-urlencoded bytes <-> flat dict; a repeated key is a list of texts.

Charsets are Python's names (``utf-8``, ``gbk``, ``gb18030``); GBK and GB2312 are read as GB18030, which holds them.
Escapes are those of the WHATWG URL standard and of Java's URLEncoder: space is ``+``, ``*-._`` stay, ``~`` does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from esb.codecs import DecodeError, EncodeError
from esb.model import Tree

MAX_FIELDS = 1000

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WIDER = {"gbk": "gb18030", "gb2312": "gb18030"}


def decode(data: bytes, *, charset: str = "utf-8", max_fields: int = MAX_FIELDS) -> dict[str, Tree]:
    """``a=1&b=2&b=3`` as ``{"a": "1", "b": ["2", "3"]}``; a key without ``=`` is "". Raises ``DecodeError``."""
    if data.count(b"&") >= max_fields:
        raise DecodeError(f"has more than {max_fields} fields", 0)
    if broken := _BROKEN_ESCAPE.search(data):
        raise DecodeError(f"'%' without two hexadecimal digits at byte {broken.start()}", broken.start())
    tree: dict[str, Tree] = {}
    offset = 0
    for pair in data.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            _add(tree, _text(name, charset, offset), _text(value, charset, offset + len(name) + 1))
        offset += len(pair) + 1
    return tree


def encode(tree: dict[str, Tree], *, charset: str = "utf-8") -> bytes:
    """The dict in its order; a list repeats its key, None is left out, ``true``/``false`` for booleans.

    Raises ``EncodeError`` that names the key of a dict, a float or a character the charset does not have.
    """
    if not isinstance(tree, dict):
        raise EncodeError(f"a form is a dict, not a {type(tree).__name__}", "$")
    return "&".join(
        f"{_quote(name, charset, name)}={_quote(text, charset, name)}" for name, text in fields(tree)
    ).encode()


def fields(tree: dict[str, Tree]) -> Iterator[tuple[str, str]]:
    """Key and text of every field in order, repeated keys one by one, as ``encode`` would write them (for signing)."""
    for name, value in tree.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                yield name, _plain(item, name)


def _add(tree: dict[str, Tree], name: str, value: str) -> None:
    if name not in tree:
        tree[name] = value
    elif isinstance(tree[name], list):
        tree[name].append(value)
    else:
        tree[name] = [tree[name], value]


def _text(data: bytes, charset: str, offset: int) -> str:
    raw = unquote_to_bytes(data.replace(b"+", b" "))
    try:
        text = raw.decode(_WIDER.get(charset.lower(), charset))
    except UnicodeDecodeError:
        raise DecodeError(f"is not {charset} in the field at byte {offset}", offset) from None
    if control := _CONTROL.search(text):
        raise DecodeError(f"control character U+{ord(control[0]):04X} in the field at byte {offset}", offset)
    return text


def _plain(value: Tree, name: str) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    raise EncodeError(f"a {type(value).__name__} has no form in a flat form", f"$.{name}")


def _quote(text: str, charset: str, name: str) -> str:
    try:
        raw = text.encode(charset)
    except UnicodeEncodeError as error:
        raise EncodeError(f"character {error.object[error.start]!r} is not in {charset}", f"$.{name}") from None
    return quote_from_bytes(raw, safe=" *").replace(" ", "+").replace("~", "%7E")
