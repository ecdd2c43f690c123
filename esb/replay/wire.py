"""A message as it stood or would stand on the wire, by field: XML, JSON, HL7 v2, a form, a statement; else one text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

from esb.codecs import DecodeError, hl7v2
from esb.codecs.formats import FORMATS
from esb.fields import flat
from esb.hl7.leaves import USUAL, Ignored, leaves
from esb.model import Tree

_HTTP: Final = re.compile(r"([A-Z]+) (?:https?://[^/\s]+)?(/[^\s?]*)(?:\?(\S*))?[^\n]*\n?")
_HEADERS: Final = re.compile(r"(?:[\w-]+: [^\n]*\n?)+(?:\n|\Z)")
_FRAME: Final = "\x0b\x1c\r\n"


def text_of(sent: bytes) -> str:
    """What was sent as text: UTF-8, or the Chinese character set that holds everything."""
    try:
        return sent.decode("utf-8")
    except UnicodeDecodeError:
        return sent.decode("gb18030", "replace")


def fields(text: str) -> Mapping[str, Tree]:
    """Every value by its path; what is different in every message, such as a message's own time, is left out."""
    text = text.strip(_FRAME)
    if match := _HTTP.match(text):
        query = {f"?{name}": value for name, value in parse_qsl(match[3] or "", keep_blank_values=True)}
        body = _HEADERS.sub("", text[match.end() :], count=1)
        return {"method": match[1], "path": unquote(match[2]), **query, **_body(body)}
    return _body(text)


def _body(text: str) -> Mapping[str, Tree]:
    text = text.strip()
    if not text:
        return {}
    try:
        return _decoded(text)
    except (DecodeError, ValueError):
        return {"text": text}


def _decoded(text: str) -> Mapping[str, Tree]:
    if text.startswith("MSH"):
        return _segments(text.replace("\n", "\r"))
    if text.startswith("<"):
        return flat(FORMATS["xml"].decode(text.encode(), "utf-8"))
    if text.startswith(("{", "[")):
        tree = FORMATS["json"].decode(text.encode(), None)
        return flat(tree if isinstance(tree, dict) else {"": tree})
    first, _, last = text.rpartition("\n")
    if first and last.startswith("{"):  # a statement and its values
        return {"statement": first, **flat(FORMATS["json"].decode(last.encode(), None))}
    return {"text": text}


def _segments(text: str) -> Mapping[str, Tree]:
    found: dict[str, Tree] = {}
    seen: Counter[str] = Counter()
    ignored = Ignored(USUAL)
    for segment in hl7v2.decode(text.encode(), "UTF-8"):
        at = seen[segment.name]
        seen[segment.name] += 1
        name = f"{segment.name}[{at}]" if at else segment.name
        for place, value in leaves(segment, ignored).items():
            found[f"{name}-{place.field}.{place.component}"] = value
    return found
