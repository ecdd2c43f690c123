"""Questions about an inlined JSON Schema: does a path exist in it, which name is nearest, what in it is a patient's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from esb.codecs.yaml import nearest

Schema = Mapping[str, Any]
Path = Sequence[str | int]
ITEM = "*"
"""Stands for every item of a list in a path."""

_BRANCHES = ("allOf", "anyOf", "oneOf")


def has_path(schema: Schema, path: Path) -> bool:
    """Whether a tree of this schema can have ``path``; a number or ``ITEM`` steps into a list."""
    return not path or any(has_path(inner, path[1:]) for inner in _step(schema, path[0]))


def nearest_name(schema: Schema, path: Path) -> str:
    """A hint for the first step of ``path`` that does not exist; "" when all exist or nothing is near."""
    reached = [schema]
    for step in path:
        inner = [one for at in reached for one in _step(at, step)]
        if not inner:
            return nearest(str(step), [name for at in reached for name in _names(at)])
        reached = inner
    return ""


def phi_paths(schema: Schema, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every path marked ``x-phi``, with its kind (name, document, phone ...); ``ITEM`` stands for list items."""
    if "x-phi" in schema:
        yield at, str(schema["x-phi"])
    for name, inner in schema.get("properties", {}).items():
        yield from phi_paths(inner, (*at, name))
    if isinstance(schema.get("items"), Mapping):
        yield from phi_paths(schema["items"], (*at, ITEM))
    for branch in _branches(schema):
        yield from phi_paths(branch, at)


def _step(schema: Schema, step: str | int) -> Iterator[Schema]:
    for branch in _branches(schema):
        yield from _step(branch, step)
    if isinstance(step, int) or step == ITEM:
        if isinstance(schema.get("items"), Mapping):
            yield schema["items"]
        return
    properties = schema.get("properties", {})
    if step in properties:
        yield properties[step]
    elif schema.get("additionalProperties") is True:
        yield {"additionalProperties": True}
    elif isinstance(schema.get("additionalProperties"), Mapping):
        yield schema["additionalProperties"]


def _names(schema: Schema) -> Iterable[str]:
    yield from schema.get("properties", {})
    for branch in _branches(schema):
        yield from _names(branch)


def _branches(schema: Schema) -> Iterator[Schema]:
    for keyword in _BRANCHES:
        yield from schema.get(keyword, ())
