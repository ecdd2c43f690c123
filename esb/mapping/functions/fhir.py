"""Functions for FHIR resources and bundles."""

from __future__ import annotations

from esb.mapping.functions.lists import where
from esb.mapping.functions.registry import function, need_dict, need_list, need_text
from esb.mapping.values import FunctionError
from esb.model import Tree

_BUNDLE = {
    "resourceType": "Bundle",
    "entry": [
        {"fullUrl": "http://h/Patient/1", "resource": {"resourceType": "Patient", "id": "1"}},
        {"fullUrl": "urn:uuid:7", "resource": {"resourceType": "Organization", "id": "2"}},
    ],
}


@function(
    ("$b | resources('Patient') | pluck('id')", ["1"], {"b": _BUNDLE}), ("$b | resources('Slot')", [], {"b": _BUNDLE})
)
def resources(value: Tree, type_: str) -> list[Tree]:
    """The resources of one type in a bundle, in their order."""
    return [found for found in map(_resource, _entries(value)) if found.get("resourceType") == type_]


@function(
    ("$r | resolve($b) | pluck('id')", ["1"], {"b": _BUNDLE, "r": {"reference": "Patient/1"}}),
    ("'urn:uuid:7' | resolve($b) | pluck('id')", ["2"], {"b": _BUNDLE}),
    may_miss=True,
)
def resolve(value: Tree, bundle: Tree) -> Tree:
    """The resource of a bundle that a reference names by full URL or by type and id; nothing when it is not there."""
    target = value.get("reference") if isinstance(value, dict) else need_text(value)
    for entry in _entries(bundle) if target else ():
        found = _resource(entry)
        if target in (entry.get("fullUrl"), f"{found.get('resourceType')}/{found.get('id')}"):
            return found
    return None


@function(
    ("$r | extension('urn:fee')", 5, {"r": {"extension": [{"url": "urn:fee", "valueInteger": 5}]}}),
    ("$r | extension('urn:x') ?? 'none'", "none", {"r": {}}),
    may_miss=True,
)
def extension(value: Tree, url: str) -> Tree:
    """The value of the first extension with that URL; nothing when there is none."""
    for found in where(need_dict(value).get("extension") or [], "url", url):
        return next((part for name, part in found.items() if name.startswith("value")), None)
    return None


@function(
    ("$c | coding('http://loinc.org')", "718-7", {"c": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}}),
    may_miss=True,
)
def coding(value: Tree, system: str) -> Tree:
    """The code a CodeableConcept, or a list of them, has in one code system; nothing when there is none."""
    for concept in need_list(value):
        for found in where(need_dict(concept).get("coding") or [], "system", system):
            return found.get("code")
    return None


def _entries(bundle: Tree) -> list[dict[str, Tree]]:
    if need_dict(bundle).get("resourceType") != "Bundle":
        raise FunctionError("needs a Bundle")
    return [need_dict(entry) for entry in need_list(bundle.get("entry") or [])]


def _resource(entry: dict[str, Tree]) -> dict[str, Tree]:
    return need_dict(entry.get("resource") or {})
