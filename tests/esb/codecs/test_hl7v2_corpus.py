"""Every real message of the shared corpus: the same bytes back, and every value on which two libraries agree."""

from __future__ import annotations

import json

import pytest

from esb.codecs.hl7v2 import decode
from tests.esb.codecs.hl7_corpus import CORPUS, Figures, measure, read, rows, value

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")

NO_MESSAGES = {
    "hapifhir--hapi-hl7v2/ADTA31-dc9df6449a.hl7": "MSH-2 has 8 characters",
    "cdcgov--prime-reportstream/ELRRECEI-b2e0487f47.hl7": "MSH-2 has 41 characters",
    "cosyte--hl7/UNK-b7b8e54f09.hl7": "MSH-1 is no field separator",
}
"""``&amp;`` for ``&``, MSH-1 left out, VT as MSH-1: delimiters that would cut every value wrongly."""

DECIDED = {
    "cosyte--hl7/ADTA01-6a0682fba7.hl7 PID#0.5[1].1.1": "\\M2442\\ABC\\M2842\\",
    "cosyte--hl7/ADTA01-dc844c6a6c.hl7 MSH#0.10[1].1.1": "IDAQ\\H\\z",
    "nhapinet--nhapi/ORUR01-5d18fe7d29.hl7 OBX#0.5[1].1.1": "This\\.br\\is\\.br\\A Test",
    "cosyte--hl7/ORUR01-8c28e74744.hl7 OBX#0.5[1].1.1": (
        "\\.in\\indented\\.sp\\\\.ce\\centered\\.fi\\reflow\\.nf\\preformatted"
    ),
    "cosyte--hl7/ORUR01-98e5103f1d.hl7 OBX#0.5[1].1.1": "Some text with \\Z99\\ embedded",
    "cosyte--hl7/ORUR01-e7a56af70a.hl7 OBX#0.5[1].1.1": "Ratio 1^128 and unit mg|dL ends with !",
    "cdcgov--prime-reportstream/ORUR01-d2fb09d641.hl7 NTE#0.3[1].1.1": (
        "Interpretation: \r\nNormal <5.7\r\nPrediabetes: 5.7-6.4\r\nDiabetic: &#8805;6.5"
    ),
    "microsoft--fhir-converter/ADTA04-653684ec26.hl7 #0.7[1].2.1": "Johnson",
}
"""Where python-hl7 and HAPI differ: formatting stays, hexadecimal is decoded, a stray line is a segment of its own."""


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure()


def test_every_message_gives_its_bytes_back_or_a_typed_error(figures: Figures) -> None:
    assert figures.counts["messages"] == 1046
    assert figures.counts["same bytes"] == 1043
    assert figures.changed == []
    assert figures.errors.keys() == NO_MESSAGES.keys()
    assert all(figures.errors[name].startswith(reason) for name, reason in NO_MESSAGES.items())


def test_every_value_agrees_on_which_two_libraries_agree(figures: Figures) -> None:
    assert figures.disagreed == []
    assert figures.counts["agreed"] > 52_000


def test_every_batch_gives_its_messages(figures: Figures) -> None:
    assert figures.counts["batch files"] == 42
    assert figures.miscounted == []


def test_most_structures_are_known_and_many_are_followed(figures: Figures) -> None:
    assert figures.counts["known structures"] > 900
    assert figures.counts["laid out without a fault"] > 500


def test_where_libraries_differ_ours_is_as_decided() -> None:
    index = {entry["id"]: entry for entry in rows("index.jsonl")}
    for key, expected in DECIDED.items():
        name, _, place = key.partition(" ")
        assert value(read(index[name]), place) == expected, key


def test_the_authored_charsets() -> None:
    for entry in json.loads((CORPUS / "authored-charsets" / "manifest.json").read_text(encoding="utf-8")):
        data = (CORPUS / "authored-charsets" / entry["file"]).read_bytes()
        message = decode(data)
        assert message.encode() == data
        assert len(list(message)) == entry["n_segments"]
        for place, expected in entry["agree"].items():
            assert value(message, place) == expected, (entry["id"], place)
