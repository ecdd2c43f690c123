"""Zeep's types -> compiled writers of XML text, so that a call builds no element tree.

A writer takes an XML tree (see ``esb.codecs.xml``): dicts by local name, ``@name`` for attributes, ``#text`` beside
them, lists for what repeats. The schema's order decides, not the dict's. ``None`` is left out, or written as
``xsi:nil`` where the schema wants the element and allows it. Everything wrong with a tree is an ``EncodeError`` that
names the path.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from zeep.xsd.elements import Any as AnyElement
from zeep.xsd.elements import AnyAttribute, Element, Group
from zeep.xsd.elements import Choice as ZeepChoice
from zeep.xsd.elements.indicators import OrderIndicator
from zeep.xsd.types import AnySimpleType, ComplexType
from zeep.xsd.types.collection import ListType

from adapters.soap.particles import At, Choice, Content, ElementWriter, Particle, Sequence, Wildcard
from adapters.soap.standard import SOAP11_ENCODING
from esb.codecs import EncodeError, xml
from esb.codecs.xmltext import cdata_section, check_name, escape, escape_attribute, scalar
from esb.codecs.yaml import nearest
from esb.spi import Tree

XSD = "http://www.w3.org/2001/XMLSchema"


class Namespaces:
    """Prefixes of the namespaces that one envelope uses."""

    def __init__(self, envelope: str) -> None:
        self._prefixes: dict[str, str] = {envelope: "soap", xml.XSI: "xsi"}
        self._written = (0, "")

    def name(self, namespace: str | None, local: str) -> str:
        """The name with its prefix, which is given out here when it is new."""
        if not namespace:
            return local
        if namespace == "http://www.w3.org/XML/1998/namespace":
            return f"xml:{local}"
        prefix = self._prefixes.setdefault(namespace, f"n{len(self._prefixes) - 1}")
        return f"{prefix}:{local}"

    def declarations(self) -> str:
        """The ``xmlns`` attributes of the envelope, to be asked for when its content is written."""
        if self._written[0] != len(self._prefixes):
            text = "".join(f' xmlns:{prefix}="{escape_attribute(uri)}"' for uri, prefix in self._prefixes.items())
            self._written = (len(self._prefixes), text)
        return self._written[1]


class Writers:
    """The writers of one operation. ``encoded`` adds ``xsi:type`` and SOAP arrays (rpc/encoded)."""

    def __init__(self, schema: Any, namespaces: Namespaces, encoded: bool = False) -> None:
        self.namespaces = namespaces
        self.encoded = encoded
        self._schema = schema
        self._contents: dict[int, Content] = {}
        self._keep: list[Any] = []

    def element(self, element: Any) -> ElementWriter:
        """The writer of an element of the schema, its type's writers included."""
        tag = self.namespaces.name(element.qname.namespace, element.qname.localname)
        typed = self._type_attribute(element.type) if self.encoded else ""
        return ElementWriter(element, tag, typed, self.content(element.type))

    def content(self, type_: Any) -> Content:
        """The writer of a type; the same one for the same type, so that types may hold themselves."""
        known = self._contents.get(id(type_))
        if known is None:
            self._keep.append(type_)  # so that no other type gets its id
            known = self._compile(type_)
        return known

    def derived(self, name: str) -> tuple[str, Content]:
        """For ``@xsi:type``: the attribute and the writer of the global type of this local name."""
        wanted = name.rpartition(":")[2]
        for type_ in self._schema.types:
            if type_.name == wanted or (type_.qname is not None and type_.qname.localname == wanted):
                return self._type_attribute(type_), self.content(type_)
        raise EncodeError(f"type '{wanted}' is not in the WSDL")

    def _compile(self, type_: Any) -> Content:
        if isinstance(type_, AnySimpleType):
            return self._remember(type_, SimpleContent(type_))
        if not isinstance(type_, ComplexType):
            return self._remember(type_, AnyContent())
        if self.encoded and type_._array_type is not None:
            return self._remember(type_, self._array(type_))
        inner = type_._element
        if isinstance(inner, Element) and isinstance(inner.type, AnySimpleType):
            return self._remember(type_, ComplexContent(self, type_, SimpleContent(inner.type)))
        content = ComplexContent(self, type_, None)
        self._remember(type_, content)
        content.compile(inner)
        return content

    def _remember(self, type_: Any, content: Content) -> Content:
        self._contents[id(type_)] = content
        return content

    def _array(self, type_: Any) -> Content:
        item = type_._array_type.array_type
        name = next((element.name for _, element in type_.elements if isinstance(element, Element)), None) or "item"
        content = ArrayContent(self, name, item)
        self._remember(type_, content)
        content.compile()
        return content

    def _type_attribute(self, type_: Any) -> str:
        qname = getattr(type_, "qname", None)
        if qname is None or not getattr(type_, "is_global", False) or not qname.namespace:
            return ""
        return f' xsi:type="{self.namespaces.name(qname.namespace, qname.localname)}"'


