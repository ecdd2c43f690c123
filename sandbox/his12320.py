"""The 12320 style channel, /soap/12320: HisInterface(xml), one sealed string in, one out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from xml.sax.saxutils import escape

from sandbox.faults import Call
from sandbox.functions12320 import Functions, Res
from sandbox.hospital import Hospital
from sandbox.http_server import Request, Response
from sandbox.registration import Refusal
from sandbox.seal12320 import Rejected, cdata, function_of, open_request, seal_response
from sandbox.soap_wire import SOAP11, SoapError, envelope, fault, read, wsdl

NAMESPACE = "http://tempuri.org/"


def render(name: str, value: Res) -> str:
    """A list is its node repeated under the parent; texts travel in CDATA."""
    if isinstance(value, list):
        return "".join(render(name, item) for item in value)
    if isinstance(value, dict):
        return f"<{name}>{''.join(render(key, item) for key, item in value.items())}</{name}>"
    return f"<{name}>{cdata(value)}</{name}>"


class His12320Channel:
    """Unwraps the SOAP call, opens the envelope, performs the function, seals the answer."""

    def __init__(self, hospital: Hospital, port: Callable[[], int]) -> None:
        self._functions = Functions(hospital)
        self._port = port

    def read(self, request: Request) -> Call:
        if request.method == "GET":
            page = Response(200, wsdl("his12320.wsdl", self._port()), "text/xml; charset=utf-8")
            return Call("12320", "WSDL", None, lambda: page, lambda code: fault(SOAP11, f"error {code}", client=False))
        try:
            call = read(request)
            if (call.namespace, call.name) != (NAMESPACE, "HisInterface"):
                raise SoapError(call.version, f"unknown operation {{{call.namespace}}}{call.name}")
        except SoapError as error:
            wrong = fault(error.version, str(error))
            return Call("12320", "malformed", None, lambda: wrong, lambda code: wrong)
        text = call.fields.get("xml", "")
        decoded = {"sealed": text, "fields": _fields(text)}
        perform = partial(self._perform, call.version, text)
        return Call("12320", function_of(text), decoded, perform, partial(_refused, call.version))

    def _perform(self, version: str, text: str) -> Response:
        try:
            opened = open_request(text)
            res = self._functions.call(opened.function, opened.fields)
        except Rejected as error:
            return _wrapped(version, seal_response(error.code, error.text, ""))
        except Refusal as refusal:
            return _wrapped(version, seal_response("13", refusal.text, ""))
        except ValueError as error:
            return _wrapped(version, seal_response("1", f"参数错误: {error}", ""))
        return _wrapped(version, seal_response("0", "成功", render("RES", res)))


def _fields(text: str) -> dict[str, str] | None:
    try:
        return open_request(text).fields
    except Rejected:
        return None


def _wrapped(version: str, sealed: str) -> Response:
    head = f'<HisInterfaceResponse xmlns="{NAMESPACE}"><HisInterfaceResult>'
    return envelope(version, f"{head}{escape(sealed)}</HisInterfaceResult></HisInterfaceResponse>".encode())


def _refused(version: str, code: str | None) -> Response:
    return _wrapped(version, seal_response(code or "99", "系统繁忙，请稍后再试", ""))
