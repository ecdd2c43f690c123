"""Every function by its examples, and the specification's vectors of identity numbers."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import json
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esb.clock import SHANGHAI
from esb.codecs import hl7v2
from esb.mapping import MappingError
from esb.mapping.evaluate import Evaluator
from esb.mapping.expr import REQUEST, Parser
from esb.mapping.functions import FUNCTIONS, Example, FunctionError
from esb.mapping.functions.__main__ import reference
from esb.mapping.functions.money import yuan_capital
from esb.mapping.functions.patterns import matches
from esb.mapping.functions.people import id_birth, id_number, id_sex, id_valid
from esb.mapping.functions.stamps import read_ts, read_ts_fhir, write_ts
from esb.mapping.functions.text import cut_gbk, gbk_length
from esb.mapping.functions.times import local_time
from esb.mapping.nodes import Literal, Node, Pipe, children
from esb.types import Lost, Sort, Type
from tests.esb.mapping.support import CODES, compiled

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


def piped(expression: str) -> list[Pipe]:
    """The calls in an expression."""
    found: list[Node] = [Parser(expression, REQUEST, CODES).whole()]
    for node in found:
        found.extend(children(node))
    return [node for node in found if isinstance(node, Pipe)]


def shapes(value: Any) -> set[Sort]:
    """The sorts a value may have; a text may have several."""
    if isinstance(value, list):
        return set().union(*map(shapes, value)) if value else {"any"}
    kinds: dict[type, Sort] = {bool: "truth", int: "integer", Decimal: "decimal", dict: "structure", bytes: "bytes"}
    if not isinstance(value, str):
        return {kinds.get(type(value), "any")}
    return {"text"} | {sort for sort, shape in SHAPES.items() if re.fullmatch(shape, value)}


SHAPES: dict[Sort, str] = {
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "time": r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?",
    "moment": r"[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})",
    "ts": r"[0-9]{4,14}(\.[0-9]+)?[+-][0-9]{4}",
}
SAMPLES: dict[Sort, list[Any]] = {
    "structure": [{}, {"a": 1}, {"resourceType": "Bundle"}],
    "text": ["", "abc", "12", "2026-01-16", "{}"],
    "integer": [0, 7, -1],
    "decimal": [Decimal("1.50"), Decimal(2)],
    "truth": [True, False],
    "date": ["2026-01-16"],
    "time": ["08:30", "08:30:00"],
    "moment": ["2026-01-16T08:30:00+08:00", "2026-01-16T00:30:00Z"],
    "ts": ["20260116083000+0800"],
    "bytes": [b"", b"abc"],
}


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=lambda value: getattr(value, "expression", value))
def test_what_a_function_takes_and_gives_agrees_with_its_examples(name: str, example: Example) -> None:
    found = FUNCTIONS[name]
    for call in piped(example.expression):
        if call.name != name or example.result is FunctionError:
            continue
        roots = {"request": dict(example.given), "exchange": example.given.get("exchange")}
        value, result = Evaluator(roots).node(call.value), Evaluator(roots).node(call)
        if value is None or result is None:
            continue
        assert [sort for sort in shapes(value) if not found.fits(sort)] == []
        assert found.gives in {"any", *shapes(result)} or (found.gives == "ts" and result[:4].isdigit())
        assert found.gives == "any" or isinstance(result, list) == found.many[1]


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - {"split_name"}))
def test_what_does_not_fit_a_function_always_fails_or_is_denied(name: str) -> None:
    found = FUNCTIONS[name]
    for call in {call.call: call for example in found.examples for call in piped(example.expression)}.values():
        if call.name != name:
            continue
        arguments = [node.value if isinstance(node, Literal) else "2026-01-15" for node in call.arguments]
        for sort, values in SAMPLES.items():
            for value in values if not found.fits(sort) else ():
                assert attempted(call.call, value, *arguments) in (None, False), value


def attempted(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, nothing where it fails."""
    with contextlib.suppress(FunctionError):
        return call(*arguments)


