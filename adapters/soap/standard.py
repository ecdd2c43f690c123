"""Schemas that WSDLs import from the standards' own addresses, so that reading one never needs a network.

Only the names that messages use are here, written anew after the standards' texts.
"""

from __future__ import annotations

from typing import Final

_XSD = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
_SIMPLE = [
    "anyURI", "base64Binary", "boolean", "byte", "date", "dateTime", "decimal", "double", "duration", "ENTITY",
    "ENTITIES", "float", "gDay", "gMonth", "gMonthDay", "gYear", "gYearMonth", "hexBinary", "ID", "IDREF",
    "IDREFS", "int", "integer", "language", "long", "Name", "NCName", "negativeInteger", "NMTOKEN", "NMTOKENS",
    "nonNegativeInteger", "nonPositiveInteger", "normalizedString", "NOTATION", "positiveInteger", "QName",
    "short", "string", "time", "token", "unsignedByte", "unsignedInt", "unsignedLong", "unsignedShort",
]  # fmt: skip

SOAP11_ENCODING: Final = "http://schemas.xmlsoap.org/soap/encoding/"
SOAP12_ENCODING: Final = "http://www.w3.org/2003/05/soap-encoding"


def _simple(name: str) -> str:
    return (
        f'<xs:complexType name="{name}"><xs:simpleContent><xs:extension base="xs:{name}">'
        '<xs:attributeGroup ref="tns:commonAttributes"/></xs:extension></xs:simpleContent></xs:complexType>'
        f'<xs:element name="{name}" type="tns:{name}"/>'
    )


def _encoding(namespace: str, attributes: str) -> str:
    return (
        f'<xs:schema {_XSD} xmlns:tns="{namespace}" targetNamespace="{namespace}">'
        '<xs:attributeGroup name="commonAttributes"><xs:attribute name="id" type="xs:ID"/>'
        '<xs:attribute name="href" type="xs:anyURI"/><xs:anyAttribute namespace="##other" processContents="lax"/>'
        f'</xs:attributeGroup>{attributes}<xs:attributeGroup name="arrayAttributes">'
        '<xs:attribute ref="tns:arrayType"/><xs:attribute ref="tns:offset"/></xs:attributeGroup>'
        '<xs:group name="Array"><xs:sequence><xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" '
        'processContents="lax"/></xs:sequence></xs:group><xs:complexType name="Array">'
        '<xs:group ref="tns:Array" minOccurs="0"/><xs:attributeGroup ref="tns:arrayAttributes"/>'
        '<xs:attributeGroup ref="tns:commonAttributes"/></xs:complexType><xs:element name="Array" type="tns:Array"/>'
        '<xs:group name="Struct"><xs:sequence><xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" '
        'processContents="lax"/></xs:sequence></xs:group><xs:complexType name="Struct">'
        '<xs:group ref="tns:Struct" minOccurs="0"/><xs:attributeGroup ref="tns:commonAttributes"/></xs:complexType>'
        '<xs:simpleType name="base64"><xs:restriction base="xs:base64Binary"/></xs:simpleType>'
        + "".join(map(_simple, _SIMPLE))
        + "</xs:schema>"
    )


_ARRAY_ATTRIBUTES = '<xs:attribute name="arrayType" type="xs:string"/><xs:attribute name="offset" type="xs:string"/>'
_ARRAY_ATTRIBUTES_12 = (
    _ARRAY_ATTRIBUTES
    + '<xs:attribute name="itemType" type="xs:QName"/><xs:attribute name="arraySize" type="xs:string"/>'
)
_XML = (
    f'<xs:schema {_XSD} targetNamespace="http://www.w3.org/XML/1998/namespace">'
    '<xs:attribute name="lang" type="xs:language"/><xs:attribute name="space" type="xs:NCName" default="preserve"/>'
    '<xs:attribute name="base" type="xs:anyURI"/><xs:attribute name="id" type="xs:ID"/>'
    '<xs:attributeGroup name="specialAttrs"><xs:attribute name="lang" type="xs:language"/></xs:attributeGroup>'
    "</xs:schema>"
)
_MIME = "http://www.w3.org/2005/05/xmlmime"
_XML_MIME = (
    f'<xs:schema {_XSD} xmlns:tns="{_MIME}" targetNamespace="{_MIME}">'
    '<xs:attribute name="contentType" type="xs:string"/><xs:attribute name="expectedContentTypes" type="xs:string"/>'
    '<xs:complexType name="base64Binary"><xs:simpleContent><xs:extension base="xs:base64Binary">'
    '<xs:attribute ref="tns:contentType"/></xs:extension></xs:simpleContent></xs:complexType></xs:schema>'
)

SCHEMAS: Final[dict[str, bytes]] = {
    address: text.encode()
    for addresses, text in (
        ((SOAP11_ENCODING, "http://schemas.xmlsoap.org/soap/encoding"), _encoding(SOAP11_ENCODING, _ARRAY_ATTRIBUTES)),
        ((SOAP12_ENCODING, f"{SOAP12_ENCODING}/"), _encoding(SOAP12_ENCODING, _ARRAY_ATTRIBUTES_12)),
        (("http://www.w3.org/2001/xml.xsd", "https://www.w3.org/2001/xml.xsd"), _XML),
        (("http://www.w3.org/2001/03/xml.xsd", "http://www.w3.org/2005/08/xml.xsd"), _XML),
        (("http://www.w3.org/2009/01/xml.xsd", "http://www.w3.org/XML/1998/namespace"), _XML),
        ((_MIME, "https://www.w3.org/2005/05/xmlmime"), _XML_MIME),
    )
    for address in addresses
}
"""Address or namespace -> schema document."""
