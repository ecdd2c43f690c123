"""Repetitions read as dicts, and the groups of a message."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Group, Message, Segment, decode, groups

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2" / "messages"


def message(*lines: str) -> Message:
    return decode("\r".join(["MSH|^~\\&|LIS", *lines]).encode())


def names(group: Message | Group) -> str:
    return " ".join(segment.name for segment in group)


def every_group(source: Message, *anchors: str) -> list[str]:
    return [names(group) for group in groups(source, *anchors)]


def shape(names_: str, *anchors: str) -> list[str]:
    return every_group(message(*(f"{name}|{at}" for at, name in enumerate(names_.split()))), *anchors)


class TestRepetition:
    def test_holds_the_components_that_have_a_value_by_their_number(self) -> None:
        first, second = message('PID|||P1^^""^HIS&1.2.3^PI~^^^\\T\\').segments("PID")[0].all(3)
        assert first == {"1": "P1", "4": "HIS&1.2.3", "5": "PI"}
        assert second == {"4": "&"}
        assert first.text == 'P1^^""^HIS&1.2.3^PI'
        assert second.text == "^^^&"

    def test_is_json_as_it_is(self) -> None:
        found = message("PID|||P1^^^HIS~P2").segments("PID")[0].all(3)
        assert orjson.dumps(found) == b'[{"1":"P1","4":"HIS"},{"1":"P2"}]'

    def test_gives_sub_components(self) -> None:
        (found,) = message('PID|||P1^^^HIS&1.2\\T\\3&""^PI').segments("PID")[0].all(3)
        assert [found.part(4, sub) for sub in range(5)] == ['HIS&1.2&3&""', "HIS", "1.2&3", None, None]
        assert [found.part(5, 1), found.part(5, 2), found.part(9, 1), found.part(0, 1)] == ["PI", None, None, None]

    def test_an_empty_one_between_two_keeps_its_place(self) -> None:
        assert message('PID|||P1~~""~P4').segments("PID")[0].all(3) == [{"1": "P1"}, {}, {}, {"1": "P4"}]
        assert message('PID|||""').segments("PID")[0].all(3)[0].text == ""

    @pytest.mark.parametrize("field", [4, 9])
    def test_there_is_none_of_an_empty_or_absent_field(self, field: int) -> None:
        assert message("PID|||P1|").segments("PID")[0].all(field) == []

    def test_the_delimiters_are_one_value(self) -> None:
        header = message().segments("MSH")[0]
        assert header.all(1) == [{"1": "|"}]
        assert header.all(2) == [{"1": "^~\\&"}]
        assert header.all(3) == [{"1": "LIS"}]

    def test_many_components_all_have_their_number(self) -> None:
        (found,) = message("ZZZ|" + "^".join("x" * 100)).segments("ZZZ")[0].all(1)
        assert list(found) == [str(number) for number in range(1, 101)]

    @given(st.text(alphabet='aX0D3.br\\^~&|"测', max_size=40))
    def test_reads_what_get_reads(self, field: str) -> None:
        segment = message(f"ZZZ|{field}").segments("ZZZ")[0]
        assert len(segment.all(1)) == segment.repetitions(1)
        for number, found in enumerate(segment.all(1), 1):
            assert found == {str(at): read for at in range(1, 45) if (read := valued(segment, number, at, 0))}
            for at in range(1, 5):
                assert [found.part(at, sub) for sub in range(4)] == [valued(segment, number, at, s) for s in range(4)]


def valued(segment: Segment, repetition: int, component: int, sub: int) -> str | None:
    text = segment.get(1, repetition, component, sub)
    return None if text == '""' else text


class TestGroups:
    def test_orders_with_their_results(self) -> None:
        assert shape("PID PV1 ORC OBR NTE OBX OBX ORC OBR OBX", "ORC", "OBR") == ["ORC OBR NTE OBX OBX", "ORC OBR OBX"]

    def test_an_anchor_that_is_left_out_makes_no_difference(self) -> None:
        assert shape("PID OBR OBX OBR ORC OBR OBR", "ORC", "OBR") == ["OBR OBX", "OBR", "ORC OBR", "OBR"]

    def test_what_stands_between_two_anchors_parts_no_order(self) -> None:
        assert shape("ORC TQ1 OBR OBX ORC TQ1 OBR", "ORC", "OBR") == ["ORC TQ1 OBR OBX", "ORC TQ1 OBR"]

    def test_the_next_patient_ends_the_group(self) -> None:
        both = "PID NTE PV1 OBR OBX NTE PID NTE PV1 OBR OBX"
        assert shape(both, "OBR") == ["OBR OBX NTE", "OBR OBX"]
        assert shape(both, "PID") == ["PID NTE PV1 OBR OBX NTE", "PID NTE PV1 OBR OBX"]

    def test_the_next_specimen_ends_the_group(self) -> None:
        assert shape("SPM SAC OBR OBX SPM SAC OBR", "OBR") == ["OBR OBX", "OBR"]
        assert shape("PID OBR OBX SPM OBX SPM OBR", "OBR") == ["OBR OBX SPM OBX SPM", "OBR"]

    @pytest.mark.parametrize("name", ["NTE", "PRT", "AL1", "ZAA"])
    def test_what_may_stand_anywhere_ends_nothing(self, name: str) -> None:
        assert shape(f"PID {name} OBR {name} OBX", "OBR") == [f"OBR {name} OBX"]

    def test_groups_hold_groups(self) -> None:
        source = message("OBR|1", "NTE|1", "OBX|1||A", "NTE|2", "OBX|2||B", "OBR|2", "OBX|1||C")
        found = [[result.get("OBX", 0, 3) for result in groups(order, "OBX")] for order in groups(source, "OBR")]
        assert found == [["A", "B"], ["C"]]
        assert every_group(source, "OBX") == ["OBX NTE", "OBX", "OBX"]

    def test_a_group_is_read_like_a_message(self) -> None:
        source = message("OBR|1||A", "OBX|1||X^x", "OBX|2||Y", "OBR|2||B")
        first = groups(source, "OBR")[0]
        assert [segment.get(3) for segment in first.segments("OBX")] == ["X^x", "Y"]
        assert first.get("OBX", 0, 3, 1, 2) == "x"
        assert first.get("OBX", 2, 3) is None
        assert first.get("PID", 0, 3) is None
        assert first.segments("OBX")[0] is source.segments("OBX")[0]

    def test_there_is_none_without_an_anchor(self) -> None:
        assert shape("PID PV1", "OBR") == []
        assert shape("PID OBR") == []

    @pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
    @pytest.mark.parametrize("anchors", [("ORC", "OBR"), ("OBX",), ("PID",), ("RGS",), ("IN1",)])
    def test_every_segment_of_the_corpus_from_the_first_anchor_is_in_one_group(self, anchors: tuple[str, ...]) -> None:
        seen = 0
        for source in corpus():
            found = [segment for group in groups(source, *anchors) for segment in group]
            order = list(source)
            first = next((at for at, segment in enumerate(order) if segment.name in anchors), len(order))
            head = {segment.name for segment in order[:first]}
            left = [segment for segment in order[first:] if segment not in found]
            assert len(set(map(id, found))) == len(found)
            assert found == [segment for segment in order[first:] if segment not in left]
            assert not left or (left[0].name in head and not any(segment.name in anchors for segment in left))
            seen += bool(found)
        assert seen >= 10


def corpus() -> list[Message]:
    found = []
    for path in sorted(CORPUS.rglob("*.hl7")):
        try:
            found.append(decode(path.read_bytes()))
        except DecodeError:
            continue
    return found


def test_the_segments_of_a_name_are_asked_for_as_of_a_dict() -> None:
    whole = message("PID|1", "OBX|1", "OBX|2")
    (group,) = groups(whole, "PID")
    for source in (whole, group):
        assert [segment.get(1) for segment in source["OBX"]] == ["1", "2"]
        with pytest.raises(KeyError, match="OBR"):
            source["OBR"]
