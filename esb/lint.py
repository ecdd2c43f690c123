"""Loads everything a bus runs on and checks each part against the others: contract x routes x mappings x adapters.

``load`` is what start-up and ``esb lint`` share: nothing starts half-configured, and lint says no less than the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esb.clock import Clock
from esb.codecs import yaml
from esb.codecs.yaml import nearest
from esb.config.routes import EndpointConfig, RouteConfig, Routes, read_routes
from esb.config.settings import Settings
from esb.contract import Contract, Operation, load_contract
from esb.endpoint import Endpoint, load_endpoint
from esb.errors import ConfigError, Finding, Outcome
from esb.mapping import Codes, ExampleResult, load_codes, load_mapping, run_examples
from esb.mapping import Mapping as FieldMapping
from esb.model import Effect
from esb.observe import Metrics
from esb.types import Lost


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


def load(settings: Settings, environ: Mapping[str, str], clock: Clock, metrics: Metrics) -> Plan:
    """The plan for these settings; raises ``ConfigError`` with every finding of every file."""
    found = _Findings()
    contract: Contract | None = found.attempt(load_contract, settings.schemas)
    codes: Codes | None = found.attempt(load_codes, settings.mappings / "codes")
    read: tuple[Routes, list[Finding]] | None = found.attempt(read_routes, settings.routes, environ, settings.secrets)
    if read is None:
        raise ConfigError(found)
    routes, more = read
    found += more
    parts = _Parts(settings, routes, codes, clock, metrics)
    endpoints = {name: found.attempt(parts.endpoint, name) for name in routes.endpoints}
    mappings = {name: found.attempt(parts.mapping, name) for name in routes.routes}
    found += _unused_endpoints(routes)
    found += _never_absent(routes, mappings)
    if contract is not None:
        found += _route_findings(contract, routes)
        found += _all_mapping_findings(contract, routes, mappings, endpoints)
    if found or contract is None:
        raise ConfigError(found)
    return Plan(contract, routes, mappings, endpoints)


def _all_mapping_findings(
    contract: Contract,
    routes: Routes,
    mappings: Mapping[str, FieldMapping | None],
    endpoints: Mapping[str, Endpoint | None],
) -> Iterator[Finding]:
    for name, mapping in mappings.items():
        if mapping is not None and name in contract.operations:
            yield from mapping_findings(mapping, contract.operations[name])
            yield from _action_findings(mapping, endpoints.get(routes.routes[name].to))


@dataclass(frozen=True, slots=True)
class _Parts:
    settings: Settings
    routes: Routes
    codes: Codes | None
    clock: Clock
    metrics: Metrics

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint connected, its adapter's and envelopes' settings checked."""
        return load_endpoint(
            name,
            self.routes.endpoints[name],
            self.routes.document,
            clock=self.clock,
            metrics=self.metrics,
            adapters=self.settings.adapters,
            envelopes=self.settings.envelopes,
        )

    def mapping(self, operation: str) -> FieldMapping | None:
        """The compiled mapping of one routed operation; None where its endpoint or the code tables are broken."""
        config = self.routes.endpoints.get(self.routes.routes[operation].to)
        if config is None or self.codes is None:
            return None
        file = mapping_file(self.settings.mappings, config, operation)
        if file.is_file():
            return load_mapping(file, self.codes)
        others = set(self.routes.written)
        hint = nearest(operation, (each.stem for each in file.parent.glob("*.yaml") if each.stem not in others))
        place = ("routes", operation)
        message = f"mapping '{file.as_posix()}' does not exist"
        raise ConfigError([self.routes.finding(place, message, hint, at_key=True)])


def mapping_file(folder: Path, config: EndpointConfig, operation: str) -> Path:
    """Where the mapping of ``operation`` in this endpoint's dialect stands."""
    return folder / config.dialect / f"{operation}.yaml"


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
    if operation.owner and route.cache_s:
        message = f"'{operation.name}' answers what belongs to its caller (x-owner) and is not cached"
        yield routes.finding((*place, "cache"), message, "remove cache: two callers would share one answer")
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
    elif route.settle not in routes.written or route.settle not in contract.operations:
        hint = nearest(route.settle, routes.written)
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
    for name in routes.endpoints:
        if name not in routes.used:
            yield routes.finding(("endpoints", name), f"no route leads to endpoint '{name}'", at_key=True)


