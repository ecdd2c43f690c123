"""Schemas with their references written out, after a look for what JSON Schema lets pass: typos and open objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from esb.codecs.yaml import PathTuple, nearest
from esb.contract.merge import Merged, pointer_steps

_META = jsonschema_rs.Draft202012Validator(
    {"$ref": "https://json-schema.org/draft/2020-12/schema"}, validate_formats=True
)
_ANNOTATIONS = {
    *("description", "title", "example", "examples", "default", "deprecated", "readOnly", "writeOnly"),
    *("contentEncoding", "contentMediaType"),
}
_CONSTRAINTS = {
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"),
    *(
        "exclusiveMaximum",
        "multipleOf",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
    ),
    *("items", "minItems", "maxItems", "uniqueItems", "allOf", "anyOf", "oneOf", "not"),
}
_KEYWORDS = _ANNOTATIONS | _CONSTRAINTS | {"$ref"}
_FORMATS = {
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "uri",
    "uri-reference",
    "uuid",
    "ipv4",
    "ipv6",
    "hostname",
}


class Inliner:
    """Turns schema nodes of the merged document into self-contained schemas, recording what is wrong with them."""

    def __init__(self, merged: Merged) -> None:
        self.merged = merged
        self._done: dict[str, dict[str, Any]] = {}
        self._open: list[str] = []

    def __call__(self, node: Any, path: PathTuple) -> dict[str, Any]:
        """The schema at ``path`` with every ``$ref`` replaced; an empty schema where the node is none."""
        if not isinstance(node, dict):
            self.merged.find(path, "should be a schema")
            return {}
        self._look(node, path)
        base = self._target(node["$ref"], path) if "$ref" in node else {}
        for keyword in base.keys() & node.keys() & _CONSTRAINTS:
            self.merged.find((*path, keyword), f"'{keyword}' is already set by the referenced schema", at_key=True)
        return {**base, **{key: self._part(key, value, path) for key, value in node.items() if key != "$ref"}}

    def _part(self, key: str, value: Any, path: PathTuple) -> Any:
        if key == "properties" and isinstance(value, dict):
            return {name: self(inner, (*path, key, name)) for name, inner in value.items()}
        if key == "items" or (key in ("additionalProperties", "not") and isinstance(value, dict)):
            return self(value, (*path, key))
        if key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            return [self(inner, (*path, key, index)) for index, inner in enumerate(value)]
        return value

    def _target(self, reference: str, path: PathTuple) -> dict[str, Any]:
        if reference in self._open:
            self.merged.find((*path, "$ref"), f"'{reference}' refers to itself")
            return {}
        if reference not in self._done:
            target = self.merged.get(reference)
            if target is None:
                return {}
            self._open.append(reference)
            self._done[reference] = self(target, pointer_steps(reference))
            self._open.pop()
        return self._done[reference]

    def _look(self, node: Mapping[str, Any], path: PathTuple) -> None:
        find = self.merged.find
        for key in node:
            if key not in _KEYWORDS and not key.startswith("x-"):
                find((*path, key), f"unknown schema keyword '{key}'", nearest(key, _KEYWORDS), at_key=True)
        if isinstance(node.get("format"), str) and node["format"] not in _FORMATS:
            find((*path, "format"), f"unknown format '{node['format']}'", nearest(node["format"], _FORMATS))
        if "properties" in node and "additionalProperties" not in node:
            find(path, "an object says what else it may hold", "additionalProperties: false")
        if "properties" in node and isinstance(node.get("required"), list):
            for index, name in enumerate(node["required"]):
                if name not in node["properties"]:
                    find(
                        (*path, "required", index),
                        f"'{name}' is no property here",
                        nearest(str(name), node["properties"]),
                    )
        self._meta(node, path)

    def _meta(self, node: Mapping[str, Any], path: PathTuple) -> None:
        """JSON Schema's own rules, for this node alone: deeper nodes are looked at on their own."""
        shallow = {key: value for key, value in node.items() if key in _CONSTRAINTS and not _holds_schemas(value)}
        for error in _META.iter_errors(shallow):
            self.merged.find((*path, *error.instance_path), _reason(error, node))


def _holds_schemas(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict) for item in value)
    return isinstance(value, dict)


def _reason(error: jsonschema_rs.ValidationError, node: Mapping[str, Any]) -> str:
    keyword = error.instance_path[0] if error.instance_path else "schema"
    if keyword == "type":
        return f"there is no type '{node.get('type')}'"
    return f"'{keyword}' is not valid JSON Schema: {error.message}"
