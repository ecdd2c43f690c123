"""``esb encode hl7v2``: JSON as ``esb decode hl7v2`` prints it -> messages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, NamedTuple

import orjson

from esb.codecs import EncodeError
from esb.codecs.hl7v2 import from_tree
from esb.model import Tree


class Written(NamedTuple):
    """A message, or why there is none; ``file`` and ``number`` are what its line says."""

    raw: bytes
    file: str = ""
    number: int = 0
    error: str = ""


def written(stream: BinaryIO) -> Iterator[Written]:
    """Every message of one JSON document, or of JSON lines, which are read one at a time. An error line stays one."""
    first = stream.readline()
    lines = chain([first], stream)
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        yield _read(first + stream.read())
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            made = _read(line)
            yield made._replace(error=f"line {number}: {made.error}") if made.error else made


def _read(data: bytes) -> Written:
    try:
        return _message(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        return Written(b"", error=f"is no JSON: {error}")


def _message(tree: Tree) -> Written:
    head = tree if isinstance(tree, dict) else {}
    file, number = head.get("file", ""), head.get("number", 0)
    place = Written(b"", file if isinstance(file, str) else "", number if isinstance(number, int) else 0)
    failure = head.get("error")
    if failure is not None:
        return place._replace(error=f"was not read: {failure.get('reason') if isinstance(failure, dict) else failure}")
    try:
        return place._replace(raw=from_tree(head.get("message", tree)).encode())
    except EncodeError as error:
        return place._replace(error=str(error))
