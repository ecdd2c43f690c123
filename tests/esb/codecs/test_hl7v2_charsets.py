"""HL7 v2: which charset a message is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs import DecodeError, EncodeError
from esb.codecs.hl7v2 import build, decode, from_tree, to_tree

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


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("ASCII~ISO IR87", "山田^太郎"),
        ("~ISO IR87", "山田"),
        ("ISO IR87", "山田 x"),
        ("ASCII~ISO IR87~ISO IR159", "丂 山田|"),
        ("ISO IR14~ISO IR87", "ﾔﾏﾀﾞ 山田"),
        ("ASCII~KS X 1001", "시험"),
        ("ASCII~GB2312", "测试"),
        ("8859/1~8859/7", "Müller αβγ é"),
        ("8859/15~ISO IR87", "€ 山田 é"),
        ("GB 18030-2000~UNICODE UTF-8", "测试𠮷"),
        ("UNICODE UTF-16", "测试𠮷"),
        ("UNICODE UTF-32", "测试𠮷"),
    ],
)
def test_several_charsets_at_once_and_wide_ones_are_written_and_read(charset: str, text: str) -> None:
    data = build([{"MSH-9": "ADT"}, {"PID-5[2].1": text, "PID-6": "end"}], charset=charset).encode()
    message = decode(data)
    assert message.get("PID", 0, 5, 2, 1) == text
    assert message.get("MSH", 0, 18, 0) == charset
    assert message.deviations == ()
    assert from_tree(to_tree(message)).text == message.text


def test_sets_are_switched_by_escapes_where_msh20_says_so() -> None:
    rows = [{"MSH-9": "ADT", "MSH-20": "2.3"}, {"PID-5.1": "山田|", "PID-6": "a^ﾔ丂"}]
    message = build(rows, charset="ASCII~ISO IR87~ISO IR159~ISO IR14")
    assert message.raw.isascii()
    assert b"\\M2442\\;3ED\\C2842\\\\F\\|" in message.raw
    assert b"\\C2849\\T\\M242844\\0!\\C2842\\" in message.raw
    again = decode(message.raw)
    assert again.get("PID", 0, 5) == "山田|"
    assert again.get("PID", 0, 6) == "a^ﾔ丂"
    with pytest.raises(EncodeError, match="cannot be written"):
        build([{"MSH-20": "2.3"}, {"PID-5": "αé"}], charset="8859/1~8859/7")


@given(st.lists(st.sampled_from("山田測試ﾔﾏé|^\\~&x "), max_size=12).map("".join), st.sampled_from(["2.3", None]))
def test_every_text_of_the_sets_comes_back(text: str, scheme: str | None) -> None:
    known = text.replace("é", "") if scheme else text
    charset = "ASCII~ISO IR87~ISO IR14" + ("" if scheme else "~8859/1")
    data = build([{"MSH-20": scheme}, {"PID-5": known, "PID-6": "x"}], charset=charset).raw
    assert (decode(data).get("PID", 0, 5) or "") == known
    assert decode(data).get("PID", 0, 6) == "x"


def test_switching_is_read_without_being_declared() -> None:
    data = f"{MSH}\rPID|||||山田|試験\r".encode("iso2022_jp")
    message = decode(data)
    assert message.get("PID", 0, 5) == "山田"
    assert message.deviations == ("no charset declared, read as iso2022_ascii",)
    greek = f"{MSH}8859/1\rPID|||||é".encode("latin-1") + b"\x1b-F\xe1|x\r\xe9"
    assert decode(greek).get("PID", 0, 5) == "éα"
    assert list(decode(greek))[2].name == "é", "a line begins in the first set"
    assert decode(f"{MSH}8859/1\rPID|||||\x1b[31mred".encode()).get("PID", 0, 5) == "\x1b[31mred"
    utf8 = f"{MSH}UNICODE UTF-8\rPID|||||\x1b$B;3|é".encode()
    assert decode(utf8).get("PID", 0, 6) == "é"


def test_escapes_switch_to_a_right_hand_set_too() -> None:
    data = f"{MSH}8859/1~8859/7\rPID|||||é\\C2D46\\".encode("latin-1") + b"\xe1\\C2D41\\\xe9|x"
    assert decode(data).get("PID", 0, 5) == "éαé"


def test_a_trap_character_in_msh_does_not_hide_the_charset() -> None:
    text = f"MSH|^~\\&|{TRAPS}医院|H1|HUB|WX|2026||ADT^A28|M1|P|2.5||||||GB 18030-2000\rPID|||||{TRAPS}|x"
    message = decode(text.encode("gb18030"))
    assert message.get("MSH", 0, 18) == "GB 18030-2000"
    assert message.get("PID", 0, 5) == TRAPS
    assert message.deviations == ()


@pytest.mark.parametrize("codec", ["utf-8-sig", *(f"utf-{n}{end}" for n in (16, 32) for end in ("", "-le", "-be"))])
def test_a_bom_and_wide_characters_are_read(codec: str) -> None:
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
