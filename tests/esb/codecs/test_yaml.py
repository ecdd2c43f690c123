import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs.yaml import Mark, load, nearest
from esb.errors import ConfigError


def findings(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "x.yaml")
    return [str(finding) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0123", "0123"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("yes", "yes"),
        ("1.50", Decimal("1.50")),
        ("2026-01-01", "2026-01-01"),
        ("'1'", "1"),
        ("", None),
        ("~", None),
        ("true", True),
        ("True", "True"),
        ("1e3", Decimal("1e3")),
        ("-3", -3),
        ("0x1F", "0x1F"),
        ("1" * 41, "1" * 41),
        ("1e9999999999999999999", "1e9999999999999999999"),
        ("!!str 1", 1),
        ("! 1", 1),
        ("+.5", Decimal("0.5")),
        ("|\n  1\n", "1\n"),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, value: object) -> None:
    read = load(f"a: {text}").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_every_node_and_key_knows_its_place() -> None:
    document = load("a:\n  - b: 1\n    c: [2, 3]\n")
    assert document.mark(("a", 0, "c", 1)) == Mark(3, 12)
    assert document.key_mark(("a", 0, "c")) == Mark(3, 5)
    assert document.mark(("a", 0, "missing")) == Mark(2, 5)


def test_duplicate_keys_are_all_reported_with_the_first_line() -> None:
    assert findings("a: 1\nb: 2\na: 3\nb: 4") == [
        "x.yaml:3:1: duplicate key 'a' (first written on line 1)",
        "x.yaml:4:1: duplicate key 'b' (first written on line 2)",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: &x 1\nb: *x", "aliases"),
        ("a: !python/object 1", "tag"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: [1\nb: 2", "x.yaml:2:2: is not valid YAML"),
        ("a: [", "x.yaml:1:5: is not valid YAML"),
        ("? [1]\n: 2", "a key must be a plain word"),
        ("[" * 200 + "]" * 200, "nested deeper than 64"),
        ("a: 1\n" + "b: " + "[" * 100_000, "x.yaml:2:68: is nested deeper than 64"),
        ("{a: " * 100_000, "nested deeper than 64"),
        ("- " * 100_000 + "x", "nested deeper than 64"),
        ("? " * 100_000 + "x", "a key must be a plain word"),
        ("? [[1]]\n: 2", "a key must be a plain word"),
        ("a: &a [x, *a]", "x.yaml:1:11: aliases"),
        ("a: &a x\n*a : 1", "a key must be a plain word"),
        ("a: *b", "aliases"),
        ("!x a: 1", "tag '!x' is not allowed"),
        ("a: 1\nb: \ud800", "x.yaml:2:4: is not valid YAML: U+D800"),
        ("a: 1\nb: 'x\u2028y'", "x.yaml:2:6: U+2028 ends a line in YAML and in no editor"),
        ("a: 1\rb: 2", "x.yaml:1:5: U+000D"),
        ("a: 1\nb: \x07", "x.yaml:2:4: is not valid YAML: U+0007"),
        ("a: \x00", "x.yaml"),
    ],
)
def test_what_could_mislead_is_refused_with_its_place(text: str, part: str) -> None:
    assert part in findings(text)[0]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")
    broken = tmp_path / "gbk.yaml"
    broken.write_bytes("名: 内科".encode("gbk"))
    with pytest.raises(ConfigError, match="is not UTF-8 at byte 0"):
        load(broken)


def test_the_nearest_word_is_offered_only_when_it_is_near() -> None:
    assert nearest("schedul.list", ["schedule.list", "doctor.search"]) == "did you mean 'schedule.list'?"
    assert nearest("zzz", ["schedule.list"]) == ""


@given(st.text(max_size=80))
def test_no_text_brings_anything_but_a_tree_or_findings(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert load(text).file == "<text>"


def test_a_mistake_does_not_hide_the_next_one() -> None:
    assert findings("? [a]\n: {b: [c]}\nd: *e\nf: !g 1\nf: {h: 2}\n") == [
        "x.yaml:1:3: a key must be a plain word",
        "x.yaml:3:4: aliases (*name) are not allowed (write the value out)",
        "x.yaml:4:4: tag '!g' is not allowed (quote the value or remove the tag)",
        "x.yaml:5:1: duplicate key 'f' (first written on line 4)",
    ]


def test_a_document_that_would_expand_without_end_is_refused_where_it_begins_to() -> None:
    levels = [f"b{at}: &b{at} [*b{at - 1}, *b{at - 1}]" for at in range(1, 40)]
    found = findings("\n".join(["b0: &b0 [x]", *levels]))
    assert len(found) == 78
    assert found[0].startswith("x.yaml:2:10: aliases")
