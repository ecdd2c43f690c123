"""Findings by the tables of HL7 and by message profiles."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import decode, tables
from esb.codecs.hl7v2.faults import CODES, Fault
from esb.codecs.hl7v2.profile import read_profile
from esb.codecs.hl7v2.validate import MOST, validate

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2"
MSH = "MSH|^~\\&|LIS|H1|HUB|WX|20260115093000||ORU^R01^ORU_R01|M1|P|2.5.1"
PID = "PID|1||P1^^^HIS^PI||Zhang^San||19800229|M"
OBR = "OBR|1|||GLU^Glucose^L"


def found(*lines: str, head: str = MSH, version: str = "") -> list[str]:
    """Each as path, code and severity."""
    faults = validate(decode("\r".join([head, *lines]).encode()), version)
    return [f"{fault.path} {fault.code}{fault.severity}" for fault in faults]


def test_a_sound_message_has_no_findings() -> None:
    assert found(PID, OBR, "OBX|1|NM|GLU^Glucose^L||5.1|mmol/L|3.9-6.1|N|||F", "ZXX|anything^at&all") == []


@pytest.mark.parametrize(
    ("lines", "findings"),
    [
        ([PID], ["OBR 100E"]),
        ([PID, OBR, "EVN|R01"], ["EVN 100E", "EVN-2 101E"]),
        (["PID|1||P1^^^HIS^PI|", OBR], ["PID-5 101E"]),
        (["PID|one||P1^^^HIS^PI||A^B", OBR], ["PID-1 102E"]),
        (["PID|1||P1^^^HIS^PI||A^B||19810229", OBR], ["PID-7.1 102E"]),
        (["PID|1||P1^^^HIS^PI||A^B||1981", OBR], []),
        (['PID|1||P1^^^HIS^PI||A^B||""', OBR], []),
        (["PID|1||P1^^^HIS^PI~P2^^??^GA||A^B", OBR], ["PID-3[2].3 103E"]),
        (["PID|1||P1^^^HIS&1.2.3&WRONG^PI||A^B", OBR], ["PID-3.4.3 103E"]),
        (["PID|1||P1^^^HIS^PI||A^B||19800101~19800102", OBR], ["PID-7 198E"]),
        (["PID|1|x^^^^^^^^^^^y|P1^^^HIS^PI||A^B", OBR], ["PID-2.11 102W"]),
        (["PID|1^2||P1^^^HIS^PI||A^B", OBR], ["PID-1 102W"]),
        ([PID + "|" * 40 + "x", OBR], ["PID-40 199W"]),
        ([PID, OBR, "OBX|1|NM|GLU||high"], ["OBX-11 101E", "OBX-5 102E"]),
        ([PID, OBR, "OBX|1|NM|GLU||5.1||||||F"], []),
        ([PID, OBR, "OBX|1|NM|GLU||5.1||||||F", "OBX|2|NM|GLU||x||||||F"], ["OBX[1]-5 102E"]),
        ([PID, OBR, "OBX|1|CE|GLU||A^B^L||||||F"], []),
        ([PID, OBR, "OBX|1|TX|GLU||a^b||||||F"], []),
        ([PID, OBR, "OBX|1|TS|GLU||202613||||||F"], ["OBX-5.1 102E"]),
        ([PID, OBR, "OBX|1|NM|GLU||5.1||||||?"], ["OBX-11 103E"]),
    ],
)
def test_findings_have_their_place_and_code(lines: list[str], findings: list[str]) -> None:
    assert sorted(found(*lines)) == sorted(findings)


@pytest.mark.parametrize(
    ("head", "finding"),
    [
        (MSH.replace("2.5.1", "7.1"), "MSH-12 203W"),
        (MSH.replace("ORU^R01^ORU_R01", "XYZ^R01"), "MSH-9.1 200E"),
        (MSH.replace("ORU^R01^ORU_R01", "ADT^X99"), "MSH-9.2 201E"),
        (MSH.replace("|M1|", "||"), "MSH-10 101E"),
        (MSH.replace("^~\\&", "^~\\&#").replace("|H1|", "|H1#|"), "MSH-4 104W"),
    ],
)
def test_the_header_is_looked_at(head: str, finding: str) -> None:
    assert finding in found(PID, OBR, head=head)


def test_five_encoding_characters_and_custom_ones_are_no_fault() -> None:
    assert found(PID, OBR, head=MSH.replace("^~\\&", "^~\\&#")) == []
    custom = "\r".join([MSH, PID, OBR]).translate(str.maketrans("|^~\\&", "#*+!%")).encode()
    assert validate(decode(custom)) == []


def test_a_version_may_be_told() -> None:
    lines = ("PID|1||P1^^^HIS^PI||A^B", "OBR|1|||GLU")
    assert "PID-2 199W" not in found(*lines, version="2.1")
    assert found(*lines, "SPM|1", version="2.3") != found(*lines, "SPM|1", version="2.5")


@pytest.mark.parametrize("version", tables.VERSIONS)
def test_every_version_is_known(version: str) -> None:
    head = MSH.replace("2.5.1", version).replace("^ORU_R01", "^ORU_R01" if version >= "2.3.1" else "")
    assert not [one for one in found("PID|1||1^^^^PI||Zhang", OBR, head=head) if one.endswith("E") and "PID" in one]
    assert "PID-1 102E" in found("PID|x||P1^^^HIS^PI||A^B", OBR, head=head)


def test_findings_tell_their_place_as_err2_does_and_hold_no_data() -> None:
    message = decode("\r".join([MSH, PID, OBR, OBR, "OBX|1|CX|A||SECRET^^^&&SECRET^PI||||||F"]).encode())
    (fault,) = validate(message)
    assert fault.location == {"1": "OBX", "2": "1", "3": "5", "4": "1", "5": "4", "6": "3"}
    assert fault.code in CODES
    assert "SECRET" not in repr(fault)
    assert Fault("OBX", 2, 100, "x").location == {"1": "OBX", "2": "3"}


def test_the_findings_of_one_message_have_an_end_and_take_no_time() -> None:
    began = time.perf_counter()
    assert len(found(*["PID|x"] * 20_000)) == MOST
    assert len(found("PID|1||" + "~".join(["^^^^?"] * 50_000))) <= MOST
    assert len(found("PID" + "|^&~" * 50_000)) <= MOST
    assert time.perf_counter() - began < 10


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_every_message_of_the_corpus_is_validated_in_bounded_time() -> None:
    slowest = 0.0
    for line in (CORPUS / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            message = decode((CORPUS / "messages" / entry["id"]).read_bytes())
        except DecodeError:
            continue
        began = time.perf_counter()
        for fault in validate(message):
            assert fault.code in CODES
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 5


PROFILE = b"""<HL7v2xConformanceProfile HL7Version="2.5" ProfileType="Constrainable">
<HL7v2xStaticDef MsgType="ORU" EventType="R01" MsgStructID="ORU_R01" Role="Sender"><MetaData Name="Lab"/>
<Segment Name="MSH" Usage="R" Min="1" Max="1">
  <Field Name="Field Separator" Usage="R" Datatype="ST" Length="1"/>
  <Field Name="Encoding Characters" Usage="R" Datatype="ST" Length="4"/>
  <Field Name="Sending Application" Usage="R" Min="1" Max="1" Datatype="HD" Length="10">
    <Component Name="Namespace" Usage="R" Datatype="IS" ConstantValue="LIS"/>
    <Component Name="Universal ID" Usage="X" Datatype="ST"/>
  </Field>
