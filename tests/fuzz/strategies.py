"""Expressions, files and data that look enough like real ones to get past the first check."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from esb.codecs import hl7v2
from esb.mapping.functions import FUNCTIONS

# Every function as its own examples call it: "'x' | pad(3) | upper" gives "pad(3) | upper".
CALLS = sorted(
    {
        example.expression.partition(" | ")[2].partition(" == ")[0]
        for function in FUNCTIONS.values()
        for example in function.examples
        if " | " in example.expression and "$" not in example.expression.partition(" | ")[2]
    }
)
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "MSH", "PID", "OBX", "患者", "'such-a name'"])
STEPS = st.sampled_from(
    [
        *(".a", ".b", ".c", ".d", ".@a", ".#text", ".'a'", ".'such-a name'", ".患者", "[0]", "[1]", "[9]", ".value[x]"),
        *(".1", ".2", ".4.2", ".1.1", "-3", "-3.1", "-3.4.2", "-3[2].1", "-3[*]", "-3[*].1", "-5", "-2", "-99[*].9.9"),
    ]
)
PATHS = st.builds(
    lambda name, steps, miss: f"${name}{''.join(steps)}{miss}",
    NAMES | st.sampled_from(["request", "answer", "exchange", "site", "message", "exchange.key", "site.a"]),
    st.lists(STEPS, max_size=3),
    st.sampled_from(["", "?"]),
)
LITERALS = st.sampled_from(
    [
        "'1'",
        "''",
        "'male'",
        "'2026-01-16'",
        "'it''s'",
        "0",
        "1",
        "-5",
        "1.50",
        "true",
        "false",
        "null",
        "[]",
        "['1', 1]",
    ]
)
CALLED = st.sampled_from(
    [*CALLS, "code(gender)", "meaning(gender)", "meaning(errors)", "groups('OBX')", "where('a', '1')"]
)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "??", "and", "or"])
    return st.one_of(
        st.builds("({} | {})".format, inner, CALLED),
        st.builds("{} | {}".format, inner, CALLED),
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("(not {})".format, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{} in ['1', 'x', '']".format, inner),
    )


EXPRESSIONS = st.recursive(PATHS | LITERALS, _larger, max_leaves=5)
TOKENS = st.lists(
    st.sampled_from(
        [
            *("$", "$(", "(", ")", "[", "]", "?", "??", "|", "==", "!=", "<", "<=", ",", "'", "''", ".", "-", "*", "@"),
            *(" ", "as", "and", "or", "not", "in", "code", "meaning", "trim", "pad", "null", "true", "a", "PID", "患"),
            *(
                "0",
                "1",
                "-1",
                "1.5",
                "[x]",
                "[*]",
                "#text",
                "\n",
                "\t",
                "\x00",
                "\u2028",
                "\\",
                '"',
                "{",
                "%",
                "\U0001f600",
            ),
        ]
    ),
    max_size=30,
).map("".join)


def computed(expression: str) -> str:
    """An expression as a value is written."""
    return expression if expression.startswith("$") else f"$({expression})"


def _value(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    condition = EXPRESSIONS | st.booleans()
    binding = st.builds("{} as {}".format, EXPRESSIONS, st.sampled_from(["a", "i", "j", "site", "é", "1"]))
    bindings = binding | st.lists(binding, max_size=3)
    structure = st.dictionaries(
        st.sampled_from(["x", "y", "z", "PID-3", "PID-5.1", "@k", "$$v", "#text"]), inner, max_size=3
    )
    extra = st.fixed_dictionaries(
        {}, optional={"$when": condition, "$each": bindings, "$with": bindings, "$value": inner, "$wrong": inner}
    )
    option = st.builds(lambda a, b: {**b, **a}, st.fixed_dictionaries({}, optional={"$when": condition}), structure)
    return st.one_of(
        structure,
        st.builds(lambda fields, keys: {**keys, **fields}, structure, extra),
        st.lists(inner, max_size=3),
        st.fixed_dictionaries({"$value": inner, "$when": condition}),
        st.fixed_dictionaries({"$each": bindings, "$value": inner}),
        st.fixed_dictionaries({"$case": st.lists(option, max_size=3)}),
        st.fixed_dictionaries({"$use": st.just("t.identifier"), "cx": inner}),
        st.fixed_dictionaries({"$use": st.just("t.named"), "p": inner, "q": inner}, optional={"$when": condition}),
        st.fixed_dictionaries({"$use": st.sampled_from(["t.rows", "t.row", ""])}, optional={"all": inner, "al": inner}),
    )


CONSTANTS = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "$$x", "$", "$a |"])
VALUES = st.recursive(EXPRESSIONS.map(computed) | CONSTANTS, _value, max_leaves=8)
_OUTCOMES = ("done", "accepted", "unavailable", "unknown", "malformed")
CASES = st.builds(
    lambda when, outcome: {**when, **outcome},
    st.fixed_dictionaries({}, optional={"when": EXPRESSIONS | st.booleans()}),
    st.one_of(
        st.builds(lambda name, body: {name: body}, st.sampled_from(_OUTCOMES), VALUES),
        st.fixed_dictionaries(
            {
                "refused": st.fixed_dictionaries(
                    {"code": EXPRESSIONS.map(computed) | st.just("x")},
                    optional={"message": VALUES, "details": VALUES, "wrong": VALUES},
                )
            }
        ),
    ),
)
MAPPINGS = st.fixed_dictionaries(
    {
        "action": st.just("Find") | EXPRESSIONS.map(computed),
        "response": CASES | st.lists(CASES, min_size=1, max_size=3),
    },
    optional={"request": VALUES, "prune": st.booleans()},
)
TRANSLATIONS = st.fixed_dictionaries(
    {"from": st.just("hl7v2 ADT_A01"), "to": st.just("fhir"), "gives": VALUES}, optional={"prune": st.booleans()}
)
WRITTEN = st.builds(
    lambda tree, indent: json.dumps(tree, ensure_ascii=False, indent=indent),
    MAPPINGS | TRANSLATIONS,
    st.sampled_from([None, 1, 4]),
)
"""Mapping files; JSON is YAML."""

_PLAIN_STEPS = st.sampled_from(
    [".a", ".b", ".c", ".@a", ".#text", ".'a'", "[0]", "[1]", ".value[x]", ".1", ".4.2", ".患者"]
)
_HL7_STEPS = st.sampled_from(["-3", "-3.1", "-3.4.2", "-3[2].1", "-3[*]", "-3[*].1", "-5", "-2", "-99[*].9.9"])


def _sound_paths(hl7: bool, names: str) -> st.SearchStrategy[str]:
    roots = st.sampled_from([*"abcd", "site.a", "exchange.key", *names, *(["PID", "OBX", "MSH"] if hl7 else [])])
    tails = _HL7_STEPS if hl7 else st.just("")
    return st.builds(
        lambda root, steps, tail, miss: f"${root}{''.join(steps)}{tail}{miss}",
        roots,
        st.lists(_PLAIN_STEPS, max_size=2),
        st.just("") | tails,
        st.sampled_from(["", "?", "?"]),
    )


def _sound_values(hl7: bool) -> st.SearchStrategy[Any]:
    """Values that are nearly all right; each loop and each name is called by another letter."""
    expressions = st.recursive(_sound_paths(hl7, "") | LITERALS, _larger, max_leaves=3).map(computed)

    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        def bound(key: str, name: str) -> st.SearchStrategy[Any]:
            fields = st.dictionaries(st.sampled_from("xyz"), inner | _sound_paths(hl7, name), max_size=2)
            when = st.fixed_dictionaries({}, optional={"$when": expressions})
            sources = _sound_paths(hl7, "") | expressions
            return st.builds(
                lambda source, fields, when: {
                    key: f"{source} as {name}",
                    f"of_{name}": f"${name}.a?",
                    **when,
                    **fields,
                },
                sources,
                fields,
                when,
            )

        option = st.builds(lambda when, value: {"$when": when, "$value": value}, expressions, inner)
        return st.one_of(
            st.dictionaries(st.sampled_from("uvwxyz"), inner, max_size=3),
            st.lists(inner, max_size=3),
            bound("$each", "i"),
            bound("$with", "j"),
            option,
            st.builds(lambda options, last: {"$case": [*options, last]}, st.lists(option, max_size=2), inner),
            st.builds(lambda cx: {"$use": "t.identifier", "cx": cx}, inner),
            st.builds(lambda p, q: {"$use": "t.named", "p": p, "q": q}, inner, inner),
            st.builds(lambda all_: {"$use": "t.rows", "all": all_}, inner),
        )

    return st.recursive(expressions | expressions | st.sampled_from([None, True, 0, "x", "$$x"]), larger, max_leaves=6)


_SOUND_CASES = st.builds(
    lambda when, name, body: {"when": when, name: {"v": body}},
    _sound_paths(False, "").map(lambda path: path.rstrip("?") + "?"),
    st.sampled_from(["done", "accepted"]),
    _sound_values(True),
)
_LAST_CASES = st.sampled_from(
    [
        {"refused": {"code": "x", "message": "$a?", "details": {"d": "$b?"}}},
        {"refused": {"code": "$a | meaning(errors)"}},
        {"unavailable": "$a"},
        {"malformed": "x"},
    ]
)
SOUND = st.one_of(
    st.builds(
        lambda action, request, cases, last, prune: {
            "action": action,
            "request": {"v": request},
            "response": [*cases, last],
            "prune": prune,
        },
        st.sampled_from(["Find", "$a", "$b.a? ?? 'Find'"]),
        _sound_values(False),
        st.lists(_SOUND_CASES, max_size=2),
        _LAST_CASES | st.builds(lambda body: {"done": {"v": body}}, _sound_values(True)),
        st.booleans(),
    ),
    st.builds(
        lambda gives, prune: {"from": "hl7v2 ADT_A01", "to": "fhir", "gives": {"v": gives}, "prune": prune},
        _sound_values(True),
        st.booleans(),
    ),
).map(lambda tree: json.dumps(tree, ensure_ascii=False))
"""Files that nearly always compile."""

ANY_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | EXPRESSIONS.map(computed),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "action",
                        "request",
                        "response",
                        "examples",
                        "prune",
                        "when",
                        "done",
                        "refused",
                        "code",
                        "message",
                    ),
                    *(
                        "$each",
                        "$with",
                        "$when",
                        "$value",
                        "$case",
                        "$use",
                        "takes",
                        "gives",
                        "from",
                        "to",
                        "name",
                        "given",
                    ),
                    *(
                        "sends",
                        "answer",
                        "exchange",
                        "site",
                        "details",
                        "accepted",
                        "unknown",
                        "malformed",
                        "unavailable",
                    ),
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=16,
)
"""Trees of the words that files are made of, in no order that makes sense."""


def in_flow(tree: Any) -> str:
    """A tree as YAML that is not JSON: texts bare where they can be, in single quotes otherwise."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{in_flow(key)}: {in_flow(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(in_flow, tree)) + "]"
    if isinstance(tree, str):
        return tree if tree.isalpha() and tree.isascii() else "'" + tree.replace("'", "''") + "'"
    return json.dumps(tree)


