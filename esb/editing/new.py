"""``esb new mapping`` from end to end: where the draft goes, what it is made from, and what lint still says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esb.clock import SystemClock
from esb.codecs import yaml
from esb.codecs.yaml import nearest
from esb.config.routes import read_routes
from esb.config.settings import Settings
from esb.contract import Operation, load_contract
from esb.editing.draft import Drafter
from esb.editing.names import load_words
from esb.editing.sources import Reader
from esb.endpoint import Endpoint, load_endpoint
from esb.errors import ConfigError, Finding
from esb.lint.mappings import mapping_findings
from esb.lint.places import Places
from esb.mapping import Mapping as FieldMapping
from esb.mapping import compile_mapping, load_codes
from esb.observe import Metrics

SCHEMA = Path("schemas/editor/mapping.json")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What ``esb new mapping`` was asked for; ``words`` are a hospital's own glossaries."""

    operation: str
    source: str
    answer: Path | None = None
    endpoint: str = ""
    action: str = ""
    words: tuple[Path, ...] = ()
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class New:
    """A drafted file: None as its place means standard output."""

    file: Path | None
    text: str
    mapping: FieldMapping
    operation: Operation
    endpoint: Endpoint | None

    def remaining(self) -> list[Finding]:
        """What ``esb lint`` would say of the file once it is written."""
        return list(mapping_findings(self.mapping, self.operation, self.endpoint, Places()))


def new_mapping(wanted: Wanted, settings: Settings, environ: Mapping[str, str]) -> New:
    """The draft; raises ``ConfigError`` when it cannot be made or its file is there already."""
    contract = load_contract(settings.schemas)
    operation = contract.operations.get(wanted.operation)
    if operation is None:
        hint = nearest(wanted.operation, contract.operations)
        raise ConfigError([Finding(wanted.operation, 0, 0, "is not an operation of the contract", hint)])
    endpoint, adapter, dialect = _endpoint(wanted.endpoint, settings, environ)
    file = wanted.output or (settings.mappings / dialect / f"{operation.name}.yaml" if dialect else None)
    if file is not None and file.exists():
        raise ConfigError([Finding(str(file), 0, 0, "exists already", "name another file with -o")])
    words, codes = load_words(*wanted.words), load_codes(settings.mappings / "codes")
    source = Reader(settings.adapters, endpoint, adapter, words).read(
        wanted.source, operation, wanted.answer, wanted.action
    )
    source = replace(source, site=tuple(endpoint.site) if endpoint else ())
    schema = os.path.relpath(SCHEMA, file.parent) if file else f"../../{SCHEMA.as_posix()}"
    text = Drafter(contract, codes, words, dialect).draft(operation, source, Path(schema).as_posix())
    mapping = compile_mapping(yaml.load(text, str(file or "draft")), text, codes)
    return New(file, text, mapping, operation, endpoint)


def _endpoint(name: str, settings: Settings, environ: Mapping[str, str]) -> tuple[Endpoint | None, str, str]:
    """The endpoint that the mapping is for, its adapter's name and its dialect."""
    if not name:
        return None, "", ""
    routes, found = read_routes(settings.routes, environ, settings.secrets)
    if found:
        raise ConfigError(found)
    if name not in routes.endpoints:
        hint = nearest(name, routes.endpoints) or "endpoints: " + ", ".join(routes.endpoints)
        raise ConfigError([Finding(str(settings.routes), 0, 0, f"has no endpoint '{name}'", hint)])
    config = routes.endpoints[name]
    endpoint = load_endpoint(
        name,
        config,
        routes.document,
        clock=SystemClock(),
        metrics=Metrics(),
        adapters=settings.adapters,
        envelopes=settings.envelopes,
    )
    return endpoint, config.adapter, config.dialect
