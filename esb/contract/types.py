"""An inlined JSON Schema as a ``Type``, so that mappings are checked against it.

A schema of several branches is what a value of any of them can look like: their names together, required only where
every branch requires it, a sort or a list of words only where they agree on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from esb.contract.schema import Schema
from esb.types import Sort, Type

_ALTERNATIVES: Final = ("anyOf", "oneOf")
_SORTS: Final[Mapping[str, Sort]] = {
    "string": "text",
    "integer": "integer",
    "number": "decimal",
    "boolean": "truth",
    "object": "structure",
}
_FORMATS: Final[Mapping[str, Sort]] = {"date": "date", "date-time": "moment", "time": "time"}
_VALUES: Final[Mapping[type, str]] = {str: "string", bool: "boolean", int: "integer"}
_SENTENCE = re.compile(r"\s*(.+?)(?:[。！？]|[.!?](?=\s|$)|\n|$)", re.DOTALL)


def type_of(schema: Schema, required: bool = False) -> Type:
    """The type of a value of ``schema``, which holds no references. A list is its items, ``many``."""
    many, one = _item(schema)
    names = _required(one)
    return Type(
        sort=_sort(one),
        many=many,
        required=required,
        words=tuple(_words(one) or ()),
        longest=_longest(one),
        title=_title(schema) or _title(one),
        open=_open(one),
        single=many and _single(schema),
        make=lambda: {name: type_of(inner, name in names) for name, inner in _properties(one).items()},
    )


def _item(schema: Schema) -> tuple[bool, Schema]:
    """Whether it is a list or may be one, and the schema of one item."""
    if schema.get("type") == "array" or "items" in schema:
        return True, _item(schema.get("items", {}))[1]
    many, one = False, dict(schema)
    for keyword in ("allOf", *_ALTERNATIVES):
        if keyword in schema:
            found = [_item(branch) for branch in schema[keyword]]
            many = many or any(listed for listed, _ in found)
            one[keyword] = [branch for _, branch in found]
    return many, one


def _single(schema: Schema) -> bool:
    """Whether a value that may be a list may be something else too."""
    if schema.get("type") == "array" or "items" in schema:
        return False
    return all(map(_single, schema.get("allOf", ()))) and all(any(map(_single, each)) for each in _alternatives(schema))


def _properties(schema: Schema) -> dict[str, Schema]:
    """Name -> its schema; of a name that stands in several places all of them, or any, put together."""
    found: dict[str, list[Schema]] = {name: [inner] for name, inner in schema.get("properties", {}).items()}
    for branch in schema.get("allOf", ()):
        _gather(found, _properties(branch).items())
    for keyword in _ALTERNATIVES:
        choices: dict[str, list[Schema]] = {}
        for branch in schema.get(keyword, ()):
            _gather(choices, _properties(branch).items())
        _gather(found, ((name, _joined("anyOf", inner)) for name, inner in choices.items()))
    return {name: _joined("allOf", inner) for name, inner in found.items()}


def _gather(found: dict[str, list[Schema]], more: Iterable[tuple[str, Schema]]) -> None:
    for name, inner in more:
        found.setdefault(name, []).append(inner)


def _joined(keyword: str, schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {keyword: schemas}


def _required(schema: Schema) -> frozenset[str]:
    found = frozenset(schema.get("required", ())).union(*map(_required, schema.get("allOf", ())))
    for branches in _alternatives(schema):
        first, *others = map(_required, branches)
        found |= first.intersection(*others)
    return found


def _alternatives(schema: Schema) -> Iterator[list[Schema]]:
    """For each keyword its branches that allow more than null."""
    for keyword in _ALTERNATIVES:
        branches = [branch for branch in schema.get(keyword, ()) if branch.get("type") != "null"]
        if branches:
            yield branches


def _open(schema: Schema) -> bool:
    sorts = _sorts(schema)
    if sorts is not None and "structure" not in sorts:
        return False
    own = schema.get("additionalProperties", True) is not False and all(map(_open, schema.get("allOf", ())))
    return own and all(any(map(_open, branches)) for branches in _alternatives(schema))


def _sort(schema: Schema) -> Sort:
    sorts = _sorts(schema) or frozenset()
    if sorts == {"integer", "decimal"}:
        return "decimal"
    return next(iter(sorts)) if len(sorts) == 1 else "any"


def _sorts(schema: Schema) -> frozenset[Sort] | None:
    """All sorts that a value can have; None where the schema does not say."""
    found = _own_sorts(schema)
    for branch in schema.get("allOf", ()):
        found = _narrower(found, _sorts(branch))
    for branches in _alternatives(schema):
        found = _narrower(found, _any_of([_sorts(branch) for branch in branches]))
    return found


def _own_sorts(schema: Schema) -> frozenset[Sort] | None:
    types = schema.get("type")
    if types is None and ("enum" in schema or "const" in schema):
        types = [_VALUES.get(type(value), "number") for value in _values(schema) if value is not None]
    elif types is None and "properties" in schema:
        types = "object"
    if types is None:
        return None
    listed = [types] if isinstance(types, str) else types
    return frozenset(_one_sort(kind, schema) for kind in listed if kind in _SORTS)


def _one_sort(kind: str, schema: Schema) -> Sort:
    return _FORMATS.get(schema.get("format", ""), "text") if kind == "string" else _SORTS[kind]


def _narrower(one: frozenset[Sort] | None, other: frozenset[Sort] | None) -> frozenset[Sort] | None:
    """Both hold; ``format: date`` beside ``type: string`` is a date."""
    if one is None or other is None:
        return other if one is None else one
    return one & other or (other - {"text"} if "text" in one else one)


def _any_of(sorts: list[frozenset[Sort] | None]) -> frozenset[Sort] | None:
    known = [one for one in sorts if one is not None]
    return frozenset[Sort]().union(*known) if len(known) == len(sorts) else None


def _values(schema: Schema) -> list[object]:
    return [schema["const"]] if "const" in schema else list(schema["enum"])


def _words(schema: Schema) -> list[str] | None:
    """Every text it can be; None where that is not known or it can be something else than a text."""
    found: list[str] | None = None
    if "enum" in schema or "const" in schema:
        values = [value for value in _values(schema) if value is not None]
        texts = [value for value in values if isinstance(value, str)]
        found = texts if len(texts) == len(values) else None
    for branch in schema.get("allOf", ()):
        found = _common(found, _words(branch))
    for branches in _alternatives(schema):
        each = [_words(branch) for branch in branches]
        known = [words for words in each if words is not None]
        if len(known) == len(each):
            found = _common(found, list(dict.fromkeys(word for words in known for word in words)))
    return found


def _common(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return [word for word in one if word in other]


def _longest(schema: Schema) -> int | None:
    limits = [schema.get("maxLength"), *map(_longest, schema.get("allOf", ()))]
    for branches in _alternatives(schema):
        each = [_longest(branch) for branch in branches]
        known = [limit for limit in each if limit is not None]
        limits.append(max(known) if len(known) == len(each) else None)
    return min((limit for limit in limits if limit is not None), default=None)


def _title(schema: Schema) -> str:
    """The title, else the first sentence of the description, else those of what it is made of."""
    sentence = _SENTENCE.match(schema.get("description", ""))
    own = schema.get("title") or (sentence[1].strip() if sentence else "")
    return own or next(filter(None, map(_title, schema.get("allOf", ()))), "")
