"""The blind index: a patient's number as something that can be searched for and says nothing of whom it stands for.

The keys stand in the secret ``journal_subject_keys``, one a line: its name and at least 32 bytes in hexadecimal. The
first makes what is written, all of them are searched with, so that a new key is put in front of the old ones.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

SECRET = "journal_subject_keys"
_LINE = re.compile(r"([a-z0-9]{1,8})\s+((?:[0-9a-fA-F]{2}){32,})")
_IGNORED = re.compile(r"[\s\-\u2010-\u2015\u2212\u200b-\u200f\u2060\ufeff]+")
_DIGITS = 32  # 128 bits: nobody meets another by chance, and the index is half as large


@dataclass(frozen=True, slots=True)
class Blind:
    """Keys by name, the one in use first."""

    keys: tuple[tuple[str, bytes], ...] = field(repr=False)

    @property
    def current(self) -> str:
        """How everything begins that the key in use makes."""
        return f"v1.{self.keys[0][0]}."

    def of(self, value: str) -> str:
        """What is written for ``value``: ``v1.<key>.<hexadecimal>``; empty for an empty value."""
        plain = normal(value)
        return _mark(*self.keys[0], plain) if plain else ""

    def all_of(self, value: str) -> tuple[str, ...]:
        """What may have been written for ``value``, under any of the keys."""
        plain = normal(value)
        return tuple(_mark(name, key, plain) for name, key in self.keys) if plain else ()


def parse(text: str) -> Blind:
    """The keys of the secret; raises ``ValueError`` with what is wrong and never with a key."""
    keys = dict(_keys(text))
    if not keys:
        raise ValueError("it holds no key")
    return Blind(tuple(keys.items()))


def _keys(text: str) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no name and at least 64 hexadecimal digits")
        if match[1] in seen:
            raise ValueError(f"line {number} has the name of an earlier key")
        seen.add(match[1])
        yield match[1], bytes.fromhex(match[2])


def normal(value: str) -> str:
    """As people write the same number differently: full width, spaces, hyphens, small letters, what is not seen."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", value)).upper()


def _mark(name: str, key: bytes, plain: str) -> str:
    return f"v1.{name}.{hmac.digest(key, plain.encode(), 'sha256').hex()[:_DIGITS]}"
