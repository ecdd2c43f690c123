"""Codecs: bytes <-> tree. Every codec raises ``DecodeError`` and ``EncodeError`` and nothing else."""

from __future__ import annotations


class DecodeError(ValueError):
    """Bytes that are not what they should be. ``reason`` says what and where; ``offset`` counts bytes, where known."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class EncodeError(ValueError):
    """A tree that cannot be written. ``path`` names the value, as in ``$.items[0].fee``."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path
