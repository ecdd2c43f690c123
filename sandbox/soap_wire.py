"""SOAP 1.1 and 1.2 envelopes, by hand: what both SOAP channels need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from lxml import etree

from sandbox.http_server import Request, Response

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
DEFAULT_ADDRESS = "http://127.0.0.1:18080"
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
CONTENT_TYPES = {SOAP11: "text/xml; charset=utf-8", SOAP12: "application/soap+xml; charset=utf-8"}
HEADS = {
    version: f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{version}"><soap:Body>'.encode()
    for version in CONTENT_TYPES
}
TAIL = b"</soap:Body></soap:Envelope>"


class SoapError(Exception):
    """A request that gets a SOAP fault; `version` is the envelope to answer in."""

    def __init__(self, version: str, text: str) -> None:
        super().__init__(text)
        self.version = version


@dataclass(slots=True)
class SoapCall:
    """The first element of the Body: its namespace, name and the texts of its children in document order."""

    version: str
    namespace: str
    name: str
    fields: dict[str, str]


def read(request: Request) -> SoapCall:
    """Raises SoapError for what is no SOAP envelope; a DOCTYPE is refused."""
    spoken = SOAP12 if "soap+xml" in request.headers.get("content-type", "") else SOAP11
    try:
        root = etree.fromstring(request.body, PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SoapError(spoken, f"malformed XML: {error}") from None
    if root.getroottree().docinfo.doctype:
        raise SoapError(spoken, "a DOCTYPE is not allowed")
    version, _, name = root.tag[1:].partition("}")
    if version not in HEADS or name != "Envelope":
        raise SoapError(spoken, "not a SOAP envelope")
    body = root.find(f"{{{version}}}Body")
    if body is None or len(body) == 0:
        raise SoapError(version, "empty SOAP body")
    namespace, _, name = body[0].tag[1:].partition("}") if body[0].tag[0] == "{" else ("", "", body[0].tag)
    fields = {
        child.tag.rpartition("}")[2]: (child.text or "").strip() for child in body[0] if isinstance(child.tag, str)
    }
    return SoapCall(version, namespace, name, fields)


def envelope(version: str, body: bytes) -> Response:
    return Response(200, HEADS[version] + body + TAIL, CONTENT_TYPES[version])


def fault(version: str, text: str, client: bool = True) -> Response:
    """Status 500 in 1.1; in 1.2 400 for the sender's fault and 500 for ours."""
    if version == SOAP11:
        code = "soap:Client" if client else "soap:Server"
        body = f"<soap:Fault><faultcode>{code}</faultcode><faultstring>{escape(text)}</faultstring></soap:Fault>"
        status = 500
    else:
        code = "soap:Sender" if client else "soap:Receiver"
        reason = f'<soap:Reason><soap:Text xml:lang="zh">{escape(text)}</soap:Text></soap:Reason>'
        body = f"<soap:Fault><soap:Code><soap:Value>{code}</soap:Value></soap:Code>{reason}</soap:Fault>"
        status = 400 if client else 500
    return Response(status, HEADS[version] + body.encode() + TAIL, CONTENT_TYPES[version])


def wsdl(name: str, port: int) -> bytes:
    """A WSDL file of this package with soap:address at the real port."""
    text = (Path(__file__).parent / "wsdl" / name).read_text(encoding="utf-8")
    return text.replace(DEFAULT_ADDRESS, f"http://127.0.0.1:{port}").encode()
