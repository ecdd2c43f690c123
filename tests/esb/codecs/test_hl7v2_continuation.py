"""ADD and DSC: segments and messages in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Joiner, Message, continuation, decode, joined


def header(pointer: str = "", charset: str = "") -> str:
    return f"MSH|^~\\&|LIS||||2026||ORU^R01|1|P|2.5|7|{pointer}||||{charset}\r"


def message(*lines: str, pointer: str = "", charset: str = "") -> Message:
    return decode((header(pointer, charset) + "\r".join(lines) + "\r").encode())


def test_a_segment_goes_on_in_add_where_it_was_cut() -> None:
    whole = joined([message("OBX|1|FT|X||first ha", "ADD|lf, second half|mg", "ADD|/dl", "NTE|1")])
    assert whole.raw == (header() + "OBX|1|FT|X||first half, second half|mg/dl\rNTE|1\r").encode()
    assert whole.get("OBX", 0, 6) == "mg/dl"


def test_a_message_goes_on_in_the_next_one() -> None:
    first = message("PID|1||P1", "OBX|1|FT|X||begi", "ADD|", "DSC|W4xy|F")
    second = message("ADD|nning and middle", "OBX|2|NM", "DSC|V292|F", pointer="W4xy")
    third = message("OBX|3|NM", pointer="V292")
    assert [continuation.pointer(one) for one in (first, second, third)] == ["W4xy", "V292", None]
    whole = joined([first, second, third])
    assert whole.raw == (header() + "PID|1||P1\rOBX|1|FT|X||beginning and middle\rOBX|2|NM\rOBX|3|NM\r").encode()


def test_fragments_may_be_of_ascii_while_the_whole_is_not() -> None:
    first = message("OBX|1|FT|X||a", "ADD", "DSC|2|F", charset="UNICODE UTF-8")
    second = message("ADD|测试", pointer="2", charset="UNICODE UTF-8")
    assert joined([first, second]).get("OBX", 0, 5) == "a测试"


def test_a_whole_message_stays_as_it_is() -> None:
    for one in (message("PID|1"), message("PID|1", "DSC|"), message("QAK|1", "DSC|more|I")):
        assert joined([one]) is one
        assert Joiner(1000).add(one) is one


@pytest.mark.parametrize(
    ("fragments", "reason"),
    [
        ([message("ADD|x")], "none before it"),
        ([message("DSC|1|F"), message("PID|1", pointer="2")], "fragment 2"),
        ([message("PID|1"), message("PID|1", pointer="2")], "fragment 2"),
        ([message("PID|1", "DSC|1|F")], "goes on in another"),
        ([message("DSC|1|F"), decode(b"MSH|*~\\&||||||||||||1\r")], "delimiters"),
        (
            [
                decode((header("", "8859/1") + "NTE|é\rDSC|1|F\r").encode("latin-1")),
                message("NTE|测", pointer="1", charset="UNICODE UTF-8"),
            ],
            "charset",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(fragments: list[Message], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        joined(fragments)


def test_fragments_of_several_messages_may_alternate() -> None:
    joiner = Joiner(10_000)
    assert joiner.add(message("PID|1", "DSC|a1|F")) is None
    assert joiner.add(message("PID|2", "DSC|b1|F")) is None
    assert joiner.add(message("PV1|1", "DSC|a2|F", pointer="a1")) is None
    assert joiner.waiting == ["b1", "a2"]
    second = joiner.add(message("PV1|2", pointer="b1"))
    assert second is not None
    assert [segment.text for segment in second][1:] == ["PID|2", "PV1|2"]
    first = joiner.add(message("PV2|1", pointer="a2"))
    assert first is not None
    assert [segment.text for segment in first][1:] == ["PID|1", "PV1|1", "PV2|1"]
    assert joiner.waiting == []


def test_a_joiner_keeps_to_its_limit() -> None:
    joiner = Joiner(200)
    with pytest.raises(DecodeError, match="not begun"):
        joiner.add(message("PID|1", pointer="x"))
    joiner.add(message("PID|1", "DSC|a|F"))
    with pytest.raises(DecodeError, match="another message"):
        joiner.add(message("PID|1", "DSC|a|F"))
    joiner.add(message("PID|1", "DSC|b|F"))
    with pytest.raises(DecodeError, match="too many"):
        joiner.add(message("PID|" + "x" * 100, "DSC|c|F"))
    assert joiner.waiting == ["b", "c"]


@given(st.text("ab|^~\\&测", min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_a_segment_cut_anywhere_is_whole_again(text: str, cuts: list[int]) -> None:
    """Cut within one message by ADD, and at the last place between two."""
    line = f"OBX|1|FT|X||{text}"
    places = sorted(6 + min(cut, len(line) - 6) for cut in cuts)
    parts = [line[a:b] for a, b in zip([0, *places], [*places, len(line)], strict=True)]
    lines = [parts[0], *(f"ADD|{part}" for part in parts[1:])]
    wanted = (header("", "UNICODE UTF-8") + line + "\r").encode()
    assert joined([message(*lines, charset="UNICODE UTF-8")]).raw == wanted
    first = message(*lines[:-1], "ADD|", "DSC|9|F", charset="UNICODE UTF-8") if len(lines) > 1 else None
    if first:
        assert joined([first, message(lines[-1], pointer="9", charset="UNICODE UTF-8")]).raw == wanted