def in_block(tree: Any, indent: int = 0) -> str:
    """A tree as block YAML with folded texts."""
    pad = " " * indent
    if isinstance(tree, dict) and tree:
        return "".join(f"\n{pad}{in_flow(key)}: {in_block(value, indent + 2)}" for key, value in tree.items())
    if isinstance(tree, list) and tree:
        return "".join(f"\n{pad}- {in_block(item, indent + 2)}" for item in tree)
    if isinstance(tree, str) and tree.isprintable() and tree.strip() == tree and tree:
        return f">-\n{pad} {tree}"
    return in_flow(tree)


STYLES: list[Callable[[Any], str]] = [
    in_flow,
    in_block,
    lambda tree: json.dumps(tree, ensure_ascii=False, indent=2),
    lambda tree: json.dumps(tree),
]
FILES = st.builds(lambda style, tree: style(tree), st.sampled_from(STYLES), ANY_TREES | MAPPINGS | TRANSLATIONS)

MESSAGE = hl7v2.decode(
    (
        "MSH|^~\\&|LIS|H|HUB|W|20260116083000||ORU^R01^ORU_R01|1|P|2.5.1||||||UNICODE UTF-8\r"
        'PID|1|""|P1^^^HIS&1.2&ISO^PI~X2^^^GA||王^\\T\\小~x|""|19900101|M\r'
        "OBR|1|1^x|2||||\rOBX|1|NM|WBC^白||6.1|u^^x\rOBX|2|ST|~~b|||\rOBR|2\rOBX|1|TX|a\\.br\\b\r"
    ).encode()
)
SEGMENTS = st.builds(
    lambda fields: "PID|" + "|".join(fields),
    st.lists(st.text("a1^~&\\|'\"X", max_size=8), max_size=8),
)
MESSAGES = st.just(MESSAGE) | st.lists(SEGMENTS, max_size=3).map(
    lambda lines: hl7v2.decode(("MSH|^~\\&|A|||||||\r" + "\r".join(lines)).encode())
)
SCALARS = st.one_of(
    st.sampled_from(
        [
            *(
                None,
                True,
                False,
                0,
                1,
                -5,
                Decimal("1.0"),
                Decimal("2.50"),
                "",
                "1",
                "2",
                "x",
                "male",
                " ",
                "2026-01-16",
            ),
            *(
                "08:30",
                "2026-01-16T08:30:00+08:00",
                "20260116",
                "1.005",
                "\x00",
                "\ud800",
                "\U0001f600",
                10**30,
                "9" * 300,
            ),
        ]
    ),
    st.text(max_size=6),
    st.sampled_from([b"bytes", 1.5, object(), Decimal("NaN"), Decimal("1E+400"), (1,)]),
    MESSAGES,
    st.sampled_from([MESSAGE.segments("PID"), MESSAGE.segments("OBX")[0], MESSAGE.segments("PID")[0].all(3)]),
)
KEYS = st.sampled_from(
    ["a", "b", "c", "d", "e", "@a", "#text", "1", "4", "PID", "患者", "valueString", "value", "Lock"]
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=14
)
HOSTILE_TEXTS = st.text(
    st.sampled_from(
        "|^~&\\\r\n\t\x00\x0b\x1c\x1f\x7f\x85\ud800\udfff\ufffe\ufeff\u2028<>&\"'];{}[]%+=~ a中龘\U0001f600\U00020000"
    )
    | st.characters(),
    max_size=12,
) | st.sampled_from(
    ["]]>", "<![CDATA[", "\\.br\\", "\\X0D\\", "\\F\\", "&#0;", "&lt;", "%00", '""', "\\", "\\\\", "中" * 3000]
)
