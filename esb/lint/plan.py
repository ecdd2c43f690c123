"""Loads everything a bus runs on and checks each part against the others: contract x routes x mappings x adapters."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esb.clock import Clock
from esb.codecs import yaml
from esb.codecs.yaml import PathTuple, nearest
from esb.config.routes import EndpointConfig, Routes, read_routes
from esb.config.settings import Settings
from esb.contract import Contract, load_contract
from esb.endpoint import Endpoint, Listening, load_endpoint, load_listener
from esb.errors import ConfigError, Finding, PartlyBroken
from esb.lint.callbacks import answer_findings, callback_findings, event_findings, question_findings
from esb.lint.events import Fillings, filling_findings, subscriber_findings
from esb.lint.mappings import mapping_findings, sheet_findings
from esb.lint.places import Places
from esb.lint.routes import never_absent, route_findings, unused_endpoints
from esb.lint.shadows import Shadow, apart, shadow_file, shadow_files, shadow_findings
from esb.mapping import (
    Codes,
    ExampleResult,
    Filling,
    Parts,
    Translation,
    Unreadable,
    compile_filling,
    load_codes,
    load_mapping,
    load_translation,
    load_used_parts,
    run_examples,
)
from esb.mapping import Mapping as FieldMapping
from esb.mapping.shape import Sheet
from esb.observe import Metrics


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole configuration that holds together; ``mappings`` by operation, ``endpoints`` by name.

    ``listeners`` are the endpoints that systems call, ``translations`` those of the callbacks by callback, ``answers``
    those that make messages of what an operation answered, ``fillings`` the ``with`` of subscribers by event and label,
    ``shadows`` who is asked beside a route, by operation.
    """

    contract: Contract
    routes: Routes
    mappings: Mapping[str, FieldMapping]
    endpoints: Mapping[str, Endpoint]
    codes: Codes
    parts: Parts
    listeners: Mapping[str, Listening] = field(default_factory=dict)
    translations: Mapping[str, Translation] = field(default_factory=dict)
    fillings: Fillings = field(default_factory=dict)
    answers: Mapping[str, Translation] = field(default_factory=dict)
    shadows: Mapping[str, Shadow] = field(default_factory=dict)

    @property
    def all_translations(self) -> list[Translation]:
        """Those of callbacks, of both directions."""
        return [*self.translations.values(), *self.answers.values()]


