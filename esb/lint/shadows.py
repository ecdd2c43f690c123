"""What does not fit between the shadows of routes.yaml and the contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from esb.codecs.yaml import nearest
from esb.config.routes import SHADOW_CALLS, EndpointConfig, Routes, ShadowConfig
from esb.contract import Contract, Operation
from esb.endpoint import Endpoint
from esb.errors import Finding
from esb.mapping import Mapping
from esb.model import Effect
from esb.types import Lost, Type


class Shadow(NamedTuple):
    """Who is asked beside a route: an endpoint of its own, and the mapping."""

    endpoint: Endpoint
    mapping: Mapping


def shadow_files(folder: Path, routes: Routes) -> Iterator[Path]:
    """The mappings of all shadows."""
    for name, route in routes.routes.items():
        if route.shadow is not None and route.shadow.to in routes.endpoints:
            yield shadow_file(folder, routes, name, route.shadow)


def shadow_file(folder: Path, routes: Routes, operation: str, shadow: ShadowConfig) -> Path:
    """The mapping of one."""
    return folder / (shadow.dialect or routes.endpoints[shadow.to].dialect) / f"{operation}.yaml"


def apart(config: EndpointConfig) -> EndpointConfig:
    """The same system with limits of its own: breaker and places of the live one know nothing of copies."""
    limits = config.limits.model_copy(update={"concurrency": min(SHADOW_CALLS, config.limits.concurrency)})
    return config.model_copy(update={"limits": limits})


def shadow_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    """Shadows are for reads, are not what they shadow, and ignore fields that there are."""
    for name, route in routes.routes.items():
        operation = contract.operations.get(name)
        if route.shadow is not None and operation is not None:
            yield from _shadow(routes, route.shadow, route.to, operation)


def _shadow(routes: Routes, shadow: ShadowConfig, to: str, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name, "shadow")
    if operation.effect is not Effect.READ:
        message = f"only reads have a shadow; '{operation.name}' is {operation.effect}"
        yield routes.finding(place, message, "remove shadow: a copy would be a second effect", at_key=True)
    live = routes.endpoints.get(to)
    if live is not None and shadow.to == to and shadow.dialect in (None, live.dialect):
        message = f"the shadow of '{operation.name}' is what it shadows"
        yield routes.finding(place, message, "name another endpoint, or another dialect", at_key=True)
    for at, path in enumerate(shadow.ignore):
        yield from _ignored(routes, (*place, "ignore", at), path, operation)
    if shadow.match and not _is_in_a_list(operation.answer_type, shadow.match):
        message = f"no list of the answer of '{operation.name}' has items with {', '.join(shadow.match)}"
        yield routes.finding((*place, "match"), message, "name fields of the items: [doctorId, start]")


def _is_in_a_list(found: Type, names: Sequence[str]) -> bool:
    here = found.many and all(name in found.fields for name in names)
    return here or any(_is_in_a_list(inner, names) for inner in found.fields.values())


def _ignored(routes: Routes, place: tuple[str | int, ...], path: str, operation: Operation) -> Iterator[Finding]:
    found = operation.answer_type
    for step in re.findall(r"[^.\[\]]+", path):
        inner = found.at([step])
        if isinstance(inner, Lost):
            message = f"'{path}': the contract's answer has no '{step}'"
            yield routes.finding(place, message, nearest(step, inner.known) or "fields: " + ", ".join(inner.known))
            return
        found = inner
