"""JSON bytes <-> tree, strictly (RFC 8259, I-JSON where it is stricter).

Read: UTF-8 without a byte order mark, no duplicate key, no nesting over ``max_depth``, no NaN or Infinity, numbers with
a point or an exponent as Decimal and never float, no lone surrogate, no control character but tab, line feed and
carriage return (a NUL or a vertical tab in a name has no use and breaks HL7, XML and SQL further down).
Written: orjson's speed, Decimal as a number with its own digits, never a float.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from esb.codecs import DecodeError, EncodeError
from esb.model import Tree

MAX_DEPTH = 32
MAX_DIGITS = 40
MAX_EXPONENT = 308

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED_BYTES = re.compile(rb"\\.", re.DOTALL)
_BLANKS = (b" ", b"\t", b"\n", b"\r")
_SUSPECT_ESCAPE = re.compile(rb"\\(?:[bf]|u00[01]|u[dD][89a-fA-F])")
_TOKEN = re.compile(
    r'"(?P<string>(?:[^"\\]++|\\.)*+)"?|(?P<number>-?[0-9][-+.eE0-9]*)|(?P<word>[-\w]+)|[][{}:,]', re.DOTALL
)
_ESCAPE = re.compile(
    r"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|(?P<control>[bf]|u00[01][0-9a-fA-F])|.)",
    re.DOTALL,
)
_ALLOWED_CONTROLS = {"u0009", "u000a", "u000d"}


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Tree:
    """The tree in ``data``; raises ``DecodeError`` whose reason names what is wrong and where (line, column)."""
    if data.startswith(_BOM):
        raise DecodeError("begins with a byte order mark; send UTF-8 without one", 0)
    tree = _decode_plain(data, max_depth)
    if tree is _NOT_DECODED:
        tree = _decode_exactly(data, max_depth)
    if b"\\" in data and _SUSPECT_ESCAPE.search(data):
        _check_escapes(_text(data))
    return tree


def encode(tree: Tree) -> bytes:
    """``tree`` as compact UTF-8 JSON; what has no JSON form (a float, bytes) raises ``EncodeError`` with its path."""
    try:
        data = orjson.dumps(tree, default=_default, option=_OPTIONS)
    except (TypeError, ValueError):  # orjson's error names no path, and it knows no integer over 64 bits
        return _encode_slowly(tree)
    try:
        _keys(tree, _DEEPEST)
    except _RefusedError:  # orjson writes what has no JSON form of ours
        return _encode_slowly(tree)
    return data


def pretty(tree: Tree) -> bytes:
    """``tree`` as JSON for people: indented by two, otherwise as ``encode`` writes it."""
    return orjson.dumps(_writable(tree, "$", 0), default=_default, option=_OPTIONS | orjson.OPT_INDENT_2)


def _decode_plain(data: bytes, max_depth: int) -> Tree:
    """orjson's tree of a document that cannot hide anything from it, three times faster; else ``_NOT_DECODED``.

    orjson takes the last of duplicate keys, and floats for fractions and for integers over 64 bits. ``":`` stands at
    least once for each key unless there is a blank before the colon: when there are as many as keys, none was doubled.
    """
    if any(blank in data and blank + b":" in data for blank in _BLANKS):
        return _NOT_DECODED
    try:
        tree = orjson.loads(data)
    except ValueError:
        return _NOT_DECODED
    try:
        keys = _keys(tree, max_depth)
    except _RefusedError:
        return _NOT_DECODED
    return tree if keys == data.count(b'":') else _NOT_DECODED


def _keys(tree: Tree, depth: int) -> int:
    """How many keys there are in all objects of a tree; raises ``_RefusedError`` when it has more than ``depth`` levels
    of objects and lists, or anything else than they and leaves. Most leaves are texts: they cost one comparison.
    """
    kind = type(tree)
    if kind is not dict and kind is not list:
        if kind in _LEAVES:
            return 0
        raise _RefusedError
    if depth <= 0:
        raise _RefusedError
    keys = 0
    nodes = tree
    if kind is dict:
        keys = len(tree)
        nodes = tree.values()
    for node in nodes:
        if type(node) is not str:
            keys += _keys(node, depth - 1)
    return keys


def _decode_exactly(data: bytes, max_depth: int) -> Tree:
    text = _text(data)
    _check_depth(data, text, max_depth)
    try:
        return _EXACT.decode(text)
    except json.JSONDecodeError as error:
        _fail(_SENTENCES.get(error.msg, error.msg), text, error.pos)
    except (_RefusedError, RecursionError):
        _diagnose(text)


class _RefusedError(Exception):
    """Raised inside the fast decoder, which knows no position; ``_diagnose`` then finds it."""


def _refuse(_: str) -> NoReturn:
    raise _RefusedError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise _RefusedError
    return tree


def _decimal(text: str) -> Decimal:
    if _number_fault(text):
        raise _RefusedError
    return Decimal(text)


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _RefusedError
    return int(text)


_NOT_DECODED = object()
_BOM = b"\xef\xbb\xbf"
_EXACT = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_decimal, parse_int=_int, parse_constant=_refuse)
_SENTENCES = {
    "Expecting value": "a value is missing",
    "Extra data": "there is more after the end of the document",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Expecting ':' delimiter": "':' is missing after a key",
    "Expecting ',' delimiter": "',' is missing, or the end",
    "Invalid control character at": "a control character inside a text must be escaped",
    "Unterminated string starting at": "a text is not closed",
    "Invalid \\escape": "a backslash escape does not exist",
    "Invalid \\escape: ": "a backslash escape does not exist",
    "Invalid \\uXXXX escape": "a \\u escape needs four hexadecimal digits",
}


def _text(data: bytes) -> str:
    if not data.strip(b" \t\r\n"):
        raise DecodeError("is empty, a JSON value was expected", 0)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DecodeError(f"is not UTF-8 at byte {error.start} (line {line})", error.start) from None


def _check_depth(data: bytes, text: str, max_depth: int) -> None:
    """Peel one level of brackets a pass: all C speed, and exact for everything the parser would get to read."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    if b"\\" in data:
        data = _ESCAPED_BYTES.sub(b"", data)
    brackets = b"".join(data.split(b'"')[::2]).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(max_depth):
        peeled = brackets.replace(b"[]", b"")
        if len(peeled) == len(brackets):
            break
        brackets = peeled
    if brackets:
        _diagnose_depth(text, max_depth)


