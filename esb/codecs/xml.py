"""XML bytes <-> tree, safely: no DOCTYPE, no entities, no network, bounded depth and width.

An element without attributes and children is its text (``None`` where ``xsi:nil``). Any other is a dict of its
children by local name in document order, with attributes as ``@name`` and text as ``#text``; a repeated child is a
list. Namespaces, comments, processing instructions and ``xsi:`` attributes leave no trace. Writing takes the same
shape; there ``#cdata`` is text in a CDATA section, ``@xmlns`` declares a namespace and ``None`` is left out.

Where ``namespaces`` lists some (prefix -> namespace), what belongs to them is ``prefix:name`` and ``@prefix:name``, by
these prefixes whatever the document calls them; writing declares them at the root. Listed itself, ``xsi:`` is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, TypeAlias, overload

from lxml import etree

from esb.codecs import DecodeError, EncodeError, charset
from esb.codecs.xmlnames import XSI, Names, check_namespaces, local, names_of
from esb.codecs.xmltext import cdata_section, check_name, escape, escape_attribute, scalar
from esb.model import Tree

__all__ = [
    "MAX_ATTRIBUTES", "MAX_DEPTH", "XSI", "Element", "Names", "Shape", "check_namespaces", "decode", "decode_element",
    "encode", "local", "parse", "refuse_doctype",
]  # fmt: skip

Element: TypeAlias = Any
"""An lxml element."""

MAX_DEPTH: Final = 255
MAX_ATTRIBUTES: Final = 256

_XSI = f"{{{XSI}}}"
_NIL = f"{_XSI}nil"
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
    collect_ids=False,
)
_DECLARATION = re.compile(r"\s*<\?xml\s[^>]*\?>")
_ENCODING = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._: -]{1,40})["']""")
_PROLOG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
    "|&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|x0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));"
)


class Shape(dict[str, tuple[bool, "Shape | None"]]):
    """What a schema knows of an element's children.

    Local name -> (is a list, shape of the child; ``None`` for plain text). May refer to itself, and is not changed
    after its first use. A name that is not in it is read by what it looks like. ``wild``: the schema lets in elements
    that it does not name.
    """

    wild = False

    @cached_property
    def flat(self) -> bool:
        """Whether all children are plain texts that occur once: the rows of most answers."""
        return all(entry == (False, None) for entry in self.values())


def decode(
    data: bytes | str,
    *,
    charset: str | None = None,
    shape: Shape | None = None,
    max_depth: int = MAX_DEPTH,
    drop_controls: bool = False,
    namespaces: Mapping[str, str] | None = None,
) -> Tree:
    """The tree of the root element's content; the root's name is not in it. Arguments as for ``parse``."""
    root = parse(data, charset=charset, max_depth=max_depth, drop_controls=drop_controls)
    return decode_element(root, shape, names_of(namespaces))


def parse(
    data: bytes | str, *, charset: str | None = None, max_depth: int = MAX_DEPTH, drop_controls: bool = False
) -> Element:
    """The root element. Text is taken as it is, whatever encoding it declares.

    ``charset`` is what the transport said about bytes. It wins over the document's own declaration, unless it does
    not fit or is Latin-1 (what servers say that were never told), or unless the document says UTF-8 and is.
    ``drop_controls`` takes out the control characters that XML forbids, which old systems leave in their texts.
    Raises ``DecodeError``.
    """
    plain = data if isinstance(data, bytes) and _is_utf8(data, charset) else _text(data, charset).encode()
    refuse_doctype(plain)
    try:
        root = _read(plain)
    except DecodeError:
        if not drop_controls:
            raise
        root = _read(_CONTROLS.sub("", _text(plain, "utf-8")).encode())
    if max_depth < MAX_DEPTH and _deeper_than(root, max_depth):
        raise DecodeError(f"is nested deeper than {max_depth} elements")
    return root


def decode_element(element: Element, shape: Shape | None = None, names: Names = local) -> Tree:
    """The tree of a parsed element; where ``shape`` says list, one occurrence is a list too. Raises ``DecodeError``."""
    if not len(element):
        return _leaf(element, names)
    if shape and shape.flat and (row := _row(element, shape, names)):
        return row
    tree: dict[str, Tree] = _attributes(element, names) if element.keys() else {}
    known = shape.get if shape else _nothing
    for child in element:
        name = names[child.tag]
        value = child.text
        entry = known(name)
        if entry is None:
            if value is None or len(child) or child.keys():
                value = decode_element(child, None, names)
        elif entry[1] is not None or value is None:
            value = decode_element(child, entry[1], names)
        if name in tree:
            if type(tree[name]) is not list:
                tree[name] = [tree[name]]
            tree[name].append(value)
        else:
            tree[name] = [value] if entry and entry[0] else value
    if not shape and (text := _beside(element)):
        tree["#text"] = text
    return tree


