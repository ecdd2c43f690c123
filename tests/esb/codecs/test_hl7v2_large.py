"""Messages of megabytes: the same values, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Message, decode, message, path, to_tree
from esb.codecs.hl7v2 import large as large_messages
from esb.codecs.hl7v2.large import LargeMessage
from esb.codecs.hl7v2.structure import MOST_SEGMENTS, structure
from esb.codecs.hl7v2.validate import validate

HEAD = b"MSH|^~\\&|LIS||||||ORU^R01|1|P|2.5\r"
SIZE = 2_000_000
PATHS = ("MSH-7", "MSH-10", "MSH-9.1", "MSH-9.2", "PID-3.1", "PID-3.4", "PID-5.1", "PID-7", "PV1-3.1", "OBX-1")


def large(data: bytes, charset: str = "", long: int = 1 << 16) -> Message:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "LARGE", 0)
        patch.setattr(large_messages, "_LONG", long)
        return decode(data, charset)


LINES = st.sampled_from(
    [
        "PID|1||P1^^^H&1",
        "OBX|1|NM",
        "OBX|2|TX||测试\\X41\\",
        "NTE|珅|𠮷|x||丄丆|",
        "OBX",
        " ",
        "",
        "\t",
        "Z1|é",
        "\u2028|x",
        "PID \t",
        "X|" * 30,
    ]
)
DATA = st.tuples(
    st.sampled_from(["", "\ufeff", "\r\n "]),
    st.sampled_from(
        ["MSH|^~\\&|A", "MSH|^~\\&#|A|||||||||||||||GB 18030-2000", "MSH#^~\\&", "MSH|^", "FHS|^~\\&", "MSH"]
    ),
    st.lists(st.tuples(st.sampled_from(["\r", "\n", "\r\n", "\r\r"]), LINES), max_size=8),
    st.sampled_from(["", "\r", "\n\n", " \t\r"]),
    st.sampled_from(["utf-8", "gb18030", "utf-16", "utf-32-be"]),
)


@settings(deadline=None, max_examples=200)
@given(DATA, st.sampled_from([0, 1 << 16]))
def test_a_large_message_is_read_as_any_other(
    made: tuple[str, str, list[tuple[str, str]], str, str], long: int
) -> None:
    lead, header, lines, end, codec = made
    data = (lead + header + "".join(mark + line for mark, line in lines) + end).encode(codec)
    try:
        small = decode(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            large(data)
        return
    found = large(data, long=long)
    assert isinstance(found, LargeMessage)
    assert (found.raw, found.text, found.deviations) == (small.raw, small.text, small.deviations)
    assert [segment.text for segment in found] == [segment.text for segment in small]
    assert [segment.fields() for segment in found] == [segment.fields() for segment in small]
    for name in ("MSH", "PID", "OBX", "Z1", "PID \t", "\u2028"):
        assert [segment.text for segment in found.segments(name)] == [one.text for one in small.segments(name)]
        for occurrence in range(3):
            assert found.get(name, occurrence, 3, 1, 4, 2) == small.get(name, occurrence, 3, 1, 4, 2)
    assert validate(found) == validate(small)
    laid_out, other = structure(found), structure(small)
    assert (laid_out and laid_out.faults) == (other and other.faults)
    assert to_tree(found)["segments"] == to_tree(small)["segments"]


HOSTILE = {
    "separators": HEAD + b"PID" + b"|" * SIZE,
    "segments": HEAD + b"A|\r" * (SIZE // 3),
    "segments of one name": HEAD + b"PID|\n" * (SIZE // 5),
    "names": HEAD + b"".join(b"%06d|\r" % number for number in range(SIZE // 8)),
    "repetitions": HEAD + b"PID|||" + b"~" * SIZE,
    "components": HEAD + b"PID|||" + b"^" * SIZE,
    "escapes": HEAD + b"PID|||||" + b"\\F\\" * (SIZE // 3),
    "hexadecimal": HEAD + b"PID|||||" + b"\\X41\\" * (SIZE // 5),
    "one wide character": HEAD + b"NTE|||" + b"x" * SIZE + "𠮷".encode(),
    "Chinese": HEAD + b"NTE|||" + "测试".encode("gb18030") * (SIZE // 4),
    "a document": HEAD + b"OBX|1|ED|A||^^^Base64^" + b"QUJD" * (SIZE // 4) + b"|||||F\r",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_memory_is_at_most_four_times_the_message(name: str) -> None:
    data = HOSTILE[name]
    tracemalloc.start()
    found = decode(data)
    values = [path(place)(found) for place in PATHS]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values[1] == "1"
    assert peak <= 4 * len(data)


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_wide_character_costs_nothing_until_its_field_is_read(codec: str) -> None:
    data = HEAD.replace(b"2.5", b"2.5||||||" + codec.encode()) + b"NTE|1|P|" + b"x" * SIZE + "𠮷".encode(codec)
    tracemalloc.start()
    (note,) = decode(data).segments("NTE")
    name, peak = note.name, tracemalloc.get_traced_memory()[1]
    text = note.get(3)
    assert tracemalloc.get_traced_memory()[1] <= 5 * len(data) + 200_000
    tracemalloc.stop()
    assert (name, text) == ("NTE", "x" * SIZE + "𠮷")
    assert peak <= 1.5 * len(data)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "one wide character"])
@pytest.mark.parametrize("look", [validate, structure])
def test_looking_at_all_of_a_message_takes_at_most_four_times_its_bytes(
    name: str, look: Callable[[Message], object]
) -> None:
    data = HOSTILE[name]
    look(decode(HEAD))
    tracemalloc.start()
    look(decode(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * len(data) + 1_000_000


def test_more_segments_than_anybody_sends_are_not_laid_out() -> None:
    found = decode(HEAD + b"OBX|1\r" * (MOST_SEGMENTS + 1))
    assert structure(found) is None
    assert [fault.text for fault in validate(found)] == ["has more than 20,000 segments behind it: nobody looked"]


def test_fields_past_the_thousandth_are_found_whole() -> None:
    data = HEAD + b"ZZZ" + b"|x" * 5000 + b"\r"
    (segment,) = decode(data).segments("ZZZ")
    assert segment.get(999) == "x"
    assert segment.get(1001) is None
    assert len(segment.fields()) == 5001
    assert "".join(segment.fields()[1:]) == "x" * 5000
    wide = decode(b"MSH|^~\\&" + b"|x" * 5000).segments("MSH")[0]
    assert wide.fields()[:4] == ["MSH", "|", "^~\\&", "x"]
    assert len(wide.fields()) == 5003
