"""JSON Schema as types: what a mapping may read of a request and has to give in an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esb.contract import load_contract
from esb.contract.types import type_of
from esb.types import ANY, Lost, Type

ROOT = Path(__file__).parents[3]
TEXT = {"type": "string"}


def at(schema: dict[str, Any], *steps: str) -> Type:
    found = type_of(schema).at(steps)
    assert isinstance(found, Type), found
    return found


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "sort"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "moment"),
        ({"type": "string", "format": "time"}, "time"),
        ({"type": "string", "format": "uri"}, "text"),
        ({"type": "string", "contentEncoding": "base64"}, "text"),
        ({"type": "integer"}, "integer"),
        ({"type": "number"}, "decimal"),
        ({"type": "boolean"}, "truth"),
        ({"type": "object"}, "structure"),
        ({"type": ["string", "null"]}, "text"),
        ({"type": ["string", "integer"]}, "any"),
        ({"type": ["integer", "number"]}, "decimal"),
        ({"enum": ["a", "b"]}, "text"),
        ({"const": 3}, "integer"),
        ({"const": True}, "truth"),
        ({}, "any"),
        ({"anyOf": [TEXT, {"type": "null"}]}, "text"),
        ({"anyOf": [TEXT, {"type": "integer"}]}, "any"),
        ({"anyOf": [TEXT, {}]}, "any"),
        ({"allOf": [TEXT, {"maxLength": 3}]}, "text"),
        ({"type": "string", "allOf": [{"type": "string", "format": "date"}]}, "date"),
    ],
)
def test_a_schema_says_its_sort(schema: dict[str, Any], sort: str) -> None:
    assert type_of(schema).sort == sort


def test_a_list_is_its_items_many_times() -> None:
    listed = type_of(closed(items={"type": "array", "items": closed(("code",), code=TEXT)}))
    assert (listed.fields["items"].sort, listed.fields["items"].many) == ("structure", True)
    assert listed.at(["items", "code"]) == Type("text", required=True)
    assert type_of({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}) == Type("text", many=True, single=True)
    assert not type_of({"anyOf": [{"type": "null"}, {"type": "array", "items": TEXT}]}).single


def test_enum_and_const_are_all_the_words_and_a_null_is_none_of_them() -> None:
    assert type_of({"type": "string", "enum": ["male", "female"]}).words == ("male", "female")
    assert type_of({"enum": ["male", None]}).words == ("male",)
    assert type_of({"const": "x"}).words == ("x",)
    assert type_of({"enum": ["a", 1]}).words == ()
    assert type_of({"anyOf": [{"const": "a"}, {"enum": ["b", "a"]}]}).words == ("a", "b")
    assert type_of({"anyOf": [{"const": "a"}, TEXT]}).words == ()
    assert type_of({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}).words == ("b",)


def test_the_longest_is_the_one_that_always_holds() -> None:
    assert type_of({"type": "string", "maxLength": 8}).longest == 8
    assert type_of({"maxLength": 8, "allOf": [{"maxLength": 5}]}).longest == 5
    assert type_of({"anyOf": [{"maxLength": 8}, {"maxLength": 5}]}).longest == 8
    assert type_of({"anyOf": [{"maxLength": 8}, TEXT]}).longest is None


def test_alternatives_have_all_their_names_and_require_what_each_requires() -> None:
    card, passport = closed(("no", "sex"), no=TEXT, sex=TEXT), closed(("no",), no={"type": "integer"}, land=TEXT)
    either = type_of({"oneOf": [card, passport]})
    assert {name: (inner.sort, inner.required) for name, inner in either.fields.items()} == {
        "no": ("any", True),
        "sex": ("text", False),
        "land": ("text", False),
    }
    assert either.at(["land", "deeper"]) == Lost("deeper", ())
    assert either.at(["lnad"]) == Lost("lnad", ("no", "sex", "land"))


def test_a_name_required_by_every_alternative_alone_is_required() -> None:
    schema = closed(a=TEXT, b=TEXT, c=TEXT) | {"anyOf": [{"required": ["a", "b"]}, {"required": ["a", "c"]}]}
    assert {name for name, inner in type_of(schema).fields.items() if inner.required} == {"a"}


def test_all_of_requires_what_any_of_its_parts_requires() -> None:
    base = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": True}
    more = {"type": "object", "properties": {"a": {"maxLength": 3}, "b": TEXT}, "additionalProperties": True}
    both = type_of({"allOf": [base, more]})
    assert both.fields["a"] == Type("text", required=True, longest=3)
    assert both.at(["other"]) is ANY


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (closed(a=TEXT), False),
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({"type": "string"}, False),
        ({"anyOf": [closed(a=TEXT), {"type": "object"}]}, True),
        ({"anyOf": [closed(a=TEXT), closed(b=TEXT)]}, False),
        ({"allOf": [closed(a=TEXT), {"type": "object"}]}, False),
    ],
)
def test_open_where_other_names_may_stand(schema: dict[str, Any], expected: bool) -> None:
    assert type_of(schema).open is expected


@pytest.mark.parametrize(
    ("schema", "title"),
    [
        ({"title": "订单号", "description": "长。"}, "订单号"),
        ({"description": "日期 / Date"}, "日期 / Date"),
        ({"description": "The date. It is in Shanghai time."}, "The date"),
        ({"description": "就诊日期。北京时间。"}, "就诊日期"),
        ({"description": "Version 2.5 of it\nmore"}, "Version 2.5 of it"),
        ({"type": "array", "description": "时段 / Slots", "items": {"description": "时段 / A slot"}}, "时段 / Slots"),
        ({"allOf": [{"description": "Inner"}]}, "Inner"),
        ({}, ""),
    ],
)
def test_the_title_is_the_first_sentence(schema: dict[str, Any], title: str) -> None:
    assert type_of(schema).title == title


def test_the_contract_describes_its_operations() -> None:
    operations = load_contract(ROOT / "schemas").operations
    lock, listed = operations["registration.lock"], operations["schedule.list"]
    start = lock.request_type.at(["slot", "start"])
    assert isinstance(start, Type)
    assert (start.sort, start.required, start.longest) == ("moment", True, 25)
    assert lock.request_type.at(["slot", "begin"]) == Lost("begin", tuple(lock.request_type.fields["slot"].fields))
    status = lock.answer_type.at(["status"])
    assert isinstance(status, Type)
    assert status.words == ("locked", "released", "expired", "confirmed")
    assert listed.answer_type.fields["items"].many
    assert isinstance(listed.answer_type.at(["items", "slotId"]), Type)


def test_every_path_of_the_contracts_schemas_is_found() -> None:
    for operation in load_contract(ROOT / "schemas").operations.values():
        for paths, found in (
            (operation.request_phi, operation.request_type),
            (operation.answer_phi, operation.answer_type),
        ):
            for path in paths:
                assert isinstance(found.at([step for step in path if step != "*"]), Type), (operation.name, path)
