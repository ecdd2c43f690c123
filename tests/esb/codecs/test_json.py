"""Strict JSON: what is accepted, what is refused and with which words, and that nothing is lost on the way."""

from __future__ import annotations

import json as stdlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from esb.codecs import DecodeError, EncodeError, json

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
SUITE = CORPUS / "json-parsing" / "test_parsing"
NAUGHTY = CORPUS / "naughty-strings" / "blns-half.json"

STRICTER = {
    "y_object_duplicated_key.json": "duplicate key 'a'",
    "y_string_escaped_control_character.json": "control character \\u0012",
}
"""Documents RFC 8259 lets through and we refuse, with our reason."""

EITHER_REFUSED = {
    "i_number_huge_exp.json": "exponent is beyond 308",
    "i_number_neg_int_huge_exp.json": "exponent is beyond 308",
    "i_object_key_lone_2nd_surrogate.json": "half of a surrogate pair",
    "i_string_1st_valid_surrogate_2nd_invalid.json": "half of a surrogate pair",
    "i_string_UTF8_surrogate_U+D800.json": "not UTF-8",
    "i_string_incomplete_surrogate_pair.json": "half of a surrogate pair",
    "i_string_invalid_lonely_surrogate.json": "half of a surrogate pair",
    "i_string_invalid_surrogate.json": "half of a surrogate pair",
    "i_string_invalid_utf-8.json": "not UTF-8",
    "i_string_inverted_surrogates_U+1D11E.json": "half of a surrogate pair",
    "i_string_lone_utf8_continuation_byte.json": "not UTF-8",
    "i_string_not_in_unicode_range.json": "not UTF-8",
    "i_string_utf16LE_no_BOM.json": "",
    "i_number_real_pos_overflow.json": "exponent is beyond 308",
    "i_number_real_underflow.json": "exponent is beyond 308",
}
"""Documents the suite leaves open and we refuse; ``i_number_too_big_neg_int`` is accepted: our integers are exact."""

needs_corpus = pytest.mark.skipif(not SUITE.is_dir(), reason="the shared corpus is not beside this checkout")


def _cases() -> list[str]:
    return sorted(path.name for path in SUITE.glob("*.json")) if SUITE.is_dir() else []


@needs_corpus
def test_the_suite_is_complete() -> None:
    manifest = stdlib.loads((CORPUS / "json-parsing" / "manifest.json").read_text("utf-8"))
    parsing = [entry for entry in manifest if entry["file"].startswith("test_parsing/")]
    assert len(_cases()) == len(parsing)


@needs_corpus
@pytest.mark.parametrize("name", _cases())
def test_every_document_of_the_suite_is_judged_as_listed(name: str) -> None:
    data = (SUITE / name).read_bytes()
    refused = {**STRICTER, **EITHER_REFUSED}
    if name in refused or name.startswith("n_"):
        with pytest.raises(DecodeError) as error:
            json.decode(data)
        assert refused.get(name, "") in error.value.reason
        assert error.value.offset is not None
    else:
        tree = json.decode(data)
        assert json.decode(json.encode(tree)) == tree


@needs_corpus
def test_naughty_strings_come_back_as_they_were_or_are_refused_for_their_control_characters() -> None:
    for text in stdlib.loads(NAUGHTY.read_text("utf-8")):
        written = json.encode({text: text})
        if any(ord(character) < 32 and character not in "\t\n\r" for character in text):
            with pytest.raises(DecodeError, match="control character"):
                json.decode(written)
        else:
            assert json.decode(written) == {text: text}
            assert json.decode(stdlib.dumps({text: text}).encode()) == {text: text}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'\xef\xbb\xbf{"a":1}', "byte order mark"),
        (b'{"a":1}x', "more after the end of the document (line 1, column 8)"),
        (b'{"a":1}{"a":1}', "more after the end of the document (line 1, column 8)"),
        (b'{"a":1,\n "b":{"c":1, "c":2}}', "duplicate key 'c' (line 2, column 14)"),
        (b'{"a":1.5,"\\u0061":2}', "duplicate key 'a' (line 1, column 10)"),
        (b'{"a":NaN}', "NaN is not a JSON number (line 1, column 6)"),
        (b"[1,\n-Infinity]", "-Infinity is not a JSON number (line 2, column 1)"),
        (b'["\\ud800"]', "\\ud800 is half of a surrogate pair (line 1, column 3)"),
        (b'["\\uDC00\\uD800"]', "\\uDC00 is half of a surrogate pair"),
        (b'["a\x01"]', "a control character inside a text must be escaped (line 1, column 4)"),
        (b'["a\\u0000b"]', "the control character \\u0000 is not allowed in a text (line 1, column 4)"),
        (b'["\\b"]', "the control character \\b is not allowed"),
        (b'["\\u001F"]', "the control character \\u001F is not allowed"),
        (b'["\\x"]', "a backslash escape does not exist"),
        (b'["\\u12"]', "a \\u escape needs four hexadecimal digits"),
        (b'{"a" 1}', "':' is missing after a key (line 1, column 6)"),
        (b'{"a":1 "b"}', "',' is missing, or the end (line 1, column 8)"),
        (b"{a:1}", "a key in double quotes is missing (line 1, column 2)"),
        (b'{"a":', "a value is missing"),
        (b'{"a":"b', "a text is not closed (line 1, column 6)"),
        (b"[" + b"1" * 41 + b"]", "more than 40 digits (line 1, column 2)"),
        (b"[1." + b"1" * 41 + b"]", "more than 40 digits"),
        (b"[1e999999999999999]", "exponent is beyond 308"),
        (b'{"a":"\xb2\xa1"}', "is not UTF-8 at byte 6 (line 1)"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as error:
        json.decode(data)
    assert reason in error.value.reason


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"a" :1,"a":2}',
        b'{"a"\n:1,"a"\t:2}',
        b'{"a" :1,"a":":"}',
        b'{"a":1,"a":2,"b":":x"}',
        b'{"a":1,"a":"\\":"}',
        b'[{"b":1},{"a":"\\" :","a":2}]',
    ],
)
def test_no_spelling_hides_a_duplicate_key(data: bytes) -> None:
    with pytest.raises(DecodeError, match="duplicate key 'a'"):
        json.decode(data)


