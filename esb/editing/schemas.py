"""The JSON Schemas that editors use, made from models, contract and modules; and the line in a file that names one."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from esb.codecs import yaml
from esb.config.routes import CallbackConfig, EndpointConfig, RouteConfig, SubscriberConfig
from esb.config.settings import Settings
from esb.contract import Operation, load_contract
from esb.editing import language
from esb.editing.models import OUTSIDE, Schema, model_schema
from esb.endpoint import installed
from esb.errors import ConfigError
from esb.mapping import is_translation
from esb.model import Effect

_NO_DIALECT = ("codes", "parts")
MARK = "# yaml-language-server: $schema="
_NOT_OF = {
    Effect.READ: ("settle", "settle_after", "deliver", "ordered", "priority", "ttl"),
    Effect.IDEMPOTENT: ("cache", "settle", "settle_after", "shadow"),
    Effect.ONCE: ("cache", "retry", "shadow"),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to complete: installed modules by name, operations of the contract, folders of mappings."""

    adapters: Mapping[str, ModuleType]
    envelopes: Mapping[str, ModuleType]
    operations: Mapping[str, Operation]
    dialects: Iterable[str]
    events: Iterable[str] = ()


def known(settings: Settings) -> Known:
    """What the settings name; raises ``ConfigError`` when the contract is not sound."""
    folders = (path for path in settings.mappings.glob("*") if path.is_dir() and any(path.glob("*.yaml")))
    contract = load_contract(settings.schemas)
    return Known(
        installed("adapter", settings.adapters),
        installed("envelope", settings.envelopes),
        contract.operations,
        sorted(path.name for path in folders if path.name not in _NO_DIALECT),
        contract.events,
    )


def all_schemas(known: Known) -> dict[str, Schema]:
    """Every schema by the kind of file that it is for."""
    return {
        "routes": routes(known),
        "mapping": language.mapping(),
        "translation": language.translation(),
        "parts": language.parts(),
        "codes": language.codes(),
    }


def routes(known: Known) -> Schema:
    """``routes.yaml``."""
    definitions: dict[str, Schema] = {"outside": OUTSIDE}
    definitions |= _route_definitions()
    definitions["endpoint"] = _endpoint(known, definitions)
    operations = {name: _route(operation) for name, operation in sorted(known.operations.items())}
    any_route = language.ref("route")
    sections = {
        "endpoints": {
            "type": "object",
            "additionalProperties": language.ref("endpoint"),
            "description": "The hospital's systems, each by a name of your choice.",
        },
        "routes": {
            "type": "object",
            "properties": operations,
            "additionalProperties": any_route,
            "description": "Which endpoint answers an operation.",
        },
        "callbacks": {
            "type": "object",
            "additionalProperties": _callback(known, definitions),
            "description": "What a system tells us and the event that it becomes.",
        },
        "events": _events(known, definitions),
    }
    about = "Which system answers which operation, and within which limits."
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "description": about}
    return {**head, **language.closed(sections, "endpoints", "routes"), "definitions": definitions}


def _route_definitions() -> dict[str, Schema]:
    whole, inner = model_schema(RouteConfig, "route")
    definitions = {**inner, "route": whole}
    for effect, missing in _NOT_OF.items():
        narrowed = copy.deepcopy(whole)
        for name in missing:
            del narrowed["properties"][name]
        definitions[f"route.{effect}"] = narrowed
    definitions[f"route.{Effect.ONCE}"]["required"] = [*whole["required"], "settle"]
    return definitions


def _callback(known: Known, definitions: dict[str, Schema]) -> Schema:
    callback, inner = model_schema(CallbackConfig, "callback")
    definitions |= inner
    callback["properties"]["emits"]["enum"] = sorted(known.events)
    reads = (name for name, operation in known.operations.items() if operation.effect is Effect.READ)
    callback["properties"]["answers"]["enum"] = sorted(reads)
    definitions["callback"] = callback
    return language.ref("callback")


def _events(known: Known, definitions: dict[str, Schema]) -> Schema:
    subscriber, inner = model_schema(SubscriberConfig, "subscriber")
    effects = (name for name, operation in known.operations.items() if operation.effect is not Effect.READ)
    subscriber["properties"]["call"]["enum"] = sorted(effects)
    definitions |= {**inner, "subscriber": subscriber}
    told = {"type": "array", "minItems": 1, "items": language.ref("subscriber")}
    return {
        "type": "object",
        "properties": dict.fromkeys(sorted(known.events), told),
        "additionalProperties": False,
        "description": "Who is told of an event: operations that are called for it.",
    }


