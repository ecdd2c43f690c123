"""Method and path -> operation: a dict for static paths, a small tree for templated ones, both compiled at load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from esb.contract import Operation, Parameter
from esb.facade.problems import Problem


class Target:
    """An operation and what a request for it is made of. ``path`` names its path parameters in order."""

    __slots__ = ("names", "operation", "path", "query")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        by_name = {one.name: one for one in operation.parameters}
        self.path: tuple[Parameter, ...] = tuple(by_name[name] for name in _template_names(operation.path))
        self.query = {one.name: one for one in operation.parameters if one.location == "query"}
        self.names = frozenset(by_name)


@dataclass(slots=True)
class _Node:
    literals: dict[bytes, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    targets: dict[str, Target] = field(default_factory=dict)


class Router:
    """Answers from the raw path, before percent-decoding: an escaped slash never makes another path."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._static: dict[bytes, dict[str, Target]] = {}
        self._tree = _Node()
        for operation in operations:
            target = Target(operation)
            if target.path:
                self._plant(target)
            else:
                self._static.setdefault(operation.path.encode(), {})[operation.method] = target

    def find(self, method: str, path: bytes) -> tuple[Target, list[bytes]] | None:
        """The target and its raw path values; None when no operation lives at ``path``; 405 when only others do."""
        found = self._static.get(path)
        if found is not None and method in found:
            return found[method], []
        allowed = set(found or ())
        for targets, values in _walk(self._tree, path.split(b"/"), 1, []):
            if method in targets:
                return targets[method], values
            allowed.update(targets)
        if not allowed:
            return None
        raise Problem("method_not_allowed", headers=[(b"allow", ", ".join(sorted(allowed)).encode())])

    def _plant(self, target: Target) -> None:
        node = self._tree
        for part in target.operation.path.split("/")[1:]:
            if part.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(part.encode(), _Node())
        node.targets[target.operation.method] = target


def _walk(
    node: _Node, parts: list[bytes], at: int, values: list[bytes]
) -> Iterator[tuple[Mapping[str, Any], list[bytes]]]:
    """Every node that the path leads to, the one with most literal parts first; an empty part is no value."""
    if at == len(parts):
        if node.targets:
            yield node.targets, values
        return
    part = parts[at]
    if part in node.literals:
        yield from _walk(node.literals[part], parts, at + 1, values)
    if node.parameter is not None and part:
        yield from _walk(node.parameter, parts, at + 1, [*values, part])


def _template_names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
