"""An action and its payload become one HTTP request, or are refused before anything is sent."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from esb.codecs import EncodeError, fhir, form
from esb.codecs.yaml import nearest
from esb.spi import Refused, Tree

FORM = "application/x-www-form-urlencoded"
JSON = "application/fhir+json"

_ON_TYPES = {"read", "vread", "search", "create", "update", "delete"}
_ALONE = {"transaction", "batch", "capabilities"}
VERBS = sorted(_ON_TYPES | _ALONE | {"operation"})

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_OPERATION = re.compile(r"\$[A-Za-z0-9._-]+")
NEEDED = {"read": {"id"}, "vread": {"id", "versionId"}, "delete": {"id"}}
OWN = {
    "read": {"id", "_elements", "_summary"},
    "vread": {"id", "versionId"},
    "delete": {"id", "_if_match"},
    "capabilities": {"_summary", "_elements", "mode"},
    "operation": {"id", "parameters"},
}
CONTROLS = {"create": {"_if_none_exist"}, "update": {"_if_match", "_search"}}


class Action(NamedTuple):
    """``operation Slot/$hold`` as verb ``operation``, kind ``Slot``, name ``$hold``."""

    verb: str
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is relative to the base URL, percent-encoded, with its query. ``resource`` is what the body holds."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    resource: fhir.Resource | None = None


@functools.lru_cache(maxsize=512)
def parse(action: str, release: fhir.Release) -> Action:
    """The action taken apart; raises ``ValueError`` with one sentence and the nearest word."""
    verb, _, target = action.strip().partition(" ")
    target = target.strip()
    if verb not in VERBS:
        raise ValueError(_with_hint(f"'{verb}' is not a FHIR action", verb, VERBS))
    if verb in _ALONE:
        if target:
            raise ValueError(f"'{verb}' stands alone, without '{target}'")
        return Action(verb)
    kind, name = _target(verb, target)
    if kind and kind not in fhir.TYPES[release]:
        raise ValueError(_with_hint(f"FHIR {release} has no resource '{kind}'", kind, fhir.TYPES[release]))
    return Action(verb, kind, name)


def _target(verb: str, target: str) -> tuple[str, str]:
    if verb != "operation":
        if not target:
            raise ValueError(f"'{verb}' needs a resource type, as in '{verb} Patient'")
        return target, ""
    kind, slash, name = target.rpartition("/")
    if not _OPERATION.fullmatch(name) or (slash and not kind):
        raise ValueError("'operation' needs a name, as in 'operation $name' or 'operation Slot/$hold'")
    return kind, name


def faults(action: str, fields: Sequence[str], release: fhir.Release) -> Iterator[str]:
    """Lint: one sentence for each thing wrong with an action and the names at the top of its payload."""
    try:
        verb, kind, _ = parse(action, release)
    except ValueError as error:
        yield str(error)
        return
    given = set(fields)
    missing = NEEDED.get(verb, set()) - given
    if verb == "update" and not given & {"id", "_search"}:
        missing = {"id"}
    yield from (f"'{verb}' needs '{name}'" for name in sorted(missing))
    known = _known(verb, kind, release)
    if known:
        yield from (
            _with_hint(f"'{name}' does not belong to {action}", name, known) for name in fields if name not in known
        )


def _known(verb: str, kind: str, release: fhir.Release) -> set[str]:
    """Names that may stand at the top; empty when any may (search parameters)."""
    if verb in OWN:
        return OWN[verb]
    if verb == "search":
        return set()
    try:
        elements = fhir.elements("Bundle" if verb in ("transaction", "batch") else kind, release)
    except ImportError:
        return set()
    return set(elements | CONTROLS.get(verb, set())) if elements else set()


def build(action: Action, payload: Tree, prefer: str, search_by: str = "get") -> Request:
    """The request; raises ``Refused`` (code ``invalid``) when the payload does not make one."""
    fields = {} if payload is None else payload
    if not isinstance(fields, dict):
        raise _invalid(f"the payload of '{action.verb}' is an object, not a {type(payload).__name__}")
    try:
        return _BUILDERS[action.verb](action, fields, prefer, search_by)
    except EncodeError as error:
        raise _invalid(f"the request cannot be written: {error}") from None


def _read(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    version = f"/_history/{_identifier(fields, 'versionId')}" if action.verb == "vread" else ""
    rest = {name: value for name, value in fields.items() if name not in ("id", "versionId")}
    return Request("GET", f"{action.kind}/{_identifier(fields)}{version}{_query(rest)}", _headers())


def _search(action: Action, fields: fhir.Resource, prefer: str, search_by: str) -> Request:
    headers = _headers("handling=strict")  # a server that ignores an unknown parameter would list every patient
    if search_by == "post":
        return Request("POST", f"{action.kind}/_search", {**headers, "Content-Type": FORM}, form.encode(fields))
    return Request("GET", f"{action.kind}{_query(fields)}", headers)


def _create(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    resource, controls = _split(action, fields)
    headers = _headers(_return(prefer))
    if (condition := controls.get("_if_none_exist")) is not None:
        headers["If-None-Exist"] = _condition(condition)
    return _writing("POST", action.kind, headers, resource)


def _update(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    resource, controls = _split(action, fields)
    headers = _headers(_return(prefer))
    if (version := controls.get("_if_match")) is not None:
        headers["If-Match"] = _etag(version)
    if (condition := controls.get("_search")) is not None:
        return _writing("PUT", f"{action.kind}?{_condition(condition)}", headers, resource)
    return _writing("PUT", f"{action.kind}/{_identifier(resource)}", headers, resource)


def _delete(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    headers = _headers()
    if (version := fields.get("_if_match")) is not None:
        headers["If-Match"] = _etag(version)
    return Request("DELETE", f"{action.kind}/{_identifier(fields)}", headers)


def _bundle(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    bundle = {"resourceType": "Bundle", "type": action.verb, **fields}
    if (bundle["resourceType"], bundle["type"]) != ("Bundle", action.verb):
        raise _invalid(f"'{action.verb}' takes a Bundle of type {action.verb}")
    return _writing("POST", "", _headers(_return(prefer)), bundle)


def _operation(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    if unknown := set(fields) - OWN["operation"]:
        raise _invalid(f"'operation' takes 'id' and 'parameters', not '{min(unknown)}'")
    place = f"{action.kind}/{_identifier(fields)}/" if "id" in fields else f"{action.kind}/" if action.kind else ""
    parameters = fields.get("parameters")
    if not isinstance(parameters, dict) or "resourceType" not in parameters:
        parameters = as_parameters(parameters)
    return _writing("POST", f"{place}{action.name}", _headers(), parameters)


def _capabilities(action: Action, fields: fhir.Resource, prefer: str, _: str) -> Request:
    return Request("GET", f"metadata{_query(fields)}", _headers())


_BUILDERS = {
    "read": _read,
    "vread": _read,
    "search": _search,
    "create": _create,
    "update": _update,
    "delete": _delete,
    "transaction": _bundle,
    "batch": _bundle,
    "operation": _operation,
    "capabilities": _capabilities,
}


def as_parameters(simple: Tree) -> fhir.Resource:
    """A Parameters resource from a dict: text, number, boolean, resource, ``{"valueDate": ...}``, or a list of such."""
    if simple is None:
        return {"resourceType": "Parameters"}
    if not isinstance(simple, dict):
        raise _invalid("'parameters' is a Parameters resource or an object of names and values")
    parameter = []
    for name, value in simple.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                parameter.append({"name": name, **_value(name, item)})
    return {"resourceType": "Parameters", "parameter": parameter}


_VALUES = {bool: "valueBoolean", int: "valueInteger", str: "valueString"}


def _value(name: str, item: Tree) -> fhir.Resource:
    if isinstance(item, dict):
        if "resourceType" in item:
            return {"resource": item}
        if item and all(key.startswith("value") or key == "part" for key in item):
            return item
        raise _invalid(f"parameter '{name}' is neither a resource nor a value[x]")
    return {_VALUES.get(type(item), "valueDecimal"): item}


def _split(action: Action, fields: fhir.Resource) -> tuple[fhir.Resource, fhir.Resource]:
    names = CONTROLS[action.verb]
    resource = {"resourceType": action.kind, **{name: value for name, value in fields.items() if name not in names}}
    if resource["resourceType"] != action.kind:
        raise _invalid(f"'{action.verb} {action.kind}' was given another resource type")
    return resource, {name: fields[name] for name in names if name in fields}


def _writing(method: str, path: str, headers: dict[str, str], resource: fhir.Resource) -> Request:
    return Request(method, path, {**headers, "Content-Type": JSON}, fhir.encode(resource), resource)


def _headers(prefer: str = "") -> dict[str, str]:
    return {"Accept": JSON, **({"Prefer": prefer} if prefer else {})}


def _return(prefer: str) -> str:
    return f"return={prefer}" if prefer else ""


def _identifier(fields: fhir.Resource, name: str = "id") -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value) or value in (".", ".."):
        raise _invalid(f"'{name}' is missing or not a FHIR id (1 to 64 of A-Z a-z 0-9 - .)")
    return value


def _query(fields: fhir.Resource) -> str:
    text = form.encode(fields).decode("ascii")
    return f"?{text}" if text else ""


def _condition(condition: Tree) -> str:
    """Search parameters for a condition: an object, or text already written as a query."""
    text = form.encode(condition).decode("ascii") if isinstance(condition, dict) else _quoted(condition)
    if not text:
        raise _invalid("a condition without parameters would match everything")
    return text


def _quoted(condition: Tree) -> str:
    if not isinstance(condition, str):
        raise _invalid("a condition is an object of search parameters or a query text")
    return quote(condition.lstrip("?"), safe="%=&|:/,.$+-_~!*'();@?")


def _etag(version: Tree) -> str:
    text = str(version)
    if text.startswith(('W/"', '"')):
        return text
    if not _ID.fullmatch(text):
        raise _invalid("'_if_match' is neither a versionId nor an ETag")
    return f'W/"{text}"'


def _with_hint(sentence: str, word: str, known: set[str] | frozenset[str] | list[str]) -> str:
    hint = nearest(word, known)
    return f"{sentence} ({hint})" if hint else sentence


def _invalid(sentence: str) -> Refused:
    return Refused(f"{sentence}; nothing was sent", code="invalid", message=sentence)
