"""HL7 v2: values, escapes, delimiters, arbitrary bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import build, decode, formatted_text, from_tree, parse, path, plain_text, to_tree
from esb.codecs.hl7v2 import syntax as module
from esb.codecs.hl7v2.syntax import syntax

MSH = "MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A28|M1|P|2.5|||AL|NE|CHN|"
ADT = (MSH + 'UNICODE UTF-8\rEVN|A28\rPID|1||P1^^^HIS&1.2&ISO^PI~X9^^^GA^NI||测试^患者|""|19000101|M\rZXX|a\r').encode()


def pid5(text: str, charset: str = "UNICODE UTF-8", codec: str = "utf-8") -> str | None:
    return decode(f"{MSH}{charset}\rPID|||||{text}|x\r".encode(codec)).get("PID", 0, 5)


def test_values_are_found_by_their_numbers() -> None:
    message = decode(ADT)
    assert message.get("PID", 0, 3, 1, 1) == "P1"
    assert message.get("PID", 0, 3, 2, 1) == "X9"
    assert message.get("PID", 0, 3, 1, 4, 2) == "1.2"
    assert message.get("PID", 0, 3, 1, 4) == "HIS&1.2&ISO"
    assert message.get("PID", 0, 3) == "P1^^^HIS&1.2&ISO^PI"
    assert message.get("PID", 0, 3, 0) == "P1^^^HIS&1.2&ISO^PI~X9^^^GA^NI"
    assert message.get("PID", 0, 8, 1, 1, 1) == "M", "a value without parts is its own first part"
    assert message.get("MSH", 0, 1) == "|"
    assert message.get("MSH", 0, 2) == "^~\\&"
    assert message.get("MSH", 0, 9, 1, 2) == "A28"


@pytest.mark.parametrize(
    "place",
    [
        ("PID", 0, 2),
        ("PID", 0, 3, 3, 1),
        ("PID", 0, 3, 1, 2),
        ("PID", 0, 3, 1, 9),
        ("PID", 0, 3, 1, 4, 4),
        ("PID", 0, 8, 2),
        ("PID", 0, 8, 1, 2),
        ("PID", 0, 8, 1, 1, 2),
        ("PID", 0, 99),
        ("PID", 1, 3),
        ("PV1", 0, 1),
        ("MSH", 0, 2, 2),
        ("MSH", 0, 30),
    ],
)
def test_what_is_absent_or_empty_is_none(place: tuple[Any, ...]) -> None:
    assert decode(ADT).get(*place) is None


@given(
    st.sampled_from(["P1^^^HIS&1.2&ISO^PI~X9^^^GA", '""', "", "a~b", "~b", "^b", "\\T\\^\\S\\", '""^x', 'x^""', "^^"]),
    st.sampled_from(["|^~\\&", "#*$%@", "|^", "|^~"]),
    st.integers(1, 5),
    st.integers(0, 4),
)
def test_the_first_repetition_is_read_alike_in_both_ways(text: str, marks: str, field: int, component: int) -> None:
    message = decode(f"MSH{marks}{marks[0]}A\rPID{marks[0]}{text}{marks[0] * 2}{text}\r".encode())
    for name in ("MSH", "PID"):
        value = message.segments(name)[0].get(field, 1, component)
        assert message.segments(name)[0].first(field, component) == (None if value == '""' else value)


def test_many_escapes_that_mean_nothing_stay_and_take_no_time() -> None:
    assert pid5("\\XFF\\a\\XE5\\\\X8C\\\\XBB\\") == "\\XFF\\a医"
    text = "\\XFF\\" * 50_000
    assert pid5(text) == text


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([r"\F\\", "\\", r"\X41", r"\XE6\\", r"\XB5\\XBC\\", "a", "bcdefgh", r"\.br", "H", "", "\\E"]),
        max_size=60,
    ),
    st.integers(8, 40),
)
def test_a_long_text_means_what_a_short_one_does(pieces: list[str], window: int) -> None:
    """But for a run of hexadecimal escapes that is longer than what windows share."""
    marks, text = syntax("|", "^~\\&", "utf-8")[0], "".join(pieces)
    whole = marks.unescaped(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        patch.setattr(module, "_MARGIN", 6)
        found = marks.unescaped(text)
    assert found == whole or r"\XB5" in text


def test_the_null_of_hl7_is_a_value() -> None:
    assert decode(ADT).get("PID", 0, 6) == '""'


def test_segments_come_in_order_and_by_name() -> None:
    message = decode(b"MSH|^~\\&|A\rOBX|1\rZ1|x\rOBX|2\rnonsense\r")
    assert [segment.name for segment in message] == ["MSH", "OBX", "Z1", "OBX", "nonsense"]
    assert [segment.get(1) for segment in message.segments("OBX")] == ["1", "2"]
    assert message.segments("PID") == []
    assert message.get("OBX", 1, 1) == "2"
    assert message.segments("OBX")[0].fields() == ["OBX", "1"]


def test_paths_are_compiled_once_and_read_any_message() -> None:
    read = path("PID-3[2].1")
    assert read is path("PID-3[2].1")
    assert read(decode(ADT)) == "X9"
    assert path("OBX[1]-5")(decode(b"MSH|^~\\&|\rOBX|||||a\rOBX|||||b\r")) == "b"
    assert parse("PID-3") == ("PID", 0, 3, 1, 0, 0)


@pytest.mark.parametrize(
    "text",
    ["PID", "PID-0", "PID-3.0", "PID-3[0]", "pid-3", "PIDX-3", "PID.3", "PID-3.1.1.1", "PID-1000", "PID-3.1 ", ""],
)
def test_what_is_no_path_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no field path"):
        path(text)


def test_neither_a_message_nor_a_segment_shows_data_in_its_repr() -> None:
    message = decode(ADT)
    assert "P1" not in repr(message) + repr(message.segments("PID"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"\X41\\X42\C", "ABC"),
        (r"\X0D0A\ ", "\r\n "),
        (r"\XE6B58B\ ", "测 "),
        (r"\XE6\\XB5\\X8B\ ", "测 "),
        (r"\XB2E2\ ", "测 "),
        (r"\XFF\ ", "\\XFF\\ "),
        (r"\X4\ \XZZ\ \X\ ", r"\X4\ \XZZ\ \X\ "),
        (r"one\.br\two\.sp3\three", r"one\.br\two\.sp3\three"),
        (r"\H\loud\N\ ", r"\H\loud\N\ "),
        (r"\Z99\ \C2842\ \M2442\ABC ", r"\Z99\ \C2842\ \M2442\ABC "),
        (r"\C2F7A\ \M247A7A\ \C28\ ", r"\C2F7A\ \M247A7A\ \C28\ "),
        (r"\M2442\;3ED\C2842\\F\x", "山田|x"),
        (r"\M2442\\X3B33\ED\C284A\ ", "山田 "),
        (r"\M242844\0!\C2842\ \M2441\2bJT", "丂 测试"),
        (r"\E\M2442\E\;3ED", r"\M2442\;3ED"),
        (r"\H\F\N\ ", r"\H\F\N\ "),
        (r"\Q\F\ ", r"\Q| "),
        (r"D:\data\F\ ", "D:\\data| "),
        ("unclosed\\F", "unclosed\\F"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        (r"\E\F\E\ ", "\\F\\ "),
    ],
)
def test_escapes_mean_what_hl7_says_and_the_rest_is_literal(written: str, meant: str) -> None:
    assert pid5(written) == meant


def test_hex_is_in_the_charset_of_the_message() -> None:
    assert pid5(r"\XB2E2CAD4\ ", "GB 18030-2000") == "测试 "
    assert pid5(r"\XE9\ ", "8859/1") == "é "


def test_the_truncation_escape_is_known_where_msh2_has_a_fifth_character() -> None:
    assert decode(rb"MSH|^~\&#|A|a\P\b").get("MSH", 0, 4) == "a#b"
    assert decode(rb"MSH|^~\&|A|a\P\b").get("MSH", 0, 4) == "a\\P\\b"


def test_formatting_can_be_taken_out() -> None:
    assert (
        plain_text(r"\H\Title\N\\.br\one\.sp2\two\.in4\three\.sk3\four\.ce\five")
        == "Title\none\n\ntwothree   four\nfive"
    )
    assert plain_text(r"no \F\ormat") == r"no \F\ormat"
    assert plain_text(r"\.in+4\one\.br\two\.br\\.ti-4\three\.br\\.in-4\four\.sp 2\\.sk 3\five") == (
        "    one\n    two\nthree\nfour\n\n   five"
    )
    assert len(plain_text(r"\.sp999999999\x\.sk999999999\\.br\\.in99999999\y")) < 1000


@given(st.text("a\r\n "))
def test_plain_lines_become_formatted_text_and_lines_again(text: str) -> None:
    written = formatted_text(text)
    assert "\r" not in written + "\n"
    assert plain_text(written) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_truncated_values_are_kept_and_reported() -> None:
    message = decode(b"MSH|^~\\&#|A#|B\\P\\\rPID|||P1~P2^^^A&B#||Name#^x\rPID||#\r")
    assert message.get("PID", 0, 5, 1, 1) == "Name#"
    assert message.truncated() == ["MSH-3", "PID-3[2].4.2", "PID-5.1", "PID[1]-2"]
    assert decode(b"MSH|^~\\&|A#\r").truncated() == []
    assert build([{"MSH-3": "A#"}]).truncated() == []


CONTROLS = [chr(code) for code in range(32) if code not in (9, 10, 13)] + ["\x7f"]
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=CONTROLS) | st.sampled_from(list("\\|^~&HNFSTREX.br0D"))
)


@settings(max_examples=300)
@given(TEXTS)
@example("\\H\\N\\.br\\\\E\\\r\n\\X41\\")
def test_any_text_comes_back_as_it_was_written(text: str) -> None:
    message = build([{"MSH-9.1": "ADT"}, {"PID-5[2].3.2": text, "PID-6": "end"}])
    again = decode(message.encode())
    assert again.get("PID", 0, 5, 2, 3, 2) == (text or None)
    assert len(list(again)) == 2
    assert to_tree(from_tree(to_tree(again))) == to_tree(again)


@pytest.mark.parametrize(
    ("head", "value"),
    [
        (r"MSH|^~\&|", "a^b&c"),
        (r"MSH|^~\&#|", "a^b&c"),
        (r"MSH#$%*@#", "a$b@c"),
        (r"MSH|^\&|", "a^b&c"),
        (r"MSH|^~&|", "a^b&c"),
        (r"MSH|^|", "a^b&c"),
        ("MSH||", "a^b&c"),
        (r"MSH|:~|", "a:b&c"),
    ],
)
def test_delimiters_are_read_from_the_message(head: str, value: str) -> None:
    message = decode(f"{head}\rPID{head[3]}{value}{head[3]}x".encode())
    assert message.get("PID", 0, 1, 1, 2, 2) == "c"
    assert bool(message.deviations) == (len(head) < 9)


def test_standard_marks_left_out_are_absent_when_they_mean_something_else() -> None:
    message = decode(b"MSH|~^|\rPID|a~b^c")
    assert message.get("PID", 0, 1, 2, 1) == "c"
    assert message.get("PID", 0, 1, 1, 2) == "b"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"MSH",
        b"MSH\r",
        b"MSHA^~\\&A",
        b"MSH\r|",
        b"PID|1",
        b"<html>",
        b"MSH|^~\\&amp;|A",
        b"FHS|^~\\&|",
        b"\xef\xbb\xbf",
        b"MSH|^~\\&|\xff\xff",
        b"\xff\xfeM",
    ],
)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


@settings(max_examples=400)
@given(
    st.binary(max_size=200)
    | st.builds(lambda tail: b"MSH|^~\\&|" + tail, st.binary(max_size=200))
    | st.builds(lambda tail: f"MSH{tail}".encode(), st.text("|^~\\&#\r\n MSHPID01XEF.br", max_size=120))
)
def test_any_bytes_are_a_message_that_keeps_them_or_a_decode_error(data: bytes) -> None:
    try:
        message = decode(data)
    except DecodeError:
        return
    assert message.encode() == data
    for segment in message:
        for field in range(len(segment.fields()) + 1):
            for part in range(3):
                segment.get(field, part, part, part)
    tree = to_tree(message)
    again = from_tree(tree)
    assert again.text == message.text
    assert to_tree(again) == tree
