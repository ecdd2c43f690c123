"""One operation of the merged document -> ``Operation``; what is wrong with it becomes findings of the document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from esb.codecs.yaml import PathTuple, nearest
from esb.contract.check import Check, SchemaError
from esb.contract.inline import Inliner
from esb.contract.merge import Merged, pointer_steps
from esb.contract.operation import Operation, Parameter, Refusal
from esb.contract.schema import has_path, nearest_name
from esb.model import Effect

METHODS = ("get", "put", "post", "delete", "patch")
KEY_HEADER = "Idempotency-Key"
JSON = "application/json"
_ITEM_KEYS = {*METHODS, "parameters", "summary", "description"}
_KEYS = {
    *("operationId", "summary", "description", "tags", "parameters", "requestBody", "responses", "deprecated"),
    *("x-effect", "x-requirement", "x-owner", "x-refusals", "x-answered-by"),
}
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_REFUSAL_KEYS = {"status", "zh", "en"}
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SCALARS = {"string", "integer", "number", "boolean"}
_BODY_TOP = {"type", "properties", "required", "additionalProperties", "description", "title", "example", "examples"}


class OperationReader:
    """Reads operations and completes their responses with the shared ones."""

    def __init__(self, merged: Merged, inline: Inliner, shared: Mapping[str, Mapping[str, str]]) -> None:
        self.merged = merged
        self.find = merged.find
        self.child = merged.child
        self.inline = inline
        self.shared = shared

    def methods(self, item: Any, place: PathTuple) -> Iterator[str]:
        """The methods of a path item."""
        if not isinstance(item, dict) or not str(place[-1]).startswith("/"):
            self.find(place, "should be a path that begins with '/', with methods", at_key=True)
            return
        for key, value in item.items():
            if key not in _ITEM_KEYS:
                self.find((*place, key), f"unknown key '{key}'", nearest(key, _ITEM_KEYS), at_key=True)
            elif key in METHODS and not isinstance(value, dict):
                self.find((*place, key), "should be an operation")
            elif key in METHODS:
                yield key

    def read(self, path: str, method: str) -> Operation | None:
        """The operation at ``method path``; None when findings say why not."""
        before = len(self.merged.findings)
        item = self.merged.tree["paths"][path]
        place: PathTuple = ("paths", path, method)
        node = item[method]
        for key in node:
            if key not in _KEYS:
                self.find((*place, key), f"unknown key '{key}'", nearest(key, _KEYS), at_key=True)
        name, effect = self._name(node, place), self._effect(node, place)
        fields = _Fields(self, place)
        for holder, at in ((item, place[:2]), (node, place)):
            for index, parameter in enumerate(self.child(holder, "parameters", list, at)):
                fields.parameter(parameter, (*at, "parameters", index))
        fields.body(node.get("requestBody"), (*place, "requestBody"))
        fields.template(path)
        refusals = self._refusals(node, place)
        status, answer = self._answer(node, place)
        owner = self._owner(node, place, fields.schema())
        self._safety(effect, method, fields.key_required, place)
        if len(self.merged.findings) > before:
            return None
        self._complete(node, effect, fields.has_body, refusals)
        try:
            operation = Operation(
                name=name,
                method=method.upper(),
                path=path,
                effect=effect,
                success_status=status,
                summary=str(node.get("summary", "")),
                request_schema=fields.schema(),
                answer_schema=answer,
                parameters=tuple(fields.parameters),
                has_body=fields.has_body,
                key_required=fields.key_required,
                refusals=refusals,
                owner=owner,
                requirement=tuple(self.child(node, "x-requirement", list, place)),
            )
        except SchemaError as error:
            if not self.merged.findings:
                self.find(place, f"its schema cannot be compiled: {error}", at_key=True)
            return None
        self._examples(operation, node, place)
        return operation

    def _name(self, node: Mapping[str, Any], place: PathTuple) -> str:
        name = node.get("operationId")
        if name is None:
            self.find(place, "operationId is missing", "the operation's name, like registration.lock", at_key=True)
        elif not isinstance(name, str) or not _NAME.fullmatch(name):
            self.find((*place, "operationId"), "an operation is named like registration.lock")
        return str(name)

    def _effect(self, node: Mapping[str, Any], place: PathTuple) -> Effect:
        effect = node.get("x-effect")
        if effect is None:
            self.find(place, "x-effect is missing", "read, idempotent or once", at_key=True)
        elif effect not in list(Effect):
            self.find(
                (*place, "x-effect"),
                f"there is no effect '{effect}'",
                nearest(str(effect), list(Effect)) or "read, idempotent or once",
            )
        return Effect(effect) if effect in list(Effect) else Effect.READ

    def _safety(self, effect: Effect, method: str, key_required: bool, place: PathTuple) -> None:
        if effect is Effect.ONCE and method != "post":
            self.find(place, "an operation that happens once is a POST", at_key=True)
        if effect is Effect.ONCE and not key_required:
            self.find(place, f"an operation that happens once needs the parameter {KEY_HEADER}", at_key=True)
        if effect is not Effect.READ and method == "get":
            self.find(place, "a GET only reads", "x-effect: read", at_key=True)

    def _refusals(self, node: Mapping[str, Any], place: PathTuple) -> dict[str, Refusal]:
        refusals: dict[str, Refusal] = {}
        for code, value in self.child(node, "x-refusals", dict, place).items():
            at = (*place, "x-refusals", code)
            if not _CODE.fullmatch(code):
                self.find(at, "a refusal code is lower case words joined by _", at_key=True)
            elif not isinstance(value, dict) or set(value) != _REFUSAL_KEYS:
                self.find(at, "a refusal has exactly status, zh and en", at_key=True)
            elif value["status"] not in range(400, 500) or str(value["status"]) not in self.shared["any"]:
                self.find((*at, "status"), f"no shared response has the refusal status {value['status']}")
            else:
                refusals[code] = Refusal(code, value["status"], str(value["zh"]), str(value["en"]))
        return refusals

    def _answer(self, node: Mapping[str, Any], place: PathTuple) -> tuple[int, Mapping[str, Any]]:
        responses = self.child(node, "responses", dict, place)
        good = [status for status in responses if status in ("200", "201")]
        if len(good) != 1:
            self.find((*place, "responses"), "an operation has exactly one of the answers '200' and '201'", at_key=True)
            return 200, {}
        node, at = responses, (*place, "responses")
        for key in (good[0], "content", JSON):
            node, at = self.child(node, key, dict, at), (*at, key)
        return int(good[0]), self.inline(node.get("schema"), (*at, "schema"))

    def _owner(self, node: Mapping[str, Any], place: PathTuple, schema: Mapping[str, Any]) -> tuple[str, ...]:
        owner = tuple(str(node["x-owner"]).split(".")) if "x-owner" in node else ()
        if not has_path(schema, owner):
            self.find((*place, "x-owner"), f"a request has no field '{'.'.join(owner)}'", nearest_name(schema, owner))
        return owner

    def _complete(self, node: dict[str, Any], effect: Effect, has_body: bool, refusals: Mapping[str, Refusal]) -> None:
        kinds = ["every", effect.value, *(["body"] if has_body else [])]
        wanted = {status: name for kind in kinds for status, name in self.shared.get(kind, {}).items()}
        wanted |= {str(one.status): self.shared["any"][str(one.status)] for one in refusals.values()}
        for status in sorted(wanted):
            node["responses"].setdefault(status, {"$ref": f"#/components/responses/{wanted[status]}"})

    def _examples(self, operation: Operation, node: Mapping[str, Any], place: PathTuple) -> None:
        answer = (*place, "responses", str(operation.success_status), "content", JSON, "example")
        self.example(operation.answer_schema, node, answer, len(place))

    def example(self, schema: Mapping[str, Any], node: Any, place: PathTuple, skip: int) -> None:
        """Check the example at ``place``, if there is one; ``node`` is what stands ``skip`` steps down."""
        for step in place[skip:]:
            if not isinstance(node, Mapping) or step not in node:
                return
            node = node[step]
        try:
            errors = Check(schema)(node)
        except SchemaError:  # what is wrong with the schema is a finding of its own
            return
        for error in errors:
            inside = pointer_steps(error.pointer) if error.pointer else ()
            steps = [int(step) if step.isdigit() else step for step in inside if step]
            self.find((*place, *steps), f"the example's {error.pointer or 'value'} {error.en}")


class _Fields:
    """Gathers path, query and body fields into one object schema."""

    def __init__(self, reader: OperationReader, place: PathTuple) -> None:
        self.reader = reader
        self.find = reader.find
        self.place = place
        self.properties: dict[str, Any] = {}
        self.required: list[str] = []
        self.parameters: list[Parameter] = []
        self.has_body = False
        self.key_required = False

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": self.properties,
            "required": self.required,
        }

    def parameter(self, node: Any, place: PathTuple) -> None:
        if isinstance(node, dict) and "$ref" in node:
            place, node = pointer_steps(node["$ref"]), self.reader.merged.get(node["$ref"])
        if node is None:
            return
        if not isinstance(node, dict) or "name" not in node or "in" not in node:
            self.find(place, "a parameter has a name and says where it is in")
        elif node["in"] == "header":
            self._header(node, place)
        elif node["in"] not in ("path", "query"):
            self.find((*place, "in"), f"a parameter is in path, query or header, not in '{node['in']}'")
        else:
            self._value(node, place)

    def _header(self, node: Mapping[str, Any], place: PathTuple) -> None:
        if node["name"] != KEY_HEADER:
            self.find((*place, "name"), f"the only header parameter is {KEY_HEADER}", "use a query or body field")
        self.key_required = node.get("required") is True

    def _value(self, node: Mapping[str, Any], place: PathTuple) -> None:
        schema = self.reader.inline(node.get("schema"), (*place, "schema"))
        if not schema:
            return
        repeated = schema.get("type") == "array"
        kind = (schema.get("items") or {}).get("type") if repeated else schema.get("type")
        if kind not in _SCALARS or (repeated and node["in"] == "path"):
            self.find((*place, "schema"), "a parameter is a text, a number or a boolean, or a list of them in a query")
            return
        required = node.get("required") is True
        if node["in"] == "path" and not required:
            self.find(place, "a path parameter is required", "required: true")
        extra = {key: value for key, value in node.items() if key.startswith("x-") or key == "description"}
        if "example" in node:
            self.reader.example(schema, node, (*place, "example"), len(place))
        self._add(node["name"], {**schema, **extra}, required, (*place, "name"))
        self.parameters.append(Parameter(node["name"], node["in"], required, kind, repeated))

    def body(self, node: Any, place: PathTuple) -> None:
        if node is None:
            return
        self.has_body = True
        media = self.reader.child(node, "content", dict, place) if isinstance(node, dict) else {}
        if list(media) != [JSON] or not isinstance(media[JSON], dict):
            self.find((*place, "content"), f"a body is {JSON} only", at_key=True)
            return
        at = (*place, "content", JSON)
        schema = self.reader.inline(media[JSON].get("schema"), (*at, "schema"))
        if not schema:
            return
        odd = [key for key in schema if key not in _BODY_TOP and not key.startswith("x-")]
        if schema.get("type") != "object" or schema.get("additionalProperties") is not False or odd:
            self.find(
                (*at, "schema"), "a body is an object with properties and required only", "additionalProperties: false"
            )
            return
        for name, inner in schema["properties"].items():
            self._add(name, inner, name in schema.get("required", ()), (*at, "schema"))
        self.reader.example(schema, media[JSON], (*at, "example"), len(at))

    def _add(self, name: str, schema: Any, required: bool, place: PathTuple) -> None:
        if name in self.properties:
            self.find(place, f"'{name}' is already a field of path, query or body", "rename one of them")
        self.properties[name] = schema
        if required:
            self.required.append(name)

    def template(self, path: str) -> None:
        wanted = set(re.findall(r"\{([^}]*)\}", path))
        given = {one.name for one in self.parameters if one.location == "path"}
        for name in sorted(wanted - given):
            self.find(self.place[:2], f"'{{{name}}}' has no path parameter", nearest(name, given), at_key=True)
        for name in sorted(given - wanted):
            self.find(self.place, f"the path has no '{{{name}}}'", nearest(name, wanted), at_key=True)
