"""Functions that bundles made of HL7 v2 messages need."""

from __future__ import annotations

from typing import Any

from esb.codecs import hl7v2
from esb.mapping.functions.numbers import int_
from esb.mapping.functions.registry import counted, function, need_text
from esb.mapping.functions.sorts import Numeric
from esb.mapping.values import FunctionError, is_message, kind
from esb.model import Tree

_PATIENT = {"resourceType": "Patient", "id": "1"}
_ACCOUNT = {"resourceType": "Account", "id": "1"}


@function(("$x | flatten_all | pluck('id')", ["1", "1"], {"x": [[_PATIENT, []], [[_ACCOUNT]]]}))
def flatten_all(value: Tree) -> list[Tree]:
    """The items of lists in lists, however deep, as one list."""
    return _flat(value, list)


@function(("$x | leaves", ["a", "b", "c"], {"x": {"1": "a", "4": {"1": "b", "2": ["c"]}}}), ("'a' | leaves", ["a"]))
def leaves(value: Tree) -> list[Tree]:
    """The single values in a structure or a list, however deep, in their order."""
    return _flat(value, dict | list)


def _flat(value: Tree, sort: Any) -> list[Tree]:
    found: list[Tree] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, sort):
            waiting += reversed(part if isinstance(part, list) else list(part.values()))
        else:
            found.append(part)
        counted(len(found))
    return found


_ORU = hl7v2.decode(b"MSH|^~\\&|LIS\rORC|RE\rNTE|1\rOBR|1\rNTE|1\rNTE|2\rOBX|1\r")


@function(
    ("$message | pieces('ORC', 'OBR') | last | pieces('OBR', 'OBX') | count", 2, {"message": _ORU}),
    ("$message | pieces('OBX') | count", 1, {"message": _ORU}),
    ("'OBX' | pieces('OBX')", FunctionError),
)
def pieces(value: Tree, *names: str) -> list[Tree]:
    """The segments of these names, each as a group with what follows it up to the next of any of them."""
    if not is_message(value):
        raise FunctionError(f"needs an HL7 message, got {kind(value)}")
    found: list[list[hl7v2.Segment]] = []
    for segment in value:
        if segment.name in names:
            found.append([])
        if found:
            found[-1].append(segment)
    return [hl7v2.Group(segments) for segments in found]


_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}


@function(
    ("'70' | minutes('min')", 70),
    ("'90' | minutes('s')", 1),
    ("'2' | minutes('h')", 120),
    ("'2' | minutes('x')", FunctionError),
)
def minutes(value: Numeric, unit: str) -> int:
    """A duration in whole minutes; its unit is one of UCUM's s, min, h, d and wk."""
    if need_text(unit) not in _SECONDS:
        raise FunctionError(f"a unit of time is one of {', '.join(_SECONDS)}")
    return int_(value) * _SECONDS[unit] // 60
