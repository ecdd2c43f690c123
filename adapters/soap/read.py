"""Answer bytes -> tree of what the operation returned, or the fault, or what is wrong with them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import BytesParser

from adapters.soap import encoded
from adapters.soap.operations import ENVELOPE_11, ENVELOPE_12
from esb.codecs import DecodeError, xml
from esb.codecs.xml import Shape
from esb.spi import Malformed, Refused, Tree

_ENVELOPES = {f"{{{namespace}}}Envelope": f"{{{namespace}}}" for namespace in (ENVELOPE_11, ENVELOPE_12)}
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';\s]+)""", re.IGNORECASE)
_INCLUDE = "{http://www.w3.org/2004/08/xop/include}Include"


class NoEnvelopeError(Exception):
    """What came is no SOAP envelope; the text says what it is, without repeating it."""


def envelope(data: bytes, content_type: str, charset: str | None = None) -> tuple[xml.Element, bytes]:
    """The envelope's root and the bytes that it was read from. ``charset`` overrules what the transport says.

    Of a multipart answer (MTOM, attachments) it is the root part, with included parts as base64. Raises
    ``NoEnvelopeError``.
    """
    parts: dict[str, bytes] = {}
    if content_type[:10].lower() == "multipart/":
        content_type, data, parts = _multipart(content_type, data)
    if charset is None:
        label = _CHARSET.search(content_type)
        charset = label[1] if label else None
    try:
        root = xml.parse(data, charset=charset, drop_controls=True)
    except DecodeError as error:
        raise NoEnvelopeError(_what(data, error)) from None
    if root.tag not in _ENVELOPES:
        raise NoEnvelopeError("it is XML but no SOAP envelope")
    if parts:
        _include(root, parts)
    return root, data


def answer(
    root: xml.Element, data: bytes, shape: Shape | None, *, structured: bool = False, encoding: bool = False
) -> Tree:
    """What the first element of Body holds, read by SOAP ``encoding`` where the WSDL says so.

    A ``structured`` answer with nothing in it is an empty dict. Raises ``Refused`` for a fault and ``Malformed``;
    ``raw`` is ``data``.
    """
    namespace = _ENVELOPES[root.tag]
    body = next((child for child in root if child.tag == f"{namespace}Body"), None)
    if body is None:
        raise Malformed("the envelope has no Body", raw=data)
    for child in body:
        if child.tag == f"{namespace}Fault":
            raise fault(child, data)
        try:
            tree = encoded.decode(child, body) if encoding else xml.decode_element(child, shape)
        except DecodeError as error:
            raise Malformed(f"the answer {error.reason}", raw=data) from None
        return {} if structured and (tree is None or tree == "") else tree
    return {}


def fault(element: xml.Element, data: bytes) -> Refused:
    """SOAP 1.1 and 1.2 faults. ``code`` is without prefix (``Server.Busy``, ``Receiver/Busy``); ``detail`` is a
    tree."""
    tree = xml.decode_element(element)
    if not isinstance(tree, Mapping):
        tree = {}
    code = _text(tree.get("faultcode")).rpartition(":")[2]
    message = _text(tree.get("faultstring"))
    if "Code" in tree:
        code = "/".join(_codes(tree["Code"]))
    if isinstance(tree.get("Reason"), Mapping):
        message = _reason(tree["Reason"].get("Text"))
    shown = code if re.fullmatch(r"[A-Za-z0-9_./-]{1,60}", code) else "without a usable code"
    refused = Refused(f"the system answered a SOAP fault {shown}", code=code, message=message, raw=data)
    refused.detail = tree.get("detail", tree.get("Detail"))
    return refused


def _codes(code: Tree) -> Iterator[str]:
    while isinstance(code, Mapping):
        yield _text(code.get("Value")).rpartition(":")[2]
        code = code.get("Subcode")


def _reason(texts: Tree) -> str:
    """The Chinese text where there are several, otherwise the first."""
    found = texts if isinstance(texts, list) else [texts]
    chinese = [one for one in found if isinstance(one, Mapping) and str(one.get("@lang", "")).startswith("zh")]
    return _text((chinese or found)[0])


def _text(value: Tree) -> str:
    if isinstance(value, Mapping):
        value = value.get("#text")
    if isinstance(value, list):
        value = value[0]
    return value.strip() if isinstance(value, str) else ""


def _what(data: bytes, error: DecodeError) -> str:
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:100].lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page"
    return f"it {error.reason}"


def _multipart(content_type: str, data: bytes) -> tuple[str, bytes, dict[str, bytes]]:
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + data)
    parts = [part for part in message.walk() if not part.is_multipart()] if message.is_multipart() else []
    if not parts:
        raise NoEnvelopeError("it says multipart and has no parts")
    start = str(message.get_param("start", ""))
    root = next((part for part in parts if start and part.get("Content-ID", "").strip() == start), parts[0])
    others = {_content_id(part): _payload(part) for part in parts if part is not root}
    return root.get("Content-Type", ""), _payload(root), others


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _content_id(part: Message) -> str:
    return part.get("Content-ID", "").strip().strip("<>")


def _include(root: xml.Element, parts: dict[str, bytes]) -> None:
    for include in list(root.iter(_INCLUDE)):
        name = include.get("href", "").removeprefix("cid:")
        parent = include.getparent()
        if name in parts and parent is not None:
            parent.remove(include)
            parent.text = base64.b64encode(parts[name]).decode("ascii")
