"""Flat forms, in UTF-8 and in GBK, read and written without loss."""

from __future__ import annotations

import json as stdlib
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

from esb.codecs import DecodeError, EncodeError, form

NAUGHTY = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "naughty-strings" / "blns-half.json"


def test_a_repeated_key_is_a_list_and_an_empty_value_is_a_text() -> None:
    assert form.decode(b"a=1&b=2&b=+3%26&b=&c&&d=x=y") == {"a": "1", "b": ["2", " 3&", ""], "c": "", "d": "x=y"}
    assert form.decode(b"") == {}


def test_what_is_written_is_what_the_standard_library_writes() -> None:
    tree = {"plate": "粤B·12345", "a b": "c&d=e+f/?", "list": ["1", "2"]}
    assert form.encode(tree) == urlencode(tree, doseq=True).encode()
    assert form.decode(form.encode(tree)) == tree


def test_scalars_are_written_plainly_and_none_is_left_out() -> None:
    tree = {"fee": 2500, "yuan": Decimal("1E+2"), "paid": True, "no": False, "gone": None, "empty": [None, ""]}
    assert form.encode(tree) == b"fee=2500&yuan=100&paid=true&no=false&empty="


@pytest.mark.parametrize("charset", ["gbk", "GB18030"])
def test_gbk_is_read_raw_and_escaped(charset: str) -> None:
    written = form.encode({"姓名": "张三"}, charset=charset)
    assert written == b"%D0%D5%C3%FB=%D5%C5%C8%FD"
    assert form.decode(written, charset=charset) == {"姓名": "张三"}
    assert form.decode("姓名=张三".encode("gbk"), charset=charset) == {"姓名": "张三"}


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"a=1&b=%zz", "'%' without two hexadecimal digits at byte 6", 6),
        (b"a=%", "'%' without two hexadecimal digits", 2),
        (b"a=1&b=%d5%c5", "is not utf-8 in the field at byte 6", 6),
        (b"a=%00", "control character U+0000", 2),
        (b"&".join([b"a=1"] * 1001), "more than 1000 fields", 0),
    ],
)
def test_a_broken_form_is_refused_with_the_place(data: bytes, reason: str, offset: int) -> None:
    with pytest.raises(DecodeError) as error:
        form.decode(data)
    assert reason in error.value.reason
    assert error.value.offset == offset


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"a": {"b": 1}}, "$.a"),
        ({"a": [1.5]}, "$.a"),
        ({"a": [["x"]]}, "$.a"),
        ({"a": Decimal("NaN")}, "$.a"),
        ([1], "$"),
    ],
)
def test_what_is_not_flat_is_refused_with_its_key(tree: dict[str, object], path: str) -> None:
    with pytest.raises(EncodeError) as error:
        form.encode(tree)
    assert error.value.path == path


def test_a_character_outside_the_charset_is_refused_not_replaced() -> None:
    with pytest.raises(EncodeError, match="is not in gbk"):
        form.encode({"a": "\U0001f600"}, charset="gbk")


@pytest.mark.skipif(not NAUGHTY.is_file(), reason="the shared corpus is not beside this checkout")
def test_naughty_strings_come_back_as_they_were() -> None:
    texts = [text for text in stdlib.loads(NAUGHTY.read_text("utf-8")) if not form._CONTROL.search(text)]
    assert len(texts) > 200
    tree = {f"f{index}": text for index, text in enumerate(texts)}
    written = form.encode(tree)
    assert form.decode(written) == tree
    assert dict(parse_qsl(written.decode(), keep_blank_values=True)) == tree
