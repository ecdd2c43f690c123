"""Zeep's types -> ``Shape``: which elements of an answer are lists, so that one slot and two slots look alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeep.xsd.elements import Any as AnyElement
from zeep.xsd.elements import Element, Group
from zeep.xsd.types import AnySimpleType, ComplexType

from esb.codecs.xml import Shape

_SEEN_BY_LOOK = Shape()


class Shapes:
    """The shapes of one WSDL's types; each type is read once, so that types may hold themselves."""

    def __init__(self, schema: Any) -> None:
        self._shapes: dict[int, tuple[Any, Shape | None]] = {}
        self._derived = derived_types(schema)

    def of(self, type_: Any) -> Shape | None:
        """``None`` for a text; an empty shape where the schema says nothing that helps."""
        if isinstance(type_, AnySimpleType):
            return None
        if not isinstance(type_, ComplexType) or type_._array_type is not None:
            return _SEEN_BY_LOOK
        if id(type_) not in self._shapes:
            shape = Shape()
            self._shapes[id(type_)] = (type_, shape)
            for name, many, inner in self._children(type_):
                if inner is None:
                    shape.wild = True
                    continue
                known = shape.get(name)
                shape[name] = (many or (known is not None and known[0]), self.of(inner))
        return self._shapes[id(type_)][1]

    def _children(self, type_: Any) -> Iterator[tuple[str, bool, Any]]:
        """Own elements, and those of the types that extend this one and may stand in its place.

        Without a type: any element.
        """
        for one in (type_, *self._derived.get(id(type_), ())):
            inner = one._element
            if inner is not None and not (isinstance(inner, Element) and isinstance(inner.type, AnySimpleType)):
                yield from _elements(inner, False)


def derived_types(schema: Any) -> dict[int, list[Any]]:
    """For the id of a type all those that extend it, at however many steps."""
    derived: dict[int, list[Any]] = {}
    for type_ in schema.types:
        for base in getattr(type_, "_extension_types", ()):
            if hasattr(base, "_xsd_type"):
                derived.setdefault(id(base._xsd_type), []).append(type_)
    return derived


def _elements(part: Any, many: bool) -> Iterator[tuple[str, bool, Any]]:
    if not hasattr(part, "max_occurs"):
        yield "", many, None  # a reference to xs:schema, as in a .NET DataSet
        return
    many = many or part.max_occurs == "unbounded" or int(part.max_occurs) > 1
    if isinstance(part, Element):
        yield part.qname.localname, many, part.type
    elif isinstance(part, Group):
        yield from _elements(part.child, many)
    elif isinstance(part, AnyElement):
        yield "", many, None
    else:
        for child in part:
            yield from _elements(child, many)
