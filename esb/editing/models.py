"""pydantic models -> JSON Schema (draft-07) for editors: a description for each field, values from outside allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from pydantic import BaseModel

Schema: TypeAlias = dict[str, Any]

OUTSIDE: Schema = {
    "type": "string",
    "pattern": r"^\$(env|secret|file)\.\S",
    "patternErrorMessage": "Not a value from outside: $env.NAME, $secret.name or $file.path",
    "description": "From outside the file: $env.NAME, $secret.name, $file.path; '?? text' after it is the default.",
}
_OUTSIDE_REF = {"$ref": "#/definitions/outside"}
_DROPPED = ("title", "writeOnly", "discriminator")
_FORMATS_OF_PYDANTIC = ("password", "path", "file-path", "directory-path")
_NAMED = re.compile(r"``(\w+)(?:: [^`]+)?``")
_SENTENCE = re.compile(r"(?<=[.;])\s+")


def model_schema(model: type[BaseModel], prefix: str) -> tuple[Schema, dict[str, Schema]]:
    """The schema of ``model`` as it is written in YAML, and the definitions it refers to, named ``prefix.Model``."""
    tree = model.model_json_schema(ref_template=f"#/definitions/{prefix}.{{model}}")
    inner = {f"{prefix}.{name}": _object(node, ()) for name, node in tree.pop("$defs", {}).items()}
    return _object(tree, _told(model)), inner


def _told(model: type[BaseModel]) -> tuple[str, ...]:
    """What the docstrings of a model and of its bases say, the model's own first."""
    return tuple(base.__doc__ for base in model.__mro__ if issubclass(base, BaseModel) and base.__doc__)


def _object(node: Schema, told: Iterable[str]) -> Schema:
    sentences = [
        part for text in (*told, node.get("description", "")) for part in _SENTENCE.split(" ".join(text.split()))
    ]
    found = _tidy(node)
    for name, field in found.get("properties", {}).items():
        said = _about(name, sentences)
        if said:
            field.setdefault("description", said)
    return found


def _about(name: str, sentences: Iterable[str]) -> str:
    """The sentences that are about a field: it is the first that they name; else those that name it at all."""
    named = [(sentence, _NAMED.findall(sentence)) for sentence in dict.fromkeys(sentences)]
    first = [sentence for sentence, names in named if names[:1] == [name]]
    any_ = [sentence for sentence, names in named if name in names]
    return _plain(" ".join(first or any_))


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").rstrip(";")


def _tidy(node: Schema) -> Schema:
    node = {key: value for key, value in node.items() if key not in _DROPPED}
    if node.get("format") in _FORMATS_OF_PYDANTIC:
        del node["format"]
    if "description" in node:
        node["description"] = _plain(node["description"])
    _tidy_inside(node)
    _without_null(node)
    _default(node)
    return _or_outside(node)


def _tidy_inside(node: Schema) -> None:
    if "properties" in node:
        node["properties"] = {name: _tidy(field) for name, field in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = _tidy(node[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            node[key] = [_tidy(branch) for branch in node[key]]


def _without_null(node: Schema) -> None:
    """A field that may be absent is left out, not written as null."""
    if "anyOf" not in node:
        return
    branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
    outside = _OUTSIDE_REF in branches
    texts = any(branch.get("type") == "string" and not _constrained(branch) for branch in branches)
    branches = [branch for branch in branches if not (outside and texts and branch == _OUTSIDE_REF)]
    node["anyOf"] = [one for at, one in enumerate(branches) if one not in branches[:at]]
    if len(node["anyOf"]) == 1:
        node |= node.pop("anyOf")[0]


def _default(node: Schema) -> None:
    default = node.get("default")
    if isinstance(default, float) and node.get("type") == "string":
        node["default"] = f"{default:g}s"
    elif not isinstance(default, bool | int | float | str) or default == "":
        node.pop("default", None)


def _or_outside(node: Schema) -> Schema:
    """A plain value may come from outside the file; free text may already, and a tag that chooses a model may not."""
    if "const" in node or "$ref" in node or not _constrained(node):
        return node
    about: Schema = {key: node.pop(key) for key in ("description", "default") if key in node}
    return {**about, "anyOf": [node, _OUTSIDE_REF]}


def _constrained(node: Schema) -> bool:
    if node.get("type") == "string":
        return any(key in node for key in ("enum", "pattern", "minLength", "maxLength", "format"))
    return node.get("type") in ("integer", "number", "boolean")