def _diagnose_depth(text: str, max_depth: int) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth > max_depth:
                _fail(f"is nested deeper than {max_depth} levels", text, token.start())
        elif token[0] in ("]", "}"):
            depth -= 1


def _check_escapes(text: str) -> None:
    for escape in _ESCAPE.finditer(text):
        if escape["lone"]:
            _fail(f"\\{escape['lone']} is half of a surrogate pair", text, escape.start())
        control = escape["control"]
        if control and control.lower() not in _ALLOWED_CONTROLS:
            _fail(f"the control character \\{control} is not allowed in a text", text, escape.start())


def _diagnose(text: str) -> NoReturn:
    """Find what the fast decoder refused: the first duplicate key, constant or number beyond the limits."""
    open_keys: list[set[str] | None] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            open_keys.append(set() if token[0] == "{" else None)
        elif token[0] in ("]", "}"):
            open_keys.pop()
        elif token["word"] in ("NaN", "Infinity", "-Infinity"):
            _fail(f"{token['word']} is not a JSON number", text, token.start())
        elif token["number"] and (fault := _number_fault(token["number"])):
            _fail(fault, text, token.start())
        elif token["string"] is not None and open_keys and (keys := open_keys[-1]) is not None:
            _check_key(token, keys, text)
    _fail("is not JSON", text, 0)


def _check_key(token: re.Match[str], keys: set[str], text: str) -> None:
    if not _COLON.match(text, token.end()):
        return
    key = json.loads(token[0])
    if key in keys:
        _fail(f"duplicate key {key[:60]!r}", text, token.start())
    keys.add(key)


_COLON = re.compile(r"[ \t\r\n]*:")


def _number_fault(number: str) -> str:
    """What is wrong with the size of a number; "" when nothing is."""
    mantissa, _, exponent = number.lower().partition("e")
    if len(mantissa) > MAX_DIGITS:
        return f"a number has more than {MAX_DIGITS} digits"
    if len(exponent) > 9 or (exponent and abs(int(exponent)) > MAX_EXPONENT):
        return f"a number's exponent is beyond {MAX_EXPONENT}"
    return ""


def _fail(reason: str, text: str, position: int) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    raise DecodeError(f"{reason} (line {line}, column {column})", len(text[:position].encode("utf-8"))) from None


_LEAVES = {str, int, bool, type(None), Decimal}
_DEEPEST = 300
"""Deeper than orjson writes."""
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def _default(value: object) -> orjson.Fragment:
    if type(value) is Decimal and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _encode_slowly(tree: Tree) -> bytes:
    return orjson.dumps(_writable(tree, "$", 0), default=_default, option=_OPTIONS)


def _writable(value: Tree, path: str, depth: int) -> Any:
    """The same tree with integers over 64 bits as fragments; the first value without a JSON form raises."""
    if depth > 200:
        raise EncodeError("is nested deeper than 200 levels", path[:200])
    if type(value) is dict:
        return {_key(key, path): _writable(child, f"{path}.{key}", depth + 1) for key, child in value.items()}
    if type(value) is list:
        return [_writable(child, f"{path}[{index}]", depth + 1) for index, child in enumerate(value)]
    if isinstance(value, str):
        return _scalar_text(str(value), path)
    if type(value) is int and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value))
    if type(value) is Decimal and not value.is_finite():
        raise EncodeError(f"{value} is not a JSON number", path)
    if type(value) not in _LEAVES:
        raise EncodeError(f"a {type(value).__name__} has no JSON form", path)
    return value


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise EncodeError(f"a key is a {type(key).__name__}, not a text", path)
    return _scalar_text(key, path)


def _scalar_text(text: str, path: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise EncodeError("a text holds half of a surrogate pair", path) from None
    return text