class _Findings(list[Finding]):
    def attempt(self, load: Any, *arguments: Any) -> Any:
        """The result of ``load``, or what is sound of it, or None; its findings are kept."""
        try:
            return load(*arguments)
        except PartlyBroken as error:
            self += error.findings
            return error.rest
        except ConfigError as error:
            self += error.findings
            return None


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """What is loaded stays: to look through it for garbage again and again takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def load(settings: Settings, environ: Mapping[str, str], clock: Clock, metrics: Metrics) -> Plan:
    """The plan for these settings; raises ``ConfigError`` with every finding of every file."""
    plan, findings = examine(settings, environ, clock, metrics)
    if findings or plan is None:
        raise ConfigError(findings)
    for mapping in (*plan.mappings.values(), *(one.mapping for one in plan.shadows.values())):
        mapping.pack()
    return plan


@_collector_at_rest()
def examine(
    settings: Settings, environ: Mapping[str, str], clock: Clock, metrics: Metrics
) -> tuple[Plan | None, list[Finding]]:
    """What is sound of a configuration, and everything that is wrong with it.

    The plan is whole when there are no findings, and None where contract or routes cannot be read at all.
    """
    found = _Findings()
    contract: Contract | None = found.attempt(load_contract, settings.schemas)
    codes: Codes | None = found.attempt(load_codes, settings.mappings / "codes")
    read: tuple[Routes, list[Finding]] | None = found.attempt(read_routes, settings.routes, environ, settings.secrets)
    if read is None:
        return None, found
    routes, more = read
    found += more
    files = [
        mapping_file(settings.mappings, routes.endpoints[route.to], name)
        for name, route in routes.routes.items()
        if route.to in routes.endpoints
    ]
    files += [
        mapping_file(settings.mappings, routes.endpoints[one.source], file)
        for one in routes.callbacks.values()
        if one.source in routes.endpoints
        for file in ((one.file, one.answer_file) if one.answers else (one.file,))
    ]
    files += shadow_files(settings.mappings, routes)
    parts: Parts | None = None
    if codes is not None:
        parts = found.attempt(load_used_parts, settings.mappings / "parts", codes, files)
    loading = _Loading(settings, routes, codes, parts, clock, metrics)
    called = [name for name, config in routes.endpoints.items() if not config.listens]
    endpoints = {name: found.attempt(loading.endpoint, name) for name in called}
    listeners = {
        name: found.attempt(loading.listener, name) for name, config in routes.endpoints.items() if config.listens
    }
    mappings = {name: found.attempt(loading.mapping, name) for name in routes.routes}
    shadowed = [name for name, route in routes.routes.items() if route.shadow is not None]
    shadows = _sound({name: found.attempt(loading.shadow, name, endpoints) for name in shadowed})
    found += unused_endpoints(routes)
    found += never_absent(routes, mappings)
    if contract is not None:
        found += route_findings(contract, routes)
        found += _mapping_findings(contract, routes, mappings, loading.broken, endpoints)
        found += callback_findings(contract, routes)
        found += shadow_findings(contract, routes)
        found += _shadow_mapping_findings(contract, shadows)
    translations = {name: found.attempt(loading.translation, name, one.file) for name, one in routes.callbacks.items()}
    answers = {
        name: found.attempt(loading.translation, name, one.answer_file)
        for name, one in routes.callbacks.items()
        if one.answers
    }
    fillings = {key: found.attempt(loading.filling, *where) for key, where in _fillings(routes)}
    if contract is not None:
        found += _translation_findings(contract, routes, translations, answers)
        found += subscriber_findings(contract, routes)
        found += filling_findings(contract, routes, fillings, Places())
    if contract is None or codes is None or parts is None:
        return None, found
    sound = [_sound(each) for each in (mappings, endpoints, listeners, translations, answers)]
    plan = Plan(contract, routes, sound[0], sound[1], codes, parts, sound[2], sound[3], fillings, sound[4], shadows)
    return plan, found


def _fillings(routes: Routes) -> Iterator[tuple[tuple[str, str], tuple[str, int]]]:
    for event, subscribers in routes.events.items():
        for at, one in enumerate(subscribers):
            if one.given is not None:
                yield (event, one.label), (event, at)


def _sound(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part is not None}


def _translation_findings(
    contract: Contract,
    routes: Routes,
    translations: Mapping[str, Translation | None],
    answers: Mapping[str, Translation | None],
) -> Iterator[Finding]:
    places = Places()
    for name, translation in translations.items():
        event = contract.events.get(routes.callbacks[name].emits or "")
        if translation is not None and event is not None:
            yield from event_findings(translation, event, places)
    for name, answer in answers.items():
        operation, translation = contract.operations.get(routes.callbacks[name].answers or ""), translations[name]
        if translation is not None and operation is not None:
            yield from question_findings(translation, operation, places)
        if answer is not None and operation is not None:
            yield from answer_findings(answer, operation, places)


def _shadow_mapping_findings(contract: Contract, shadows: Mapping[str, Shadow]) -> Iterator[Finding]:
    places = Places()
    for name, shadow in shadows.items():
        if operation := contract.operations.get(name):
            yield from mapping_findings(shadow.mapping, operation, shadow.endpoint, places)


def _mapping_findings(
    contract: Contract,
    routes: Routes,
    mappings: Mapping[str, FieldMapping | None],
    broken: Mapping[str, Sheet],
    endpoints: Mapping[str, Endpoint | None],
) -> Iterator[Finding]:
    places = Places()
    for name, mapping in mappings.items():
        operation, endpoint = contract.operations.get(name), endpoints.get(routes.routes[name].to)
        if operation is not None and mapping is not None:
            yield from mapping_findings(mapping, operation, endpoint, places)
        elif operation is not None and name in broken:
            yield from sheet_findings(broken[name], operation, endpoint, places)


@dataclass(frozen=True, slots=True)
class _Loading:
    settings: Settings
    routes: Routes
    codes: Codes | None
    parts: Parts | None
    clock: Clock
    metrics: Metrics
    broken: dict[str, Sheet] = field(default_factory=dict)
    """What could be read of mappings that have mistakes, by operation."""
    asides: dict[str, Endpoint] = field(default_factory=dict)
    """Endpoints that shadows lead to, by the name of the live one."""

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint connected, its adapter's and envelopes' settings checked."""
        return self._endpoint(name, name, self.routes.endpoints[name])

    def _endpoint(self, name: str, place: str, config: EndpointConfig) -> Endpoint:
        return load_endpoint(
            name,
            config,
            self.routes.document,
            place=place,
            clock=self.clock,
            metrics=self.metrics,
            adapters=self.settings.adapters,
            envelopes=self.settings.envelopes,
        )

    def listener(self, name: str) -> Listening:
        """One endpoint that systems call, its settings checked."""
        return load_listener(name, self.routes.endpoints[name], self.routes.document, self.settings.adapters)

    def translation(self, callback: str, name: str) -> Translation | None:
        """A compiled translation of one callback; None where its endpoint or the code tables are broken."""
        config = self.routes.endpoints.get(self.routes.callbacks[callback].source)
        if config is None or self.codes is None or self.parts is None:
            return None
        file = mapping_file(self.settings.mappings, config, name)
        if file.is_file():
            return load_translation(file, self.codes, self.parts)
        hint = nearest(name, (each.stem for each in file.parent.glob("*.yaml")))
        message = f"mapping '{file.as_posix()}' does not exist"
        raise ConfigError([self.routes.finding(("callbacks", callback), message, hint, at_key=True)])

    def filling(self, event: str, at: int) -> Filling | None:
        """The compiled ``with`` of one subscriber; None where the code tables are broken."""
        if self.codes is None:
            return None
        document = self.routes.document
        given = document.value["events"][event][at]["with"]
        text = yaml.read(Path(document.file))
        return compile_filling(document, text, ("events", event, at, "with"), given, self.codes)

    def mapping(self, operation: str) -> FieldMapping | None:
        """The compiled mapping of one routed operation; None where its endpoint or the code tables are broken."""
        config = self.routes.endpoints.get(self.routes.routes[operation].to)
        if config is None or self.codes is None or self.parts is None:
            return None
        file = mapping_file(self.settings.mappings, config, operation)
        return self._found(file, operation, ("routes", operation), self.codes, self.parts)

    def shadow(self, operation: str, endpoints: Mapping[str, Endpoint | None]) -> Shadow | None:
        """Who is asked beside one route; None where that is broken otherwise."""
        config = self.routes.routes[operation].shadow
        if config is None or endpoints.get(config.to) is None or self.codes is None or self.parts is None:
            return None
        file = shadow_file(self.settings.mappings, self.routes, operation, config)
        mapping = self._found(file, operation, ("routes", operation, "shadow"), self.codes, self.parts)
        if config.to not in self.asides:
            aside = apart(self.routes.endpoints[config.to])
            self.asides[config.to] = self._endpoint(f"{config.to}:shadow", config.to, aside)
        return Shadow(self.asides[config.to], mapping)

    def _found(self, file: Path, operation: str, place: PathTuple, codes: Codes, parts: Parts) -> FieldMapping:
        if file.is_file():
            return self._mapping(file, operation, codes, parts)
        others = set(self.routes.written)
        hint = nearest(operation, (each.stem for each in file.parent.glob("*.yaml") if each.stem not in others))
        message = f"mapping '{file.as_posix()}' does not exist"
        raise ConfigError([self.routes.finding(place, message, hint, at_key=True)])

    def _mapping(self, file: Path, operation: str, codes: Codes, parts: Parts) -> FieldMapping:
        try:
            return load_mapping(file, codes, parts)
        except Unreadable as error:
            self.broken[operation] = error.sheet
            raise


def mapping_file(folder: Path, config: EndpointConfig, operation: str) -> Path:
    """Where the mapping of ``operation`` in this endpoint's dialect stands."""
    return folder / config.dialect / f"{operation}.yaml"


def run_all_examples(plan: Plan, operations: Iterable[str]) -> Iterator[tuple[FieldMapping, ExampleResult]]:
    """Every example of these operations' mappings with how it went; nothing is sent."""
    for name in operations:
        mapping = plan.mappings[name]
        endpoint = plan.endpoints[plan.routes.routes[name].to]
        for result in run_examples(mapping, endpoint.decode_example):
            yield mapping, result
