"""Where a draft learns what a system wants and answers: a WSDL, a FHIR resource, a sample of a message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lxml import etree

from esb.clock import SystemClock
from esb.codecs import DecodeError, xml, yaml
from esb.codecs.hl7v2 import Message
from esb.config.routes import EndpointConfig
from esb.contract import Operation
from esb.editing.leaves import Leaf, leaves, message_leaves, type_of
from esb.endpoint import Endpoint, installed, load_endpoint
from esb.errors import AdapterError, ConfigError, Finding
from esb.model import Effect, Tree
from esb.observe import Metrics
from esb.spi import Description
from esb.types import Type

Style = Literal["tree", "segments", "body", "search"]
_BY_LOOK = (("MSH", "hl7v2"), ("<", "soap"), ("{", "rest"), ("[", "rest"))
_NOWHERE = "http://127.0.0.1:9"
_FHIR_DEPTH = 5
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
    _made: dict[str, Endpoint] = field(default_factory=dict)

    def read(self, source: str, operation: Operation, answer: Path | None = None, action: str = "") -> Source:
        """The source that ``--from`` names; raises ``ConfigError`` when it cannot be read."""
        if source.startswith("fhir:"):
            found = self._fhir(source.removeprefix("fhir:"), operation, action)
        elif "#" in source and not Path(source).is_file():
            found = self._wsdl(*source.rsplit("#", 1))
        else:
            found = self._sample(Path(source), action)
        return found if answer is None else self._answered(found, answer)

    def _wsdl(self, file: str, name: str) -> Source:
        described = self._described("soap", {"wsdl": Path(file)}, name)
        if described == Description():
            raise _fault(file, f"operation '{name}' cannot be described: neither request nor answer is known")
        return Source(
            f"{Path(file).name}#{name}", "soap", "tree", name, leaves(described.request), leaves(described.answer)
        )

    def _fhir(self, names: str, operation: Operation, action: str) -> Source:
        resources = tuple(names.split("+"))
        reads = operation.effect is Effect.READ
        action = action or f"{'search' if reads else 'create'} {resources[0]}"
        settings = {"base_url": _NOWHERE}
        request = self._described("fhir", settings, action).request
        answer = [
            leaf
            for name in resources
            for leaf in _resource(self._described("fhir", settings, f"read {name}").answer, name)
        ]
        style: Style = "search" if reads else "tree"
        return Source(
            f"fhir:{names}", "fhir", style, action, leaves(request, depth=_FHIR_DEPTH), answer, resources=resources
        )

    def _sample(self, file: Path, action: str) -> Source:
        tree, text, adapter = self._decoded(file)
        adapter = self.adapter or adapter
        if isinstance(tree, Message):
            kind = "^".join(filter(None, (tree.get("MSH", 0, 9, 1, part) for part in (1, 2, 3))))
            described = self._hl7(tree, kind)
            return Source(file.name, "hl7v2", "segments", action or kind, message_leaves(tree, described.request), ())
        style: Style = "body" if adapter == "rest" else "tree"
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
        kind = "^".join(filter(None, (message.get("MSH", 0, 9, 1, part) for part in (1, 2, 3))))
        return message_leaves(message, self._hl7(message, kind).answer)

    def _hl7(self, message: Message, kind: str) -> Description:
        """The tables' words for a message's own fields, whichever way it goes."""
        version = message.get("MSH", 0, 12, 1, 1) or "2.5.1"
        found = self._described("hl7v2", {"host": "127.0.0.1", "port": 9, "version": version}, kind)
        return Description(found.request, found.request)

    def _described(self, adapter: str, settings: Mapping[str, Any], action: str) -> Description:
        if self.endpoint is not None and self.adapter == adapter:
            return self.endpoint.describe(action)
        if adapter not in self._made:
            config = EndpointConfig(adapter=adapter, dialect="draft", settings=dict(settings))
            clock, nothing = SystemClock(), yaml.load("{}", "settings")
            self._made[adapter] = load_endpoint(
                "draft", config, nothing, clock=clock, metrics=Metrics(), adapters=self.adapters
            )
        return self._made[adapter].describe(action)

    def _decoded(self, file: Path) -> tuple[Tree, str, str]:
        """A sample's tree, its text and the adapter that reads its like."""
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise _fault(str(file), f"cannot be read as UTF-8 text: {error}") from None
        look = text.lstrip()
        adapter = next((name for start, name in _BY_LOOK if look.startswith(start)), "")
        decode: Callable[[str], Tree] | None = getattr(installed("adapter", self.adapters).get(adapter), "decode", None)
        if decode is None:
            raise _fault(str(file), "is no HL7 v2, XML or JSON text")
        try:
            return decode(text), text, adapter
        except (AdapterError, DecodeError) as error:
            raise _fault(str(file), str(error)) from None


def _resource(type_: Type, name: str) -> list[Leaf]:
    """The leaves of one resource of a Bundle, each in the list of such resources."""
    found = leaves(type_, depth=_FHIR_DEPTH)
    return [
        Leaf((name, *leaf.path), leaf.type, ("", *leaf.titles), (1, *(size + 1 for size in leaf.lists)), leaf.required)
        for leaf in found
        if not {"extension", "modifierExtension", "contained", "meta"} & set(leaf.path)
    ]


def _valued(known: Sequence[Leaf], tree: Tree) -> list[Leaf]:
    """Leaves that a schema describes, with the values that a sample has of them."""
    sampled = {leaf.path: leaf.value for leaf in leaves(type_of(tree), tree)}
    return [
        Leaf(leaf.path, leaf.type, leaf.titles, leaf.lists, leaf.required, sampled.get(leaf.path)) for leaf in known
    ]


def _root(text: str) -> str:
    """The name of the element that holds the request: the root, or what is in a SOAP Body."""
    try:
        root = xml.parse(text, drop_controls=True)
    except DecodeError:
        return ""
    body = next((one for one in root.iter("{*}Body") if len(one)), None)
    name = str(etree.QName(root if body is None else body[0]).localname)
    return "" if name.lower() in _NAMELESS else name


def _fault(file: str, message: str) -> ConfigError:
    return ConfigError([Finding(re.sub(r"\s+", " ", file), 0, 0, message)])
