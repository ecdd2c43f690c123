"""How bodies are stored."""

from __future__ import annotations

import zlib

_COMPRESS_FROM = 1024


class CorruptError(ValueError):
    """What is stored is no body of ours; the text says why."""


def pack(body: bytes, least: int = _COMPRESS_FROM) -> bytes:
    """A body as it is stored: one byte that says how, then the body, compressed when it has ``least`` bytes."""
    if len(body) < least:
        return b"\0" + body if body else b""
    return b"\1" + zlib.compress(body, 1)


def unpack(stored: bytes) -> bytes:
    """The body back from ``pack``; raises ``CorruptError`` when it was not made by that."""
    if stored[:1] in (b"\0", b""):
        return stored[1:]
    if stored[:1] != b"\1":
        raise CorruptError("does not say how it is stored")
    try:
        return zlib.decompress(stored[1:])
    except zlib.error:
        raise CorruptError("does not unpack") from None
