"""Functions for FHIR resources and bundles."""

from __future__ import annotations

from typing import Any

from esb.codecs.fhir import MAX_DEPTH
from esb.mapping.functions.digests import content
from esb.mapping.functions.lists import where
from esb.mapping.functions.registry import function, need_dict, need_list, need_text
from esb.mapping.functions.sorts import AnyText, Link, Pointer, Struct
from esb.mapping.functions.text import joined
from esb.mapping.values import FunctionError
from esb.model import Tree

_BUNDLE = {
    "resourceType": "Bundle",
    "entry": [
        {"fullUrl": "http://h/Patient/1", "resource": {"resourceType": "Patient", "id": "1"}},
        {"fullUrl": "urn:uuid:7", "resource": {"resourceType": "Organization", "id": "2"}},
    ],
}
_REPORT = {"resourceType": "DiagnosticReport", "contained": [{"resourceType": "Specimen", "id": "s"}]}
_EXTENDED = {
    "extension": [
        {"url": "urn:race", "extension": [{"url": "text", "valueString": "Han"}]},
        {"url": "urn:fee", "valueInteger": 5},
    ]
}
_TWICE = [
    {"resource": {"resourceType": "Patient", "id": "1", "name": [{"family": "A"}], "gender": "male"}},
    {"resource": {"resourceType": "Patient", "id": "1", "name": [{"family": "A"}, {"family": "B"}], "gender": "other"}},
]


@function(
    ("$b | resources('Patient') | pluck('id')", ["1"], {"b": _BUNDLE}), ("$b | resources('Slot')", [], {"b": _BUNDLE})
)
def resources(value: Struct, type_: str) -> list[Tree]:
    """The resources of one type in a bundle, in their order."""
    return [found for found in map(_resource, _entries(value)) if found.get("resourceType") == type_]


@function(
    ("$r | resolve($b) | pluck('id')", ["1"], {"b": _BUNDLE, "r": {"reference": "Patient/1"}}),
    ("'urn:uuid:7' | resolve($b) | pluck('id')", ["2"], {"b": _BUNDLE}),
    ("'#s' | resolve($r) | pluck('resourceType')", ["Specimen"], {"r": _REPORT}),
    ("'Patient/9' | resolve($b) | pluck('id') ?? 'none'", "none", {"b": _BUNDLE}),
    may_miss=True,
)
def resolve(value: Pointer, within: Tree) -> Tree:
    """The resource that a reference names: by full URL or by type and id in a bundle, by #id among what a resource
    contains; nothing when it is not there."""
    target = value.get("reference") if isinstance(value, dict) else need_text(value)
    if not isinstance(target, str) or not target:
        return None
    if target.startswith("#"):
        inside = [need_dict(part) for part in need_list(need_dict(within).get("contained") or [])]
        return next((part for part in inside if part.get("id") == target[1:]), None)
    named = target.partition("/_history/")[0]
    return next((_resource(entry) for entry in _entries(within) if named in _names(entry)), None)


def _names(entry: dict[str, Tree]) -> tuple[Tree, str]:
    found = _resource(entry)
    return entry.get("fullUrl"), f"{found.get('resourceType')}/{found.get('id')}"


@function(
    ("'1' | reference('Patient')", {"reference": "Patient/1"}),
    ("'' | reference('Patient')", FunctionError),
)
def reference(value: AnyText, type_: str) -> Link:
    """A reference to the resource of a type that has an id."""
    if not need_text(value) or not need_text(type_):
        raise FunctionError("a reference needs a type and an id")
    return {"reference": joined(f"{type_}/", value)}


@function(
    ("$r | reference_id('Patient')", "1", {"r": {"reference": "http://h/fhir/Patient/1/_history/2"}}),
    ("'Group/1' | reference_id('Patient') ?? 'none'", "none"),
    may_miss=True,
)
def reference_id(value: Pointer, type_: str) -> str | None:
    """The id in a reference to a resource of a type; nothing when it refers to something else."""
    target = value.get("reference") if isinstance(value, dict) else need_text(value)
    parts = target.partition("/_history/")[0].split("/") if isinstance(target, str) else []
    return parts[-1] or None if len(parts) > 1 and parts[-2] == type_ else None


