"""Where a field comes from and what uses it, before there is any data."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from esb.codecs import yaml
from esb.explain.fields import Lineage, UnknownFieldError, lineage, lineage_of, table
from esb.explain.lineage import origins
from esb.explain.origin import Origin, field_name, normal
from esb.lint import Plan
from esb.mapping import Mapping, load_codes
from esb.mapping.compile import compile_mapping
from esb.mapping.parts import read_parts
from tests.esb.configured import ROOT, Configured

CODES = load_codes(ROOT / "mappings" / "codes")


@functools.cache
def plan() -> Plan:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return Configured(Path(folder)).load()


def asked(operation: str, name: str) -> Lineage:
    return lineage(plan(), operation, name)


def line(key: str) -> int:
    """Where a key of the mapping of registration.lock is first written."""
    lines = plan().mappings["registration.lock"].text.split("\n")
    return next(at for at, text in enumerate(lines, 1) if text.strip().startswith(key))


def mapping(text: str, parts: str = "") -> Mapping:
    known = read_parts([("kit", "kit.yaml", parts)], CODES) if parts else {}
    return compile_mapping(yaml.load(text, "x/m.yaml"), text, CODES, known)


def of(text: str, field: str, parts: str = "") -> list[Origin]:
    return [origin for origin in origins(mapping(text, parts)) if origin.field == field]


@pytest.mark.parametrize("name", ["Fee", "request.Fee", "$request.Fee"])
def test_a_wire_field_names_its_source_its_function_and_both_schemas(name: str) -> None:
    found = asked("registration.lock", name)
    (made,) = found.made
    origin, (way,) = made.origin, made.origin.ways
    assert (origin.target, origin.line, origin.written) == ("request.Fee", line("Fee: "), "$fee | yuan")
    assert [source.path for source in way.sources] == ["request.fee"]
    assert [(step.written, step.summary) for step in way.steps] == [("yuan", "Whole fen as yuan text with two places.")]
    assert way.missing.startswith("an error")
    assert [(about.path, about.sort, about.required) for about in made.contract] == [("request.fee", "integer", True)]
    assert [(about.path, about.sort) for about in made.system] == [("Fee", "decimal")]


def test_a_canonical_answer_field_is_followed_through_loops_cases_and_code_tables() -> None:
    full, rest = asked("schedule.list", "items[].status").made
    assert full.origin.written == "'full'"
    assert [condition.kind for condition in full.origin.conditions] == ["case", "condition"]
    (way,) = rest.origin.ways
    assert [source.path for source in way.sources] == ["answer.Schedules.Slot[].Status"]
    codes = way.steps[0].table
    assert codes is not None
    assert codes.file.endswith("mappings/codes/slot_status_his.yaml")
    assert (codes.entries["1"], codes.default) == ("open", None)
    assert rest.origin.conditions[-1].written == "none of: $s.Status == '1' and $s.Left == '0'"
    assert rest.origin.loops[0].missing == "then there are no items"
    assert rest.contract[0].words == ("open", "full", "stopped", "unreleased")


def test_a_field_that_is_not_unique_is_found_by_its_last_name() -> None:
    assert {made.origin.field for made in asked("schedule.list", "fee").made} == {"items[].fee"}


@pytest.mark.parametrize("name", ["PID-8", "$PID-8", "answer.PID[]-8"])
def test_a_field_of_the_answer_says_what_it_becomes(name: str) -> None:
    found = asked("patient.find", name)
    assert not found.made
    assert [(use.how, use.target) for use in found.used] == [("value", "response[0].done.items[].sex")]


def test_a_canonical_request_field_says_where_it_is_used_and_whose_it_is() -> None:
    found = asked("registration.lock", "patientId")
    assert [(use.how, use.target, use.line) for use in found.used] == [
        ("value", "request.PatientID", line("PatientID: "))
    ]
    assert [(about.path, about.phi) for about in found.contract] == [("request.patientId", "patient_id")]


def test_a_field_that_only_decides_is_used_as_a_condition() -> None:
    uses = asked("registration.lock", "ResultCode").used
    assert {use.how for use in uses} == {"condition", "value"}
    assert {use.target for use in uses if use.how == "value"} == {"response[3].refused.code"}


def test_hl7_fields_are_found_with_and_without_their_components() -> None:
    assert [made.origin.field for made in asked("patient.find", "QPD-3").made] == [
        "QPD-3[1].1",
        "QPD-3[1].2",
        "QPD-3[2].1",
        "QPD-3[2].2",
    ]


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UnknownFieldError, match="did you mean 'PatientID'"):
        asked("registration.lock", "PatientIDs")


def test_alternatives_say_what_comes_next() -> None:
    (found,) = of("action: A\nrequest: {X: $a? ?? $b.c? ?? null}\nresponse: {done: {}}", "X")
    assert [(way.written, way.missing) for way in found.ways] == [
        ("$a?", "then $b.c?"),
        ("$b.c?", "then null"),
        ("null", ""),
    ]


def test_a_part_is_followed_into_the_structure_that_it_was_given() -> None:
    part = "name:\n  takes: [who, use]\n  gives: {text: $who.full | upper, first: $who.first?, use: $use}\n"
    text = (
        "action: A\nrequest:\n  $each: $people as p\n  Name: {$use: kit.name, who: {full: $p.name}, use: $p.use?}\n"
        "response: {done: {}}\n"
    )
    (found,) = of(text, "Name.text", part)
    assert [source.path for source in found.sources] == ["request.people[].name"]
    assert (found.file, found.parts) == ("kit.yaml", ("kit.name",))
    assert [condition.written for condition in found.conditions] == ["$p.use? is there, the use of kit.name"]


def test_what_a_function_makes_keeps_its_name_in_the_path_and_a_filter_does_not() -> None:
    text = (
        "action: A\nrequest:\n  Rows:\n    $each: $list | where('a', 'b') as row\n    Y: $row.y\n"
        "  Last:\n    $with: $list | first as one\n    Y: $one.y\nresponse: {done: {}}\n"
    )
    assert [source.path for source in of(text, "Rows[].Y")[0].sources] == ["request.list[].y"]
    assert [source.path for source in of(text, "Last.Y")[0].sources] == ["(request.list | first).y"]
    assert [step.written for step in of(text, "Rows[].Y")[0].ways[0].steps] == ["where('a', 'b')"]


def test_the_table_has_a_line_for_each_target() -> None:
    rows = table(plan().mappings["registration.lock"])
    assert rows["request.VisitTime"] == "request.slot.start | time('%Y%m%d%H%M%S')"
    assert rows["answer.fee"] == "answer.Lock.Fee | fen"
    assert rows["action"] == "'LockRegistration'"


def test_every_expression_of_every_mapping_has_an_origin_at_its_own_line() -> None:
    for name, each in plan().mappings.items():
        found = origins(each)
        assert {origin.file for origin in found} == {each.file}, name
        lines = each.text.split("\n")
        for origin in found:
            written = origin.written.split("\n")[0]
            near = " ".join(lines[origin.line - 1 : origin.line + 2])
            assert written.strip("'").split(" ")[0] in near, origin


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("request.Fee", "Fee"),
        ("request[1].PID-3.1", "PID-3.1"),
        ("response[1].done.items[].fee", "items[].fee"),
        ("response.done.x", "x"),
        ("response[0].refused.code", "response[0].refused.code"),
    ],
)
def test_a_field_goes_by_its_name_on_its_side(target: str, field: str) -> None:
    assert field_name(target) == field


def test_indexes_are_no_part_of_a_name() -> None:
    assert normal("answer.PID[0]-3[*][1].5") == "answer.PID-3.5"


def test_json_has_what_the_dataclasses_have() -> None:
    tree = lineage_of(mapping("action: A\nrequest: {X: $a.b}\nresponse: {done: {}}"), "X").tree()
    assert tree["made"][0]["ways"][0]["sources"] == [{"written": "$a.b", "path": "request.a.b"}]
    assert set(tree) == {"field", "file", "made", "used", "contract", "system"}
