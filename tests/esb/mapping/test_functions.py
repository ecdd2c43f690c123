"""Every function by its examples, and the specification's vectors of identity numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from esb.mapping import MappingError
from esb.mapping.functions import FUNCTIONS, Example, FunctionError
from esb.mapping.functions.__main__ import reference
from esb.mapping.functions.people import id_birth, id_number, id_sex, id_valid
from tests.esb.mapping.support import compiled

REFERENCE = Path(__file__).parents[3] / "docs" / "mapping-functions.md"
VECTORS = Path(__file__).parents[4] / "shared" / "specs" / "id-number.vectors.json"
EXAMPLES = [(name, example) for name, found in FUNCTIONS.items() for example in found.examples]
TIME = {"now": "2026-01-15T09:30:00+08:00", "id": "1", "key": "2", "operation": "x"}


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=lambda value: getattr(value, "expression", value))
def test_an_example_of_a_function_is_true(name: str, example: Example) -> None:
    literal = example.expression.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    mapping = compiled(
        f'action: x\nrequest: [{{$when: true, v: $v}}, {{$with: "{literal} as r", $value: $r}}]\nresponse: {{done: 1}}'
    )
    request = {"v": 0, **example.given}
    if example.result is FunctionError:
        with pytest.raises(MappingError):
            mapping.build(request, TIME, {})
    else:
        assert mapping.build(request, TIME, {})[1][1] == example.result


def test_every_function_has_a_sentence_and_an_example() -> None:
    for name, found in FUNCTIONS.items():
        assert found.summary.endswith("."), name
        assert found.examples, name


def test_the_reference_holds_every_function_and_prints_as_a_module() -> None:
    text = reference()
    assert all(f"### {name}" in text for name in [*FUNCTIONS, "code", "meaning"])
    printed = subprocess.run([sys.executable, "-m", "esb.mapping.functions"], capture_output=True, check=True)
    assert printed.stdout.decode() == text


def test_the_reference_in_the_documentation_is_the_present_one() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference()


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared specifications are not checked out beside the repository")
def test_identity_numbers_follow_the_vectors_of_the_specification() -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    for valid in vectors["valid"]:
        assert id_valid(valid["id"], "2026-01-15") is True
        assert id_birth(valid["id"]).replace("-", "") == valid["birth"]
        assert id_sex(valid["id"]) == {"1": "male", "2": "female"}[valid["sex"]]
    assert [id_valid(invalid["id"], "2026-01-15") for invalid in vectors["invalid"]] == [False] * len(
        vectors["invalid"]
    )
    assert all(id_number(pair["id15"]) == pair["id18"] for pair in vectors["fifteen_to_eighteen"])
    assert id_number(vectors["lower_x"]["in"]) == vectors["lower_x"]["normalized"]


ANYTHING = [True, 1, Decimal("NaN"), Decimal("1e99"), "", "x" * 5000, [], [[]], [None], {}, b"x", "\ud800", object()]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_takes_any_value_or_says_in_words_why_not(name: str) -> None:
    found = FUNCTIONS[name]
    literals = {"str": "%Y%m%d" if found.prepared else "1", "int": 1}
    given = [literals.get(found.kinds[at], "1") for at in range(found.least)]
    call = found.make(*given) if found.prepared else lambda value: found.make(value, *given)
    for value in ANYTHING:
        result = outcome(call, value)
        assert not isinstance(result, float)
        assert "xxxx" not in str(result) or result == call(value)


def outcome(call: Callable[[Any], Any], value: Any) -> Any:
    """What a function gives, or its reason."""
    try:
        return call(value)
    except FunctionError as error:
        return error.reason


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("'2026-01-16T24:00:00+08:00' | time('%Y')", None),
        ("'2026-02-29' | date", None),
        ("'2026-01-16T08:30:00' | time('%H')", None),
        ("'0001-01-01T00:00:00+08:00' | local_time", None),
        ("'9999-12-31T23:59:59-08:00' | local_time", None),
        ("'9999-12-31T23:59:00+08:00' | plus_minutes(5)", None),
        ("'20260116083000.1234+0900' | read_ts", "2026-01-16T07:30:00+08:00"),
        ("'20260116083000+9900' | read_ts", None),
        ("'２０２６0116' | read_date('%Y%m%d')", None),
        ("'260116' | read_date('%y%m%d')", "2026-01-16"),
        ("'700116' | read_date('%y%m%d')", "1970-01-16"),
        ("'2026-01-16 08:30:00.250' | read_time('%Y-%m-%d %H:%M:%S.%L')", "2026-01-16T08:30:00+08:00"),
        ("'2026-01-16T08:30:00.250+08:00' | time('%H%M%S%L%%')", "083000250%"),
        ("'2026-01-16' | at('24:01')", None),
        ("'2026-01-16' | at('8:60')", None),
        ("'99999999999999999' | read_unix", None),
    ],
)
def test_times_at_the_edges(expression: str, result: str | None) -> None:
    mapping = compiled(f'action: x\nrequest: {{$with: "{expression} as r", v: $r}}\nresponse: {{done: 1}}')
    if result is None:
        with pytest.raises(MappingError):
            mapping.build({}, TIME, {})
    else:
        assert mapping.build({}, TIME, {})[1] == {"v": result}
