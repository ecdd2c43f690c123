"""What HL7's own tables say, as types."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import hl7apy
import pytest

from esb.codecs.hl7v2 import decode, tables
from esb.codecs.hl7v2.groups import HOLDERS
from esb.codecs.hl7v2.tables import has_message, has_segment, message_codes, message_type, segments
from esb.codecs.hl7v2.validate import validate
from esb.types import ANY, Lost, Type

ADT = message_type("ADT_A01", "2.5.1")


def at(path: str, message: Type = ADT) -> Type | Lost:
    return message.at([step for step in re.split(r"[-.]", path) if step])


def found(path: str, message: Type = ADT) -> Type:
    type_ = at(path, message)
    assert isinstance(type_, Type), type_
    return type_


@pytest.mark.parametrize(
    ("path", "sort", "title"),
    [
        ("PID-3", "structure", "Patient identifier list"),
        ("PID-3.4", "structure", "Assigning authority"),
        ("PID-3.4.2", "text", "Universal ID"),
        ("PID-7", "ts", "Date time of birth"),
        ("PID-7.1", "ts", "Time"),
        ("PV1-44", "ts", "Admit date time"),
        ("PID-3.7", "ts", "Effective date"),
        ("PID-1", "integer", "Set ID pid"),
        ("MSH-13", "decimal", "Sequence number"),
        ("PID-8", "text", "Administrative sex"),
        ("OBX-5", "any", "Observation value"),
    ],
)
def test_a_value_has_the_sort_of_its_data_type(path: str, sort: str, title: str) -> None:
    assert (found(path).sort, found(path).title) == (sort, title)


def test_required_and_many_are_those_of_the_version() -> None:
    assert found("PID-3").required
    assert found("PID-3").many
    assert not found("PID-7").many
    assert {name for name, inner in ADT.fields.items() if inner.required} == {"MSH", "EVN", "PID", "PV1"}
    assert not found("PID").many
    assert found("DG1").many
    assert not found("PID-2", message_type("ADT_A01", "2.2")).required
    assert found("PID-3", message_type("ADT_A01", "2.2")).required
    assert not found("PV1-2", message_type("ADT_A01", "2.1")).many


def test_a_segment_in_a_group_is_required_and_many_as_its_group_is() -> None:
    oru = message_type("ORU_R01", "2.5.1")
    assert {name for name, inner in oru.fields.items() if inner.required} == {"MSH", "OBR"}
    assert oru.fields["PID"].many
    assert found("OBX", oru).many
    assert not found("DSC", oru).many


@pytest.mark.parametrize("path", ["PID-8.1", "PID-8.1.1", "PID-3.1.1", "MSH-10.1.1", "PID-7.1.1"])
def test_a_value_without_parts_is_its_own_first_part(path: str) -> None:
    whole = found(path.split(".")[0])
    assert found(path).sort == ("text" if whole.sort == "structure" else whole.sort)


@pytest.mark.parametrize(
    "path",
    [
        "PID-40",
        "PID-8.3",
        "PID-3.12",
        "PID-2",
        "ZPI-3.2",
        "UAC-1",
        "RX1-3",
        "OH1-4",
        "PID-40.1",
        "OBX-5.4.2",
        "ERR-5.1",
    ],
)
def test_what_any_version_has_is_not_lost(path: str) -> None:
    assert isinstance(at(path), Type)
    assert not found(path).required


@pytest.mark.parametrize("path", ["NK1-2.14", "PID-16.22", "OBX-3.10"])
def test_components_are_those_of_the_data_type_that_came_later(path: str) -> None:
    assert isinstance(at(path, message_type("ORU_R01", "2.2")), Type)


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("PDI-3", "PDI"),
        ("PID-99", "99"),
        ("PID-3.30", "30"),
        ("PID-3.4.9", "9"),
        ("MSH-10.2", "2"),
        ("MSH-10.1.2", "2"),
        ("pid-3", "pid"),
        ("PID-3.4.1.1", "1"),
        ("PID-x", "x"),
    ],
)
def test_what_no_version_has_is_lost(path: str, step: str) -> None:
    lost = at(path)
    assert isinstance(lost, Lost)
    assert lost.step == step


def test_the_names_known_at_a_lost_place_are_those_of_the_version() -> None:
    lost = at("PDI-3")
    assert isinstance(lost, Lost)
    assert lost.known[:4] == ("MSH", "SFT", "EVN", "PID")
    assert set(segments("2.5.1")) == set(lost.known)
    assert at("PID-99") == Lost("99", tuple(map(str, range(1, 40))))


def test_an_event_alone_takes_the_structures_of_its_type_together() -> None:
    found_ones = {name for name, inner in message_type("ADT^A08", "2.5.1").fields.items() if inner.required}
    assert found_ones == {"MSH", "EVN"}
    assert message_type("ADT^A01", "2.5.1").fields["PV1"].required
    assert message_type("ADT^A08^ADT_A01", "2.5.1").fields["PV1"].required
    assert not any(inner.required for inner in message_type("ZZZ^Z01", "2.5.1").fields.values())
    assert message_type("", "2.5.1").fields["PID"].many


@pytest.mark.parametrize(
    ("version", "taken"), [("2.5.1^CHN", "2.5.1"), ("2.3.9", "2.3.1"), ("2.9", "2.8.2"), ("1.0", "2.1"), ("?", "2.8.2")]
)
def test_a_version_without_tables_is_read_as_the_one_before(version: str, taken: str) -> None:
    assert segments(version) == segments(taken)
    assert list(message_type("ADT_A01", version).fields) == list(message_type("ADT_A01", taken).fields)


def test_without_its_header_nothing_of_msh_is_required() -> None:
    body = message_type("ADT_A01", "2.5.1", header=False)
    assert not body.fields["MSH"].required
    assert not any(inner.required for inner in body.fields["MSH"].fields.values())
    assert ADT.fields["MSH"].fields["9"].required
    assert body.fields["PID"].required


def test_every_place_of_a_version_can_be_asked_for() -> None:
    seen = 0
    for version in ("2.1", "2.5.1", "2.8.2"):
        for segment, inner in message_type("", version).fields.items():
            for field in inner.fields.values():
                assert all(part.sort for part in field.fields.values())
                seen += 1
            assert list(inner.fields), (version, segment)
    assert seen > 4_000


def test_names_are_those_of_any_version() -> None:
    assert has_segment("ARV", "2.3")
    assert has_segment("OH2", "2.3")
    assert not has_segment("PDI", "2.3")
    assert has_message("OMG", "2.1")
    assert not has_message("ATD", "2.1")
    assert {"ACK", "ADT", "ORU"} <= message_codes("2.1")


def test_the_tables_have_every_version_that_hl7apy_has() -> None:
    assert set(tables.VERSIONS) == set(hl7apy.SUPPORTED_LIBRARIES)


def test_what_ends_a_group_begins_a_group_of_groups_in_the_tables() -> None:
    begins: set[str] = set()

    def collect(reference: Any) -> None:
        for _, inner, (_, most), kind in reference[1] if len(reference) > 1 else ():
            if kind == "GRP":
                parts = inner[1] or ((None, None, None, None),)
                if parts[0][3] == "SEG" and most != 1 and any(part[3] == "GRP" for part in parts):
                    begins.add(parts[0][0])
                collect(inner)

    for version in tables.VERSIONS:
        for reference in hl7apy.load_library(version).MESSAGES.values():
            collect(reference)
    assert begins == HOLDERS


def test_the_tables_are_read_only_when_they_are_asked_for() -> None:
    code = "import sys, esb.codecs.hl7v2.tables, adapters.hl7v2; sys.exit('hl7apy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_hl7apy_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "installed", lambda: False)
    for cached in (message_type, segments, message_codes):
        cached.cache_clear()
    assert message_type("ADT_A01", "2.5.1") is ANY
    assert segments("2.5.1") == message_codes("2.5.1") == frozenset()
    with pytest.raises(LookupError, match="hl7apy"):
        validate(decode(b"MSH|^~\\&|"))
    for cached in (message_type, segments, message_codes):
        cached.cache_clear()
