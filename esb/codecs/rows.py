"""Database rows -> trees: exact money, canonical times, binary as base64 text, NULL as null and never as "".

Driver values become: Decimal and float -> Decimal; datetime -> RFC 3339 text, a naive one being Shanghai time; date ->
``2026-01-16``; time -> ``08:30:00``; timedelta (MariaDB's TIME) -> ``HH:MM:SS``; bytes -> base64 text; UUID and
enumerations -> text; arrays and JSON documents -> lists and dicts of the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from esb.clock import SHANGHAI
from esb.codecs import DecodeError
from esb.model import Tree

__all__ = ["Rows"]


class Rows:
    """Reads rows. ``trim`` drops trailing spaces (CHAR padding); ``text_charset`` decodes texts that came as latin-1.

    A driver that takes a GBK database for latin-1 hands over each byte as one character; ``text_charset="gbk"`` makes
    the bytes again and reads them for what they are. GBK and GB2312 are read as GB18030, which holds them.
    """

    def __init__(self, *, trim: bool = False, text_charset: str | None = None) -> None:
        """Raises ``LookupError`` for a charset that does not exist."""
        self._charset = _WIDER.get(text_charset.lower(), text_charset) if text_charset else None
        "".encode(self._charset or "utf-8")
        self._trim = trim
        plain = not trim and self._charset is None
        self._leave = frozenset({int, bool, Decimal, type(None)} | ({str} if plain else set()))

    def read(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[dict[str, Tree]]:
        """Every row as a dict in the order of ``names``; raises ``DecodeError`` naming row and column."""
        if self._charset is not None:
            names = [self._text(name, f"the name of column {n}") for n, name in enumerate(names, 1)]
        if len(set(names)) != len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise DecodeError(f"the column {twice!r} stands twice in the answer; give one of them another name")
        leave = self._leave
        return [
            {
                name: value if type(value) in leave else self._value(value, name, number)
                for name, value in zip(names, row, strict=True)
            }
            for number, row in enumerate(rows, 1)
        ]

    def value(self, value: Any, name: str = "value") -> Tree:
        """One driver value as a tree."""
        return self._value(value, name, 1)

    def _value(self, value: Any, name: str, number: int) -> Tree:
        if isinstance(value, str) and not isinstance(value, Enum):
            text = self._text(str(value), f"row {number}, column {name!r}") if self._charset else str(value)
            return text.rstrip(" ") if self._trim else text
        for kind, read in _READERS:
            if isinstance(value, kind):
                return read(value)
        if isinstance(value, Mapping):
            return {str(key): self._value(inner, name, number) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(inner, name, number) for inner in value]
        raise DecodeError(f"row {number}, column {name!r} holds a {type(value).__name__}, which has no canonical form")

    def _text(self, text: str, where: str) -> str:
        try:
            return text.translate(_CP1252).encode("latin-1").decode(self._charset or "latin-1")
        except UnicodeEncodeError:
            return text  # characters beyond latin-1: the driver has decoded this one already
        except UnicodeDecodeError:
            raise DecodeError(f"{where} is not {self._charset}, as the settings say") from None


_WIDER = {"gbk": "gb18030", "gb2312": "gb18030"}


_CP1252 = {ord(bytes([n]).decode("cp1252")): n for n in range(0x80, 0xA0) if n not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
"""What MariaDB and Windows call latin1 has letters where ISO 8859-1 has control characters."""


def _float(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _datetime(value: datetime) -> str:
    local = value.replace(tzinfo=SHANGHAI) if value.tzinfo is None else value.astimezone(SHANGHAI)
    return local.isoformat()


def _timedelta(value: timedelta) -> str:
    sign = "-" if value < timedelta(0) else ""
    seconds = abs(value).seconds
    text = f"{sign}{abs(value).days * 24 + seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{value.microseconds:06d}" if value.microseconds and not sign else text


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()


_READERS: list[tuple[type | tuple[type, ...], Callable[[Any], Tree]]] = [
    (type(None), lambda _: None),
    (Enum, lambda value: str(value.value)),
    (bool, bool),
    (int, int),
    (Decimal, Decimal),
    (float, _float),
    (datetime, _datetime),
    (date, date.isoformat),
    (time, time.isoformat),
    (timedelta, _timedelta),
    ((bytes, bytearray, memoryview), _base64),
    ((UUID, IPv4Address, IPv6Address), str),
]
