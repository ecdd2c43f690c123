"""Where a draft learns what a system wants and answers: a WSDL, a FHIR resource, a sample of a message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lxml import etree

from esb.clock import SystemClock
from esb.codecs import DecodeError, xml, yaml
from esb.codecs.charset import GB18030, UTF8, decode_text
from esb.codecs.hl7v2 import Message, charsets
from esb.codecs.hl7v2.tables import message_type
from esb.codecs.yaml import nearest
from esb.config.routes import EndpointConfig
from esb.contract import Operation
from esb.editing.fhir import resource_leaves, resources_in_bundle
from esb.editing.leaves import Leaf, leaves, message_leaves, type_of
from esb.editing.names import Words, load_words
from esb.endpoint import Endpoint, installed, load_endpoint
from esb.errors import AdapterError, ConfigError, Finding
from esb.model import Effect, Tree
from esb.observe import Metrics
from esb.spi import Description
from esb.types import Type

Style = Literal["tree", "segments", "body", "search"]
_BY_LOOK = (("MSH", "hl7v2"), ("<", "soap"), ("{", "rest"), ("[", "rest"))
_SHOWN = 12
_NO_ADDRESS = "http://localhost"
"""Nothing is sent: a WSDL without an address describes its operations all the same."""
_DECLARED = re.compile(r"^(<\?xml[^>]*?) encoding=[\"']([\w.-]{1,40})[\"']")
_NAMELESS = ("req", "request", "root", "xml", "body", "data")


@dataclass(frozen=True, slots=True)
class Source:
    """What a system is sent and answers. ``answered`` is a sample answer, ``resources`` the FHIR resources in it."""

    name: str
    adapter: str
    style: Style
    action: str
    request: Sequence[Leaf]
    answer: Sequence[Leaf]
    answered: Tree = None
    answer_text: str = ""
    resources: tuple[str, ...] = ()
    doubt: str = ""
    site: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads sources; ``adapters`` is the package of the adapters, ``endpoint`` one of routes.yaml to ask first."""

    adapters: str
    endpoint: Endpoint | None = None
    adapter: str = ""
    words: Words = field(default_factory=load_words)

    def read(self, source: str, operation: Operation, answer: Path | None = None, action: str = "") -> Source:
        """The source that ``--from`` names; raises ``ConfigError`` when it cannot be read."""
        if source.startswith("fhir:"):
            found = self._fhir(source.removeprefix("fhir:"), operation, action)
        elif "#" in source and not Path(source).is_file():
            found = self._wsdl(*source.rsplit("#", 1))
        elif known := _operations(Path(source)):
            raise _fault(source, "is a WSDL", f"name one operation: {source}#{known[0]}; {_listed(known)}")
        else:
            found = self._sample(Path(source), action)
        return found if answer is None else self._answered(found, answer)

    def _wsdl(self, file: str, name: str) -> Source:
        try:
            described = self._described("soap", {"wsdl": Path(file), "address": _NO_ADDRESS}, name)
        except ConfigError as error:
            raise ConfigError(replace(one, file=file, line=0, column=0) for one in error.findings) from None
        if described == Description():
            known = _operations(Path(file))
            if name in known:
                raise _fault(file, f"operation '{name}' cannot be described: neither request nor answer is known")
            raise _fault(file, f"has no operation '{name}'", nearest(name, known) or _listed(known))
        request, answer = (leaves(type_, skip=_is_header) for type_ in described)
        return Source(f"{Path(file).name}#{name}", "soap", "tree", name, request, answer)

    def _fhir(self, names: str, operation: Operation, action: str) -> Source:
        from esb.codecs.fhir_types import resource_type

        resources = tuple(names.split("+"))
        types = {name: resource_type(name, "R4") for name in resources}
        if unknown := [name for name, type_ in types.items() if not type_.fields]:
            raise _fault(f"fhir:{names}", f"FHIR R4 has no resource '{unknown[0]}'")
        answer = [leaf for name, type_ in types.items() for leaf in resources_in_bundle(type_, name)]
        reads = operation.effect is Effect.READ
        action = action or f"{'search' if reads else 'create'} {resources[0]}"
        request = _parameters(self.words, resources[0]) if reads else resource_leaves(types[resources[0]])
        style: Style = "search" if reads else "tree"
        return Source(f"fhir:{names}", "fhir", style, action, request, answer, resources=resources)

    def _sample(self, file: Path, action: str) -> Source:
        tree, text, adapter = self._decoded(file)
        adapter = self.adapter or adapter
        if isinstance(tree, Message):
            kind = "^".join(filter(None, (tree.get("MSH", 0, 9, 1, part) for part in (1, 2, 3))))
            return Source(file.name, "hl7v2", "segments", action or kind, self._messages(tree), ())
        style: Style = "body" if adapter == "rest" else "tree"
        root = _element(text) if style == "body" else ""
        tree = {root: tree} if root else tree
        doubt = "" if action else "what is the action?"
        action = action or (f"POST /{file.stem}" if style == "body" else _root(text) or file.stem)
        return Source(file.name, adapter, style, action, leaves(type_of(tree), tree), (), doubt=doubt)

    def _answered(self, source: Source, file: Path) -> Source:
        tree, text, _ = self._decoded(file)
        found = leaves(type_of(tree), tree) if not isinstance(tree, Message) else self._messages(tree)
        if source.answer and not isinstance(tree, Message):
            found = _valued(source.answer, tree)
        values: dict[str, Any] = {"answer": found, "answered": tree, "answer_text": text}
        return Source(**{name: getattr(source, name) for name in source.__slots__} | values)

    def _messages(self, message: Message) -> list[Leaf]:
        return message_leaves(message, _hl7(message))

    def _described(self, adapter: str, settings: Mapping[str, Any], action: str) -> Description:
        if self.endpoint is not None and self.adapter == adapter:
            return self.endpoint.describe(action)
        config = EndpointConfig(adapter=adapter, dialect="draft", settings=dict(settings))
        clock, nothing = SystemClock(), yaml.load("{}", "settings")
        made = load_endpoint("draft", config, nothing, clock=clock, metrics=Metrics(), adapters=self.adapters)
        return made.describe(action)

    def _decoded(self, file: Path) -> tuple[Tree, str, str]:
        """A sample's tree, its text and the adapter that reads its like."""
        try:
            text = _text(file.read_bytes())
        except OSError as error:
            raise _fault(str(file), f"cannot be read: {error.strerror}") from None
        except DecodeError as error:
            raise _fault(str(file), f"cannot be read as text: it {error.reason}") from None
        look = text.lstrip()
        adapter = next((name for start, name in _BY_LOOK if look.startswith(start)), "")
        decode: Callable[[str], Tree] | None = getattr(installed("adapter", self.adapters).get(adapter), "decode", None)
        if decode is None:
            raise _fault(str(file), "is no HL7 v2, XML or JSON text")
        try:
            return decode(text), text, adapter
        except (AdapterError, DecodeError) as error:
            raise _fault(str(file), str(error)) from None


