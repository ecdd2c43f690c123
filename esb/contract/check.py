"""Compiled validators, and their errors in words a caller can act on.

A value is never repeated in an error: it may be a patient's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import jsonschema_rs

from esb.codecs.yaml import nearest
from esb.model import Tree

MAX_ERRORS = 256
_MAX_NAME = 64
_WHOLE_BELOW = 10**18
_KINDS = jsonschema_rs.ValidationErrorKind


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: RFC 6901 pointer, stable code, and the reason in Chinese and English."""

    pointer: str
    code: str
    zh: str
    en: str

    def tree(self) -> dict[str, Tree]:
        """As it stands in an answer and in the journal."""
        return {"pointer": self.pointer, "code": self.code, "zh": self.zh, "en": self.en}


def unknown_field(path: Iterable[str | int], name: str, known: Iterable[str]) -> FieldError:
    """The error for a name that the contract does not have, with the nearest one that it has."""
    hint = nearest(name, known)
    zh = f"没有这个字段，是否想写 {hint.split(chr(39))[1]}？" if hint else "没有这个字段"
    en = "is not a field of this operation" + (f"; {hint}" if hint else "")
    return FieldError(pointer((*path, name[:_MAX_NAME])), "unknown_field", zh, en)


def pointer(path: Iterable[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


class SchemaError(Exception):
    """A schema that cannot be compiled."""


class Check:
    """A compiled schema, formats included. Called with a tree it returns every wrong field, at most ``MAX_ERRORS``."""

    __slots__ = ("_schema", "_validator")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        try:
            self._validator = jsonschema_rs.Draft202012Validator(dict(schema), validate_formats=True, offline=True)
        except (TypeError, ValueError) as error:
            raise SchemaError(str(error).split("\n")[0]) from None

    def __call__(self, tree: Tree) -> list[FieldError]:
        try:
            if self._validator.is_valid(tree):
                return []
            found = [one for error in self._validator.iter_errors(tree) for one in self._errors(error)]
        except (TypeError, ValueError):  # a value that is no JSON at all: bytes, a float's NaN, a tree without end
            return [FieldError("", "invalid", "含有无法用 JSON 表示的值", "holds a value that has no JSON form")]
        return list(islice(dict.fromkeys(found), MAX_ERRORS))

    def _errors(self, error: jsonschema_rs.ValidationError) -> Iterator[FieldError]:
        kind: Any = error.kind
        path = tuple(error.instance_path)
        if isinstance(kind, _KINDS.AdditionalProperties):
            known = _properties(self._schema, error.schema_path)
            yield from (unknown_field(path, name, known) for name in kind.unexpected)
        elif isinstance(kind, _KINDS.Required):
            yield FieldError(pointer((*path, kind.property)), "missing", "缺少必填字段", "is required")
        else:
            code, zh, en = _sentence(kind)
            yield FieldError(pointer(path), code, zh, en)


def whole_numbers(schema: Mapping[str, Any], tree: Tree, path: tuple[str | int, ...] = ()) -> Iterator[FieldError]:
    """JSON Schema takes 25.0 for an integer; the canonical tree does not (see ``whole``)."""
    if isinstance(tree, Decimal) and schema.get("type") == "integer":
        yield FieldError(pointer(path), "wrong_type", "应为整数，不带小数点", "must be an integer without a point")
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from whole_numbers(schema.get("properties", {}).get(key, {}), value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from whole_numbers(schema.get("items", {}), value, (*path, index))


def whole(schema: Mapping[str, Any], tree: Tree) -> Tree:
    """The tree with every 25.0 that should be an integer as 25, changed in place; what is no whole number stays."""
    if isinstance(tree, Decimal):
        fits = schema.get("type") == "integer" and abs(tree) < _WHOLE_BELOW and tree == int(tree)
        return int(tree) if fits else tree
    if isinstance(tree, dict):
        properties = schema.get("properties", {})
        for key, value in tree.items():
            if type(value) is not str:
                tree[key] = whole(properties.get(key, {}), value)
    elif isinstance(tree, list):
        tree[:] = [whole(schema.get("items", {}), value) for value in tree]
    return tree


def _properties(schema: Any, schema_path: Iterable[str | int]) -> list[str]:
    for step in list(schema_path)[:-1]:
        schema = schema[step]
    return list(schema.get("properties", {}))


_TYPES = {
    "string": ("文本", "text"),
    "integer": ("整数", "an integer"),
    "number": ("数字", "a number"),
    "boolean": ("true 或 false", "true or false"),
    "array": ("列表", "a list"),
    "object": ("对象", "an object"),
    "null": ("null", "null"),
}
_FORMATS = {
    "date": ("日期 YYYY-MM-DD", "a date, YYYY-MM-DD"),
    "date-time": ("带 +08:00 的 RFC 3339 时间", "an RFC 3339 time with +08:00"),
}
_LIMITS: Mapping[str, tuple[str, str, str]] = {
    "MinLength": ("too_short", "至少 {} 个字符", "must have at least {} characters"),
    "MaxLength": ("too_long", "最多 {} 个字符", "must have at most {} characters"),
    "Minimum": ("too_small", "不得小于 {}", "must be at least {}"),
    "Maximum": ("too_large", "不得大于 {}", "must be at most {}"),
    "ExclusiveMinimum": ("too_small", "必须大于 {}", "must be greater than {}"),
    "ExclusiveMaximum": ("too_large", "必须小于 {}", "must be less than {}"),
    "MinItems": ("too_few", "至少 {} 项", "must have at least {} items"),
    "MaxItems": ("too_many", "最多 {} 项", "must have at most {} items"),
    "MultipleOf": ("wrong_step", "必须是 {} 的倍数", "must be a multiple of {}"),
}


def _sentence(kind: Any) -> tuple[str, str, str]:
    name = type(kind).__name__
    if name in _LIMITS:
        code, zh, en = _LIMITS[name]
        (limit,) = kind.as_dict().values()
        return code, zh.format(limit), en.format(limit)
    special = _SPECIAL.get(name)
    return special(kind) if special else ("invalid", "不符合要求", "does not satisfy the contract")


def _type(kind: Any) -> tuple[str, str, str]:
    words = [_TYPES.get(one, (one, one)) for one in kind.types]
    return "wrong_type", "应为" + "或".join(zh for zh, _ in words), "must be " + " or ".join(en for _, en in words)


def _format(kind: Any) -> tuple[str, str, str]:
    zh, en = _FORMATS.get(kind.format, (f"{kind.format} 格式", f"a valid {kind.format}"))
    return "wrong_format", f"应为{zh}", f"must be {en}"


def _enum(kind: Any) -> tuple[str, str, str]:
    options = ", ".join(map(str, kind.options)) if isinstance(kind.options, list) else str(kind.options)
    return "not_allowed", f"只能是 {options}", f"must be one of {options}"


def _pattern(kind: Any) -> tuple[str, str, str]:
    return "wrong_pattern", f"格式不符，应满足 {kind.pattern}", f"must match {kind.pattern}"


_SPECIAL: Mapping[str, Callable[[Any], tuple[str, str, str]]] = {
    "Type": _type,
    "Format": _format,
    "Enum": _enum,
    "Pattern": _pattern,
}
