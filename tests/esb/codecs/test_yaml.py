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
        ("? [1]\n: 2", "a key must be a plain word"),
        ("[" * 200 + "]" * 200, "nested deeper than 64"),
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