@pytest.mark.parametrize(
    ("name", "fitting", "wrong"),
    [
        ("fen", "text decimal integer any", "date moment ts time truth structure bytes"),
        ("yuan", "integer any", "text decimal date structure"),
        ("time", "moment date text", "ts time integer structure"),
        ("read_ts", "ts text", "date moment integer structure"),
        ("trim", "text date time moment ts", "integer structure truth"),
        ("id_birth", "text", "date ts integer"),
        ("base64", "text bytes", "integer structure"),
        ("resolve", "text structure", "integer date"),
        ("count", "text integer structure any", ""),
    ],
)
def test_a_function_fits_a_sort_or_certainly_does_not(name: str, fitting: str, wrong: str) -> None:
    assert [sort for sort in fitting.split() if not FUNCTIONS[name].fits(sort)] == []  # type: ignore[arg-type]
    assert [sort for sort in wrong.split() if FUNCTIONS[name].fits(sort)] == []  # type: ignore[arg-type]


def test_the_type_of_a_result_follows_from_the_type_of_the_value() -> None:
    row = Type("structure", many=True, required=True, make=lambda: {"no": Type("text", longest=3)})
    assert FUNCTIONS["yuan"].result(Type("integer", required=True)) == Type("text", required=True)
    assert FUNCTIONS["read_ts"].gives == "moment"
    assert FUNCTIONS["id_birth"].gives == "date"
    assert FUNCTIONS["first"].result(row).at(["no"]) == Type("text", longest=3)
    assert (FUNCTIONS["first"].result(row).many, FUNCTIONS["where"].result(row).many) == (False, True)
    assert not FUNCTIONS["first"].result(row).required
    assert FUNCTIONS["where"].result(row).required
    assert FUNCTIONS["group_by"].result(row).at(["items", "no"]) == Type("text", longest=3)
    assert FUNCTIONS["numbered"].result(row).at(["item", "no"]) == Type("text", longest=3)
    assert FUNCTIONS["numbered"].result(row).at(["no"]) == Lost("no", ("number", "item"))
    assert FUNCTIONS["pluck"].result(row) == Type(many=True, required=True)
    assert FUNCTIONS["split"].many == (False, True)
    assert FUNCTIONS["join"].many == (True, False)


MESSAGE = hl7v2.decode(b"MSH|^~\\&|A|B|C|D|20260115||ADT^A01|1|P|2.4\rPID|1||1^^^H^PI~2||A^B")
PID = MESSAGE.segments("PID")[0]
WORDS = [
    "Patient",
    "url",
    "id",
    "%Y%m%d",
    "%H%M",
    "[A-Z]+",
    "2026-01-15",
    "extension",
    "key",
    "a",
    "second",
    "year",
    "Z",
]


