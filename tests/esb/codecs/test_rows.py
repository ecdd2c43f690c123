"""Database values become canonical trees."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from esb.codecs import DecodeError, json
from esb.codecs.rows import Rows


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "tree"),
    [
        (None, None),
        ("", ""),
        ("张三 ", "张三 "),
        (True, True),
        (7, 7),
        (2**80, 2**80),
        (Decimal("25.50"), Decimal("25.50")),
        (0.1, Decimal("0.1")),
        (1e16, Decimal("1E+16")),
        (datetime.fromisoformat("2026-01-16 08:30:00"), "2026-01-16T08:30:00+08:00"),
        (datetime(2026, 1, 16, 0, 30, tzinfo=UTC), "2026-01-16T08:30:00+08:00"),
        (datetime.fromisoformat("2026-01-16 08:30:00.120000"), "2026-01-16T08:30:00.120000+08:00"),
        (date(2026, 1, 16), "2026-01-16"),
        (time(8, 5), "08:05:00"),
        (timedelta(hours=30, minutes=5), "30:05:00"),
        (timedelta(hours=-1), "-01:00:00"),
        (b"\x89PNG", "iVBORw=="),
        (memoryview(b"ab"), "YWI="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        ([1, None, 0.5], [1, None, Decimal("0.5")]),
        ({"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_every_driver_value_has_one_canonical_form(value: Any, tree: Any) -> None:
    read = Rows().value(value)
    assert read == tree
    assert type(read) is type(tree)
    json.encode(read)


def test_a_value_without_a_form_names_row_and_column() -> None:
    with pytest.raises(DecodeError, match="row 2, column 'b' holds a complex"):
        Rows().read(["a", "b"], [(1, 2), (1, 1j)])


def test_rows_are_dicts_in_the_order_of_the_columns() -> None:
    assert list(Rows().read(["b", "a"], [(1, 2)])[0].items()) == [("b", 1), ("a", 2)]


def test_a_column_that_stands_twice_is_not_lost_silently() -> None:
    with pytest.raises(DecodeError, match="'id' stands twice"):
        Rows().read(["id", "id"], [])


def test_char_padding_is_trimmed_only_on_request_and_only_at_the_end() -> None:
    assert Rows(trim=True).read(["name"], [("  李四   ",), ("    ",), (None,)]) == [
        {"name": "  李四"},
        {"name": ""},
        {"name": None},
    ]
    assert Rows().read(["name"], [("李四   ",)]) == [{"name": "李四   "}]


def test_gbk_that_came_as_latin_1_is_read_again_names_of_columns_too() -> None:
    carried = "血常规 ".encode("gbk").decode("latin-1")
    name = "名称".encode("gbk").decode("latin-1")
    assert Rows(trim=True, text_charset="gbk").read([name], [(carried,)]) == [{"名称": "血常规"}]


def test_rare_characters_of_gb18030_come_through_gbk() -> None:
    carried = "𠮷䶮".encode("gb18030").decode("latin-1")
    assert Rows(text_charset="GBK").read(["n"], [(carried,)]) == [{"n": "𠮷䶮"}]


def test_a_text_the_driver_has_decoded_already_is_left_as_it_is() -> None:
    assert Rows(text_charset="gbk").read(["n"], [("王五",), ("plain",)]) == [{"n": "王五"}, {"n": "plain"}]


def test_bytes_that_are_no_gbk_name_row_and_column_not_the_value() -> None:
    with pytest.raises(DecodeError, match="row 1, column 'n' is not gb18030") as caught:
        Rows(text_charset="gbk").read(["n"], [("\xff\xff",)])
    assert "\xff" not in str(caught.value)
