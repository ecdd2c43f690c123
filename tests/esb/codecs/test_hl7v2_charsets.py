"""HL7 v2: which charset a message is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import decode, from_tree, to_tree

SHARED = Path(__file__).resolve().parents[4] / "shared"
TRAPS = "珅玘昞璣晐"
"""Characters whose second byte in GBK is a delimiter or the escape character."""

MSH = "MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A28|M1|P|2.5|||AL|NE|CHN|"


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
    with pytest.raises(DecodeError, match="no charset"):
        decode(big5, "KLINGON")


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
