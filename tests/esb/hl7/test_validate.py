"""``esb hl7 validate``: findings with their place, counts, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.esb.hl7.commands import ADT, esb, lines

pytest.importorskip("hl7apy", reason="hl7apy is not installed")

WRONG = ADT.replace("|ADT^A08^ADT_A01|C1|", "|ADT^A08^ADT_A01||").replace("19491231", "19491331")
SOUND = ADT + "PV1|1|I\r"


def test_findings_have_their_place_and_their_code(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes((SOUND + WRONG).encode())
    found = esb("hl7", "validate", tmp_path)
    assert found.exit_code == 1
    told = found.stdout.splitlines()
    assert f"{tmp_path}/a.hl7:2: MSH-10 Message control id is missing (101)" in told
    assert any(line.startswith(f"{tmp_path}/a.hl7:2: PID-7") and line.endswith("(102)") for line in told)
    assert "2 messages, 1 wrong; 3 errors, 0 warnings" in told
    assert told[-1] == "102 Data type error: 1"


def test_lines_of_json_have_the_location_of_err_2_and_the_last_one_the_counts(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes((SOUND + WRONG).encode())
    first, second, counts = lines(esb("hl7", "validate", "--json", tmp_path))
    assert first["faults"] == []
    assert second["offset"] == len(SOUND.encode())
    fault = next(fault for fault in second["faults"] if fault["path"] == "MSH-10")
    assert fault | {"text": ""} == {
        "path": "MSH-10",
        "location": {"1": "MSH", "2": "1", "3": "10"},
        "code": 101,
        "meaning": "Required field missing",
        "severity": "E",
        "text": "",
    }
    assert counts["counts"] == {
        "messages": 2,
        "wrong": 1,
        "unreadable": 0,
        "errors": 3,
        "warnings": 0,
        "codes": {"100": 1, "101": 1, "102": 1},
    }


def test_a_sound_message_ends_with_0_and_one_that_cannot_be_read_with_1(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(SOUND.encode())
    assert esb("hl7", "validate", tmp_path / "a.hl7").exit_code == 0
    (tmp_path / "b.hl7").write_bytes(b"nonsense")
    found = esb("hl7", "validate", tmp_path)
    assert found.exit_code == 1
    assert f"{tmp_path}/b.hl7:1: does not begin with MSH (byte 0)" in found.stdout
    assert "1 places unreadable" in found.stdout


def test_a_version_and_a_profile_say_what_is_demanded(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(SOUND.encode())
    (tmp_path / "profile.xml").write_text(
        """<HL7v2xConformanceProfile HL7Version="2.5.1">
        <HL7v2xStaticDef MsgType="ADT" EventType="A08" MsgStructID="ADT_A01">
        <Segment Name="MSH" Usage="R" Min="1" Max="1"><Field Name="Field Separator" Usage="R" Datatype="ST"/></Segment>
        <Segment Name="PID" Usage="R" Min="1" Max="1"/>
        <Segment Name="ZPI" LongName="Ours" Usage="R" Min="1" Max="1"/></HL7v2xStaticDef></HL7v2xConformanceProfile>""",
        encoding="utf-8",
    )
    found = esb("hl7", "validate", "--profile", tmp_path / "profile.xml", tmp_path / "a.hl7")
    assert found.exit_code == 1
    assert "ZPI" in found.stdout
    assert esb("hl7", "validate", "--profile", tmp_path / "a.hl7", tmp_path / "a.hl7").exit_code == 2
    assert esb("hl7", "validate", "--version", "2.5", tmp_path / "a.hl7").exit_code == 0
