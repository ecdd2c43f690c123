"""Loads everything a bus runs on and checks each part against the others: contract x routes x mappings x adapters.

``load`` is what start-up and ``esb lint`` share, so that nothing starts half-configured and lint never says less than the start would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from esb.codecs.yaml import nearest
from esb.config.routes import EndpointConfig, RouteConfig, Routes, load_routes
from esb.config.settings import Settings
from esb.contract import Contract, Operation, load_contract
from esb.endpoint import Endpoint
from esb.errors import ConfigError, Finding, Outcome
from esb.mapping import Codes, load_codes, load_mapping
from esb.mapping import Mapping as FieldMapping
from esb.model import Effect

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole configuration that holds together; ``mappings`` by operation, ``endpoints`` by name."""

    contract: Contract
    routes: Routes
    mappings: Mapping[str, FieldMapping]
    endpoints: Mapping[str, Endpoint]


class _Findings(list[Finding]):
    def attempt(self, load: Any, *arguments: Any) -> Any:
        """The result of ``load``, or None with its findings kept."""
        try:
            return load(*arguments)
        except ConfigError as error:
            self += error.findings
            return None


def load(settings: Settings, environ: Mapping[str, str]) -> Plan:
    """The plan for these settings; raises ``ConfigError`` with every finding of every file."""
    found = _Findings()
    contract: Contract | None = found.attempt(load_contract, settings.schemas)
    codes: Codes | None = found.attempt(load_codes, settings.mappings / "codes")
    routes: Routes | None = found.attempt(load_routes, settings.routes, environ, settings.secrets)
    if contract is None or codes is None or routes is None:
        raise ConfigError(found)
    endpoints = {name: found.attempt(_endpoint, settings, routes, name) for name in routes.endpoints}
    mappings = {name: found.attempt(_mapping, settings, routes, name, codes) for name in routes.routes}
    found += _route_findings(contract, routes)
    found += _unused_endpoints(routes)
    found += _unused_mappings(settings.mappings, routes)
    for name, mapping in mappings.items():
        if mapping is not None and name in contract.operations:
            found += _mapping_findings(mapping, contract.operations[name])
            found += _action_findings(mapping, endpoints.get(routes.routes[name].to))
    if found:
        raise ConfigError(found)
    return Plan(contract, routes, mappings, endpoints)


def mapping_file(folder: Path, config: EndpointConfig, operation: str) -> Path:
    """Where the mapping of ``operation`` in this endpoint's dialect stands."""
    return folder / config.dialect / f"{operation}.yaml"


def _endpoint(settings: Settings, routes: Routes, name: str) -> Endpoint:
    return Endpoint.connect(name, routes.endpoints[name], routes.document, settings.adapters, settings.envelopes)


def _mapping(settings: Settings, routes: Routes, operation: str, codes: Codes) -> FieldMapping:
    config = routes.endpoints[routes.routes[operation].to]
    file = mapping_file(settings.mappings, config, operation)
    if not file.is_file():
        hint = nearest(operation, (each.stem for each in file.parent.glob("*.yaml")))
        place = ("routes", operation)
        raise ConfigError([routes.finding(place, f"mapping '{file.as_posix()}' does not exist", hint, at_key=True)])
    return load_mapping(file, codes)


def _route_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    for name, route in routes.routes.items():
        operation = contract.operations.get(name)
        if operation is None:
            hint = nearest(name, contract.operations)
            yield routes.finding(("routes", name), f"operation '{name}' is not in the contract", hint, at_key=True)
        else:
            yield from _safety(contract, routes, route, operation)