def _never_absent(routes: Routes, mappings: Mapping[str, FieldMapping | None]) -> Iterator[Finding]:
    """A settle that cannot say that nothing happened would leave what was lost unknown for ever."""
    for name, route in routes.routes.items():
        settle = mappings.get(route.settle or "")
        if settle is not None and "not_found" not in settle.refusal_codes:
            message = f"the mapping of '{route.settle}' never refuses with not_found: absence could not be settled"
            yield routes.finding(("routes", name, "settle"), message)


def mapping_findings(mapping: FieldMapping, operation: Operation) -> Iterator[Finding]:
    """What does not fit between a mapping and the operation of the contract that it serves."""
    for path, mark in mapping.source_paths("request"):
        steps = _steps(path)
        if not operation.has_request_path(steps):
            hint = operation.nearest_request_path(steps)
            yield Finding(mapping.file, *mark, f"'${path}' is not in the contract's request", hint)
    for path, mark in mapping.source_paths("done"):
        if not operation.has_answer_path([path]):
            hint = operation.nearest_answer_path([path])
            yield Finding(mapping.file, *mark, f"'{path}' is not in the contract's answer", hint)
    for code in sorted(mapping.refusal_codes - set(operation.refusals)):
        known = ", ".join(operation.refusals) or "none"
        hint = nearest(code, operation.refusals) or f"x-refusals of {operation.name}: {known}"
        yield _place(mapping, ("response",), f"refusal '{code}' is not in the contract", hint)
    yield from _examples(mapping, operation)


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"[.\[\]]+", path.replace("[]", ".*")) if step]


def _examples(mapping: FieldMapping, operation: Operation) -> Iterator[Finding]:
    shown = {example.expects[0] for example in mapping.examples if example.expects}
    for outcome in sorted(mapping.outcomes - shown):
        yield _place(mapping, ("examples",), f"outcome '{outcome}' has no example", "add one under examples")
    for example in mapping.examples:
        wrong = operation.check_request(example.given)
        if example.expects and example.expects[0] is Outcome.DONE:
            wrong += operation.check_answer(example.expects[1])
        for error in wrong:
            yield Finding(mapping.file, example.line, 1, f"example '{example.name}': {error.pointer}: {error.en}")


def _action_findings(mapping: FieldMapping, endpoint: Endpoint | None) -> Iterator[Finding]:
    if endpoint is not None and mapping.action_is_fixed:
        for problem in endpoint.check(mapping.action, mapping.request_fields):
            named = next((field for field in mapping.request_fields if f"'{field}'" in problem), None)
            yield _place(mapping, ("action",) if named is None else ("request", named), problem)
        answer = endpoint.describe(mapping.action).answer
        for path, mark in mapping.source_paths("answer"):
            found = answer.at(_names(path))
            if isinstance(found, Lost):
                hint = nearest(found.step, found.known)
                yield Finding(mapping.file, *mark, f"no answer to {mapping.action} has '{path}'", hint)


def _names(path: str) -> list[str]:
    return [step for step in re.split(r"[.\[\]-]+", path) if step and not step.isdigit()]


def _place(mapping: FieldMapping, path: tuple[str, ...], message: str, hint: str = "") -> Finding:
    """A finding at the key of ``path``; in a list of HL7 segments the last step is looked for among them."""
    document = yaml.load(Path(mapping.file))
    found = [known for known in document.keys if known[:1] == path[:1] and known[-1] == path[-1]]
    return document.finding(found[0] if found else path, message, hint, at_key=True)


def run_all_examples(plan: Plan, operations: Iterable[str]) -> Iterator[tuple[FieldMapping, ExampleResult]]:
    """Every example of these operations' mappings with how it went; nothing is sent."""
    for name in operations:
        mapping = plan.mappings[name]
        endpoint = plan.endpoints[plan.routes.routes[name].to]
        for result in run_examples(mapping, endpoint.decode_example):
            yield mapping, result
