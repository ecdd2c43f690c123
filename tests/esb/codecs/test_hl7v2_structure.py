"""Groups by message structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hl7apy.core import Group as Apy
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Segment, decode
from esb.codecs.hl7v2.structure import Branch, Structure, name_of, structure

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2"


def laid_out(names: str, type_: str = "ORU^R01^ORU_R01", version: str = "2.5.1") -> Structure:
    lines = [f"MSH|^~\\&|LIS||||||{type_}||P|{version}", *(f"{name}|{at}" for at, name in enumerate(names.split()))]
    found = structure(decode("\r".join(lines).encode()))
    assert found is not None
    return found


def shape(branch: Branch) -> str:
    return " ".join(
        f"{child.name.removeprefix(branch.name.partition('_')[0] + '_')[4:]}({shape(child)})"
        if isinstance(child, Branch)
        else child.name
        for child in branch.children
    )


def wrong(found: Structure) -> list[str]:
    return [f"{fault.path} {fault.text}" for fault in found.faults]


def test_a_report_is_laid_out_by_its_structure() -> None:
    found = laid_out("PID PV1 ORC OBR NTE OBX NTE OBX SPM OBX ORC OBR OBX PID OBR DSC")
    assert shape(found.root) == (
        "MSH PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(ORC OBR NTE OBSERVATION(OBX NTE) OBSERVATION(OBX)"
        " SPECIMEN(SPM OBX)) ORDER_OBSERVATION(ORC OBR OBSERVATION(OBX))) PATIENT_RESULT(PATIENT(PID)"
        " ORDER_OBSERVATION(OBR)) DSC"
    )
    assert found.faults == []
    (first, second) = found.root.groups("PATIENT_RESULT")
    orders = first.groups("ORDER_OBSERVATION")
    assert [order.group.get("OBR", 0, 1) for order in orders] == ["3", "11"]
    assert [segment.name for segment in orders[0].segments("NTE")] == ["NTE"]
    assert second.groups("ORU_R01_ORDER_OBSERVATION")[0].group.get("OBR", 0, 1) == "14"


def test_a_choice_takes_one_of_its_segments() -> None:
    found = laid_out("PID ORC OBR NTE ORC RXO NTE", "ORM^O01^ORM_O01", "2.5")
    assert found.faults == []
    orders = found.root.groups("ORDER")
    assert [[segment.name for segment in order] for order in orders] == [["ORC", "OBR", "NTE"], ["ORC", "RXO", "NTE"]]


def test_what_does_not_fit_stays_where_it_is_and_is_reported() -> None:
    found = laid_out("PID ZPD EVN OBR OBX ADD OBX PV1 OBX")
    assert shape(found.root) == (
        "MSH PATIENT_RESULT(PATIENT(PID ZPD EVN) ORDER_OBSERVATION(OBR OBSERVATION(OBX ADD) OBSERVATION(OBX)))"
        " PATIENT_RESULT(PATIENT(VISIT(PV1)) ORDER_OBSERVATION(OBSERVATION(OBX)))"
    )
    assert wrong(found) == [
        "EVN is no segment of ORU_R01",
        "PID[1] is missing in ORU_R01_PATIENT",
        "OBR[1] is missing in ORU_R01_ORDER_OBSERVATION",
    ]


def test_order_and_repetition_are_looked_at() -> None:
    found = laid_out("EVN PV1 PID PID NK1 AL1 NK1", "ADT^A01", "2.5")
    assert wrong(found) == [
        "PID is not expected here in ADT_A01",
        "PID[1] is not expected here in ADT_A01",
        "NK1 is not expected here in ADT_A01",
        "NK1[1] is not expected here in ADT_A01",
        "PID is missing in ADT_A01",
    ]


@pytest.mark.parametrize(
    ("type_", "version", "name"),
    [
        ("ADT^A08", "2.5", "ADT_A01"),
        ("ADT^A08", "2.1", "ADT_A08"),
        ("ADT^A40^ADT_A39", "2.5.1", "ADT_A39"),
        ("ADT^A40", "2.9", "ADT_A39"),
        ("SIU^S15", "2.3.1", "SIU_S12"),
        ("MDM^T04", "2.5", "MDM_T02"),
        ("ACK", "2.3", "ACK"),
        ("ACK^A01^ACK", "2.5", "ACK"),
        ("ORU^R01^WRONG", "2.5", "ORU_R01"),
        ("ADT^A08", "", "ADT_A01"),
        ("ZZZ^Z01", "2.5", None),
        ("ADT^Z99", "2.5", None),
        ("", "2.5", None),
    ],
)
def test_the_structure_is_that_of_the_event(type_: str, version: str, name: str | None) -> None:
    message = decode(f"MSH|^~\\&|LIS||||||{type_}||P|{version}".encode())
    assert name_of(message) == name
    assert (structure(message) is None) == (name is None)


def flat_names(group: Any) -> Any:
    return [(child.name, flat_names(child)) if isinstance(child, Apy) else child.name for child in group.children]


def names(branch: Branch) -> Any:
    return [(child.name, names(child)) if isinstance(child, Branch) else child.name for child in branch.children]


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_groups_are_those_of_hl7apy_where_a_message_follows_its_structure() -> None:
    """hl7apy puts what does not fit elsewhere, and repeats a group for a segment that it knows anywhere in it."""
    compared = 0
    for line in (CORPUS / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["n_segments"] > 25 or entry["bytes"] > 2500 or entry["n_segments"] < 5 or compared >= 40:
            continue
        data = (CORPUS / "messages" / entry["id"]).read_bytes()
        try:
            message = decode(data)
            found = structure(message)
            theirs = parse_message(message.text.replace("\r\n", "\r").replace("\n", "\r"), find_groups=True)
        except (DecodeError, HL7apyException, ValueError, AttributeError, IndexError):
            continue
        if found is None or found.faults or theirs.name != found.name or len(list(message)) < 8:
            continue
        if any(segment.name[:1] == "Z" for segment in message):
            continue
        compared += 1
        assert names(found.root) == flat_names(theirs), entry["id"]
    assert compared >= 30


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_no_segment_of_the_corpus_is_lost_or_moved() -> None:
    known = 0
    for line in (CORPUS / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            message = decode((CORPUS / "messages" / entry["id"]).read_bytes())
        except DecodeError:
            continue
        found = structure(message)
        if found is not None:
            known += 1
            order: list[Segment] = list(found.root)
            assert order == list(message)
    assert known > 900
