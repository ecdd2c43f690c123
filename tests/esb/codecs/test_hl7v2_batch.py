"""Files of messages: envelopes, none, frames, any size."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs.hl7v2 import Batch, decode, enveloped, framed
from esb.codecs.hl7v2 import batch as module

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2"
ONE = b"MSH|^~\\&|LIS||||||ORU^R01|1\rPID|1||P1\r"
TWO = b"MSH|^~\\&|LIS||||||ORU^R01|2\rOBX|1|NM|WBC||4.2\r"


WRONG_COUNTS = {
    "FHS-801a5121c0.hl7": "BTS-1 says 25, but there are 20 messages",
    "FHS-64502bae1a.hl7": "BTS-1 says 25, but there are 1 messages",
    "BHS-8e4137f624.hl7": "BTS-1 says 3, but there are 2 messages",
    "BHS-2091410c33.hl7": "BTS-1 says 1, but there are 0 messages",
    "BHS-86fb89bf14.hl7": "BTS-1 says 1, but there are 0 messages",
    "FHS-2297728e78.hl7": "BTS-1 says 1, but there are 0 messages",
    "FHS-12afa975ff.hl7": "BTS-1 says 1, but there are 0 messages",
}
"""Those of the corpus. The last four have no MSH or a second header before their only message's segments."""


class Slow(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most)


def read(data: bytes, limit: int = module.LIMIT, most: int = 1 << 20) -> tuple[list[bytes], Batch]:
    batch = Batch(Slow(data, most), limit)
    return [found.raw for found in batch], batch


def texts(batch: Batch) -> list[str]:
    return [fault.text for fault in batch.faults]


def test_what_was_put_into_an_envelope_comes_out() -> None:
    data = b"".join(enveloped([ONE, TWO[:-1]], ["LIS", "LAB"]))
    assert data.startswith(b"FHS|^~\\&|LIS|LAB\rBHS|^~\\&|LIS|LAB\rMSH")
    assert data.endswith(b"4.2\rBTS|2\rFTS|1\r")
    found, batch = read(data)
    assert found == [ONE, TWO]
    assert (batch.messages, batch.batches, batch.files, batch.faulty) == (2, 1, 1, 0)


def test_a_message_knows_its_place_and_its_headers() -> None:
    data = b"FHS|^~\\&|F\rBHS|^~\\&|B1\r" + ONE + b"BTS|1\rBHS|^~\\&|B2\r" + TWO + b"BTS|1\rFTS|2\r"
    first, second = Batch(io.BytesIO(data))
    assert (first.number, first.file_header, first.batch_header) == (1, b"FHS|^~\\&|F", b"BHS|^~\\&|B1")
    assert (second.number, second.batch_header) == (2, b"BHS|^~\\&|B2")
    assert data[second.offset :].startswith(second.raw)
    assert second.message().get("OBX", 0, 5) == "4.2"


@pytest.mark.parametrize("most", [1, 2, 3, 7, 33, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        ONE + TWO,
        b"\r\n\r\n" + ONE + b"\n\n" + TWO + b"\r\n\x1a",
        (ONE + TWO).replace(b"\r", b"\n"),
        (ONE + TWO).replace(b"\r", b"\r\n"),
        framed(ONE) + framed(TWO),
        framed(ONE) + b"\r\n" + framed(TWO) + b"\r\n",
        b"\x0b" + ONE + b"\x1c\x0b" + TWO + b"\x1c",
        b"\xef\xbb\xbf" + ONE + b"\xef\xbb\xbf" + TWO,
        ONE + b"  " + TWO,
        ONE + b"\0\0\0\0",
    ],
)
def test_messages_are_told_apart_without_an_envelope(data: bytes, most: int) -> None:
    found, batch = read(data, most=most)
    ids = [decode(raw).get("MSH", 0, 10) for raw in found]
    assert ids == ["1", "2"][: len(ids)]
    assert len(ids) == data.count(b"MSH")
    assert batch.faults == []
    assert all(decode(raw).encode() == raw and not raw.endswith((b"\x1c", b"\x0b", b"\0")) for raw in found)


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (b"BHS|^~\\&\r" + ONE + b"BTS|2\r", ["BTS-1 says 2, but there are 1 messages"]),
        (b"BHS#^~\\&\r" + ONE + b"BTS#1#c\r", []),
        (b"BHS|^~\\&\r" + ONE + b"BTS||none\r", []),
        (b"BHS|^~\\&\r" + ONE + b"BTS|x\r", ["BTS-1 is no number"]),
        (b"BHS|^~\\&\r" + ONE + b"BTS\r", []),
        (b"FHS|^~\\&\r" + ONE + b"FTS|1", ["FTS-1 says 1, but there are 0 batches"]),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + ONE, ["BHS without BTS", "FHS without FTS"]),
        (ONE + b"BTS|1\r", ["BTS without BHS"]),
        (ONE + b"FTS\r", ["FTS without FHS"]),
        (b"BHS|^~\\&\rBHS|^~\\&\r" + ONE + b"BTS|1\r", ["BHS without BTS"]),
        (b"junk\r" + ONE, ["what follows the beginning is no message"]),
        (b"BHS|^~\\&\rEVN|A04\rBTS|0\r", ["what follows BHS is no message"]),
        (framed(ONE) + b"stray" + framed(TWO), ["what follows MSH is no message"]),
        (b"<html>", ["what follows the beginning is no message"]),
        (b"", []),
    ],
)
def test_what_does_not_fit_is_reported_and_the_messages_read(data: bytes, faults: list[str]) -> None:
    found, batch = read(data)
    assert len(found) == data.count(b"MSH")
    assert texts(batch) == faults


