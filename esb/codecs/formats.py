"""The formats by name: what ``esb decode`` and ``esb encode`` offer, and what translations read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lxml import etree

from esb.codecs import DecodeError, EncodeError, fhir, form, hl7v2, json, xml
from esb.model import Tree


class Format(NamedTuple):
    """One format. ``decode`` raises ``DecodeError``, ``encode`` raises ``EncodeError``; the charset may be None.

    Their tree is one that JSON can hold. ``read`` and ``write`` are for mappings: of HL7 v2 the message itself, and a
    list of segments as field paths.
    """

    decode: Callable[[bytes, str | None], Tree]
    encode: Callable[[Tree, str | None], bytes]
    own: tuple[Callable[[bytes, str | None], Tree], Callable[[Tree, str | None], bytes]] | None = None

    @property
    def read(self) -> Callable[[bytes, str | None], Tree]:
        return self.own[0] if self.own else self.decode

    @property
    def write(self) -> Callable[[Tree, str | None], bytes]:
        return self.own[1] if self.own else self.encode


def _read_xml(data: bytes, charset: str | None) -> Tree:
    root = xml.parse(data, charset=charset)
    return {etree.QName(root).localname: xml.decode_element(root)}


def _write_xml(tree: Tree, charset: str | None) -> bytes:
    if not isinstance(tree, dict) or len(tree) != 1:
        raise EncodeError("must be an object with one member, the root element", "/")
    ((root, content),) = tree.items()
    return xml.encode(content, root, charset=charset or "utf-8")


FORMATS: dict[str, Format] = {
    "hl7v2": Format(
        lambda data, charset: hl7v2.to_tree(hl7v2.decode(data, charset or "")),
        lambda tree, _: hl7v2.from_tree(tree).encode(),
        (
            lambda data, charset: hl7v2.decode(data, charset or ""),
            lambda tree, charset: hl7v2.build(tree, charset=charset or "UNICODE UTF-8").encode(),
        ),
    ),
    "xml": Format(_read_xml, _write_xml),
    "fhir": Format(lambda data, _: fhir.decode(data), lambda tree, _: fhir.encode(tree)),
    "form": Format(
        lambda data, charset: form.decode(data, charset=charset or "utf-8"),
        lambda tree, charset: form.encode(tree, charset=charset or "utf-8"),
    ),
    "json": Format(lambda data, _: json.decode(data), lambda tree, _: json.encode(tree)),
}

FRAME = b"\x0b\x1c\r\n\t \xef\xbb\xbf"
"""What may stand around a message that is none of it: MLLP's frame, blank space, a byte order mark."""


def guess(data: bytes) -> str:
    """The format of a message by how it begins, ``json`` where that says nothing."""
    start = data[:3]
    if start == b"MSH":
        return "hl7v2"
    if start[:1] == b"<":
        return "xml"
    try:
        tree = json.decode(data) if b'"resourceType"' in data else None
    except DecodeError:
        return "json"
    return "fhir" if isinstance(tree, dict) and "resourceType" in tree else "json"
