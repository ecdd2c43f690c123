"""MLLP frames."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Framer, decode, framed

SHARED = Path(__file__).resolve().parents[4] / "shared"


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
    endless.feed(b"\x0b" + b"A" * 100 + b"\x1c")
    for _ in range(2):
        with pytest.raises(DecodeError, match="longer"):
            endless.feed(b"A")
    assert endless.held == 102, "what comes after the end is not kept"
    with pytest.raises(DecodeError, match="longer"):
        Framer(100).feed(framed(b"A" * 101))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_message_may_be_as_long_as_it_may_however_it_arrives(size: int) -> None:
    """Also behind one that was begun and not ended; the longest that is dropped is no longer either."""
    stream = framed(b"A" * 100) + (b"\x0b" + b"B" * 100) * 3 + b"\x0b" + b"C" * 100 + b"\x1c\n" + b"?" * 100
    framer = Framer(100)
    found = [message for at in range(0, len(stream), size) for message in framer.feed(stream[at : at + size])]
    assert found == [b"A" * 100, b"C" * 100]
    assert framer.dropped == b"B" * 100, "as much as is kept of it"
    for lost in (b"\x0b" + b"B" * 101 + b"\x0bC\x1c\r", b"?" * 101 + b"\x0bC\x1c\r"):
        framer = Framer(100)
        for at in range(0, len(lost), size):
            with contextlib.suppress(DecodeError):
                assert framer.feed(lost[at : at + size]) == []
        assert "longer" in str(framer.failure)


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


def test_bytes_before_a_message_are_searched_once_however_they_come() -> None:
    framer = Framer(10_000)
    for byte in b"x" * 500 + b"\x1c":
        assert framer.feed(bytes([byte])) == []
    assert framer.feed(b"\x0bMSH|1\x1c\r") == [b"MSH|1"]
    assert framer.dropped == b"x" * 500 + b"\x1c"
    for byte in b"y" * 500 + b"\x1c":
        framer.feed(bytes([byte]))
    with pytest.raises(DecodeError, match="VT is missing"):
        framer.feed(b"\r")
