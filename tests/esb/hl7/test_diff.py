"""``esb hl7 diff``: one change is one difference."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from esb.codecs.hl7v2 import decode
from esb.hl7.diff import Difference, differences
from esb.hl7.leaves import USUAL, Ignored
from tests.esb.hl7.commands import CORPUS, esb

HEAD = "MSH|^~\\&|A|B|C|D|20240101||ORU^R01|1|P|2.5"
LINES = [
    HEAD,
    "PID|1||P1^^^HIS||Doe^J",
    "PV1|1|I",
    "ORC|RE|1",
    "OBR|1|1||GLU",
    "OBX|1|NM|GLU||5",
    "OBX|2|NM|NA||140",
    "NTE|1||x",
    "ORC|RE|2",
    "OBR|2|2||K",
    "OBX|1|NM|K||4",
]


def compared(a: Sequence[str], b: Sequence[str], *ignore: str) -> list[Difference]:
    one, other = (decode("\r".join(lines).encode()) for lines in (a, b))
    return differences(one, other, Ignored((*USUAL, *ignore)))


def edited(*edits: tuple[str, str]) -> list[str]:
    text = "\n".join(LINES)
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text.split("\n")


def test_the_same_message_has_none_whatever_its_delimiters_and_its_empty_end() -> None:
    other = [line.translate(str.maketrans("^~", "*!")) + "||" for line in LINES]
    assert compared(LINES, other) == []


def test_when_it_was_made_and_its_number_do_not_count() -> None:
    other = edited(("20240101", "20250101"), ("ORU^R01|1|", "ORU^R01|2|"))
    assert compared(LINES, other) == []
    a, b = (decode("\r".join(lines).encode()) for lines in (LINES, other))
    assert [one.path for one in differences(a, b, Ignored(()))] == ["MSH-7", "MSH-10"]


@pytest.mark.parametrize(
    ("edits", "path", "a", "b"),
    [
        ([("Doe^J", "Doe^K")], "PID-5.2", "J", "K"),
        ([("HIS", "HIS&1.2")], "PID-3.4.2", None, "1.2"),
        ([("P1^^^HIS", "P1^^^HIS~P2")], "PID-3[2]", None, "P2"),
        ([("||140", "||141")], "OBX[1]-5", "140", "141"),
        ([("|I\n", "|\n")], "PV1-2", "I", None),
    ],
)
def test_a_change_is_told_with_its_path(edits: list[tuple[str, str]], path: str, a: str | None, b: str | None) -> None:
    assert compared(LINES, edited(*edits)) == [Difference("changed", path, a, b)]


def test_an_inserted_result_is_one_difference_and_the_numbers_after_it_are_none() -> None:
    other = edited(("OBX|2|NM|NA", "OBX|2|NM|CL||99\nOBX|3|NM|NA"))
    assert compared(LINES, other) == [Difference("added", "OBX[1]", segments=("OBX|2|NM|CL||99",))]
    assert compared(other, LINES) == [Difference("removed", "OBX[1]", segments=("OBX|2|NM|CL||99",))]


def test_a_set_id_that_did_not_only_move_is_a_difference() -> None:
    other = edited(("OBX|2|NM|NA", "OBX|2|NM|CL||99\nOBX|7|NM|NA"))
    assert [one.path for one in compared(LINES, other)] == ["OBX[1]", "OBX[1]-1"]


def test_an_inserted_order_with_its_results_is_one_difference() -> None:
    order = ["ORC|RE|3", "OBR|2|3||CRP", "OBX|1|NM|CRP||9"]
    other = [*LINES[:8], *order, LINES[8], "OBR|3|2||K", LINES[10]]
    assert compared(LINES, other) == [Difference("added", "ORC[1]", segments=tuple(order))]


def test_an_order_like_its_neighbours_begins_with_its_first_segment() -> None:
    order = ["ORC|RE|2", "OBR|2|2||K", "OBX|1|NM|K||4"]
    found = compared(LINES, [*LINES, *order])
    assert [(one.kind, one.path, one.segments) for one in found] == [("added", "ORC[2]", tuple(order))]
    removed = compared([*LINES[:8], *order, *LINES[8:]], LINES)
    assert [(one.kind, one.segments) for one in removed] == [("removed", tuple(order))]


def test_another_result_in_the_place_of_one_is_not_that_one_changed() -> None:
    found = compared(LINES, edited(("OBX|2|NM|NA||140", "OBX|2|NM|CL||99")))
    assert sorted((one.kind, one.segments) for one in found) == [
        ("added", ("OBX|2|NM|CL||99",)),
        ("removed", ("OBX|2|NM|NA||140",)),
    ]


def test_ignored_paths_are_segments_fields_or_components() -> None:
    other = edited(("Doe^J", "Roe^K"), ("|x", "|y"), ("HIS", "LIS"))
    assert [one.path for one in compared(LINES, other, "NTE", "PID-5")] == ["PID-3.4"]
    assert [one.path for one in compared(LINES, other, "NTE-3", "PID-5.1", "PID-3.4")] == ["PID-5.2"]
    with pytest.raises(ValueError, match="is no field"):
        Ignored(["PID-0"])


def test_every_inserted_segment_is_found_wherever_it_is() -> None:
    chosen = random.Random(4)
    for _ in range(200):
        at, number = chosen.randrange(2, len(LINES) + 1), chosen.randrange(1000)
        new = f"ZZZ|{number}"
        assert compared(LINES, [*LINES[:at], new, *LINES[at:]]) == [Difference("added", "ZZZ", segments=(new,))]


def test_long_messages_are_aligned_in_reasonable_time() -> None:
    results = [f"OBX|{number}|NM|T{number}||{number * 7}" for number in range(1, 800)]
    other = [*results[:300], "OBX|301|NM|NEW||1", *results[300:500], *results[501:]]
    found = compared([HEAD, *results], [HEAD, *other])
    assert [(one.kind, one.segments) for one in found if one.kind != "changed"] == [
        ("added", ("OBX|301|NM|NEW||1",)),
        ("removed", ("OBX|501|NM|T501||3507",)),
    ]


def test_the_command_tells_and_exits_with_1(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("\r".join(LINES), encoding="utf-8")
    b.write_text("\r".join(edited(("Doe", "Roe"))) + "\r" + "\r".join(LINES), encoding="utf-8")
    same = esb("hl7", "diff", a, a)
    assert (same.stdout, same.exit_code) == ("", 0)
    found = esb("hl7", "diff", a, b)
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "message 1: PID-5.1: 'Doe' -> 'Roe'",
        f"{a} has 1 messages, {b} has 2",
    ]
    tree = json.loads(esb("hl7", "diff", "--json", a, b).stdout)
    assert tree["messages"] == [1, 2]
    assert tree["differences"] == [{"message": 1, "kind": "changed", "path": "PID-5.1", "a": "Doe", "b": "Roe"}]
    assert esb("hl7", "diff", "--ignore", "pid", a, b).exit_code == 2


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_no_message_of_the_corpus_differs_from_itself_and_none_hangs() -> None:
    before = None
    for file in sorted((CORPUS / "messages").rglob("*OR*.hl7")):
        try:
            message = decode(file.read_bytes())
        except ValueError:
            continue
        assert differences(message, message, Ignored(())) == []
        if before is not None:
            differences(before, message, Ignored(()))
        before = message
