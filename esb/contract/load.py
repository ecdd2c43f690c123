"""``schemas/`` -> ``Contract``, or every mistake in it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esb.codecs.yaml import PathTuple
from esb.contract.event import Event, read_events
from esb.contract.inline import Inliner
from esb.contract.merge import Merged, merge
from esb.contract.operation import Operation
from esb.contract.read import OperationReader
from esb.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Contract:
    """``operations`` by name; ``own`` holds those that the bus answers itself; ``document`` is the one document.

    ``events`` are its webhooks by name.
    """

    operations: Mapping[str, Operation]
    document: Mapping[str, Any]
    own: Mapping[str, Operation]
    events: Mapping[str, Event] = field(default_factory=dict)


def load_contract(folder: Path) -> Contract:
    """Read every ``*.yaml`` of ``folder``; raises ``ConfigError`` with all findings, by file, line and column."""
    merged = merge(folder)
    shared = _shared_responses(merged)
    inline = Inliner(merged)
    for name in merged.tree["components"].get("schemas", {}):
        inline({"$ref": f"#/components/schemas/{name}"}, ("components", "schemas", name))
    contract = _contract(merged, OperationReader(merged, inline, shared))
    if merged.findings:
        raise ConfigError(merged.findings)
    return contract


def _contract(merged: Merged, reader: OperationReader) -> Contract:
    operations: dict[str, Operation] = {}
    own: dict[str, Operation] = {}
    shapes: dict[str, str] = {}
    for path, item in merged.tree["paths"].items():
        place: PathTuple = ("paths", path)
        shape = "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
        if shape in shapes:
            merged.find(place, f"'{path}' is the same address as '{shapes[shape]}'", at_key=True)
        shapes.setdefault(shape, path)
        for method in reader.methods(item, place):
            operation = reader.read(path, method)
            if operation is None:
                continue
            if operation.name in operations or operation.name in own:
                other = (operations.get(operation.name) or own[operation.name]).path
                merged.find((*place, method, "operationId"), f"'{operation.name}' is already the operation at {other}")
                continue
            is_own = item[method].get("x-answered-by") == "bus"
            (own if is_own else operations)[operation.name] = operation
    return Contract(operations, merged.tree, own, read_events(merged, reader.inline))


def _shared_responses(merged: Merged) -> Mapping[str, Mapping[str, str]]:
    """``x-responses`` of the common file: kind of operation -> status -> name of the component response."""
    components = merged.tree["components"].get("responses", {})
    statuses = {name: str(node.pop("x-status", "")) for name, node in components.items()}
    assert merged.common is not None
    shared: dict[str, dict[str, str]] = {"any": {status: name for name, status in statuses.items() if status}}
    for kind, names in (merged.common.value.get("x-responses") or {}).items():
        shared[kind] = {}
        for index, name in enumerate(names if isinstance(names, list) else [names]):
            if not statuses.get(name):
                merged.find(("x-responses", kind, index), f"there is no response '{name}' with an x-status")
            shared[kind][statuses.get(name, "")] = name
    return shared
