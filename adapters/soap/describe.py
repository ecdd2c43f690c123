"""Zeep's types -> ``Type``: what a mapping may say in a request, and what it can read in an answer.

In an answer every value is a text, so numbers, booleans and binaries are texts there. In a request they keep their
sorts, and what the writers would refuse to leave out is required, with ``nillable`` or without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from zeep.xsd.elements import Any as AnyElement
from zeep.xsd.elements import AnyAttribute, Choice, Element, Group
from zeep.xsd.types import AnySimpleType, ComplexType, builtins
from zeep.xsd.types.collection import ListType, UnionType

from adapters.soap.notes import Node, Notes
from adapters.soap.shapes import derived_types
from esb.spi import ANY, Type
from esb.types import Sort

_REQUEST_SORTS: Final[tuple[tuple[type, Sort], ...]] = (
    (builtins.Integer, "integer"),
    (builtins.Decimal, "decimal"),
    (builtins.Float, "decimal"),
    (builtins.Double, "decimal"),
    (builtins.Boolean, "truth"),
    (builtins.Base64Binary, "bytes"),
)
_BOTH_SORTS: Final[tuple[tuple[type, Sort], ...]] = (
    (builtins.DateTime, "moment"),
    (builtins.Date, "date"),
    (builtins.Time, "time"),
)


class _Child(NamedTuple):
    """An element inside of a type; without one: any element."""

    element: Any
    many: bool
    required: bool


class Types:
    """The types of one WSDL in one direction; ``answer`` says which."""

    def __init__(self, schema: Any, notes: Notes, *, answer: bool) -> None:
        self._derived = derived_types(schema)
        self._notes = notes
        self._answer = answer
        self._fields: dict[tuple[int, Node | None], tuple[Any, Mapping[str, Type]]] = {}

    def element(self, element: Any) -> Type:
        """The content of a global element, or of a part that names a type."""
        if element.qname is None or element.type is None:
            return ANY
        node = self._notes.element(element.qname.namespace, element.qname.localname) if element.is_global else None
        return self._type(element.type, node, _Child(element, False, True))

    def _type(self, type_: Any, declared: Node | None, child: _Child) -> Type:
        node = self._node(type_, declared)
        title = self._notes.title(declared if declared is not None else node)
        if isinstance(type_, AnySimpleType):
            return replace(self._text(type_, node), many=child.many or self._listed(type_), **_common(child, title))
        if not isinstance(type_, ComplexType) or type_._array_type is not None:
            return Type(many=child.many, **_common(child, title))
        text = _text_type(type_)
        return replace(
            self._text(text, node) if text is not None else Type("structure"),
            many=child.many,
            open=any(map(_is_open, (type_, *self._derived.get(id(type_), ())))),
            make=lambda: self._children(type_, node),
            **_common(child, title),
        )

    def _node(self, type_: Any, declared: Node | None) -> Node | None:
        """The schema's own text of a type: where it is declared, or by its name."""
        if (held := self._notes.held(declared)) is not None:
            return held
        qname = getattr(type_, "qname", None)
        return self._notes.type(qname.namespace, qname.localname) if qname is not None and type_.is_global else None

    def _text(self, type_: Any, node: Node | None) -> Type:
        words, longest = self._notes.facets(node)
        if isinstance(type_, ListType):
            words, longest = (), None
        return Type(self._sort(type_), words=words, longest=longest)

    def _sort(self, type_: Any) -> Sort:
        if isinstance(type_, ListType | UnionType):
            return "text"
        known = _BOTH_SORTS if self._answer else _BOTH_SORTS + _REQUEST_SORTS
        return next((sort for kind, sort in known if isinstance(type_, kind)), "text")

    def _listed(self, type_: Any) -> bool:
        """A list of simple values is written from a list and read as one text."""
        return isinstance(type_, ListType) and not self._answer

    def _children(self, type_: Any, node: Node | None) -> Mapping[str, Type]:
        known = self._fields.get((id(type_), node))
        if known is None:
            known = self._fields[id(type_), node] = (type_, dict(self._made(type_, node)))
        return known[1]

    def _made(self, type_: Any, node: Node | None) -> Iterator[tuple[str, Type]]:
        """Own fields, then those of the types that extend this one and may stand in its place."""
        derived = self._derived.get(id(type_), ())
        fields = self._own(type_, node)
        for other in derived:
            for name, field in self._own(other, self._node(other, None)).items():
                fields.setdefault(name, replace(field, required=False))
        if derived and not self._answer:
            fields["@xsi:type"] = Type("text", words=tuple(one.name for one in (type_, *derived) if one.name))
        yield from fields.items()

    def _own(self, type_: Any, node: Node | None) -> dict[str, Type]:
        declared, text = self._notes.declared(node), _text_type(type_)
        fields: dict[str, Type] = {}
        for attribute in type_._attributes_unwrapped:
            if not isinstance(attribute, AnyAttribute) and attribute.qname is not None:
                name = f"@{attribute.qname.localname}"
                fields[name] = self._type(attribute.type, declared.get(name), self._attribute(attribute))
        if text is not None:
            return fields | {"#text": self._text(text, node)}
        for child in _elements(type_._element, False, True):
            if child.element is not None:
                name = child.element.qname.localname
                field = self._type(child.element.type, declared.get(name), self._child(child))
                fields[name] = _either(fields[name], field) if name in fields else field
        return fields

    def _attribute(self, attribute: Any) -> _Child:
        return _Child(attribute, False, bool(attribute.required) and (self._answer or attribute.default is None))

    def _child(self, child: _Child) -> _Child:
        optional = child.element.nillable if self._answer else child.element.default is not None
        return child._replace(required=child.required and not optional)


def _common(child: _Child, title: str) -> dict[str, Any]:
    return {"required": child.required, "title": title}


def _either(one: Type, other: Type) -> Type:
    """Two elements of one name: their fields together, and a sort only where they agree."""
    return replace(
        one,
        sort=one.sort if one.sort == other.sort else "any",
        many=one.many or other.many,
        required=one.required or other.required,
        words=one.words if one.words == other.words else (),
        longest=one.longest if one.longest == other.longest else None,
        open=one.open or other.open or one.sort == "any" or other.sort == "any",
        make=lambda: {**other.fields, **one.fields},
    )


def _text_type(type_: Any) -> Any:
    """The type of the text of a complex type with simple content; None of any other."""
    inner = type_._element
    return inner.type if isinstance(inner, Element) and isinstance(inner.type, AnySimpleType) else None


def _is_open(type_: Any) -> bool:
    if any(isinstance(attribute, AnyAttribute) for attribute in type_._attributes_unwrapped):
        return True
    return any(child.element is None for child in _elements(type_._element, False, True))


def _elements(part: Any, many: bool, required: bool) -> Iterator[_Child]:
    if part is None:
        return
    if not hasattr(part, "max_occurs") or isinstance(part, AnyElement):
        yield _Child(None, many, False)  # without occurrences: a reference to xs:schema, as in a .NET DataSet
        return
    many = many or part.max_occurs == "unbounded" or int(part.max_occurs) > 1
    required = required and int(part.min_occurs) > 0
    if isinstance(part, Element):
        yield _Child(part, many, required)
        return
    children: Iterable[Any] = (part.child,) if isinstance(part, Group) else part
    for child in children:
        yield from _elements(child, many, required and not isinstance(part, Choice))