def _route(operation: Operation) -> Schema:
    return {
        "$ref": f"#/definitions/route.{operation.effect}",
        "description": f"{operation.summary} ({operation.effect})",
    }


def _endpoint(known: Known, definitions: dict[str, Schema]) -> Schema:
    endpoint, inner = model_schema(EndpointConfig, "endpoint")
    definitions |= inner
    properties = endpoint["properties"]
    properties["adapter"] = _one_of(known.adapters, properties["adapter"]["description"])
    dialects = {"anyOf": [{"enum": sorted(known.dialects)}, {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}]}
    properties["dialect"] = {**dialects, "description": properties["dialect"]["description"]}
    layers = {name: _settings("envelope", name, module, definitions) for name, module in known.envelopes.items()}
    named = language.closed(
        {name: {"anyOf": [layer, {"type": "null"}], **_about(layer)} for name, layer in layers.items()},
        minProperties=1,
        maxProperties=1,
    )
    items = {"anyOf": [{"enum": sorted(layers)}, named]}
    properties["envelope"] = {**properties["envelope"], "items": items}
    adapters = {name: _settings("adapter", name, module, definitions) for name, module in known.adapters.items()}
    for name, module in known.adapters.items():
        if hasattr(module, "ListenerSettings"):
            listener = _settings("listener", name, module, definitions, "ListenerSettings")
            adapters[name] = {"if": {"required": ["listen"]}, "then": listener, "else": adapters[name]}
    endpoint["allOf"] = [
        _if_adapter(name, settings, "required" in definitions[f"adapter.{name}"]) for name, settings in adapters.items()
    ]
    return endpoint


def _one_of(modules: Mapping[str, ModuleType], about: str) -> Schema:
    told = [" ".join((module.__doc__ or "").split()) for _, module in sorted(modules.items())]
    return {"enum": sorted(modules), "enumDescriptions": told, "markdownEnumDescriptions": told, "description": about}


def _settings(
    kind: str, name: str, module: ModuleType, definitions: dict[str, Schema], model: str = "Settings"
) -> Schema:
    settings, inner = model_schema(getattr(module, model), f"{kind}.{name}")
    definitions |= inner
    definitions[f"{kind}.{name}"] = settings
    return language.ref(f"{kind}.{name}") | _about(settings)


def _about(schema: Schema) -> Schema:
    return {"description": schema["description"]} if "description" in schema else {}


def _if_adapter(name: str, settings: Schema, needed: bool) -> Schema:
    then: Schema = {"properties": {"settings": settings}}
    if needed:
        then["required"] = ["settings"]
    return {"if": {"properties": {"adapter": {"const": name}}, "required": ["adapter"]}, "then": then}


def written(schema: Schema) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def outdated(folder: Path, known: Known) -> Iterator[tuple[Path, str]]:
    """Every file in ``folder`` that should say something else, and what."""
    for kind, schema in all_schemas(known).items():
        file, text = folder / f"{kind}.json", written(schema)
        if not file.is_file() or file.read_text("utf-8") != text:
            yield file, text


def files(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Every file that has a schema, with its kind."""
    yield settings.routes, "routes"
    for folder in sorted(path for path in settings.mappings.glob("*") if path.is_dir()):
        for file in sorted(folder.glob("*.yaml")):
            yield file, _kind(file)


def _kind(file: Path) -> str:
    if file.parent.name in _NO_DIALECT:
        return file.parent.name
    try:
        return "translation" if is_translation(yaml.load(file)) else "mapping"
    except ConfigError:
        return "mapping"


def referred(file: Path, kind: str, folder: Path) -> str | None:
    """The text of ``file`` with its first line naming its schema in ``folder``; None when it does so already."""
    text = file.read_text("utf-8")
    line = f"{MARK}{Path(os.path.relpath(folder, file.parent)).as_posix()}/{kind}.json\n"
    first, _, rest = text.partition("\n")
    if first + "\n" == line:
        return None
    return line + (rest if first.startswith(MARK) else text)
