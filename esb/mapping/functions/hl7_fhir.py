"""Functions that bundles made of HL7 v2 messages need."""

from __future__ import annotations

from esb.codecs.fhir import MAX_DEPTH
from esb.mapping.functions.digests import content
from esb.mapping.functions.registry import counted, function, need_dict, need_list, need_text
from esb.mapping.values import FunctionError
from esb.model import Tree

_A = {"resourceType": "Patient", "id": "1", "name": [{"family": "A"}]}
_B = {"resourceType": "Patient", "id": "1", "name": [{"family": "A"}, {"family": "B"}], "gender": "male"}
_C = {"resourceType": "Account", "id": "1"}


@function(("$x | flat_resources | pluck('id')", ["1", "1"], {"x": [[_A, []], [[_C]]]}))
def flat_resources(value: Tree) -> list[Tree]:
    """The structures of lists in lists, however deep, as one list."""
    found: list[Tree] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += reversed(part)
        else:
            found.append(part)
        counted(len(found))
    return found


@function(
    ("$x | merged | pluck('gender')", ["male"], {"x": [_A, _B, _C]}),
    ("$x | merged | count", 2, {"x": [_A, _B, _C]}),
    ("$x | merged | first | pluck('name') | first | pluck('family')", ["A", "B"], {"x": [_A, _B]}),
)
def merged(value: list[Tree]) -> list[Tree]:
    """Resources of one type and id as one: lists get what they lack, structures are merged, of texts the last stays."""
    found: dict[tuple[str, str], Tree] = {}
    for resource in map(need_dict, need_list(value)):
        key = need_text(resource.get("resourceType")), need_text(resource.get("id"))
        found[key] = _union(found[key], resource) if key in found else resource
    return list(found.values())


def _union(one: Tree, other: Tree, depth: int = 0) -> Tree:
    if depth > MAX_DEPTH:
        raise FunctionError(f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(one, dict) and isinstance(other, dict):
        both = {name: _union(one[name], other[name], depth + 1) for name in one.keys() & other.keys()}
        return {**one, **other, **both}
    if isinstance(one, list) and isinstance(other, list):
        return list({content(part): part for part in one + other}.values())
    return other