@function(
    ("$r | extension('urn:fee')", 5, {"r": _EXTENDED}),
    ("$r | extension('urn:race', 'text')", "Han", {"r": _EXTENDED}),
    ("$r | extension('urn:x') ?? 'none'", "none", {"r": {}}),
    may_miss=True,
)
def extension(value: Struct, url: str, *inner: str) -> Tree:
    """The value of the first extension with that URL, or of the one inside it that further URLs name; nothing when
    there is none."""
    found = next(iter(extensions(value, url)), None)
    if found is None or not inner:
        return next((part for name, part in (found or {}).items() if name.startswith("value")), None)
    return extension(found, *inner)


@function(("$r | extensions('urn:fee') | pluck('valueInteger')", [5], {"r": _EXTENDED}))
def extensions(value: Struct, url: str) -> list[Tree]:
    """All extensions with that URL, as they are."""
    return where(need_dict(value).get("extension") or [], "url", need_text(url))


@function(
    ("$c | coding('http://loinc.org')", "718-7", {"c": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}}),
    may_miss=True,
)
def coding(value: list[Struct], system: str) -> Tree:
    """The code a CodeableConcept, or a list of them, has in one code system; nothing when there is none."""
    for concept in need_list(value):
        for found in where(need_dict(concept).get("coding") or [], "system", need_text(system)):
            return found.get("code")
    return None


@function(
    ("$c | concept_text", "血红蛋白", {"c": {"text": "血红蛋白", "coding": [{"code": "718-7"}]}}),
    ("$c | concept_text", "Hb", {"c": {"coding": [{"code": "718-7"}, {"display": "Hb"}]}}),
    may_miss=True,
)
def concept_text(value: Struct) -> Tree:
    """What a CodeableConcept is called: its text, or the first display of its codings; nothing when it has neither."""
    displays = [need_dict(part).get("display") for part in need_list(need_dict(value).get("coding") or [])]
    return value.get("text") or next(filter(None, displays), None)


@function(
    (
        "$entries | merge_entries",
        [
            {
                "resource": {
                    "resourceType": "Patient",
                    "id": "1",
                    "name": [{"family": "A"}, {"family": "B"}],
                    "gender": "male",
                }
            }
        ],
        {"entries": _TWICE},
    )
)
def merge_entries(value: list[Struct]) -> list[Tree]:
    """Bundle entries with the entries of the same type and id made one: of plain values the first stays, structures
    are merged, lists joined without repetitions."""
    same: dict[Any, list[Tree]] = {}
    for at, entry in enumerate(need_list(value)):
        resource = _resource(need_dict(entry))
        name = (resource.get("resourceType"), resource.get("id"))
        same.setdefault(name if all(isinstance(part, str) for part in name) else at, []).append(entry)
    return [_merged(entries, 0) if len(entries) > 1 else entries[0] for entries in same.values()]


def _merged(parts: list[Tree], depth: int) -> Tree:
    if depth > MAX_DEPTH:
        raise FunctionError(f"is nested deeper than {MAX_DEPTH} levels")
    if all(isinstance(part, dict) for part in parts):
        names = dict.fromkeys([name for part in parts for name in part])
        return {name: _merged([part[name] for part in parts if name in part], depth + 1) for name in names}
    if all(isinstance(part, list) for part in parts):
        return list({content(item): item for part in parts for item in part}.values())
    return parts[0]


def _entries(bundle: Tree) -> list[dict[str, Tree]]:
    if need_dict(bundle).get("resourceType") != "Bundle":
        raise FunctionError("needs a Bundle")
    return [need_dict(entry) for entry in need_list(bundle.get("entry") or [])]


def _resource(entry: dict[str, Tree]) -> dict[str, Tree]:
    return need_dict(entry.get("resource") or {})
