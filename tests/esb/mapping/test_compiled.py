"""Compiled code and the reference evaluator mean the same; nothing but a MappingError comes out of any data."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esb.errors import ConfigError
from esb.mapping import MappingError
from esb.mapping.examples import EXCHANGE
from tests.esb.mapping.support import compiled

WILD_PATHS = st.builds(
    "${}{}{}".format,
    st.sampled_from(["a", "b", "c", "d", "MSA"]),
    st.sampled_from(["", ".a", ".b", ".@a", ".#text", "[0]", "[1]", ".a.b", "[0].a", ".c[1].a", ".'a'"]),
    st.sampled_from(["", "?"]),
)
WILD_LITERALS = st.sampled_from(["'1'", "''", "'male'", "0", "1", "1.0", "true", "false", "null", "[]", "['1', 1]"])
WILD_FUNCTIONS = st.sampled_from(
    [
        *("trim", "text", "int", "fen", "filled", "first", "count", "sort", "list", "code(gender)", "meaning(gender)"),
        *("where('a', '1')", "pad(3)", "join('-')", "contains('1')", "plus($b? | int)", "time('%Y')", "at($a?)"),
    ]
)


def _wilder(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["==", "!=", "<", ">=", "in", "??", "and", "or"])
    return st.one_of(
        st.builds("({} | {})".format, inner, WILD_FUNCTIONS),
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("(not {})".format, inner),
        st.builds("[{}, {}]".format, inner, inner),
    )


WILD = st.recursive(WILD_PATHS | WILD_LITERALS, _wilder, max_leaves=6)
TEXTS = st.recursive(
    st.sampled_from(
        ["$a", "$b?", "$d.a", "$d.b?", "$d.@a?", "$c[0].a?", "$c[1].b?", "$c[9].a?", "$a.#text", "'x'", "'1'"]
    ),
    lambda inner: st.one_of(
        st.builds(
            "({} | {})".format,
            inner,
            st.sampled_from(["trim", "upper", "filled", "text", "prefix($b?)", "replace('x', '')"]),
        ),
        st.builds("({} ?? {})".format, inner, inner),
    ),
    max_leaves=3,
)
LISTS = st.recursive(
    st.sampled_from(["$c", "$c?", "$none?", "$none ?? []", "$b?", "$d.c?", "$d"]),
    lambda inner: st.builds(
        "({} | {})".format, inner, st.sampled_from(["where('a', $b?)", "where('a', 'x')", "list", "first", "last"])
    ),
    max_leaves=2,
)
CONDITIONS = st.recursive(
    st.one_of(
        st.builds("({} {} {})".format, TEXTS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), TEXTS),
        st.builds("({} in ['x', {}])".format, TEXTS, TEXTS),
        st.builds("(({} | count) > 1)".format, LISTS),
        st.sampled_from(["$b?", "$none?", "$d.b?", "true", "$flag", "$flag ?? false"]),
    ),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=3,
)
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -5, Decimal("1.0"), Decimal("2.50"), "", "1", "2", "x", "male", "2026-01-16", "08:30"]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "@a", "#text"]), inner, max_size=4)
    ),
    max_leaves=12,
)
WORDS = st.sampled_from(["x", "1", "", " x "])
PERHAPS = st.sampled_from(["x", "1", None])
ITEMS = st.fixed_dictionaries({"a": WORDS}, optional={"b": PERHAPS, "c": SCALARS})
REGULAR = st.fixed_dictionaries(
    {"a": WORDS, "c": st.lists(ITEMS, max_size=3) | ITEMS | st.just(""), "flag": st.booleans()},
    optional={
        "b": PERHAPS,
        "d": st.fixed_dictionaries({"a": WORDS}, optional={"b": PERHAPS, "@a": WORDS, "c": st.lists(ITEMS)}),
    },
)


def mostly(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: rare if number == 9 else usual)


EXPRESSIONS = st.tuples(
    mostly(TEXTS | LISTS | CONDITIONS, WILD),
    mostly(CONDITIONS, WILD),
    mostly(LISTS, WILD),
    mostly(TEXTS, WILD),
    mostly(LISTS, WILD),
)
DATA = mostly(REGULAR, TREES)


def document(expressions: tuple[str, ...]) -> str:
    """A mapping that uses the expressions in every kind of place; JSON is YAML."""
    value, condition, source, other, last = (f"$({text})" for text in expressions)
    shape = {
        "v": value,
        "s": {"$when": condition, "x": other, "y": 1},
        "each": [
            {"$each": [f"{source} as i", f"{last} as j"], "$when": condition, "i": "$i", "j": "$j.a?", "o": other},
            value,
        ],
        "case": {"$case": [{"$when": condition, "$value": other}, {"$with": f"{last} as k", "k": "$k.b"}]},
        "null": f"$({expressions[0]}) ?? null",
    }
    cases = [{"when": condition, "done": shape}, {"refused": {"code": "x", "message": value, "details": {"d": other}}}]
    return json.dumps({"action": "x", "request": shape, "response": cases})


def exact(tree: Any) -> Any:
    """A tree in which 1, 1.0 and true differ, and the order of fields counts."""
    if isinstance(tree, dict):
        return [(key, exact(value)) for key, value in tree.items()]
    return [exact(item) for item in tree] if isinstance(tree, list) else (type(tree), tree)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS, DATA, DATA)
def test_compiled_code_means_what_the_reference_means(expressions: tuple[str, ...], request: Any, answer: Any) -> None:
    try:
        mapping = compiled(document(expressions))
    except ConfigError:
        return
    agree(lambda: mapping._request(request, EXCHANGE, {}), lambda: mapping.build_slowly(request, EXCHANGE, {})[1])
    agree(
        lambda: mapping._response(answer, request, EXCHANGE, {})[1],
        lambda: mapping.interpret_slowly(answer, request, EXCHANGE, {}).body,
    )


def agree(fast: Callable[[], Any], slow: Callable[[], Any]) -> None:
    """What compiled code gives is what the reference gives; it may only give up where the reference does not."""
    try:
        found = exact(fast())
    except Exception:
        return
    assert found == exact(slow())


def hostile() -> list[Any]:
    deep: Any = "x"
    for _ in range(5_000):
        deep = {"a": deep}
    nested: Any = []
    for _ in range(5_000):
        nested = [nested]
    return [
        deep,
        nested,
        {"a": nested},
        {"a": deep, "b": [deep]},
        {"a": "x" * 10_000_000},
        {"a": [{}] * 100_000},
        b"bytes",
        object(),
        1.5,
    ]


@pytest.mark.parametrize(
    "data", [*hostile(), None, "", 0, [], {}, {"a": None}, {"a": object()}], ids=lambda data: type(data).__name__
)
def test_hostile_data_gives_a_mapping_error_and_nothing_else(data: Any) -> None:
    mapping = compiled(
        """