def _text(data: bytes) -> str:
    """A sample as text, by the charset that it declares, UTF-8 where it declares none; the declaration is left out."""
    if data.lstrip(b"\x0b").startswith(b"MSH"):
        return charsets.read(data, "", UTF8)[0]
    found = _DECLARED.match(data[:200].decode("latin-1"))
    text, _ = decode_text(data, found[2] if found else None, (UTF8, GB18030))
    return _DECLARED.sub(r"\1", text)


def _operations(file: Path) -> list[str]:
    """The operations of a WSDL; none of a file that is no WSDL or cannot be read."""
    try:
        root = xml.parse(_text(file.read_bytes()), drop_controls=True)
    except (OSError, DecodeError):
        return []
    if etree.QName(root).localname not in ("definitions", "description"):
        return []
    found = (one.get("name") for one in root.iter("{*}operation"))
    return list(dict.fromkeys(name for name in found if name))


def _listed(operations: Sequence[str]) -> str:
    more = ", ..." if len(operations) > _SHOWN else ""
    return "operations: " + (", ".join(operations[:_SHOWN]) + more if operations else "none")


def _hl7(message: Message) -> Type:
    """What the tables say of such a message; of one that they do not have, of its segments."""
    kind = [message.get("MSH", 0, 9, 1, part) or "" for part in (1, 2, 3)]
    return message_type(kind[2] or "_".join(filter(None, kind[:2])), message.get("MSH", 0, 12, 1, 1) or "2.5.1")


def _parameters(words: Words, resource: str) -> list[Leaf]:
    """The search parameters that most resources have."""
    found = ((name, Type("text", title=title.format(resource=resource))) for name, title in words.search.items())
    return [Leaf((name,), type_, (type_.title,)) for name, type_ in found]


def _is_header(path: tuple[str, ...]) -> bool:
    """The adapters' own words for what goes beside a message."""
    return path[0].startswith("_")


def _valued(known: Sequence[Leaf], tree: Tree) -> list[Leaf]:
    """Leaves that a schema describes, with the values that a sample has of them."""
    sampled = {leaf.path: leaf.value for leaf in leaves(type_of(tree), tree)}
    return [
        Leaf(leaf.path, leaf.type, leaf.titles, leaf.lists, leaf.required, sampled.get(leaf.path)) for leaf in known
    ]


def _element(text: str) -> str:
    """The name of an XML document's root, which a REST body must have; of another text nothing."""
    try:
        return str(etree.QName(xml.parse(text, drop_controls=True)).localname)
    except DecodeError:
        return ""


def _root(text: str) -> str:
    """The name of the element that holds the request: the root, or what is in a SOAP Body."""
    try:
        root = xml.parse(text, drop_controls=True)
    except DecodeError:
        return ""
    body = next((one for one in root.iter("{*}Body") if len(one)), None)
    name = str(etree.QName(root if body is None else body[0]).localname)
    return "" if name.lower() in _NAMELESS else name


def _fault(file: str, message: str, hint: str = "") -> ConfigError:
    return ConfigError([Finding(re.sub(r"\s+", " ", file), 0, 0, message, hint)])