def deep(wrap: Callable[[Any], Any], levels: int = 5_000) -> Any:
    """A value in a value in a value ..."""
    return functools.reduce(lambda inner, _: wrap(inner), range(levels), wrap(1))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.builds(lambda: 10**5000),
    st.sampled_from([-(10**30), 2**63]),
    st.decimals(),
    st.sampled_from([Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1e999999"), Decimal("1e-999999")]),
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text("0123456789-+.:TZ年月日", max_size=25),
    st.sampled_from(["x" * 100_000, "1" * 5_000, "\ud800", "\x00", "张" * 5_000, "," * 20_000]),
    st.sampled_from([value for values in SAMPLES.values() for value in values]),
    st.binary(max_size=20),
    st.sampled_from([MESSAGE, PID, *PID.all(3), *hl7v2.groups(MESSAGE, "PID"), object()]),
    st.builds(deep, st.sampled_from([lambda inner: [inner], lambda inner: {"extension": inner}])),
)
FIELDS = [
    "resourceType",
    "id",
    "entry",
    "resource",
    "extension",
    "contained",
    "coding",
    "reference",
    "url",
    "a",
    "family",
]
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_function_takes_any_value_or_says_in_words_why_not(name: str, data: st.DataObject) -> None:
    found = FUNCTIONS[name]
    literals = {"str": st.sampled_from(WORDS) | st.text(max_size=8), "int": st.integers()}
    loose = st.sampled_from(WORDS) | st.integers(-5, 2_000) | TREES
    kinds = found.kinds[: found.least] + found.kinds[found.least :] * data.draw(st.sampled_from([0, 1]))
    given = [
        data.draw(literals.get(kind.removesuffix(" | None"), loose) if found.prepared else loose) for kind in kinds
    ]
    try:
        call = found.make(*given) if found.prepared else lambda value: found.make(value, *given)
    except FunctionError:
        return
    for value in data.draw(st.lists(TREES, min_size=1, max_size=5)):
        with contextlib.suppress(FunctionError):
            assert not isinstance(call(value), float)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_an_error_never_tells_the_value(name: str) -> None:
    found = FUNCTIONS[name]
    literal = {"read_clock": "%H%M", "matches": "[0-9]"}.get(name, "%Y%m%d")
    given = [literal if found.prepared else "1"] * found.least
    call = found.make(*given) if found.prepared else functools.partial(_swapped, found.make, given)
    for value in ["xxxx" * 1000, [["xxxx"]], {"xxxx": "xxxx"}, Decimal("1e99"), True]:
        assert "xxxx" not in reason(call, value)


def _swapped(make: Callable[..., Any], arguments: list[str], value: Any) -> Any:
    return make(value, *arguments)


def reason(call: Callable[[Any], Any], value: Any) -> str:
    """Why a function fails; nothing where it does not."""
    try:
        call(value)
    except FunctionError as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("replace", "a" * 100_000, ["a", "b" * 1_000]),
        ("join", ["a"] * 100_000, ["b" * 1_000]),
        ("split", "," * 200_001, [","]),
        ("lines", "\n" * 200_001, []),
        ("flatten", [[1] * 150_000] * 2, []),
        ("concat", [1] * 150_000, [[1] * 150_000]),
        ("pad", "a", [1_001]),
        ("pad_gbk", "a", [1_001]),
        ("text", 10**19, []),
        ("text", Decimal("1e5000"), []),
        ("times", 10**17, [100]),
        ("hex", "a" * 5_000_001, []),
        ("base64", "a" * 7_500_003, []),
        ("url_encode", "a" * 3_333_334, []),
        ("json", "\\" * 5_000_000, []),
        ("prefix", "a" * 5_000_001, ["a" * 5_000_000]),
        ("suffix", "a" * 5_000_001, ["a" * 5_000_000]),
        ("reference", "a" * 5_000_001, ["a" * 5_000_000]),
        ("digest_id", ["x" * 1_000_000] * 11, []),
        ("digest_id", deep(lambda inner: [inner, inner], 60), []),
    ],
)
def test_a_function_refuses_to_make_what_is_too_much(name: str, value: Any, arguments: list[Any]) -> None:
    began = time.perf_counter()
    with pytest.raises(FunctionError):
        FUNCTIONS[name].make(value, *arguments)
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("format_", ["%Y%-m%-d", "%Y%-m0%-d", "%-d%m%-H%Y", "%Y%m%d%p%-I%-M"])
def test_a_time_that_can_be_read_in_two_ways_is_not_read(format_: str) -> None:
    with pytest.raises(FunctionError, match="cannot tell"):
        FUNCTIONS["read_time"].make(format_)


@pytest.mark.parametrize("format_", ["%Y%-m%d", "%Y-%-m-%-d", "%Y年%-m月%-d日", "%Y%-m%p%-I%d", "%Y%-m%%%-d"])
def test_a_time_that_can_be_read_in_one_way_is_read(format_: str) -> None:
    written = FUNCTIONS["time"].make(format_)("2026-01-05T00:00:00+08:00")
    assert FUNCTIONS["read_time"].make(format_)(written) == "2026-01-05T00:00:00+08:00"


def test_no_digit_of_an_amount_is_lost_on_the_way_to_fen() -> None:
    assert FUNCTIONS["fen"].make("123456789012.340000000000000000") == 12345678901234
    with pytest.raises(FunctionError, match="two places"):
        FUNCTIONS["fen"].make("123456789012.340000000000000001")


@pytest.mark.parametrize("day", ["2026-W03-5", "2026-02-30", "20260115  "])
def test_a_day_is_a_canonical_date(day: str) -> None:
    with pytest.raises(FunctionError):
        FUNCTIONS["plus_days"].make(day, 1)


def test_a_repetition_is_written_out_as_it_stands_in_its_field() -> None:
    assert [FUNCTIONS["text"].make(found) for found in PID.all(3)] == ["1^^^H^PI", "2"]


