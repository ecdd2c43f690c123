"""What zeep forgets of a schema: the facets of simple types and the documentation.

The documents are read again, when a description is asked for, and looked up beside zeep's types: a global component by
its name, what is inside of one by the names on the way. What cannot be found says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from esb.codecs import DecodeError, xml

Node: TypeAlias = xml.Element
"""An element of a schema document."""

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_TYPES: Final = (f"{_XS}simpleType", f"{_XS}complexType")
_DECLARED: Final = {f"{_XS}element": "", f"{_XS}attribute": "@"}
_GROUPS: Final = (f"{_XS}group", f"{_XS}attributeGroup")
_DERIVED: Final = (f"{_XS}extension", f"{_XS}restriction")
_INSIDE: Final = {
    *(f"{_XS}{name}" for name in ("sequence", "choice", "all", "complexContent", "simpleContent")),
    *_GROUPS,
    *_DERIVED,
}
_MAX_BASES: Final = 50
_MAX_TITLE: Final = 200
_SENTENCE = re.compile(r"\s*(.+?)(?:[。！？]|[.!?](?=\s|$)|\n\s*\n|$)", re.DOTALL)


class Facets(NamedTuple):
    """All texts that a simple type can be, none where that is not known, and the length of the longest."""

    words: tuple[str, ...] = ()
    longest: int | None = None


class Notes:
    """The documents of one WSDL."""

    def __init__(self, documents: Sequence[bytes] = ()) -> None:
        self._documents = documents
        self._inside: dict[Node, Mapping[str, Node]] = {}

    def element(self, namespace: str | None, name: str) -> Node | None:
        """A global element."""
        return self._global(f"{_XS}element", namespace, name)

    def type(self, namespace: str | None, name: str) -> Node | None:
        """A global type, simple or complex."""
        return self._global(_TYPES[0], namespace, name)

    def held(self, node: Node | None) -> Node | None:
        """The type of an element or attribute; of a type itself."""
        if node is None or node.tag in _TYPES:
            return node
        if (inner := next((child for child in node if child.tag in _TYPES), None)) is not None:
            return inner
        kind, name = (node.tag, node.get("ref")) if "ref" in node.attrib else (_TYPES[0], node.get("type"))
        found = self._named(kind, node, name)
        return None if found is node else self.held(found)

    def declared(self, node: Node | None) -> Mapping[str, Node]:
        """The elements of a complex type by name and its attributes by ``@name``, those of its bases included."""
        if node is None:
            return {}
        if node not in self._inside:
            self._inside[node] = {}
            found: dict[str, Node] = {}
            for inner in self._declarations(node, 0):
                name = (inner.get("name") or inner.get("ref") or "").rpartition(":")[2]
                found.setdefault(_DECLARED[inner.tag] + name, inner)
            self._inside[node] = found
        return self._inside[node]

    def facets(self, node: Node | None, depth: int = 0) -> Facets:
        """Those of a type, simple or with simple content."""
        if node is None or depth > _MAX_BASES:
            return Facets()
        for part in node:
            if part.tag in _DERIVED:
                return _narrowed(part, self.facets(self._base(part), depth + 1))
            if part.tag == f"{_XS}simpleContent":
                return self.facets(part, depth + 1)
            if part.tag == f"{_XS}union":
                return self._union(part, depth)
        return Facets()

    def title(self, node: Node | None) -> str:
        """The first sentence of the documentation of a declaration, or of its type."""
        if node is None:
            return ""
        text = "".join(node.findtext(f"{_XS}annotation/{_XS}documentation") or "")
        if sentence := _SENTENCE.match(text):
            return " ".join(sentence[1].split())[:_MAX_TITLE]
        return "" if node.tag in _TYPES else self.title(self.held(node))

    def _union(self, node: Node, depth: int) -> Facets:
        names = (node.get("memberTypes") or "").split()
        members = [self._named(_TYPES[0], node, name) for name in names]
        members += [child for child in node if child.tag in _TYPES]
        each = [self.facets(member, depth + 1).words for member in members]
        return Facets(tuple(word for words in each for word in words)) if all(each) else Facets()

    def _base(self, part: Node) -> Node | None:
        inner = next((child for child in part if child.tag in _TYPES), None)
        return inner if inner is not None else self._named(_TYPES[0], part, part.get("base"))

    def _declarations(self, node: Node, depth: int) -> Iterator[Node]:
        if depth > _MAX_BASES:
            return
        for child in node:
            if child.tag in _DECLARED:
                yield child
            elif child.tag in _INSIDE:
                yield from self._declarations(child, depth + 1)
        kind, name = (_TYPES[0], node.get("base")) if node.tag in _DERIVED else (node.tag, node.get("ref"))
        found = self._named(kind, node, name)
        if found is not None:
            yield from self._declarations(found, depth + 1)

    def _named(self, kind: str, node: Node, name: str | None) -> Node | None:
        if not name:
            return None
        prefix, _, local = name.strip().rpartition(":")
        return self._global(kind, node.nsmap.get(prefix or None), local)

    def _global(self, kind: str, namespace: str | None, name: str) -> Node | None:
        """A schema without a namespace of its own takes that of the one that includes it."""
        found = self._globals.get((kind, namespace or "", name))
        return found if found is not None else self._globals.get((kind, "", name))

    @cached_property
    def _globals(self) -> Mapping[tuple[str, str, str], Node]:
        found: dict[tuple[str, str, str], Node] = {}
        for data in self._documents:
            try:
                root = xml.parse(data)
            except DecodeError:  # what 'wsdl_strict: false' lets zeep read all the same
                continue
            for schema in root.iter(f"{_XS}schema"):
                for child in schema:
                    kind = _TYPES[0] if child.tag in _TYPES else child.tag
                    found.setdefault((kind, schema.get("targetNamespace", ""), child.get("name", "")), child)
        return found


def _narrowed(restriction: Node, base: Facets) -> Facets:
    words = tuple(child.get("value", "") for child in restriction if child.tag == f"{_XS}enumeration")
    limits = [_number(child) for child in restriction if child.tag in (f"{_XS}maxLength", f"{_XS}length")]
    known = [limit for limit in (*limits, base.longest) if limit is not None]
    return Facets(words or base.words, min(known, default=None))


def _number(facet: Node) -> int | None:
    value = facet.get("value", "").strip()
    return int(value) if value.isdecimal() and len(value) < 10 else None
