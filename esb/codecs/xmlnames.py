"""The names of elements and attributes in a tree: local, or with a prefix of ours where a namespace matters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from esb.codecs import EncodeError
from esb.codecs.xmltext import check_name

XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


class Names(dict[str, str]):
    """``{urn:x}Name`` -> ``Name``, or ``prefix:Name`` where ``urn:x`` is listed.

    Remembered, since cutting the same names again is a tenth of a large answer's cost.
    """

    def __init__(self, namespaces: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._prefixes = {uri: f"{prefix}:" for prefix, uri in (namespaces or {}).items()}
        self.keeps_xsi = XSI in self._prefixes

    def __missing__(self, tag: str) -> str:
        end = tag.rfind("}")
        name = self._prefixes.get(tag[1:end], "") + tag[end + 1 :]
        if len(self) < 10_000:
            self[tag] = name
        return name


local: Final = Names()


def check_namespaces(namespaces: dict[str, str]) -> dict[str, str]:
    """The namespaces by prefix, as a setting takes them.

    Raises ``EncodeError`` for what is no prefix, for one that XML keeps for itself, and for one namespace twice.
    """
    for prefix, uri in namespaces.items():
        if ":" in check_name(prefix) or prefix.lower().startswith("xml"):
            raise EncodeError(f"{prefix[:40]!r} is not a prefix that can be chosen")
        if not uri:
            raise EncodeError("a namespace has a name", prefix)
    if len(set(namespaces.values())) < len(namespaces):
        raise EncodeError("one namespace has two prefixes")
    return namespaces


def names_of(namespaces: Mapping[str, str] | None) -> Names:
    """The names by these prefixes; ``local`` without any. Raises ``EncodeError`` as ``check_namespaces`` does."""
    return _remembered(tuple(namespaces.items())) if namespaces else local


@lru_cache(64)
def _remembered(namespaces: tuple[tuple[str, str], ...]) -> Names:
    return Names(check_namespaces(dict(namespaces)))