def test_resources_too_deep_to_merge_are_refused() -> None:
    one = {"resourceType": "Patient", "id": "1", "extension": deep(lambda inner: {"extension": inner})}
    with pytest.raises(FunctionError, match="deep"):
        FUNCTIONS["merge_entries"].make([{**one, "resource": one}, {**one, "resource": one}])


def test_entries_are_merged_in_time_that_grows_with_them() -> None:
    patient = {"resourceType": "Patient", "id": "1"}
    entries = [{"resource": {**patient, "name": [{"family": str(at)}]}} for at in range(5_000)]
    began = time.perf_counter()
    (merged,) = FUNCTIONS["merge_entries"].make(entries)
    assert len(merged["resource"]["name"]) == 5_000
    assert time.perf_counter() - began < 3


def test_every_function_is_at_most_ten_lines() -> None:
    for name, found in FUNCTIONS.items():
        tree = ast.parse(textwrap.dedent(inspect.getsource(found.make))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        body = tree.body[1:]
        assert (body[-1].end_lineno or 0) - body[0].lineno < 10, name


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(0, 45))
def test_a_text_is_cut_between_characters_as_late_as_its_gbk_width_allows(text: str, most: int) -> None:
    cut = cut_gbk(text, most)
    assert text.startswith(cut)
    assert gbk_length(cut) <= most
    assert cut == text or gbk_length(text[: len(cut) + 1]) > most


@given(
    st.integers(-62_000_000_000, 253_000_000_000),
    st.integers(-14, 14),
)
def test_an_hl7_time_stamp_written_is_the_same_moment_read(seconds: int, hours: int) -> None:
    given = datetime.fromtimestamp(seconds, UTC).astimezone(SHANGHAI).isoformat()
    zone = f"{hours:+03d}00"
    for written in (write_ts()(given), write_ts("second", zone)(given)):
        assert read_ts(written) == given
        assert local_time(read_ts_fhir(written)) == given
    assert read_ts_fhir(write_ts("day")(given)) == given[:10]
    assert read_ts_fhir(write_ts("month")(given)) == given[:7]
    assert read_ts_fhir(write_ts("year")(given)) == given[:4]


PIECES = st.tuples(
    st.sampled_from(["a", "[ab]", "[^a]", r"\d", ".", "中"]),
    st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}"]),
)


@given(
    st.lists(st.lists(PIECES.map("".join), min_size=1, max_size=4).map("".join), min_size=1, max_size=3).map("|".join),
    st.lists(st.text("ab1中", max_size=8), max_size=10),
)
def test_a_pattern_means_what_it_means_elsewhere(pattern: str, texts: list[str]) -> None:
    try:
        found = matches(pattern)
    except FunctionError:
        return
    for text in texts:
        assert found(text) == (re.fullmatch(pattern, text, re.DOTALL | re.ASCII) is not None)


@pytest.mark.parametrize(
    "pattern",
    [
        ".*x",
        "(a+)+",
        "a*a*a*b",
        "[ab]+b",
        "a{1,9}a",
        "a?b?a",
        "",
        "[b-a]",
        "[",
        "a{5000}",
        "\\w",
        "^a$",
        "a" * 201,
        "a**",
        "a{0}",
    ],
)
def test_a_pattern_that_could_be_slow_or_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(FunctionError):
        matches(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"), [("[^x]*x", "a" * 1_000_000), ("a*b*c*d|a*b*c*e", "a" * 500_000 + "b" * 500_000)]
)
def test_a_pattern_is_matched_in_linear_time(pattern: str, text: str) -> None:
    began = time.perf_counter()
    assert matches(pattern)(text) is False
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (1, "壹分"),
        (10, "壹角整"),
        (105, "壹元零伍分"),
        (100_000, "壹仟元整"),
        (1_005_000, "壹万零伍拾元整"),
        (10_000_100, "壹拾万零壹元整"),
        (10_000_000_001, "壹亿元零壹分"),
        (10_000_000_100, "壹亿零壹元整"),
        (123_456_789_012, "壹拾贰亿叁仟肆佰伍拾陆万柒仟捌佰玖拾元壹角贰分"),
        (10**14, "壹万亿元整"),
    ],
)
def test_a_receipt_spells_its_amount_in_capital_numerals(amount: int, written: str) -> None:
    assert yuan_capital(amount) == written


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
