"""The oracles of ``tests.fuzz.hl7`` on what Hypothesis makes, and on what fuzzing found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import hl7_oracles as oracles

FRAMES = st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"a", b"bcdefgh"]), max_size=40).map(
    b"".join
)
FOUND = {
    "a segment that hl7apy has no fields of": (oracles.checked, b"MSH|^~\\&|A\rMFE|1\rANYHL7SEGMENT|1\rZ99|1\rCTR|1"),
    "the first bytes of a file in pieces": (oracles.batch, b"\0M\0S\0H\0|\0^\0~\0\\\0&\0|\0A"),
    "a control character of ISO 8859 beside a switched set": (
        oracles.checked,
        b"MSH|^~\\&|||||||||||||||||8859/1\rPID|1\rADD|\x1b$B\x1b(B\xff\x84\r",
    ),
    "a frame that never began after three that did": (oracles.stream, b"\x0bA\x1c\r\x0bB\x1c\r\x7f|1\r\x1c\r"),
}

WORDS = r"MSH|^~\&| MSH|^~\&#|A# | ^ ~ & \ \X4 \M2442\ \C2842\ \.br\ 测 ADD| DSC|1|F FHS|^~\& BHS| BTS|2 FTS|1"
PIECES = st.sampled_from(
    [word.encode() for word in f"{WORDS} |ORU^R01| |2.5| PID|1||P1 OBX|1|NM|A||1".split()]
    + [bytes((byte,)) for byte in b"\r\n\x0b\x1c\xff\x81\0"]
    + [b"\x1c\r", b"\x1b$B", b"\x1b(B", b"\x1b-A"]
)
DATA = (
    st.binary(max_size=60)
    | st.lists(PIECES, max_size=25).map(b"".join)
    | st.binary(max_size=40).map(b"MSH|^~\\&".__add__)
)


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found_stays_mended(name: str) -> None:
    oracle, data = FOUND[name]
    oracle(data)


ORACLES = [oracles.message, oracles.checked, oracles.stream, oracles.frames, oracles.batch, oracles.written]


@pytest.mark.parametrize("oracle", ORACLES)
def test_whatever_comes_in_is_read_or_refused(oracle: Callable[[bytes], object]) -> None:
    @settings(max_examples=150)
    @given(DATA)
    def holds(data: bytes) -> None:
        oracle(data)

    holds()


@settings(max_examples=400)
@given(st.binary(min_size=7, max_size=7), FRAMES)
def test_a_framer_reads_by_the_book_however_its_bytes_come(how: bytes, stream: bytes) -> None:
    oracles.frames(how + stream)
