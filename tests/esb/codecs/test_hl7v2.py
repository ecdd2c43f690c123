"""HL7 v2: values, escapes, charsets, building, the JSON form and MLLP frames."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esb.codecs import DecodeError, EncodeError
from esb.codecs.hl7v2 import (
    Framer,
    build,
    decode,
    framed,
    from_tree,
    parse,
    path,
    plain_text,
    to_tree,
)

SHARED = Path(__file__).resolve().parents[4] / "shared"
TRAPS = "珅玘昞璣晐"
"""Characters whose second byte in GBK is a delimiter or the escape character."""

MSH = "MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A28|M1|P|2.5|||AL|NE|CHN|"
ADT = (MSH + 'UNICODE UTF-8\rEVN|A28\rPID|1||P1^^^HIS&1.2&ISO^PI~X9^^^GA^NI||测试^患者|""|19000101|M\rZXX|a\r').encode()


def pid5(text: str, charset: str = "UNICODE UTF-8", codec: str = "utf-8") -> str | None:
    return decode(f"{MSH}{charset}\rPID|||||{text}|x\r".encode(codec)).get("PID", 0, 5)


# values


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


# escapes


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
        (r"\Z99\ \C2842\ \M2442\ ", r"\Z99\ \C2842\ \M2442\ "),
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


# delimiters


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


# charsets


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("", "utf-8", "测试"),
        ("UNICODE UTF-8", "utf-8", "测试𠮷"),
        ("UTF-8", "utf-8", "测试"),
        ("utf8", "utf-8", "测试"),
        ("UNICODE", "utf-8", "测试"),
        ("GB 18030-2000", "gb18030", "测试𠮷"),
        ("GB18030", "gb18030", f"测试{TRAPS}"),
        ("GBK", "gbk", f"测试{TRAPS}"),
        ("GB2312", "gbk", f"测试{TRAPS}"),
        ("GB 18030-2000~UNICODE UTF-8", "gb18030", f"测试{TRAPS}"),
        ("BIG-5", "big5", "測試功"),
        ("KS X 1001", "euc_kr", "시험"),
        ("ISO IR87", "iso2022_jp", "試験"),
        ("8859/1", "latin-1", "Müller"),
        ("8859/15", "iso8859-15", "5 €"),
        ("ASCII", "ascii", "plain"),
    ],
)
def test_a_message_is_decoded_as_msh18_says_before_it_is_split(declared: str, codec: str, text: str) -> None:
    data = f"{MSH}{declared}\rPID|||||{text}^{text}|{text}\r".encode(codec)
    message = decode(data)
    assert message.get("PID", 0, 5, 1, 2) == text
    assert message.get("PID", 0, 6) == text
    assert message.encode() == data
    assert bool(message.deviations) == (declared == "")


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("GB 18030-2000", "utf-8"),
        ("UNICODE UTF-8", "gb18030"),
        ("ASCII", "gb18030"),
        ("8859/1", "utf-8"),
        ("wrong", "gbk"),
    ],
)
def test_a_wrong_declaration_is_read_and_recorded(declared: str, codec: str) -> None:
    message = decode(f"{MSH}{declared}\rPID|||||测试患者{TRAPS}^x|x\r".encode(codec))
    assert message.get("PID", 0, 5, 1, 1) == f"测试患者{TRAPS}"
    assert message.deviations[0].startswith(f"declared {declared}")


def test_configuration_wins_over_msh18_and_stands_in_for_it() -> None:
    latin = f"{MSH}UNICODE UTF-8\rPID|||||é".encode("latin-1")
    assert decode(latin, "8859/1").get("PID", 0, 5) == "é"
    big5 = f"{MSH}\rPID|||||測試|x".encode("big5")
    assert decode(big5, default="BIG-5").get("PID", 0, 5) == "測試"
    assert decode(big5, default="BIG-5").deviations == ()


def test_a_trap_character_in_msh_does_not_hide_the_charset() -> None:
    text = f"MSH|^~\\&|{TRAPS}医院|H1|HUB|WX|2026||ADT^A28|M1|P|2.5||||||GB 18030-2000\rPID|||||{TRAPS}|x"
    message = decode(text.encode("gb18030"))
    assert message.get("MSH", 0, 18) == "GB 18030-2000"
    assert message.get("PID", 0, 5) == TRAPS
    assert message.deviations == ()


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_bom_and_utf16_are_read(codec: str) -> None:
    data = f"{MSH}\rPID|||||测试|x".encode(codec)
    assert decode(data).get("PID", 0, 5) == "测试"
    assert from_tree(to_tree(decode(data))).encode() == data


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_any_line_end_ends_a_segment(end: str) -> None:
    data = f"\r\n{MSH}{end}PID|1|{end}{end}PV1|2".encode()
    message = decode(data)
    assert [segment.name for segment in message] == ["MSH", "PID", "PV1"]
    assert message.get("PV1", 0, 1) == "2"
    assert message.encode() == data


def test_the_shared_gb18030_vector() -> None:
    if not SHARED.exists():
        pytest.skip("the shared vectors are not here")
    vector = json.loads((SHARED / "specs" / "his-envelopes.vectors.json").read_text(encoding="utf-8"))["hl7v2_gb18030"]
    line = bytes.fromhex(vector["gb18030_hex"])
    message = decode(f"{MSH}GB 18030-2000\r".encode() + line)
    assert message.segments("PID")[0].text == vector["text"]
    assert message.get("PID", 0, 5, 1, 2) == "患者"
    for trap in vector["traps"]:
        data = f"{MSH}GB 18030-2000\rPID|||||".encode() + bytes.fromhex(trap["gbk_hex"]) + b"|x"
        assert decode(data).get("PID", 0, 5) == trap["char"]


# building


def test_paths_become_a_message() -> None:
    message = build(
        [
            {"MSH-9.1": "DFT", "MSH-9.2": "P03", "MSH-10": "D1", "MSH-12": "2.4"},
            {"PID-3[2].1": "P2", "PID-3[1].1": "P1", "PID-3[1].4.2": "1.2", "PID-5": "a|b^c&d~e\\f\r\n"},
            {"FT1-1": 1, "FT1-10": Decimal("1E+2"), "FT1-11.1": Decimal("500.00"), "FT1-12": None},
            {"ZXX-2": None},
        ],
        charset="GB 18030-2000",
    )
    assert message.encode() == (
        b"MSH|^~\\&|||||||DFT^P03|D1||2.4||||||GB 18030-2000\r"
        b"PID|||P1^^^&1.2~P2||a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\X0D\\\\X0A\\\r"
        b"FT1|1|||||||||100|500.00\r"
        b"ZXX\r"
    )
    assert message.get("PID", 0, 3, 2, 1) == "P2"
    assert message.get("PID", 0, 5) == "a|b^c&d~e\\f\r\n"


@pytest.mark.parametrize("charset", ["GBK", "GB2312", "BIG-5", "ASCII", "8859/1"])
def test_a_character_outside_the_charset_is_named_by_its_path(charset: str) -> None:
    with pytest.raises(EncodeError) as caught:
        build([{"MSH-10": "1"}, {"PID-3": "P1", "PID-5[1].1": "张𠮷"}], charset=charset)
    assert caught.value.path == "$[1].PID-5[1].1"
    assert "U+" in caught.value.reason
    assert "𠮷" not in str(caught.value)


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        ([], "$"),
        ([{}], "$"),
        ([{"PID-3": "x"}], "$[0]"),
        ([{"MSH-10": "x"}, {"MSH-10": "y"}], "$[1]"),
        ([{"MSH-2": "x"}], "$[0].MSH-2"),
        ([{"MSH-10": "x"}, {"PID-3": "a", "PV1-3": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, {"PID-3": "a", "PID-3[1]": "b"}], "$[1].PID-3[1]"),
        ([{"MSH-10": "x"}, {"PID-3": "a", "PID-3.1": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, {"PID-3.1": "a", "PID-3.1.2": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, {"OBX[1]-3": "a"}], "$[1].OBX[1]-3"),
        ([{"MSH-10": "x"}, {"PID-0": "a"}], "$[1]"),
        ([{"MSH-10": "x"}, {"PID-5": "a\x1cb"}], "$[1].PID-5"),
        ([{"MSH-10": "x"}, {"PID-5": True}], "$[1].PID-5"),
        ([{"MSH-10": "x"}, {"PID-5": ["a"]}], "$[1].PID-5"),
        ([{"MSH-10": "x"}, {"PID-5": Decimal("NaN")}], "$[1].PID-5"),
    ],
)
def test_what_makes_no_message_is_named_by_its_path(segments: list[dict[str, Any]], place: str) -> None:
    with pytest.raises(EncodeError) as caught:
        build(segments)
    assert caught.value.path == place


def test_an_unknown_charset_writes_nothing() -> None:
    with pytest.raises(EncodeError, match="MSH-18"):
        build([{"MSH-10": "1"}], charset="KLINGON")


# the JSON form


def test_the_json_form_counts_as_hl7_does() -> None:
    tree = to_tree(decode(ADT))
    assert tree["charset"] == "utf-8"
    assert tree["segments"][0][:4] == ["MSH", "|", "^~\\&", "HIS"]
    assert tree["segments"][2] == [
        "PID",
        "1",
        "",
        {"repetitions": [["P1", "", "", {"subcomponents": ["HIS", "1.2", "ISO"]}, "PI"], ["X9", "", "", "GA", "NI"]]},
        "",
        ["测试", "患者"],
        '""',
        "19000101",
        "M",
    ]
    assert "lead" not in tree
    assert "ends" not in tree
    assert from_tree(json.loads(json.dumps(tree))) == decode(ADT)


def test_an_edited_tree_is_escaped() -> None:
    tree = to_tree(decode(b"MSH|^~\\&|A\rPID|1\r"))
    tree["segments"][1] = [
        "PID",
        "a|b",
        ["c^d", {"subcomponents": ["e&f", {"raw": "\\X41\\"}]}],
        {"repetitions": ["测", "g"]},
    ]
    assert from_tree(tree).encode() == "MSH|^~\\&|A\rPID|a\\F\\b|c\\S\\d^e\\T\\f&\\X41\\|测~g\r".encode()


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        {"segments": []},
        {"segments": [["PID", "1"]]},
        {"segments": [["MSH"]]},
        {"segments": [["MSH", "|", 7]]},
        {"segments": [["MSH", "|", "^~\\&xyz"]]},
        {"segments": [["MSH", "A", "^~\\&"]]},
        {"segments": [["MSH", "|", "^~\\&"], "PID"]},
        {"segments": [["MSH", "|", "^~\\&"], ["PID", 7]]},
        {"segments": [["MSH", "|", "^~\\&"], ["PID", {"other": []}]]},
        {"segments": [["MSH", "|", "^~\\&"], ["PID", [["a", ["b", ["c"]]]]]]},
        {"segments": [["MSH", "|", "^~\\&"]], "charset": "klingon"},
        {"segments": [["MSH", "|", "^~\\&", "测"]], "charset": "ascii"},
        {"segments": [["MSH", "|", "^~\\&"]], "charset": 7},
        {"segments": [["MSH", "|", "^~\\&"]], "ends": ["\r", "\r"]},
    ],
)
def test_a_tree_that_is_no_message_is_an_error(tree: Any) -> None:
    with pytest.raises(EncodeError):
        from_tree(tree)


# arbitrary input


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


# frames


def test_frames_are_found_however_they_are_cut() -> None:
    stream = framed(b"MSH|one") + b"noise" + framed(b"MSH|two\x1cthree") + b"\x0bhalf" + framed(b"MSH|four")
    for size in (1, 2, 3, 7, len(stream)):
        framer = Framer(100)
        found = [message for at in range(0, len(stream), size) for message in framer.feed(stream[at : at + size])]
        assert found == [b"MSH|one", b"MSH|two\x1cthree", b"MSH|four"]
        assert framer.pending == b""


def test_a_frame_without_its_last_byte_waits_to_be_finished() -> None:
    framer = Framer(100)
    assert framer.feed(b"\x0bMSH|one\x1c") == []
    assert framer.half_ended
    assert framer.finish() == b"MSH|one"
    assert framer.finish() is None
    assert framer.feed(b"\r" + framed(b"MSH|two")) == [b"MSH|two"]
    assert framer.feed(b"\x0bMSH|three\x1c\x0bMSH|four\x1c\r") == [b"MSH|three", b"MSH|four"]


def test_a_frame_that_never_began_or_never_ends_is_an_error() -> None:
    with pytest.raises(DecodeError, match="VT"):
        Framer(100).feed(b"MSH|one\x1c\r")
    endless = Framer(100)
    for _ in range(3):
        endless.feed(b"\x0b" + b"A" * 30)
    with pytest.raises(DecodeError, match="longer"):
        endless.feed(b"\x0b" + b"A" * 30)
    with pytest.raises(DecodeError, match="longer"):
        Framer(100).feed(framed(b"A" * 101))


def test_the_shared_frames() -> None:
    cases = SHARED / "corpus" / "mllp-frames" / "frames.json"
    if not cases.exists():
        pytest.skip("the shared corpus is not here")
    for case in json.loads(cases.read_text(encoding="utf-8"))["cases"]:
        framer, found, failed = Framer(1_000_000), [], False
        try:
            for chunk in case["chunks"]:
                text = base64.b64decode(chunk) if isinstance(chunk, str) else chunk["repeat"].encode() * chunk["times"]
                found += framer.feed(text)
            ids = [decode(message).get("MSH", 0, 10) for message in found]
        except DecodeError:
            failed = True
        if isinstance(case["expect_acks"], list):
            assert ids == case["expect_acks"], case["id"]
        else:
            assert failed or not found, case["id"]