def _safety(contract: Contract, routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    if operation.effect is not Effect.READ and route.cache_s:
        yield routes.finding((*place, "cache"), f"only reads are cached; '{operation.name}' is {operation.effect}")
    if operation.effect is not Effect.ONCE and route.settle:
        yield routes.finding((*place, "settle"), f"only 'once' is settled; '{operation.name}' is {operation.effect}")
    if operation.effect is Effect.ONCE:
        yield from _once(contract, routes, route, operation)


def _once(contract: Contract, routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    if route.retry:
        hint = "remove retry; settle finds out whether it happened"
        yield routes.finding((*place, "retry"), f"'{operation.name}' is once and must never be sent again", hint)
    if route.settle is None:
        hint = "name a read that asks whether it happened: settle: OPERATION"
        yield routes.finding(place, f"'{operation.name}' is once and has no settle", hint, at_key=True)
    elif route.settle not in routes.routes or route.settle not in contract.operations:
        hint = nearest(route.settle, routes.routes)
        yield routes.finding((*place, "settle"), f"settle operation '{route.settle}' has no route", hint)
    else:
        yield from _settle(routes, operation, contract.operations[route.settle])


def _settle(routes: Routes, operation: Operation, settle: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name, "settle")
    if settle.effect is not Effect.READ:
        yield routes.finding(place, f"settle operation '{settle.name}' must be a read; it is {settle.effect}")
    if settle.answer_schema != operation.answer_schema:
        message = f"'{settle.name}' does not answer what '{operation.name}' answers"
        yield routes.finding(place, message, "give both the same answer schema in the contract")
    for name in settle.request_schema.get("required", ()):
        if not operation.has_request_path([name]):
            yield routes.finding(place, f"'{settle.name}' needs '{name}', which '{operation.name}' does not have")


def _unused_endpoints(routes: Routes) -> Iterator[Finding]:
    used = {route.to for route in routes.routes.values()}
    for name in routes.endpoints:
        if name not in used:
            yield routes.finding(("endpoints", name), f"no route leads to endpoint '{name}'", at_key=True)


def _unused_mappings(folder: Path, routes: Routes) -> Iterator[Finding]:
    used = {mapping_file(folder, routes.endpoints[route.to], name) for name, route in routes.routes.items()}
    for dialect in sorted({endpoint.dialect for endpoint in routes.endpoints.values()}):
        for file in sorted((folder / dialect).glob("*.yaml")):
            if file not in used:
                yield Finding(file.as_posix(), 0, 0, "no route uses this mapping", "add a route or delete the file")


def _mapping_findings(mapping: FieldMapping, operation: Operation) -> Iterator[Finding]:
    for path, mark in mapping.source_paths:
        if not operation.has_request_path(path):
            text = "$" + ".".join(map(str, path))
            yield Finding(
                mapping.file, *mark, f"'{text}' is not in the request of the contract", operation.nearest_request_path(path)
            )
    for path, mark in mapping.target_paths:
        if not operation.has_answer_path(path):
            yield Finding(
                mapping.file,
                *mark,
                f"'{'.'.join(map(str, path))}' is not in the answer of the contract",
                operation.nearest_answer_path(path),
            )
    for code, mark in mapping.refusal_codes.items():
        if code not in operation.refusals:
            yield Finding(
                mapping.file, *mark, f"refusal '{code}' is not in the contract", nearest(code, operation.refusals)
            )
    yield from _examples(mapping, operation)


def _examples(mapping: FieldMapping, operation: Operation) -> Iterator[Finding]:
    shown = {example.outcome for example in mapping.examples}
    for outcome in sorted(mapping.outcomes - shown):
        yield Finding(mapping.file, 0, 0, f"outcome '{outcome}' has no example", "add one under examples")
    for example in mapping.examples:
        wrong = operation.check_request(example.given)
        wrong += operation.check_answer(example.body) if example.outcome is Outcome.DONE else []
        for error in wrong:
            yield Finding(mapping.file, example.line, 1, f"example '{example.name}': {error.pointer}: {error.en}")


def _action_findings(mapping: FieldMapping, endpoint: Endpoint | None) -> Iterable[Finding]:
    if endpoint is None or mapping.action is None:
        return []
    line, column = mapping.action_mark
    return [
        Finding(mapping.file, line, column, problem)
        for problem in endpoint.check(mapping.action, mapping.request_fields)
    ]
