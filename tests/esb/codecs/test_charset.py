import pytest

from esb.codecs import DecodeError, charset


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("GB2312", "gb18030"),
        ("gbk", "gb18030"),
        ("GB 18030-2000", "gb18030"),
        ("UNICODE UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        ("UTF-16", "utf-16"),
        ("ISO-8859-1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("ASCII", "ascii"),
    ],
)
def test_names_of_the_field_lead_to_codecs(name: str, codec: str) -> None:
    assert charset.codec(name) == codec


@pytest.mark.parametrize("name", ["klingon", "rot13", "base64", "utf-7", "", "idna"])
def test_what_is_no_charset_for_messages_is_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        charset.codec(name)


def test_gbk_is_written_as_gbk_and_read_as_what_holds_it() -> None:
    assert charset.writer("GBK") == "gbk"
    assert charset.writer("gb2312") == "gb2312"
    assert charset.writer("GB18030") == "gb18030"
    assert charset.decode_text("測𠮷".encode("gb18030"), "gb2312") == ("測𠮷", "gb18030")


def test_a_byte_order_mark_wins_over_the_declaration() -> None:
    assert charset.decode_text("\ufeff张".encode(), "gbk") == ("张", "utf-8")
    assert charset.decode_text("张".encode("utf-16"), "utf-8") == ("张", "utf-16-le")


def test_only_named_fallbacks_are_tried_and_no_byte_is_replaced() -> None:
    gbk = "张三".encode("gbk")
    assert charset.decode_text(gbk, "utf-8", ["gbk"]) == ("张三", "gb18030")
    with pytest.raises(DecodeError) as caught:
        charset.decode_text(b"ab" + gbk, "utf-8")
    assert caught.value.offset == 2


def test_bytes_that_are_delimiters_inside_gbk_stay_letters() -> None:
    for letter in "珅玘昞璣晐":
        assert charset.decode_text(letter.encode("gbk"), "gbk")[0] == letter
