"""FHIR resources as ``Type``, by the models of fhir.resources: what a mapping may read of one and what it must give.

R4B stands in for R4 as ``esb.codecs.fhir`` says; of a type whose R4 shape is not among the models nothing is known. The
models are imported when the fields of a type are asked for, a tenth of a second for the first one and a few thousandths
for each more.

``date`` and ``dateTime`` are texts here: both may stop at the year or the month, and a ``dateTime`` without a time has
no offset, so neither is the whole day or moment that other types promise. An ``instant`` is a moment. Binary values
are their Base64 text, an ``integer64`` of R5 is a text in JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, get_args, get_origin

from esb.codecs.fhir import NOT_CHECKABLE, TYPES, Release, all_codes, model_finder
from esb.types import ANY, Sort, Type

_SORTS: Final[Mapping[str, Sort]] = {
    "Boolean": "truth",
    "Decimal": "decimal",
    "Instant": "moment",
    "Integer": "integer",
    "PositiveInt": "integer",
    "Time": "time",
    "UnsignedInt": "integer",
}
_LONGEST: Final = {"Id": 64}
_RESOURCE: Final = Type("structure", open=True, make=lambda: {"resourceType": Type("text", required=True)})
"""A resource of any type: it says itself of which."""


@functools.cache
def resource_type(name: str, release: Release = "R4") -> Type:
    """A resource by its name; ``ANY`` of one that the release has not got or whose shape is not known.

    Its fields are the elements, ``_name`` the extensions of a primitive one, ``value[x]`` whatever stands in a choice.
    """
    if name not in TYPES[release] - NOT_CHECKABLE[release]:
        return ANY
    return _structure(name, release, resource=True)


@functools.cache
def _structure(name: str, release: Release, resource: bool = False) -> Type:
    if name == "Resource":
        return _RESOURCE
    return Type("structure", make=lambda: _fields(name, release, resource))


@functools.cache
def _fields(name: str, release: Release, resource: bool) -> Mapping[str, Type]:
    """Made once, however many elements are of that type."""
    return dict(_elements(name, release, resource))


def _elements(name: str, release: Release, resource: bool) -> Iterator[tuple[str, Type]]:
    if resource:
        yield "resourceType", Type("text", required=True, words=(name,), title="The type of the resource")
    choices: dict[str, list[Type]] = {}
    for attribute, field in model_finder(release)(name).model_fields.items():
        if attribute == "fhir_comments":
            continue
        extra = field.json_schema_extra or {}
        found = _field(attribute, field, extra, release)
        yield field.alias or attribute, found
        if choice := extra.get("one_of_many"):
            choices.setdefault(choice, []).append(replace(found, required=extra["one_of_many_required"]))
    for choice, members in choices.items():
        yield f"{choice}[x]", _choice(members)


def _field(attribute: str, field: Any, extra: Mapping[str, Any], release: Release) -> Type:
    many, kind = _kind(field.annotation, field.metadata)
    required = field.is_required() or bool(extra.get("element_required"))
    words = tuple(all_codes(attribute, extra))
    made = _primitive(kind) if isinstance(kind, str) else _structure(_name(kind), release)
    return replace(made, many=many, required=required, words=words, title=" ".join((field.title or "").split()))


def _primitive(name: str) -> Type:
    return Type(_SORTS.get(name, "text"), longest=_LONGEST.get(name))


def _choice(members: list[Type]) -> Type:
    """Any member of a choice: the fields of all."""

    def fields() -> dict[str, Type]:
        found: dict[str, Type] = {}
        for member in members:
            for name, field in member.fields.items():
                known = found.get(name)
                found[name] = field if known is None or known == field else Type(many=known.many or field.many)
        return found

    return Type(many=any(one.many for one in members), required=members[0].required, make=fields)


def _kind(annotation: Any, metadata: list[Any]) -> tuple[bool, Any]:
    """Whether it is a list; the name of a primitive type, or the class that stands for a structure.

    pydantic takes an ``Annotated`` apart where it stands outermost.
    """
    many = False
    while True:
        if metadata:
            return many, type(metadata[0]).__name__
        if get_origin(annotation) is Annotated:
            return many, type(get_args(annotation)[1]).__name__
        inner = [one for one in get_args(annotation) if one is not type(None)]
        if not inner:
            return many, "Boolean" if annotation is bool else annotation
        many = many or get_origin(annotation) is list
        annotation = inner[0]


def _name(kind: Any) -> str:
    """``abc.PatientContactType`` -> ``PatientContact``, as the model's finder calls it."""
    return str(kind.__name__).removesuffix("Type")