def test_files_one_after_another_count_for_themselves() -> None:
    one = b"".join(enveloped([ONE]))
    found, batch = read(one * 3)
    assert found == [ONE] * 3
    assert (batch.files, batch.batches, batch.faulty) == (3, 3, 0)


def test_a_message_that_is_too_long_is_left_out_and_the_next_one_read() -> None:
    long = b"MSH|^~\\&|" + b"x" * 10_000 + b"\r"
    for most in (100, 1 << 20):
        found, batch = read(b"BHS|^~\\&\r" + ONE + long + TWO + b"BTS|3\r", limit=2000, most=most)
        assert found == [ONE, TWO]
        assert texts(batch) == ["message 2 is longer than 2000 bytes and left out"]
        assert batch.faults[0].offset == 9 + len(ONE)


def test_faults_are_counted_and_kept_up_to_a_hundred() -> None:
    _, batch = read(b"BTS|1\r" * 500)
    assert (batch.faulty, len(batch.faults)) == (1000, 100)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_file_of_wide_characters_is_read_as_utf8(codec: str) -> None:
    text = "FHS|^~\\&\rMSH|^~\\&|||||||||||||||||UNICODE UTF-16\rPID|||||测试\rFTS|0\r"
    batch = Batch(Slow(text.encode(codec), 5))
    (found,) = batch
    assert found.message().get("PID", 0, 5) == "测试"
    assert batch.faults == []


def test_memory_is_that_of_a_message_however_long_the_file() -> None:
    class Endless:
        left = 40

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            return (ONE * (size // len(ONE) + 1))[:size] if self.left >= 0 else b""

    tracemalloc.start()
    count = sum(1 for _ in Batch(Endless()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 100_000
    assert peak < 3_000_000


@given(
    st.lists(
        st.sampled_from([ONE, TWO, b"\x0b", b"\x1c\r", b"BTS|1\r", b"FHS|^~\\&\r", b"\n", b"MSH", b"x|", b"\xff"])
    ),
    st.integers(1, 60),
)
def test_how_the_bytes_arrive_changes_nothing(parts: list[bytes], most: int) -> None:
    data = b"".join(parts)
    whole, pieces = read(data), read(data, most=most)
    assert whole[0] == pieces[0]
    assert whole[1].faults == pieces[1].faults


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_every_batch_of_the_corpus_has_its_messages() -> None:
    rows = [json.loads(line) for line in (CORPUS / "batch-index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 42
    wrong: dict[str, str] = {}
    for row in rows:
        with (CORPUS / "batch" / row["id"]).open("rb") as file:
            batch = Batch(file)
            found = list(batch)
        assert len(found) == batch.messages == row["msh_segments"] == row["hapi_iterator_messages"], row["id"]
        assert all(one.message("8859/1").get("MSH", 0, 2) for one in found)
        wrong |= {row["id"].partition("/")[2]: text for text in texts(batch) if text.startswith("BTS-1 says")}
    assert wrong == WRONG_COUNTS
