"""Settings -> the port that is called: its compiled operations and its address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.soap.operations import Operation, compile_operations
from adapters.soap.settings import Settings
from adapters.soap.wsdl import Documents, NeededError, Wsdl, WsdlError, allowed, read
from esb.codecs.yaml import nearest

MAX_DOCUMENTS = 200


@dataclass(frozen=True, slots=True)
class Service:
    """One port: what it can do and where. ``operations`` holds a reason in place of an operation that cannot be
    used."""

    operations: Mapping[str, Operation | str]
    address: str
    remarks: tuple[str, ...]

    def operation(self, name: str) -> Operation:
        """Raises ``LookupError`` whose text says what is wrong and what was perhaps meant."""
        found = self.operations.get(name)
        if found is None:
            hint = nearest(name, self.operations) or "known: " + ", ".join(sorted(self.operations)[:20])
            remark = next((f"; {one}" for one in self.remarks if f"'{name}'" in one), "")
            raise LookupError(f"operation '{name}' is not in the WSDL ({hint}){remark}")
        if isinstance(found, str):
            raise LookupError(f"operation '{name}' cannot be called: {found}")
        return found


def load(settings: Settings) -> Service:
    """From a file. Raises ``WsdlError``."""
    path = Path(settings.wsdl)
    if not path.is_file():
        raise WsdlError("there is no such file")
    documents = Documents(settings.wsdl_folder or path.parent)
    return choose(settings, read(str(path.absolute()), documents, strict=settings.wsdl_strict))


async def fetch(settings: Settings, get: Callable[[str], Awaitable[bytes]]) -> Service:
    """From an address; ``get`` fetches one document. Raises ``WsdlError`` and what ``get`` raises."""
    fetched: dict[str, bytes] = {}
    location = str(settings.wsdl)
    for _ in range(MAX_DOCUMENTS):
        documents = Documents(None, settings.wsdl_hosts, fetched)
        try:
            wsdl = await asyncio.to_thread(read, location, documents, strict=settings.wsdl_strict)
        except NeededError as needed:
            fetched[needed.url] = await get(needed.url)
            continue
        service = choose(settings, wsdl)
        if settings.address is None and not allowed(service.address, settings.wsdl_hosts):
            raise WsdlError("its address is on a host that is not in 'wsdl_hosts': set 'address'")
        return service
    raise WsdlError(f"it refers to more than {MAX_DOCUMENTS} documents")


def choose(settings: Settings, wsdl: Wsdl) -> Service:
    """The port that the settings name, or the first. Raises ``WsdlError``."""
    binding, address = _port(settings, wsdl)
    encoded = wsdl.encoded(binding.name.localname)
    operations = compile_operations(binding, wsdl.document.types, encoded, wsdl.notes)
    address = settings.address or address
    if not address:
        raise WsdlError("it has no address: set 'address'")
    return Service(operations, address, tuple(wsdl.remarks))


def _port(settings: Settings, wsdl: Wsdl) -> tuple[Any, str]:
    ports = [
        (port.binding, (port.binding_options or {}).get("address") or "")
        for service, name, port in wsdl.ports
        if settings.service in (None, service)
        and settings.port in (None, name)
        and settings.binding in (None, port.binding.name.localname)
    ]
    if ports:
        return ports[0]
    if settings.service is None and settings.port is None:
        for name, binding in wsdl.bindings.items():
            if settings.binding in (None, name):
                return binding, ""
    known = ", ".join(f"{service}/{name} ({port.binding.name.localname})" for service, name, port in wsdl.ports)
    raise WsdlError("it has no such SOAP port" + (f"; known: {known}" if known else " and none at all"))
