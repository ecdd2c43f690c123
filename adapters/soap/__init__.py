"""SOAP 1.1 and 1.2 by WSDL: document and rpc, literal and encoded. zeep reads the WSDL; writers and readers are
compiled."""

from __future__ import annotations

from adapters.soap import encoded, read
from adapters.soap.client import Soap
from adapters.soap.settings import Settings
from esb.codecs import DecodeError, xml
from esb.spi import Malformed, Tree

__all__ = ["Settings", "Soap", "connect", "decode"]


def connect(settings: Settings) -> Soap:
    """An adapter for one port. Raises ``ConfigError`` for a WSDL that cannot be used; opens no connection."""
    return Soap(settings)


def decode(text: str) -> Tree:
    """The tree of an example's answer: a whole envelope, or only what its Body holds.

    Raises ``Malformed`` for what is no XML and ``Refused`` for a fault, as a call would.
    """
    data = text.encode("utf-8", "replace")
    encoding = encoded.is_encoded(data)
    try:
        root = xml.parse(text, drop_controls=True)
        if xml.local[root.tag] == "Envelope":
            return read.answer(read.envelope(data, "charset=utf-8")[0], data, None, encoding=encoding)
        return encoded.decode(root, root) if encoding else xml.decode_element(root)
    except DecodeError as error:
        raise Malformed(f"the answer {error.reason}", raw=data) from None
    except read.NoEnvelopeError as error:
        raise Malformed(f"the answer cannot be read: {error}", raw=data) from None