class SimpleContent:
    """Text: a simple type, or a list of them."""

    def __init__(self, type_: Any) -> None:
        self.takes_list = isinstance(type_, ListType)

    def text(self, tree: Tree) -> str:
        if isinstance(tree, str):
            return tree
        if self.takes_list and isinstance(tree, list | tuple):
            return " ".join([scalar(item, "") for item in tree])
        if isinstance(tree, bytes):
            return base64.b64encode(tree).decode("ascii")
        if isinstance(tree, Mapping | list | tuple):
            raise EncodeError("is a text in the WSDL, not a structure")
        return scalar(tree, "")

    def write(self, tree: Tree, out: list[str], tag: str, extra: str = "") -> None:
        section = isinstance(tree, Mapping) and (tree.keys() == {"#cdata"})
        if section or (isinstance(tree, Mapping) and tree.keys() == {"#text"}):
            tree = next(iter(tree.values()))
        text = self.text("" if tree is None else tree)
        out.append(f"<{tag}{extra}>{cdata_section(text, '') if section else escape(text, '')}</{tag}>")


class AnyContent:
    """Whatever comes: a text, or a structure without namespaces."""

    takes_list = False

    def write(self, tree: Tree, out: list[str], tag: str, extra: str = "") -> None:
        whole = xml.encode(tree, "x")
        inside, end = (whole[2:-4], f"</{tag}>") if whole.endswith("</x>") else (whole[2:], "")
        out.append(f"<{tag}{extra}{inside}{end}")


class ArrayContent:
    """A SOAP encoding array: a list, or a dict whose only value is the list."""

    takes_list = True

    def __init__(self, writers: Writers, name: str, item: Any) -> None:
        self._writers, self._name, self._item = writers, name, item
        self._array = writers.namespaces.name(SOAP11_ENCODING, "Array")
        self._array_type = writers.namespaces.name(SOAP11_ENCODING, "arrayType")

    def compile(self) -> None:
        qname = getattr(self._item, "qname", None)
        item = (qname.namespace, qname.localname) if qname is not None else (XSD, "anyType")
        self._item_name = self._writers.namespaces.name(*item)
        self._content = self._writers.content(self._item)

    def write(self, tree: Tree, out: list[str], tag: str, extra: str = "") -> None:
        if isinstance(tree, Mapping) and len(tree) == 1:
            tree = next(iter(tree.values()))
        items = tree if isinstance(tree, list | tuple) else [] if tree in (None, "") else [tree]
        array = f' {self._array_type}="{self._item_name}[{len(items)}]" xsi:type="{self._array}"'
        out.append(f"<{tag}{array}>")
        for index, item in enumerate(items):
            with At(f"[{index}]"):
                self._content.write(item, out, self._name, f' xsi:type="{self._item_name}"')
        out.append(f"</{tag}>")


