"""SOAP encoding (rpc/encoded) answers -> tree: ``href`` and ``ref`` followed, arrays as lists, its attributes
dropped."""

from __future__ import annotations

from typing import Final

from adapters.soap.standard import SOAP11_ENCODING, SOAP12_ENCODING
from esb.codecs import DecodeError, xml
from esb.spi import Tree

MAX_ELEMENTS: Final = 200_000
_MARKS = (SOAP11_ENCODING.encode(), SOAP12_ENCODING.encode(), b"multiRef")
_ENCODINGS = (f"{{{SOAP11_ENCODING}}}", f"{{{SOAP12_ENCODING}}}")
_ENVELOPES = ("{http://schemas.xmlsoap.org/soap/envelope/}", "{http://www.w3.org/2003/05/soap-envelope}")
_TYPE = f"{{{xml.XSI}}}type"
_NIL = f"{{{xml.XSI}}}nil"


def is_encoded(data: bytes) -> bool:
    """Whether a document may use SOAP encoding."""
    return any(mark in data for mark in _MARKS)


def decode(element: xml.Element, body: xml.Element) -> Tree:
    """The tree of an element of ``body``, with what it refers to in its place.

    Raises ``DecodeError`` for a reference to nothing, one that leads back to itself, and more than ``MAX_ELEMENTS``.
    """
    return _Reader(body).read(element)


class _Reader:
    def __init__(self, body: xml.Element) -> None:
        self._ids: dict[str, xml.Element] = {}
        for one in body.iter():
            name = one.get("id") or one.get(f"{_ENCODINGS[1]}id")
            if name:
                self._ids[name] = one
        self._left = MAX_ELEMENTS
        self._inside: list[xml.Element] = []

    def read(self, element: xml.Element) -> Tree:
        self._left -= 1
        if self._left < 0:
            raise DecodeError(f"has more than {MAX_ELEMENTS} elements, references followed")
        target = self._target(element)
        if target is None:
            return self._content(element)
        if target in self._inside:
            raise DecodeError("has a reference that leads back to itself")
        self._inside.append(target)
        try:
            return self.read(target)
        finally:
            self._inside.pop()

    def _target(self, element: xml.Element) -> xml.Element | None:
        href = element.get("href")
        name = href[1:] if href and href[0] == "#" else element.get(f"{_ENCODINGS[1]}ref")
        if name is None:
            return None
        if name not in self._ids:
            raise DecodeError("has a reference to an element that is not there")
        return self._ids[name]

    def _content(self, element: xml.Element) -> Tree:
        if element.get(_NIL, "") in ("true", "1"):
            return None
        tree: dict[str, Tree] = {
            f"@{xml.local[name]}": value for name, value in element.items() if not _is_encodings(name)
        }
        listed = _is_array(element)
        for child in element:
            name, value = xml.local[child.tag], self.read(child)
            if name not in tree:
                tree[name] = [value] if listed else value
            elif type(tree[name]) is list:
                tree[name].append(value)
            else:
                tree[name] = [tree[name], value]
        if len(element):
            return tree
        if not tree:
            return element.text or ""
        return tree | ({"#text": element.text} if element.text else {})


def _is_encodings(name: str) -> bool:
    """Attributes that carry the encoding itself, not data."""
    return name in ("id", "href") or name.startswith((f"{{{xml.XSI}}}", *_ENCODINGS, *_ENVELOPES))


def _is_array(element: xml.Element) -> bool:
    kind = element.get(_TYPE, "").rpartition(":")[2]
    return kind == "Array" or any(
        element.get(f"{encoding}{name}") is not None for encoding in _ENCODINGS for name in ("arrayType", "itemType")
    )