</Segment>
<SegGroup Name="RESULT" Usage="R" Min="1" Max="*">
  <Segment Name="PID" Usage="R" Min="1" Max="1">
    <Field Name="Set ID" Usage="X" Max="0" Datatype="SI"/>
    <Field Name="Patient ID" Usage="O" Datatype="CX"/>
    <Field Name="Identifiers" Usage="R" Min="2" Max="3" Datatype="CX">
      <Component Name="ID" Usage="R" Datatype="ST" Length="4"/>
      <Component Name="Check digit" Usage="O" Datatype="ST"/>
      <Component Name="Scheme" Usage="O" Datatype="ID" Table="61"/>
      <Component Name="Authority" Usage="O" Datatype="HD">
        <SubComponent Name="Namespace" Usage="O" Datatype="IS"/>
        <SubComponent Name="Universal" Usage="R" Datatype="ST"/>
      </Component>
    </Field>
  </Segment>
  <Segment Name="ZLB" Usage="O" Min="0" Max="1"><Field Name="Count" Usage="R" Datatype="NM"/></Segment>
</SegGroup>
</HL7v2xStaticDef></HL7v2xConformanceProfile>"""


@pytest.mark.parametrize(
    ("lines", "findings"),
    [
        (["PID|||P1~P2", "ZLB|4"], []),
        (["PID|||P1"], ["PID-3 198E"]),
        (["PID|||P1~P2~P3~P4"], ["PID-3 198E"]),
        (["PID|1||P1~P2"], ["PID-1 199E"]),
        (["PID|||P1~P2345"], ["PID-3[2].1 104E"]),
        (["PID|||P1~^1"], ["PID-3[2].1 101E"]),
        (["PID|||P1~P2^^WRONG"], ["PID-3[2].3 103E"]),
        (["PID|||P1~P2^^^A"], ["PID-3[2].4.2 101E"]),
        (["PID|||P1~P2^^^A&1"], []),
        (["PID|||P1~P2", "ZLB|x"], ["ZLB-1 102E"]),
        (["PID|||P1~P2", "PV1|1"], ["PV1 100E"]),
        ([], ["PID 100E"]),
    ],
)
def test_a_profile_says_what_must_be(lines: list[str], findings: list[str]) -> None:
    profile = read_profile(PROFILE)
    message = decode("\r".join(["MSH|^~\\&|LIS||||||ORU^R01||P|2.5", *lines]).encode())
    faults = validate(message, profile=profile)
    assert [f"{fault.path} {fault.code}E" for fault in faults if fault.severity == "E"] == findings
    assert [fault.path for fault in faults if fault.severity == "W"] == ["MSH-4"]


def test_a_profile_is_of_one_message() -> None:
    profile = read_profile(PROFILE)
    assert (profile.name, profile.version, profile.code, profile.event) == ("Lab", "2.5", "ORU", "R01")
    faults = validate(decode(b"MSH|^~\\&|HIS^1.2|||||ADT^A01||P|2.5\rPID|||P1~P2"), profile=profile)
    assert [fault.path for fault in faults] == ["MSH-9", "MSH-3.1", "MSH-3.2", "MSH-4"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<x/>",
        b"<HL7v2xStaticDef/>",
        b"<HL7v2xStaticDef><Segment Name='PID'/></HL7v2xStaticDef>",
        b"<!DOCTYPE x [<!ENTITY e 'MSH'>]><HL7v2xStaticDef><Segment Name='&e;'/></HL7v2xStaticDef",
    ],
)
def test_what_is_no_profile_is_an_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_profile(data)
