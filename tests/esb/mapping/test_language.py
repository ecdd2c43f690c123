"""The mapping language by its cases: what is refused, what is sent, what is understood."""

from __future__ import annotations

from typing import Any

import pytest

from esb.errors import ConfigError, Outcome
from esb.mapping import Mapping, MappingError, Verdict
from esb.mapping.examples import EXCHANGE
from tests.esb.mapping.support import cases, compiled, decoded, line_of

SYNTAX = cases("syntax.yaml")
REQUESTS = cases("requests.yaml")
ANSWERS = [(case, mapping, answer) for case, mapping in cases("answers.yaml") for answer in case["answers"]]


def named(case: Any) -> str:
    return str(case["name"]) if isinstance(case, dict) and "name" in case else ""


@pytest.mark.parametrize("case", [case for case, _ in SYNTAX], ids=named)
def test_a_wrong_file_is_refused_with_every_finding_in_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(case["file"])
    assert [str(finding).removeprefix("mapping.yaml:") for finding in raised.value.findings] == case["findings"]


@pytest.mark.parametrize(("case", "mapping"), REQUESTS, ids=named)
def test_a_request_is_built_or_the_field_is_named(case: dict[str, Any], mapping: Mapping) -> None:
    arguments = (case.get("given", {}), EXCHANGE, case.get("site", {}))
    for build in (mapping.build, mapping.build_slowly):
        if "error" in case:
            with pytest.raises(MappingError) as raised:
                build(*arguments)
            assert_named(raised.value, case["error"], "requests.yaml")
        else:
            payload = build(*arguments)[1]
            assert payload == case["sends"]
            assert list(payload) == list(case["sends"])
            assert mapping._request(*arguments) == payload


@pytest.mark.parametrize(("case", "mapping", "answer"), ANSWERS, ids=named)
def test_an_answer_is_understood_or_the_field_is_named(case: Any, mapping: Mapping, answer: dict[str, Any]) -> None:
    arguments = (decoded(answer["answer"]), case.get("given", {}), EXCHANGE, case.get("site", {}))
    for interpret in (mapping.interpret, mapping.interpret_slowly):
        if "error" in answer:
            with pytest.raises(MappingError) as raised:
                interpret(*arguments)
            assert_named(raised.value, answer["error"], "answers.yaml")
        else:
            assert interpret(*arguments) == expected(answer)
            mapping._response(*arguments)


def assert_named(error: MappingError, text: str, file: str) -> None:
    assert str(error) == f"mapping.yaml:{error.line}: {text}"
    assert error.path in line_of(file, error.line)


def expected(answer: dict[str, Any]) -> Verdict:
    outcome = next(Outcome(key) for key in answer if key in list(Outcome))
    value = answer[outcome]
    if outcome in (Outcome.DONE, Outcome.ACCEPTED):
        return Verdict(outcome, value)
    return Verdict(outcome, **({"message": value} if isinstance(value, str) else value))
