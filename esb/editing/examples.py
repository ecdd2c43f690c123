"""The contract's own example of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esb.contract import Contract, Operation
from esb.model import Tree


def example_request(contract: Contract, operation: Operation) -> dict[str, Tree]:
    """The contract's own example of a request: its parameters and its body."""
    item: Mapping[str, Any] = contract.document["paths"].get(operation.path, {})
    method: Mapping[str, Any] = item.get(operation.method.lower(), {})
    given: dict[str, Tree] = {}
    for parameter in (*item.get("parameters", ()), *method.get("parameters", ())):
        if "example" in parameter and parameter.get("in") in ("path", "query"):
            given[parameter["name"]] = parameter["example"]
    body = method.get("requestBody", {}).get("content", {}).get("application/json", {})
    return given | dict(body.get("example", {}))
