"""An event of the contract: a canonical fact, declared as a webhook of the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from esb.codecs.yaml import PathTuple, nearest
from esb.contract.check import Check, FieldError, SchemaError, whole_numbers
from esb.contract.inline import Inliner
from esb.contract.merge import Merged
from esb.contract.schema import Schema, phi_paths
from esb.contract.types import type_of
from esb.model import Tree
from esb.types import Type

JSON = "application/json"
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_KEYS = {"summary", "description", "tags", "requestBody", "responses", "x-requirement"}


@dataclass(frozen=True, slots=True)
class Event:
    """A canonical fact: ``report.released``. Its schema is inlined and may be read, never changed."""

    name: str
    summary: str
    schema: Schema
    type: Type = field(init=False, repr=False, compare=False)
    phi: Mapping[tuple[str, ...], str] = field(init=False)
    _check: Check = field(init=False, repr=False, compare=False)
    _counts: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", type_of(self.schema, required=True))
        object.__setattr__(self, "phi", dict(phi_paths(self.schema)))
        object.__setattr__(self, "_check", Check(self.schema))
        object.__setattr__(self, "_counts", "'integer'" in repr(self.schema))

    def check(self, body: Tree) -> list[FieldError]:
        """Every wrong field of an event at once; empty when it satisfies the contract."""
        return self._check(body) or (list(whole_numbers(self.schema, body)) if self._counts else [])


def read_events(merged: Merged, inline: Inliner) -> dict[str, Event]:
    """Every webhook of the merged document; what is wrong with one becomes findings of the document."""
    found = (_event(merged, inline, name, node) for name, node in merged.tree["webhooks"].items())
    return {event.name: event for event in found if event is not None}


def _event(merged: Merged, inline: Inliner, name: str, node: Any) -> Event | None:
    before = len(merged.findings)
    place: PathTuple = ("webhooks", name)
    if not _NAME.fullmatch(name):
        merged.find(place, "an event is named like report.released", at_key=True)
    if not isinstance(node, dict) or list(node) != ["post"]:
        merged.find(place, "an event is told by one POST", "post:", at_key=True)
        return None
    post, place = merged.child(node, "post", dict, place), (*place, "post")
    for key in post:
        if key not in _KEYS:
            merged.find((*place, key), f"unknown key '{key}'", nearest(key, _KEYS), at_key=True)
    inner: Mapping[str, Any] = post
    for key in ("requestBody", "content", JSON):
        inner, place = merged.child(inner, key, dict, place), (*place, key)
    if "schema" not in inner:
        merged.find(("webhooks", name), f"an event has a body of {JSON} with a schema", at_key=True)
        return None
    schema = inline(inner["schema"], (*place, "schema"))
    if len(merged.findings) > before:
        return None
    return _compiled(merged, Event, name, str(post.get("summary", "")), schema)


def _compiled(merged: Merged, make: type[Event], name: str, summary: str, schema: Schema) -> Event | None:
    try:
        return make(name, summary, schema)
    except SchemaError as error:
        if not merged.findings:
            merged.find(("webhooks", name), f"its schema cannot be compiled: {error}", at_key=True)
        return None
