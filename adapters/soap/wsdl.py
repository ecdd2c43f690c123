"""WSDL files -> zeep's document, with no network: files of one folder, the standards' schemas, and what was fetched."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import zeep.wsdl
from zeep.exceptions import DTDForbidden, EntitiesForbidden, XMLSyntaxError
from zeep.settings import Settings as ZeepSettings
from zeep.wsdl.bindings.soap import SoapBinding

from adapters.soap import standard
from adapters.soap.notes import Notes
from esb.codecs import DecodeError, xml

MAX_BYTES = 32 * 1024 * 1024


class WsdlError(Exception):
    """A WSDL that cannot be used; the text says why."""


class NeededError(Exception):
    """A document of an allowed host that has to be fetched before reading can go on."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class Wsdl:
    """A read WSDL. ``bindings`` are its SOAP bindings by local name; ``remarks`` what zeep had to leave out."""

    def __init__(self, document: Any, remarks: list[str], encoded: set[tuple[str, str]], notes: Notes) -> None:
        self.document = document
        self.notes = notes
        self._encoded = encoded
        self.remarks = remarks
        self.bindings: dict[str, Any] = {
            binding.name.localname: binding
            for definition in document._definitions.values()
            for binding in definition.bindings.values()
            if isinstance(binding, SoapBinding)
        }
        self.ports: list[tuple[str, str, Any]] = [
            (service.name, name, port)
            for service in document.services.values()
            for name, port in service.ports.items()
            if isinstance(port.binding, SoapBinding)
        ]

    def encoded(self, binding: str) -> set[str]:
        """The operations of a binding whose input is rpc/encoded."""
        return {operation for name, operation in self._encoded if name == binding}


class Documents:
    """Zeep's transport: every document it may see, and no other. ``fetched`` are documents of the allowed ``hosts``."""

    def __init__(
        self, folder: Path | None, hosts: frozenset[str] = frozenset(), fetched: Mapping[str, bytes] | None = None
    ) -> None:
        self._folder = folder.resolve() if folder else None
        self._hosts = hosts
        self._fetched = fetched or {}
        self._total = 0
        self.loaded: dict[str, bytes] = {}

    def load(self, url: object) -> bytes:
        """The document's bytes. Raises ``WsdlError`` for what lies outside, ``NeededError`` for what is to be
        fetched."""
        data = self._find(str(url))
        try:
            xml.refuse_doctype(data)
        except DecodeError as error:
            raise WsdlError(f"a document of it {error.reason}") from None
        self._total += len(data)
        if self._total > MAX_BYTES:
            raise WsdlError(f"the WSDL and its schemas are larger than {MAX_BYTES} bytes")
        self.loaded[str(url)] = data
        return data

    def _find(self, url: str) -> bytes:
        if url in standard.SCHEMAS:
            return standard.SCHEMAS[url]
        if url in self._fetched:
            return self._fetched[url]
        parts = urlsplit(url)
        if parts.scheme in ("http", "https"):
            if allowed(url, self._hosts):
                raise NeededError(url)
            raise WsdlError(f"it refers to {url}, which is outside: put the file beside the WSDL")
        return self._file(Path(unquote(parts.path)) if parts.scheme == "file" else Path(url))

    def _file(self, path: Path) -> bytes:
        if self._folder is None:
            raise WsdlError(f"it refers to the file {path.name}, but came from an address")
        try:
            path = path.resolve(strict=True)
            if not path.is_relative_to(self._folder):
                raise WsdlError(f"it refers to {path.name} outside of its folder: set 'wsdl_folder'")
            return path.read_bytes()
        except OSError as error:
            raise WsdlError(f"the file {path.name} cannot be read: {error.strerror}") from None


def allowed(url: str, hosts: frozenset[str]) -> bool:
    """Whether the host of an address, or host and port, is on the list."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and not parts.username and bool({parts.hostname, parts.netloc} & hosts)
    except ValueError:
        return False


def read(location: str, documents: Documents, *, strict: bool = True) -> Wsdl:
    """Read a WSDL and all that it refers to. Raises ``WsdlError`` with the reason, ``NeededError`` to be called again.

    Not ``strict`` reads what can be read of documents that are not well-formed.
    """
    if why := _other(location, documents):
        raise WsdlError(why)
    settings = ZeepSettings(strict=strict, forbid_dtd=True, forbid_entities=True, force_https=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            document = zeep.wsdl.Document(location, cast(Any, documents), settings=settings)
        except (WsdlError, NeededError):
            raise
        except Exception as error:
            raise WsdlError(_reason(error, strict)) from error
    notes = Notes([*documents.loaded.values()])
    return Wsdl(document, [str(one.message) for one in caught], _encoded(documents), notes)


def _encoded(documents: Documents) -> set[tuple[str, str]]:
    """(binding, operation) whose input says ``use="encoded"``, which zeep forgets after reading."""
    found = set()
    for data in documents.loaded.values():
        if b"encoded" not in data:
            continue
        try:
            root = xml.parse(data)
        except DecodeError:
            continue
        for body in root.iterfind(".//{*}binding/{*}operation/{*}input/{*}body[@use='encoded']"):
            operation = body.getparent().getparent()
            found.add((operation.getparent().get("name", ""), operation.get("name", "")))
    return found


def _reason(error: Exception, strict: bool) -> str:
    if isinstance(error, DTDForbidden | EntitiesForbidden):
        return "it has a DOCTYPE, which is refused"
    if isinstance(error, XMLSyntaxError):
        hint = "; 'wsdl_strict: false' reads what can be read" if strict else ""
        return f"it is not well-formed ({_first_line(error)}){hint}"
    if isinstance(error, RecursionError):
        return "its schemas are nested too deeply"
    if isinstance(error, KeyError):
        return f"a part of it has no attribute {error}, which it needs"
    if isinstance(error, AttributeError | AssertionError | TypeError):
        return f"its structure is not that of a WSDL 1.1 with XML Schema ({_first_line(error)})"
    return f"{type(error).__name__}: {_first_line(error)}"


def _other(location: str, documents: Documents) -> str:
    """What the document is if it is no WSDL 1.1; nothing if it cannot be told."""
    try:
        root = xml.parse(documents.load(location))
    except DecodeError:
        return ""
    if root.tag == "{http://www.w3.org/ns/wsdl}description":
        return "it is WSDL 2.0; WSDL 1.1 is needed"
    return "" if root.tag == "{http://schemas.xmlsoap.org/wsdl/}definitions" else "it is not a WSDL"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:300]
