"""HL7 v2: building from field paths, and the JSON form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs import EncodeError
from esb.codecs.hl7v2 import build, decode, from_tree, to_tree

MSH = "MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A28|M1|P|2.5|||AL|NE|CHN|"
ADT = (MSH + 'UNICODE UTF-8\rEVN|A28\rPID|1||P1^^^HIS&1.2&ISO^PI~X9^^^GA^NI||测试^患者|""|19000101|M\rZXX|a\r').encode()


def test_paths_become_a_message_and_a_segment_of_nothing_is_left_out() -> None:
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
        ([{"MSH-10": "x"}, {"PID-5[1]": ["a"]}], "$[1].PID-5[1]"),
        ([{"MSH-10": "x"}, {"PID-5.1": ["a"]}], "$[1].PID-5.1"),
        ([{"MSH-10": "x"}, {"PID-5": [["a"]]}], "$[1].PID-5[1]"),
        ([{"MSH-10": "x"}, {"PID-5": ["a", {"2": {"1": True}}]}], "$[1].PID-5[2].2.1"),
        ([{"MSH-10": "x"}, {"PID-5": [{"0": "a"}]}], "$[1].PID-5[1]"),
        ([{"MSH-10": "x"}, {"PID-5": {"1.1": "a"}}], "$[1].PID-5"),
        ([{"MSH-10": "x"}, {"PID-5": {1: "a"}}], "$[1].PID-5"),
        ([{"MSH-10": "x"}, {"PID-5.1.1": {"1": "a"}}], "$[1].PID-5.1.1"),
        ([{"MSH-10": "x"}, {"PID-5": {"1": {"1": {"1": "a"}}}}], "$[1].PID-5.1.1"),
        ([{"MSH-10": "x"}, {"PID-5": {"2": "a\x00"}}], "$[1].PID-5.2"),
        ([{"MSH-10": "x"}, {"PID-3": ["a"], "PID-3[2]": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, {"PID-3": ["a"], "PID-3.5": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, {"PID-3": {"1": "a"}, "PID-3.5": "b"}], "$[1]"),
        ([{"MSH-10": "x"}, [{"EVN-1": "a"}, [{"PID-99": b"x"}]]], "$[2].PID-99"),
        ([{"MSH-10": "x"}, "PID"], "$"),
        ([[], None], "$"),
        ([{"MSH-10": "x"}, [{}]], "$"),
        ([{"MSH-10": "x"}, {"PID-5": Decimal("NaN")}], "$[1].PID-5"),
    ],
)
def test_what_makes_no_message_is_named_by_its_path(segments: list[dict[str, Any]], place: str) -> None:
    with pytest.raises(EncodeError) as caught:
        build(segments)
    assert caught.value.path == place


def written(*segments: Any) -> str:
    head, _, rest = build([{"MSH-10": "1"}, *segments]).text.partition("\r")
    assert head.startswith("MSH|")
    return rest


def test_groups_come_out_flat() -> None:
    order = [{"ORC-1": "NW"}, [{"OBR-1": 1}, {"NTE-1": 1}], [{"OBR-1": 2}]]
    assert written({"PID-1": 1}, [order, order], None, []) == "PID|1\r" + "ORC|NW\rOBR|1\rNTE|1\rOBR|2\r" * 2


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"PID-3": ["P1", "a~b"]}, "PID|||P1~a\\R\\b"),
        ({"PID-3": [{"1": "P1", "4": {"1": "H&S", "2": "1.2.3"}, "5": "PI"}]}, "PID|||P1^^^H\\T\\S&1.2.3^PI"),
        ({"PID-3": [{"1": "P1"}, None, {}, {"2": None}, {"2": {}}, "P2"]}, "PID|||P1~P2"),
        ({"PID-3": {"1": 7, "12": Decimal("1.50")}}, "PID|||7^^^^^^^^^^^1.50"),
        ({"PID-3.4": {"2": "1.2", "1": "a^b"}, "PID-3.1": "P1"}, "PID|||P1^^^a\\S\\b&1.2"),
        ({"PID-3[2]": {"1": "P2"}, "PID-3[1].1": "P1"}, "PID|||P1~P2"),
        ({"PID-3": [], "PID-5": {}, "PID-7": {"1": None}}, "PID"),
        ({"PID-3": [], "PID-3.1": "P1"}, "PID|||P1"),
        ({"PID-8": "M", "PID-5.2": "b", "PID-3[3].2.2": "x"}, "PID|||~~^&x||^b|||M"),
        ({"PID-3": ["a|b\\c\r"]}, "PID|||a\\F\\b\\E\\c\\X0D\\"),
        ({"PID-3": {"2": "\\.br\\"}}, "PID|||^\\.br\\"),
    ],
)
def test_a_field_is_given_as_repetitions_and_structures(fields: dict[str, Any], line: str) -> None:
    assert written(fields) == line + "\r"


def test_a_repetition_that_was_read_is_written_as_it_was() -> None:
    wire = "PID|||P1^^^HIS&1.2\\T\\3&ISO^PI~a\\S\\b^c\\T\\d\r"
    read = decode(f"MSH|^~\\&\r{wire}".encode()).segments("PID")[0].all(3)
    assert written({"PID-3": read}) == wire
    assert written({"PID-3": read[0]}) == "PID|||P1^^^HIS&1.2\\T\\3&ISO^PI\r"


def test_a_character_outside_the_charset_is_found_inside_of_structures() -> None:
    with pytest.raises(EncodeError) as caught:
        build([{"MSH-10": "1"}, [{"PID-5": [{"1": "a"}, {"1": {"2": "\ue5e5𠮷"}}]}]], charset="GBK")
    assert caught.value.path == "$[1].PID-5[2].1.2"


part = st.text(alphabet="aX0DR.br\\^~&|测 \r\n", max_size=12)
component = st.one_of(part, st.dictionaries(st.integers(1, 4).map(str), part, min_size=1))
repetition = st.one_of(part, st.dictionaries(st.integers(1, 5).map(str), component, min_size=1))


@given(st.lists(repetition, min_size=1, max_size=4))
def test_every_text_is_read_as_it_was_given(field: list[Any]) -> None:
    message = decode(build([{"MSH-10": "1"}, {"ZZZ-1": field, "ZZZ-2": "x"}]).raw)
    for at, given_one in enumerate(field, 1):
        components = given_one if isinstance(given_one, dict) else {"1": given_one}
        for number, inner in components.items():
            for sub, text in (inner if isinstance(inner, dict) else {"1": inner}).items():
                assert (message.get("ZZZ", 0, 1, at, int(number), int(sub)) or "") == text


def test_an_unknown_charset_writes_nothing() -> None:
    with pytest.raises(EncodeError, match="MSH-18"):
        build([{"MSH-10": "1"}], charset="KLINGON")


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
