"""What a compiled mapping tells about itself, and its examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esb.errors import ConfigError, Outcome
from esb.mapping import load_mapping, run_examples
from tests.esb.mapping.support import CODES, compiled

LOCK = """\
action: LockRegistration
request:
  OrderNo: $exchange.key
  VisitTime: $slot.start | time('%Y%m%d%H%M%S')
  Hospital: $site.hospital
  Items: {$each: $items? as i, Code: $i.code, Sub: {$each: "$i.parts | where('a', '1') as p", $value: $p.no}}
response:
  - when: $ResultCode == '0'
    done:
      lockId: $Lock.No
      fee: $Lock.Fee | fen
      lines: {$each: '$Lines[0].Line as l', n: $l.@no}
      who: $request.patientId
  - when: $ResultCode == '-999'
    unavailable: their queue is full
  - when: $ResultCode == '7'
    refused: {code: closed}
  - refused: {code: "$ResultCode? | meaning(errors) ?? 'other'", message: $ResultMsg?}
examples:
  - name: locked
    given: {slot: {start: '2026-01-16T08:30:00+08:00'}, patientId: P1}
    site: {hospital: H}
    sends: {OrderNo: KEY1, VisitTime: '20260116083000', Hospital: H, Items: []}
    answer: '{"ResultCode": "0", "Lock": {"No": "L1", "Fee": "12.00"}, "Lines": {"Line": {"@no": "1"}}}'
    done: {lockId: L1, fee: 1200.0, lines: [{n: '1'}], who: P1}
  - name: full
    answer: {ResultCode: '1'}
    refused: {code: full}
  - name: busy
    answer: {ResultCode: '-999'}
    unavailable: their queue is full
  - name: a lock without a fee
    answer: {ResultCode: '0', Lock: {No: L1}}
    malformed: true
"""


def test_a_mapping_tells_what_it_reads_and_gives() -> None:
    mapping = compiled(LOCK)
    assert (mapping.action, mapping.action_is_fixed) == ("LockRegistration", True)
    assert mapping.outcomes == {Outcome.DONE, Outcome.UNAVAILABLE, Outcome.REFUSED}
    assert mapping.refusal_codes == {"closed", "full", "stopped", "other"}
    assert mapping.request_fields == ("OrderNo", "VisitTime", "Hospital", "Items")


def test_the_fields_of_hl7_segments_are_the_request_fields() -> None:
    mapping = compiled("action: $kind\nrequest: [{PID-3.1: $id}, {PID-3.1: $id, PV1-2: O}]\nresponse: {done: {}}")
    assert mapping.request_fields == ("PID-3.1", "PV1-2")
    assert (mapping.action, mapping.action_is_fixed) == ("", False)


def test_examples_pass_when_all_is_as_written() -> None:
    results = run_examples(compiled(LOCK), json.loads)
    assert [(result.name, result.passed, result.differences) for result in results] == [
        ("locked", True, []),
        ("full", True, []),
        ("busy", True, []),
        ("a lock without a fee", True, []),
    ]
    assert [result.line for result in results] == [20, 26, 29, 32]


@pytest.mark.parametrize(
    ("example", "differences"),
    [
        (
            "given: {a: 1, b: [1, 2], c: '1'}\n    action: Other\n    sends: {a: 2, b: [1], c: 1, d: 1}",
            [
                "action: expected 'Other', got 'Find'",
                "sends.a: expected 2, got 1",
                "sends.b[1]: not expected, got 2",
                "sends.c: expected 1, got '1'",
                "sends.d: expected 1, is not there",
            ],
        ),
        ("sends: {}", ["sends: mapping.yaml:2: request.a: $a is missing"]),
        ("answer: {x: 1}\n    done: {x: true}", ["done.x: expected True, got 1"]),
        ("answer: {x: 1}\n    refused: {code: a}", ["expected refused, got done"]),
        ("answer: {y: 1}\n    done: {}", ["mapping.yaml:4: response[0] (when): $x is missing"]),
        (
            "answer: {x: 2}\n    refused: {code: b, message: m}",
            ["refused.code: expected 'b', got 'two'", "refused.message: expected 'm', got 'n'"],
        ),
        ("answer: {x: 2}\n    done: {}", ["expected done, got refused (two, n)"]),
        ("answer: '{'\n    done: {}", ["answer: cannot be decoded: "]),
    ],
)
def test_a_failing_example_says_what_differs(example: str, differences: list[str]) -> None:
    mapping = compiled(
        "action: Find\nrequest: {a: $a, b: $b, c: $c}\nresponse:\n  - {when: $x == 1, done: {x: $x}}\n"
        f"  - refused: {{code: two, message: n}}\nexamples:\n  - name: e\n    {example}\n"
    )
    (result,) = run_examples(mapping, json.loads)
    assert not result.passed
    assert len(result.differences) == len(differences)
    assert all(got.startswith(wanted) for got, wanted in zip(result.differences, differences, strict=True))


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "lock.yaml"
    path.write_text(LOCK, encoding="utf-8")
    assert load_mapping(path, CODES).file == str(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml", CODES)