action: $a ?? 'x'
request:
  - {$each: $a as i, b: $i.c | trim, d: $i.a.b?}
  - $a.b.c | fen
response:
  - {when: $a.b? == '1', done: {x: $a.b | int, y: {$each: $a? as i, $value: $i.a}}}
  - {refused: {code: '$a | meaning(errors)', message: $b?}}
"""
    )
    with pytest.raises(MappingError) as raised:
        mapping.build(data, EXCHANGE, {})
    assert raised.value.line in (2, 4, 5)
    with pytest.raises(MappingError) as raised:
        mapping.interpret(data, data, EXCHANGE, {})
    assert str(raised.value).startswith("mapping.yaml:")
    assert len(str(raised.value)) < 300


def test_nested_loops_over_everything_are_stopped() -> None:
    mapping = compiled("action: x\nrequest: [{$each: [$a as i, $a as j, $a as k], v: 1}]\nresponse: {done: {}}")
    with pytest.raises(MappingError, match="visit more than 200000 items"):
        mapping.build({"a": [1] * 1000}, EXCHANGE, {})


def test_an_error_never_tells_a_value() -> None:
    secret = "110101190001011236"
    mapping = compiled(
        "action: x\nresponse:\n  - {when: $a | contains(1), done: {}}\n".replace("contains(1)", "starts_with('x')")
        + "  - done: {b: $a | fen, c: $a.x?, d: $a | read_date('%Y'), e: $a | meaning(gender)}\n".replace(
            "'%Y'", "'%Y%m%d'"
        )
    )
    with pytest.raises(MappingError) as raised:
        mapping.interpret({"a": secret}, {}, EXCHANGE, {})
    assert secret not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("$a" + " | trim" * 200, "deeper than 24 levels"),
        ("(" * 100 + "$a" + ")" * 100, "deeper than 24 levels"),
        ("$a" + " ?? $a" * 200, "deeper than 24 levels"),
        ("$a? " + "or $a? " * 200, "deeper than 24 levels"),
        ("not " * 200 + "$a", "deeper than 24 levels"),
        ("[" * 100 + "]" * 100, "deeper than 24 levels"),
        ("'" + "x" * 2000 + "'", "longer than 2000 characters"),
        ("$a\u0000", "does not belong"),
        ("$a; import os", "does not belong"),
        ("__import__('os')", "is not a value"),
        ("$a.__class__()", "expected the end"),
    ],
)
def test_an_expression_is_bounded_and_runs_nothing(expression: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        compiled(json.dumps({"action": "x", "request": [{"$when": expression, "v": 1}], "response": {"done": {}}}))


def test_the_deepest_file_that_yaml_allows_compiles_or_is_refused() -> None:
    shape: Any = "$(" + "(" * 20 + "$a.b" + ")" * 21 + " ?? 'x'"
    for level in range(57):
        shape = {"k": shape} if level % 2 else [shape, {"$when": "$a?", "w": "$a.b"}]
    text = json.dumps({"action": "x", "request": {"x": shape}, "response": {"done": {}}})
    mapping = compiled(text)
    assert mapping.build({"a": {"b": 1}}, EXCHANGE, {}) == mapping.build_slowly({"a": {"b": 1}}, EXCHANGE, {})


def test_names_of_fields_and_texts_cannot_become_code() -> None:
    names = ["'", '"', "\\", "'''", "\n", "}", "{x}", "%s", "%(x)s", "\u2028", "__builtins__", "absent()"]
    text = json.dumps(
        {
            "action": "x",
            "request": {name: f"$a.'{name.replace(chr(39), chr(39) * 2)}'" for name in names},
            "response": {"done": {}},
        }
    )
    values = {name: index for index, name in enumerate(names)}
    assert compiled(text).build({"a": values}, EXCHANGE, {})[1] == values