def test_colons_and_blanks_inside_texts_are_no_keys() -> None:
    tree = {"a": ":", "b": '":', "c": [" :", "\t:"], ":": 1, "": {"x :": ""}}
    for separators in ((",", ":"), (", ", " : ")):
        assert json.decode(stdlib.dumps(tree, separators=separators).encode()) == tree


def test_the_offset_counts_bytes_not_characters() -> None:
    with pytest.raises(DecodeError) as error:
        json.decode('{"姓名":1,"姓名":2}'.encode())
    assert error.value.offset == '{"姓名":1,'.encode().__len__()


@pytest.mark.parametrize("fraction", [b"1", b"1.5"])
def test_thirty_two_levels_are_read_and_thirty_three_are_refused(fraction: bytes) -> None:
    deep = b'{"[[[":' * 16 + b"[" * 16 + fraction + b"]" * 16 + b"}" * 16
    assert json.decode(deep)
    with pytest.raises(DecodeError, match=r"nested deeper than 32 levels \(line 1, column 129\)"):
        json.decode(b"[" + deep + b"]")


def test_brackets_inside_texts_and_many_siblings_are_not_depth() -> None:
    tree = {"a": ["[{" * 50 + '"\\[' * 50], "b": [[] for _ in range(100)], "c": [{} for _ in range(100)]}
    assert json.decode(json.encode(tree)) == tree


@pytest.mark.parametrize(
    "data",
    [b"[" * 1_000_000, b'{"":' * 200_000, b"[]," * 40 + b'["' + b'\\"' * 500_000, b'[\\"' * 300_000, b'"' * 1_000_001],
    ids=["open arrays", "open objects", "open escapes", "escapes outside", "quotes"],
)
def test_a_megabyte_of_malice_is_refused_in_linear_time(data: bytes) -> None:
    with pytest.raises(DecodeError):
        json.decode(data)


def test_numbers_keep_their_digits_and_are_never_float() -> None:
    tree = json.decode(b"[1.10, 1E+2, 0.0000001, -0.0, 12345678901234567890123456789, -5, 1.0e-7]")
    assert tree == [
        Decimal("1.10"), Decimal("1E+2"), Decimal("1E-7"), Decimal("-0.0"), 12345678901234567890123456789, -5,
        Decimal("1.0E-7"),
    ]  # fmt: skip
    assert [str(value) for value in tree[:2]] == ["1.10", "1E+2"]
    assert not any(isinstance(value, float) for value in tree)
    assert json.encode(tree) == b"[1.10,1E+2,1E-7,-0.0,12345678901234567890123456789,-5,1.0E-7]"


def test_a_pair_of_surrogates_and_the_allowed_controls_are_read() -> None:
    assert json.decode(b'["\\ud83d\\ude00\\t\\n\\r\\u0009\\\\b\\ud55c"]') == ["\U0001f600\t\n\r\t\\b한"]


@dataclass
class _Thing:
    a: int


@pytest.mark.parametrize(
    ("tree", "path", "reason"),
    [
        ({"a": [{"fee": 1.5}]}, "$.a[0].fee", "float has no JSON form"),
        ({"a": [{"fee": 1.5, "x": Decimal(1)}]}, "$.a[0].fee", "float"),
        ({"a": float("nan")}, "$.a", "float"),
        ({"a": b"x"}, "$.a", "bytes"),
        ({"a": (1,)}, "$.a", "tuple"),
        ({"a": _Thing(1)}, "$.a", "_Thing"),
        ({"a": Decimal("NaN")}, "$.a", "NaN is not a JSON number"),
        ({"a": {1: 2}}, "$.a", "a key is a int"),
        ({"a": ["\ud800"]}, "$.a[0]", "half of a surrogate pair"),
    ],
)
def test_what_has_no_json_form_is_refused_with_its_path(tree: object, path: str, reason: str) -> None:
    with pytest.raises(EncodeError) as error:
        json.encode(tree)
    assert error.value.path == path
    assert reason in error.value.reason


def test_a_tree_that_contains_itself_is_refused() -> None:
    tree: list[object] = []
    tree.append(tree)
    with pytest.raises(EncodeError, match="nested deeper than 200 levels"):
        json.encode(tree)