def _row(element: Element, shape: Shape, names: Names) -> dict[str, Tree] | None:
    """A flat element the quick way; ``None`` if it holds anything that needs a closer look."""
    row = {names[child.tag]: child.text for child in element}
    plain = len(row) == len(element) and None not in row.values() and row.keys() <= shape.keys()
    return row if plain and not element.keys() else None


def _nothing(_: str) -> None:
    return None


def _beside(element: Element) -> str:
    """Text between children, without the blanks of pretty printing."""
    texts = [element.text, *[child.tail for child in element]]
    return "".join([text for text in texts if text and not text.isspace()]).strip()


@overload
def encode(
    tree: Tree,
    root: str | None = None,
    *,
    cdata: bool = False,
    declaration: bool | str = False,
    charset: None = None,
    namespaces: Mapping[str, str] | None = None,
) -> str: ...
@overload
def encode(
    tree: Tree,
    root: str | None = None,
    *,
    cdata: bool = False,
    declaration: bool | str = False,
    charset: str,
    namespaces: Mapping[str, str] | None = None,
) -> bytes: ...
def encode(
    tree: Tree,
    root: str | None = None,
    *,
    cdata: bool = False,
    declaration: bool | str = False,
    charset: str | None = None,
    namespaces: Mapping[str, str] | None = None,
) -> str | bytes:
    """The document: text, or bytes where a ``charset`` is given. Without ``root`` the tree has exactly one key.

    ``cdata`` puts every text into a CDATA section. ``declaration`` writes ``<?xml ...?>``, with its own encoding name
    where it is a text. A character outside the charset becomes a reference. Raises ``EncodeError`` that names the
    path.
    """
    root, tree = (root, tree) if root is not None else _single(tree)
    if namespaces:
        tree = _declaring(tree, namespaces)
    codec = _writer(charset) if charset else None
    out = [_declaration(declaration, charset)] if declaration else []
    try:
        _Writer(out, cdata, codec).element(root, tree, "$")
    except RecursionError:
        raise EncodeError("is nested too deeply", "$") from None
    text = "".join(out)
    if codec is None:
        return text
    mark = "\ufeff" if codec.startswith("utf-16-") else ""
    return (mark + text).encode(codec, "xmlcharrefreplace")


class _Writer:
    def __init__(self, out: list[str], cdata: bool, codec: str | None) -> None:
        self._put = out.append
        self._cdata = cdata
        self._codec = codec

    def element(self, name: str, tree: Tree, path: str) -> None:
        self._name(name, path)
        if type(tree) is not dict and not isinstance(tree, Mapping):
            text = "" if tree is None else scalar(tree, path)
            self._put(f"<{name}>{self._text(text, self._cdata, path)}</{name}>" if text else f"<{name}/>")
            return
        self._put(f"<{name}")
        inside = [item for item in tree.items() if not self._attribute(*item, path)]
        self._put(">")
        for key, value in inside:
            self._child(key, value, path)
        self._put(f"</{name}>")

    def _attribute(self, key: str, value: Tree, path: str) -> bool:
        if key[:1] != "@":
            return False
        if value is not None:
            self._name(key[1:], path)
            at = f"{path}.{key}"
            self._put(f' {key[1:]}="{escape_attribute(scalar(value, at), at)}"')
        return True

    def _child(self, key: str, value: Tree, path: str) -> None:
        path = f"{path}.{key}"
        if value is None:
            return
        if key in ("#text", "#cdata"):
            self._put(self._text(scalar(value, path), self._cdata or key == "#cdata", path))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.element(key, item, f"{path}[{index}]")
        else:
            self.element(key, value, path)

    def _text(self, text: str, cdata: bool, path: str) -> str:
        if not cdata or not self._encodable(text):
            return escape(text, path)
        return cdata_section(text, path)

    def _encodable(self, text: str) -> bool:
        if self._codec is None:
            return True
        try:
            text.encode(self._codec)
        except UnicodeEncodeError as error:
            return "\ud800" <= error.object[error.start] <= "\udfff"
        return True

    def _name(self, name: str, path: str) -> None:
        try:
            check_name(name)
        except EncodeError as error:
            raise EncodeError(error.reason, path) from None


def _single(tree: Tree) -> tuple[str, Tree]:
    if not isinstance(tree, Mapping) or len(tree) != 1:
        raise EncodeError("an XML document has exactly one root element", "$")
    ((root, content),) = tree.items()
    if isinstance(content, list | tuple):
        raise EncodeError("an XML document has exactly one root element", f"$.{root}")
    return root, content


