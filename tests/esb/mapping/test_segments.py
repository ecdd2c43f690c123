"""The segments that an HL7 message must have: lint finds those that no row gives, and nothing else."""

from __future__ import annotations

import pytest

from esb.codecs import yaml
from esb.codecs.hl7v2 import build
from esb.codecs.hl7v2.build import lines
from esb.codecs.hl7v2.tables import library, message_type
from esb.mapping import check, compile_mapping
from esb.mapping.parts import read_parts
from esb.types import Description, Type
from tests.esb.mapping.support import CODES

ADT = message_type("ADT^A01^ADT_A01", "2.5.1", header=False)
PARTS = """
admission:
  takes: [request]
  gives:
    - {EVN-2: $request.at}
    - {PV1-2: I}
computed:
  takes: [rows]
  gives: $rows
"""


def found(request: str, type_: Type = ADT) -> list[str]:
    text = f"action: A\nrequest:\n{request}\nresponse:\n  done: {{}}\n"
    parts = read_parts([("h", "h.yaml", PARTS)], CODES)
    sheet = compile_mapping(yaml.load(text, "mapping.yaml"), text, CODES, parts).sheet
    return [each.message for each in check(sheet, system=Description(type_)) if "segments" in each.message]


@pytest.mark.parametrize(
    "request_",
    [
        "  - {EVN-2: '1', PID-3.1: '1', PID-5.1: x, PV1-2: I}",
        "  - {EVN-2: '1'}\n  - {PID-3.1: '1', PID-5.1: x}\n  - {PV1-2: null}",
        "  - {$use: h.admission, request: $request}\n  - {PID-3.1: '1', PID-5.1: x}",
        "  - $case:\n      - {$when: $a == '1', $value: {EVN-2: '1'}}\n      - {EVN-2: '2'}\n"
        "  - {$each: $list as p, PID-3.1: $p.id}\n  - {PV1-2: I}",
    ],
    ids=["one row", "a row for each", "in a part", "in a choice and a loop"],
)
def test_no_segment_is_missing_that_some_row_may_give(request_: str) -> None:
    assert found(request_) == []


def test_what_is_required_and_in_no_row_is_one_finding() -> None:
    assert found("  - {PID-3.1: '1', PID-5.1: x}") == ["required segments not given: EVN, PV1"]


def test_rows_that_are_computed_are_not_judged() -> None:
    assert found("  - {PID-3.1: '1', PID-5.1: x}\n  - {$use: h.computed, rows: $request.rows}") == []
    assert found("  - {PID-3.1: '1', PID-5.1: x}\n  - $rows") == []


@pytest.mark.parametrize("version", ["2.1", "2.3.1", "2.5.1", "2.8.2"])
def test_a_message_with_every_segment_that_its_structure_requires_lacks_none(version: str) -> None:
    for name in library(version).MESSAGES:
        structure = message_type(name, version)
        required = [segment for segment, inner in structure.fields.items() if inner.required]
        assert "MSH" in required
        rows = "\n".join(f"  - {{{segment}-1: null}}" for segment in required)
        assert found(rows, structure) == []


def test_of_a_choice_no_segment_is_required() -> None:
    choice = message_type("QBP_E03", "2.8.2").fields
    assert not choice["QPD"].required
    assert choice["MSH"].required


def test_a_segment_that_is_null_is_not_sent() -> None:
    message = build([{"MSH-9": "QRY"}, {"QRD-1": "1"}, {"QRF-1": None}])
    assert [segment.name for segment in message] == ["MSH", "QRD"]
    assert lines([{"PID-1": None}, {"PID-1": "1"}], message.syntax) == ["PID|1"]
