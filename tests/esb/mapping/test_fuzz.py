"""Whatever comes in, the documented errors come out and nothing else. ``tests/fuzz`` runs the same without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from esb.errors import ConfigError
from esb.mapping import MappingError
from esb.mapping.examples import EXCHANGE
from esb.mapping.functions import FUNCTIONS
from esb.mapping.functions.moments import moment, writer
from tests.esb.mapping.support import compiled
from tests.fuzz import oracles, strategies

T = TypeVar("T", bound=Callable[..., Any])


def fuzzed(count: int) -> Callable[[T], T]:
    """So many examples, the same in every run."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


def translation(gives: str) -> str:
    return f'{{"from": "hl7v2", "to": "fhir", "gives": {{"v": {gives}}}}}'


@fuzzed(400)
@given(st.text(max_size=60) | strategies.TOKENS | strategies.EXPRESSIONS)
def test_an_expression_is_a_tree_or_a_mistake_in_its_place(text: str) -> None:
    oracles.expression(text)


@fuzzed(300)
@given(strategies.FILES | st.text(max_size=60))
@example("request: {a: 'x\u2028y'}")
@example("a: [")
@example("[" * 100_000)
def test_a_file_is_compiled_or_its_findings_stand_in_it(text: str) -> None:
    oracles.file(text)


@fuzzed(400)
@given(strategies.SOUND | strategies.WRITTEN, strategies.DATA, strategies.DATA)
@example(translation('{"$use": "t.named", "p": "$($a | after(\'/\'))", "q": "$b?"}'), {"a": 1}, None)
def test_what_is_compiled_means_what_the_reference_means(text: str, request: Any, answer: Any) -> None:
    found = oracles.file(text)
    if found is not None:
        oracles.encoded(list(oracles.runs(found, request, answer)))


@fuzzed(400)
@given(strategies.HOSTILE_TEXTS)
def test_a_hostile_text_is_escaped_or_refused(text: str) -> None:
    oracles.written(text)


@fuzzed(200)
@given(strategies.DATA)
def test_a_hostile_tree_is_written_or_refused(tree: Any) -> None:
    oracles.encoded([tree, [{"MSH-9": tree}], [{"MSH-9": "A"}, {"PID-3": tree}], {"a": tree}, [tree]])


@fuzzed(200)
@given(
    st.sampled_from(["%Y%m%d%H%M%S", "%Y-%m-%d %H:%M", "%y/%m", "%d%%%m", "{%Y}%S"]),
    st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()[:25])
    | st.dates().map(str)
    | st.text(max_size=25),
)
@example("%Y%m%d%H%M%S", "2026-02-30T08:30:00+08:00")
@example("%Y%m%d%H%M%S", "2026-W03-5T08:30:00+08:00")
def test_the_quick_way_to_write_a_time_is_the_usual_way(format_: str, text: str) -> None:
    quick = FUNCTIONS["time"].make(format_)
    assert oracles_outcome(lambda: quick(text)) == oracles_outcome(lambda: writer(format_)(moment(text)))


def oracles_outcome(call: Callable[[], str]) -> str:
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    tree: Any = "x"
    for _ in range(levels):
        tree = wrap(tree)
    return tree


def cyclic() -> dict[str, Any]:
    tree: dict[str, Any] = {"b": []}
    tree["a"] = tree
    tree["b"].append(tree)
    return tree


HUGE = {
    "deep structures": nested(100_000, lambda inner: {"a": inner}),
    "deep lists": nested(100_000, lambda inner: [inner]),
    "cycle": cyclic(),
    "ten megabytes": {"a": "x" * 10_000_000, "b": ["x"] * 10},
    "many items": {"a": [{"a": "x"}] * 150_000},
    "too many items": {"a": [{"a": "x"}] * 250_000},
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_deep_and_cyclic_data_is_mapped_or_refused_in_bounds(name: str) -> None:
    data = HUGE[name]
    mapping = compiled(
        "action: x\nrequest:\n  all: $a\n  rows: {$each: $a? as i, $when: $i.a?, v: $i.a}\n"
        "response:\n  - {when: $a.b? == '1', done: $a}\n  - done: {first: '$b[0]?', text: '$a | text'}\n"
    )
    for side, call in {
        "request": lambda: mapping.build(data, EXCHANGE, {}),
        "response": lambda: mapping.interpret(data, data, EXCHANGE, {}).body,
    }.items():
        result = result_of(call)
        if isinstance(result, MappingError):
            assert len(str(result)) < 300, side
        else:
            oracles.encoded([result, [{"MSH-9": result}], {"a": result}])


def result_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except MappingError as error:
        return error


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "action: " + "[" * 60 + "]" * 60,
        "request: &r {a: *r}\naction: x\nresponse: {done: *r}",
        "action: x\nresponse: {done: {a: $" + "a." * 1_500_000 + "a}}",
        "action: x\nrequest: {a: '" + "x" * 10_000_000 + "'}\nresponse: {done: {}, " + "z: 1, " * 1000 + "}",
        "action: x\nresponse:\n" + "- {when: '$a == |', done: {}}\n" * 5_000,
        "action: x\nresponse: {done: {}}\n" + "".join(f"k{at}: 1\n" for at in range(5_000)),
        "a: &a [x,x]\n" + "".join(f"b{at}: &b{at} [*a, *a]\n" for at in range(30)),
    ],
    ids=lambda text: text[:20],
)
def test_a_huge_file_is_refused_in_its_place(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(text)
    for finding in raised.value.findings[:100]:
        assert 1 <= finding.line <= text.count("\n") + 1
        assert len(str(finding)) < 1_000