def _declaring(tree: Tree, namespaces: Mapping[str, str]) -> Tree:
    """The root with its namespaces declared, but for what it declares itself."""
    declared: dict[str, Tree] = {f"@xmlns:{name}": uri for name, uri in check_namespaces(dict(namespaces)).items()}
    return declared | (dict(tree) if isinstance(tree, Mapping) else {"#text": tree})


def _writer(name: str) -> str:
    try:
        return {"utf-16": "utf-16-le"}.get(found := charset.writer(name), found)
    except DecodeError as error:
        raise EncodeError(error.reason) from None


def _declaration(declaration: bool | str, charset: str | None) -> str:
    name = declaration if isinstance(declaration, str) else charset or "UTF-8"
    return f'<?xml version="1.0" encoding="{name}"?>'


def _leaf(element: Element, names: Names) -> Tree:
    keys = element.keys()
    if not keys:
        return element.text or ""
    if element.get(_NIL, "").strip() in ("true", "1"):
        return None
    tree = _attributes(element, names)
    if not tree:
        return element.text or ""
    if element.text:
        tree["#text"] = element.text
    return tree


def _attributes(element: Element, names: Names) -> dict[str, Tree]:
    if len(element.keys()) > MAX_ATTRIBUTES:  # before items(), whose cost grows with the square
        raise DecodeError(f"an element has more than {MAX_ATTRIBUTES} attributes")
    if names.keeps_xsi:
        return {f"@{names[name]}": value for name, value in element.items()}
    return {f"@{names[name]}": value for name, value in element.items() if not name.startswith(_XSI)}


def _is_utf8(data: bytes, transport: str | None) -> bool:
    """Whether lxml can take the bytes as they are: nobody says anything else than UTF-8."""
    if charset.bom(data) or data[:2] in _WIDE or (transport and _codec_or_none(transport) not in (charset.UTF8, None)):
        return False
    declared = _ENCODING.match(data)
    return declared is None or declared[1].lower() in (b"utf-8", b"utf8")


def _text(data: bytes | str, transport: str | None) -> str:
    if isinstance(data, bytes):
        data = charset.decode_text(data, *_candidates(data, transport))[0]
    text = data.removeprefix("\ufeff")
    if surrogate := _SURROGATE.search(text):
        raise DecodeError("holds half a character", surrogate.start())
    found = _DECLARATION.match(text)
    return text[found.end() :] if found else text


_SURROGATE = re.compile("[\ud800-\udfff]")


def _candidates(data: bytes, transport: str | None) -> tuple[str | None, list[str]]:
    if data[:2] in _WIDE:
        return _WIDE[data[:2]], []
    label = _ENCODING.match(data)
    declared = _codec_or_none(label[1].decode()) if label else None
    said = _codec_or_none(transport) if transport else None
    if said in ("latin-1", "ascii") or (declared == charset.UTF8 and said not in (None, "utf-16")):
        ordered: list[str | None] = [declared or charset.UTF8, said]
    else:
        ordered = [said, declared]
    known = [name for name in ordered if name is not None] or [charset.UTF8]
    return known[0], known[1:]


_WIDE = {b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}
"""The first character of a document that is UTF-16 without a byte order mark."""


def _codec_or_none(name: str) -> str | None:
    try:
        return charset.codec(name)
    except DecodeError:
        return None


def refuse_doctype(data: bytes) -> None:
    """Before any parser sees it: raises ``DecodeError`` for a document, in an encoding like ASCII, with a DOCTYPE."""
    if b"<!DOCTYPE" not in data:
        return
    prolog = _PROLOG.match(data)
    if prolog and data.startswith(b"<!DOCTYPE", prolog.end()):
        raise DecodeError("has a DOCTYPE, which is refused", prolog.end())


_WHY = {
    code: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, code in vars(etree.ErrorTypes).items()
    if name.startswith("ERR_")
}
"""libxml2's own texts repeat what they stumbled over; these do not."""


def _read(data: bytes) -> Element:
    try:
        root = etree.fromstring(data, _PARSER)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        why = _WHY.get(error.code, "not well-formed")
        raise DecodeError(f"is not XML at line {line}, column {column}: {why}") from None
    except ValueError as error:
        raise DecodeError(f"is not XML: {type(error).__name__}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DecodeError("has a DOCTYPE, which is refused")
    return root


def _deeper_than(root: Element, limit: int) -> bool:
    return any(depth > limit for depth in _depths(root, 1))


def _depths(element: Element, depth: int) -> Iterator[int]:
    yield depth
    for child in element:
        yield from _depths(child, depth + 1)
