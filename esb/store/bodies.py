"""How bodies are stored."""

from __future__ import annotations

import zlib

_COMPRESS_FROM = 1024


def pack(body: bytes, least: int = _COMPRESS_FROM) -> bytes:
    """A body as it is stored: one byte that says how, then the body, compressed when it has ``least`` bytes."""
    if len(body) < least:
        return b"\0" + body if body else b""
    return b"\1" + zlib.compress(body, 1)


def unpack(stored: bytes) -> bytes:
    """The body back from ``pack``."""
    return zlib.decompress(stored[1:]) if stored[:1] == b"\1" else stored[1:]