class ComplexContent:
    """Attributes, and either text or elements in the order of the schema."""

    takes_list = False

    def __init__(self, writers: Writers, type_: Any, simple: SimpleContent | None) -> None:
        self._writers = writers
        self._simple = simple
        self._attributes: dict[str, tuple[str, bool, SimpleContent]] = {}
        self._any_attribute = False
        for attribute in type_._attributes_unwrapped:
            if isinstance(attribute, AnyAttribute) or attribute.qname is None:
                self._any_attribute = True
                continue
            name = writers.namespaces.name(attribute.qname.namespace, attribute.qname.localname)
            required = bool(attribute.required) and attribute.default is None
            self._attributes[f"@{attribute.qname.localname}"] = (name, required, SimpleContent(attribute.type))
        self.particle: Particle | None = None
        self.names: dict[str, ElementWriter] = {}
        self.open = False

    def fields(self) -> dict[str, bool]:
        """Every name that a tree may have, with whether the WSDL wants it."""
        wanted = {element.key for element in self.particle.wanted()} if self.particle else set()
        fields = {key: key in wanted for key in self.names}
        fields.update({key: required for key, (_, required, _) in self._attributes.items()})
        return fields | ({"#text": False} if self._simple else {})

    def compile(self, inner: Any) -> None:
        if inner is not None:
            self.particle = _particle(self._writers, inner)
            self.names = {element.key: element for element in self.particle.elements()}
            self.open = self.particle.open()

    def write(self, tree: Tree, out: list[str], tag: str, extra: str = "") -> None:
        if not isinstance(tree, Mapping):
            tree = self._mapping(tree)
        if "@xsi:type" in tree:
            extra, content = self._writers.derived(tree["@xsi:type"])
            content.write({key: tree[key] for key in tree if key != "@xsi:type"}, out, tag, extra)
            return
        out.append(f"<{tag}{extra}{self._attribute_text(tree)}>")
        if self._simple is not None:
            out.append(escape(self._simple.text(tree.get("#text", "")), "#text"))
        elif self.particle is not None:
            self.particle.write(tree, out, True)
            if self.open:
                self._write_any(tree, out)
        out.append(f"</{tag}>")

    def _mapping(self, tree: Tree) -> Mapping[str, Tree]:
        if tree is None or tree == "":
            tree = {}
        elif self._simple is not None:
            tree = {"#text": tree}
        if not isinstance(tree, Mapping):
            raise EncodeError("is a structure in the WSDL, not a text")
        return tree

    def _attribute_text(self, tree: Mapping[str, Tree]) -> str:
        parts = []
        for key, value in tree.items():
            if key in self.names or value is None:
                continue
            if key in self._attributes:
                name, _, simple = self._attributes[key]
                parts.append(f' {name}="{escape_attribute(simple.text(value), key)}"')
            elif key[:1] == "@" and (self._any_attribute or key.startswith("@xmlns")):
                parts.append(f' {check_name(key[1:])}="{escape_attribute(scalar(value, key), key)}"')
            elif not (self.open and key[:1] not in "@#") and not (self._simple is not None and key == "#text"):
                raise EncodeError(_unknown(key, [*self.names, *self._attributes]))
        for key, (_, required, _) in self._attributes.items():
            if required and tree.get(key) is None:
                raise EncodeError("is required by the WSDL", key)
        return "".join(parts)

    def _write_any(self, tree: Mapping[str, Tree], out: list[str]) -> None:
        for key, value in tree.items():
            if key not in self.names and key[:1] not in "@#" and value is not None:
                for item in value if isinstance(value, list | tuple) else [value]:
                    out.append(xml.encode(item, key))


def _unknown(key: str, known: list[str]) -> str:
    hint = nearest(key, known) or (f"known: {', '.join(known[:20])}" if known else "")
    return f"'{key}' is not in the WSDL" + (f" ({hint})" if hint else "")


def _particle(writers: Writers, part: Any) -> Particle:
    if isinstance(part, AnyElement):
        return Wildcard()
    if isinstance(part, Element):
        return writers.element(part)
    if not hasattr(part, "max_occurs"):
        return Wildcard()  # a reference to xs:schema, as in a .NET DataSet
    required, many = int(part.min_occurs) > 0, part.max_occurs == "unbounded" or int(part.max_occurs) > 1
    if isinstance(part, Group):
        return Sequence([_particle(writers, part.child)], required, many)
    if not isinstance(part, OrderIndicator):
        raise EncodeError(f"a {type(part).__name__} of the schema cannot be written")
    parts = [_particle(writers, child) for child in part]
    return Choice(parts, many) if isinstance(part, ZeepChoice) else Sequence(parts, required, many)
