"""A binding's operations, compiled at load: what to send, where its parts go, how to read the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from zeep.xsd.elements import Element
from zeep.xsd.types import AnySimpleType, ComplexType

from adapters.soap.describe import Types
from adapters.soap.notes import Notes
from adapters.soap.particles import ElementWriter
from adapters.soap.shapes import Shapes
from adapters.soap.standard import SOAP11_ENCODING, SOAP12_ENCODING
from adapters.soap.write import ComplexContent, Namespaces, Writers
from esb.codecs import EncodeError
from esb.codecs.xml import Shape
from esb.spi import ANY, Description, Tree, Type

ENVELOPE_11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE_12 = "http://www.w3.org/2003/05/soap-envelope"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one binding.

    ``parts`` write the children of Body; the payload is the content of the only one, or a dict of them by part name.
    ``fields`` are the names at the top of a payload, with whether the WSDL wants them; ``None`` if it is no structure.
    ``wild`` says that others may come too. ``describe`` says all that the WSDL does of request and answer.
    """

    name: str
    soap_action: str
    version_12: bool
    parts: tuple[ElementWriter, ...]
    names: tuple[str, ...]
    namespaces: Namespaces
    encoding: str
    headers: Mapping[str, ElementWriter]
    fields: Mapping[str, bool] | None
    wild: bool
    shape: Shape | None
    structured: bool
    one_way: bool
    describe: Callable[[], Description]

    def write_body(self, payload: Tree) -> str:
        """The content of Body. Raises ``EncodeError``."""
        out: list[str] = []
        if len(self.parts) == 1:
            self.parts[0].content.write(payload, out, self.parts[0].tag, self.encoding)
        elif self.parts:
            self._write_parts(payload, out)
        elif payload:
            raise EncodeError("the operation takes nothing")
        return "".join(out)

    def _write_parts(self, payload: Tree, out: list[str]) -> None:
        if not isinstance(payload, Mapping):
            raise EncodeError(f"is a structure of {', '.join(self.names)} in the WSDL")
        if unknown := [key for key in payload if key not in self.names]:
            raise EncodeError(f"'{unknown[0]}' is not in the WSDL (known: {', '.join(self.names)})")
        for name, part in zip(self.names, self.parts, strict=True):
            if name not in payload:
                raise EncodeError("is required by the WSDL", name)
            part.put(payload[name], out)


class _Compiler(NamedTuple):
    envelope: str
    schema: Any
    shapes: Shapes
    requests: Types
    answers: Types


def compile_operations(
    binding: Any, schema: Any, encoded: Set[str], notes: Notes | None = None
) -> dict[str, Operation | str]:
    """Operations by name; in place of one that cannot be used stands the reason. ``encoded``: those of rpc/encoded."""
    notes = notes or Notes()
    types = Types(schema, notes, answer=False), Types(schema, notes, answer=True)
    compiler = _Compiler(binding.nsmap["soap-env"], schema, Shapes(schema), *types)
    compiled: dict[str, Operation | str] = {}
    for name, operation in binding._operations.items():
        try:
            compiled[name] = _compile(operation, compiler, name in encoded)
        except EncodeError as error:
            compiled[name] = str(error)
        except (AttributeError, KeyError, TypeError, ValueError, LookupError) as error:
            compiled[name] = f"its message cannot be built from the WSDL ({type(error).__name__}: {error})"
    return compiled


def _compile(operation: Any, compiler: _Compiler, encoded: bool) -> Operation:
    writers = Writers(compiler.schema, Namespaces(compiler.envelope), encoded)
    style = SOAP12_ENCODING if compiler.envelope == ENVELOPE_12 else SOAP11_ENCODING
    bodies = _bodies(operation.input)
    parts = tuple(writers.element(element) for element in bodies)
    fields, wild = _fields(parts, bodies)
    answer = _answered(operation.output)
    return Operation(
        name=operation.name,
        soap_action=operation.soapaction or "",
        version_12=compiler.envelope == ENVELOPE_12,
        parts=parts,
        names=tuple(map(_part_name, bodies)),
        namespaces=writers.namespaces,
        encoding=f' soap:encodingStyle="{style}"' if encoded else "",
        headers=_headers(operation.input, writers),
        fields=fields,
        wild=wild,
        shape=compiler.shapes.of(answer.type) if answer is not None else Shape(),
        structured=answer is not None and isinstance(answer.type, ComplexType),
        one_way=operation.abstract.output_message is None,
        describe=lambda: Description(
            _request(operation.input, bodies, compiler.requests),
            compiler.answers.element(answer) if answer is not None and not encoded else ANY,
        ),
    )


def _bodies(message: Any) -> list[Any]:
    """The elements under Body: one, or one for each part of a document style message."""
    if message is None or message.body is None:
        return []
    if message._is_body_wrapped:
        return [element for _, element in message.body.type.elements]
    if message.body.type is None:
        raise EncodeError("its message has a part without a type")
    return [message.body]


def _answered(message: Any) -> Any:
    """The first element under Body of an answer; None where nothing is said of it."""
    if message is None or message.body is None:
        return None
    return next((element for _, element in message.body.type.elements)) if message._is_body_wrapped else message.body


def _part_name(element: Any) -> str:
    return str(element.attr_name or element.name)


def _headers(message: Any, writers: Writers) -> dict[str, ElementWriter]:
    headers: dict[str, ElementWriter] = {}
    for name, element in _header_elements(message):
        headers[name] = headers[element.qname.localname] = writers.element(element)
    return headers


def _header_elements(message: Any) -> list[tuple[str, Any]]:
    if message is None or message.header is None or message.header.type is None:
        return []
    return [(str(name), element) for name, element in message.header.type.elements if isinstance(element, Element)]


def _request(message: Any, bodies: list[Any], types: Types) -> Type:
    """The payload: the content of the only part or the parts by name, and SOAP headers under ``_headers``."""
    if len(bodies) == 1:
        payload = types.element(bodies[0])
        if payload.sort != "structure":
            return payload
    else:
        payload = Type("structure", required=True, make=lambda: {_part_name(one): types.element(one) for one in bodies})
    return replace(payload, make=lambda: {**payload.fields, "_headers": _header_type(message, types)})


def _header_type(message: Any, types: Types) -> Type:
    def fields() -> dict[str, Type]:
        found: dict[str, Type] = {}
        for name, element in _header_elements(message):
            found[name] = found[element.qname.localname] = replace(types.element(element), required=False)
        return found

    return Type("structure", open=True, make=fields)


def _fields(parts: tuple[ElementWriter, ...], bodies: list[Any]) -> tuple[dict[str, bool] | None, bool]:
    if not parts:
        return {}, False
    if len(parts) > 1:
        return {_part_name(element): True for element in bodies}, False
    content = parts[0].content
    if not isinstance(content, ComplexContent) or isinstance(bodies[0].type, AnySimpleType):
        return None, True
    return content.fields(), content.open
