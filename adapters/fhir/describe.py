"""What an action is sent and answers, by the definitions of its resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from adapters.fhir import actions
from adapters.fhir.actions import Action
from esb.codecs.fhir import Release
from esb.codecs.fhir_types import resource_type
from esb.spi import ANY, Description, Type

_ID: Final = Type("text", required=True, longest=64)
_OPEN: Final = Type("structure", open=True)
_ANSWERS: Final = {
    "search": "Bundle",
    "transaction": "Bundle",
    "batch": "Bundle",
    "capabilities": "CapabilityStatement",
}


def describe(action: Action, release: Release) -> Description:
    """``ANY`` where the server decides: what an operation or a deletion answers."""
    return Description(_request(action, release), _answer(action, release))


def _request(action: Action, release: Release) -> Type:
    if action.verb == "search":
        return _OPEN
    if own := actions.OWN.get(action.verb):
        needed = actions.NEEDED.get(action.verb, set())
        return _structure({name: _ID if name in needed else ANY for name in sorted(own)})
    resource = resource_type(action.kind or "Bundle", release)
    if resource.sort == "any":
        return ANY
    added = dict.fromkeys(sorted(actions.CONTROLS.get(action.verb, ())), ANY)
    return replace(resource, make=lambda: {**_given(resource, action), **added})


def _given(resource: Type, action: Action) -> dict[str, Type]:
    """The elements, without those that the adapter puts in itself."""
    written = {"resourceType", "type"} if action.verb in ("transaction", "batch") else {"resourceType"}
    return {name: replace(one, required=one.required and name not in written) for name, one in resource.fields.items()}


def _answer(action: Action, release: Release) -> Type:
    if action.verb in ("operation", "delete"):
        return ANY
    resource = resource_type(_ANSWERS.get(action.verb, action.kind), release)
    if action.verb in ("create", "update") and resource.sort != "any":
        return replace(resource, make=lambda: _written(resource, resource_type("OperationOutcome", release)))
    return resource


def _written(resource: Type, outcome: Type) -> dict[str, Type]:
    """The resource as the server keeps it, only its id, or an OperationOutcome of remarks."""
    both = {**outcome.fields, **resource.fields}
    fields = {name: replace(one, required=False) for name, one in both.items()}
    words = resource.fields["resourceType"].words + outcome.fields["resourceType"].words
    return fields | {"resourceType": replace(fields["resourceType"], required=True, words=words)}


def _structure(fields: Mapping[str, Type]) -> Type:
    return Type("structure", required=True, make=lambda: fields)
