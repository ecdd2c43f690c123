"""One SOAP port as an adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from adapters.soap import read
from adapters.soap.operations import Operation
from adapters.soap.security import username_token
from adapters.soap.service import Service, fetch, load
from adapters.soap.settings import Settings
from adapters.soap.wsdl import WsdlError, allowed
from esb.codecs import EncodeError, xml
from esb.codecs import charset as charsets
from esb.codecs.xmltext import escape, escape_attribute
from esb.http import HttpAnswer, HttpCarrier
from esb.spi import (
    ANY,
    AdapterError,
    Call,
    ConfigError,
    Description,
    Effect,
    Finding,
    Malformed,
    OutcomeUnknown,
    Refused,
    Tree,
    Type,
    Unavailable,
    Wire,
)

_PROBE_BYTES = 65_536


class Soap:
    """Calls the operations of one port; actions are their names.

    The payload is the content of the operation's element (document) or its parts (rpc), with SOAP headers under
    ``_headers``; the answer is what the first element of the answer's Body holds. A fault is ``Refused`` with ``code``,
    ``message`` and ``detail``. Whatever is no envelope is ``Malformed``, with a status of 5xx ``OutcomeUnknown``: a
    broken server may have done it first. Only 429, and 503 with Retry-After, are taken at their word as
    ``Unavailable``.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ``ConfigError``. A WSDL at an address is read with the first call."""
        self._settings = settings
        self._service: Service | None = None
        self._carrier: HttpCarrier | None = None
        self._closed = False
        self._loading = asyncio.Lock()
        self._codec = charsets.writer(settings.charset)
        self._secrets: list[str] = []
        self._static = self._revealed(settings.headers)
        self._http_headers = {name: value.get_secret_value() for name, value in settings.http_headers.items()}
        if settings.remote:
            if not allowed(str(settings.wsdl), settings.wsdl_hosts):
                raise _fault("a WSDL at an address needs its host in 'wsdl_hosts'")
            return
        try:
            self._take(load(settings))
        except WsdlError as error:
            raise _fault(f"the WSDL {Path(settings.wsdl).name} cannot be used: {error}") from None

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        """See ``esb.spi.Adapter``."""
        service, carrier = await self._ready(call)
        operation, text, shown = self._written(service, action, payload, call)
        answer = await carrier.request(
            "POST",
            service.address,
            headers=self._headers(operation),
            body=text.encode(self._codec, "xmlcharrefreplace"),
            call=call,
            sent=shown.encode(self._codec, "xmlcharrefreplace"),
        )
        return self._read(operation, answer, call.effect)

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """The envelope, without the password."""
        if self._service is None:
            raise Unavailable("the WSDL stands at an address, which is read with the first call")
        return self._written(self._service, action, payload, call)[2]

    async def probe(self, call: Call) -> None:
        """Any HTTP answer is life."""
        service, carrier = await self._ready(call)
        try:
            await carrier.request("GET", service.address, headers={}, body=None, call=call, max_bytes=_PROBE_BYTES)
        except Malformed:
            return
        except OutcomeUnknown as error:
            raise Unavailable(error.reason) from None

    async def close(self) -> None:
        """See ``esb.spi.Adapter``."""
        self._closed = True
        if self._carrier is not None:
            await self._carrier.close()

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """See ``esb.spi.Adapter``: the operation is there. Silent while a WSDL at an address has not been read."""
        if self._service is None:
            return
        try:
            self._service.operation(action)
        except LookupError as error:
            yield str(error.args[0])

    def describe(self, action: str) -> Description:
        """See ``esb.spi.Described``; nothing is known while a WSDL at an address has not been read.

        A request has what the WSDL wants; in an answer every value but a date or time is a text.
        """
        try:
            found = self._service.operation(action).describe() if self._service is not None else Description()
        except LookupError:
            return Description()
        result = found.answer.at([self._settings.result] if self._settings.result else [])
        return found._replace(answer=result if isinstance(result, Type) else ANY)

    async def _ready(self, call: Call) -> tuple[Service, HttpCarrier]:
        if self._closed:
            raise Unavailable("the connection to this system was closed")
        if self._service is None or self._carrier is None:
            async with self._loading:
                if self._service is None:
                    await self._fetch(call)
        assert self._service is not None
        assert self._carrier is not None
        return self._service, self._carrier

    async def _fetch(self, call: Call) -> None:
        async def get(url: str) -> bytes:
            carrier = HttpCarrier(url, self._settings)
            try:
                answer = await carrier.request("GET", url, headers={}, body=None, call=replace(call, wire=Wire()))
            finally:
                await carrier.close()
            if answer.status != 200:
                raise WsdlError(f"it was answered with HTTP {answer.status}")
            return answer.body

        try:
            self._take(await fetch(self._settings, get))
        except (WsdlError, ConfigError) as error:
            raise Unavailable(f"the WSDL cannot be used: {error}") from None
        except AdapterError as error:
            raise Unavailable(f"the WSDL cannot be fetched: {error.reason}") from None

    def _take(self, service: Service) -> None:
        self._carrier = HttpCarrier(service.address, self._settings)
        self._service = service

    def _headers(self, operation: Operation) -> dict[str, str]:
        style, action = self._settings.soap_action, operation.soap_action
        shown = f'"{action}"' if style == "quoted" else action
        kind = "application/soap+xml" if operation.version_12 else "text/xml"
        headers = {"Content-Type": f"{kind}; charset={self._settings.charset}"}
        if style != "absent" and operation.version_12 and action:
            headers["Content-Type"] += f"; action={shown}"
        elif style != "absent" and not operation.version_12:
            headers["SOAPAction"] = shown
        return headers | self._http_headers

    def _written(self, service: Service, action: str, payload: Tree, call: Call) -> tuple[Operation, str, str]:
        """The operation, its request, and the same for the journal."""
        try:
            operation = service.operation(action)
            return (operation, *self._envelope(operation, payload, call))
        except LookupError as error:
            raise Refused(str(error.args[0]), code="invalid") from None
        except EncodeError as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None

    def _envelope(self, operation: Operation, payload: Tree, call: Call) -> tuple[str, str]:
        """The request, and the same for the journal without the password."""
        inner: Tree = {}
        if isinstance(payload, Mapping) and "_headers" in payload:
            inner = payload["_headers"]
            payload = {key: value for key, value in payload.items() if key != "_headers"}
        body = operation.write_body(payload)
        header = self._header(operation, inner)
        token, shown = self._token(call)
        start = (
            f'<?xml version="1.0" encoding="{self._settings.charset}"?>'
            f"<soap:Envelope{operation.namespaces.declarations()}>"
        )
        end = f"<soap:Body>{body}</soap:Body></soap:Envelope>"
        if not header and not token:
            return (text := start + end), text
        text = f"{start}<soap:Header>{token}{header}</soap:Header>{end}"
        for secret in self._secrets:
            header = header.replace(secret, "***")
        return text, f"{start}<soap:Header>{shown}{header}</soap:Header>{end}"

    def _header(self, operation: Operation, more: Tree) -> str:
        out: list[str] = []
        if not isinstance(more, Mapping):
            raise EncodeError("is a structure of SOAP headers", "_headers")
        for name, tree in (*self._static.items(), *more.items()):
            for item in tree if isinstance(tree, list | tuple) else [tree]:
                if name in operation.headers:
                    operation.headers[name].put(item, out)
                elif item is not None:
                    out.append(xml.encode(item, name))
        return "".join(out)

    def _revealed(self, tree: Tree) -> Tree:
        """The headers of the settings; their secrets are kept out of the journal."""
        if isinstance(tree, Mapping):
            return {key: self._revealed(value) for key, value in tree.items()}
        if not isinstance(tree, SecretStr):
            return tree
        self._secrets.append(escape_attribute(tree.get_secret_value()))
        self._secrets.append(escape(tree.get_secret_value()))
        return tree.get_secret_value()

    def _token(self, call: Call) -> tuple[str, str]:
        settings = self._settings
        if settings.username is None or settings.password is None:
            return "", ""
        return username_token(
            settings.username, settings.password.get_secret_value(), settings.password_type, call.clock.now()
        )

    def _read(self, operation: Operation, answer: HttpAnswer, effect: Effect) -> Tree:
        well = 200 <= answer.status < 300
        if operation.one_way and well and not answer.body.strip():
            return {}
        try:
            kind = answer.headers.get("Content-Type") or ""
            root, data = read.envelope(answer.body, kind, self._settings.answer_charset)
            encoding = bool(operation.encoding)
            tree = read.answer(root, data, operation.shape, structured=operation.structured, encoding=encoding)
        except read.NoEnvelopeError as error:
            raise _useless(answer, str(error)) from None
        except Malformed as error:
            error.raw = answer.body
            raise
        except Refused as error:
            error.raw = answer.body
            if effect is not Effect.READ and _only_failed(error):
                raise OutcomeUnknown(f"{error.reason}, which says that it failed, not when", raw=answer.body) from None
            raise
        if not well:
            raise _useless(answer, "it is an envelope without a fault")
        return self._result(tree, answer)

    def _result(self, tree: Tree, answer: HttpAnswer) -> Tree:
        name = self._settings.result
        if name is None:
            return tree
        if not isinstance(tree, Mapping) or name not in tree:
            raise Malformed(f"the answer has no part '{name}'", raw=answer.body)
        return tree[name]


def _only_failed(fault: Refused) -> bool:
    """An unhandled exception (a database's timeout after the commit) looks like this; a business no says more."""
    return fault.code in ("Server", "Receiver") and not fault.detail


def _useless(answer: HttpAnswer, what: str) -> AdapterError:
    reason = f"the system answered HTTP {answer.status}: {what}"
    if answer.status == 429 or (answer.status == 503 and answer.retry_after is not None):
        return Unavailable(reason, raw=answer.body, retry_after=answer.retry_after)
    if answer.status >= 500:
        return OutcomeUnknown(reason, raw=answer.body)
    return Malformed(reason, raw=answer.body)


def _fault(message: str) -> ConfigError:
    return ConfigError([Finding("settings", 0, 0, message)])
