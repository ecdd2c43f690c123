"""FHIR resources as leaves: what its data types have in the middle of every path is taken out of the names."""

from __future__ import annotations

from dataclasses import replace

from esb.editing.leaves import Leaf, leaves
from esb.types import Type

_DEPTH = 5
_FRAME = ("extension", "modifierExtension", "contained", "meta", "implicitRules", "language", "assigner")
_ENDS = {
    ("coding", "code"): "{}",
    ("coding", "display"): "{} name",
    ("reference",): "{} id",
    ("display",): "{} name",
    ("text",): "{}",
    ("value",): "{}",
}
"""How the value of a CodeableConcept, a Reference, an Identifier or a Quantity is called, by the element it is in."""


def resources_in_bundle(type_: Type, name: str) -> list[Leaf]:
    """The leaves of the resources of that name in a Bundle, which is a list of them."""
    return [
        replace(
            leaf,
            path=(name, *leaf.path),
            titles=("", *leaf.titles),
            lists=(1, *(size + 1 for size in leaf.lists)),
        )
        for leaf in resource_leaves(type_)
    ]


def resource_leaves(type_: Type) -> list[Leaf]:
    """The leaves of one resource; of a Reference without its logical half, of a Quantity without its coded unit."""
    found = leaves(type_, None, _DEPTH, _is_frame)
    references = {leaf.path[:-1] for leaf in found if leaf.path[-1] == "reference"}
    logical = {(*path, half) for path in references for half in ("type", "identifier")}
    kept = (leaf for leaf in found if not any(leaf.path[: len(path)] == path for path in logical))
    return [replace(leaf, called=_called(leaf.path)) for leaf in kept]


def _is_frame(path: tuple[str, ...]) -> bool:
    """What FHIR has everywhere and a mapping seldom means: extensions, narrative, systems of codes."""
    last = path[-1]
    if last in _FRAME or last.startswith("_") or last.endswith("[x]") or path == ("text",):
        return True
    inner = len(path) > 1 and last in ("id", "userSelected", "system", "version")
    unit = len(path) > 1 and path[-2].startswith("value") and last == "code"
    return inner or unit or len(set(path)) < len(path)


def _called(path: tuple[str, ...]) -> str:
    for end, called in _ENDS.items():
        element = path[-len(end) - 1] if len(path) > len(end) else ""
        if path[-len(end) :] == end and element:
            return (
                "result" if element.startswith("value") else "name" if _names(end, element) else called.format(element)
            )
    return "result" if path[-1].startswith("value") and len(path) == 1 else ""


def _names(end: tuple[str, ...], element: str) -> bool:
    """What a resource is about is in ``code``: its text is the resource's name."""
    return element == "code" and end in (("text",), ("coding", "display"))
