"""Everything that the sandbox's HIS and LIS tell, over real sockets, and the canonical event that each message becomes.

What must be in an event is read from the message by python-hl7, so that neither our codec nor our mappings say it.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import hl7
import pytest

from esb.store.writer import unpack
from sandbox.telling import STRUCTURES
from tests.bus_process import ROOT, Bus, start_bus
from tests.journeys.test_listener import port_of
from tests.sandbox_process import Sandbox

ROUNDS = 2
VISITS = {
    **{"A01": "admitted", "A02": "transferred", "A03": "discharged", "A04": "registered", "A05": "registered"},
    **{"A06": "transferred", "A07": "transferred", "A08": "updated"},
    **{"A11": "cancelled", "A12": "cancelled", "A13": "cancelled"},
}
PERSONS = {"A28": "registered", "A31": "updated", "A18": "merged", "A34": "merged", "A40": "merged", "A47": "updated"}
APPOINTMENTS = {
    **{"S12": "booked", "S13": "moved", "S14": "changed", "S15": "cancelled", "S16": "cancelled", "S17": "cancelled"},
    **{f"S{number}": "changed" for number in (18, 19, 20, 21, 22, 24)},
    **{"S23": "blocked", "S26": "missed"},
}
DOCUMENTS = {
    **{"T01": "created", "T02": "created", **{f"T{number:02}": "changed" for number in range(3, 9)}},
    **{"T09": "replaced", "T10": "replaced", "T11": "cancelled"},
}
EVENTS = {
    **{f"ADT^{one}": "visit.changed" for one in VISITS},
    **{f"ADT^{one}": "patient.changed" for one in PERSONS},
    **{f"SIU^{one}": "appointment.changed" for one in APPOINTMENTS},
    **{f"MDM^{one}": "document.released" for one in DOCUMENTS},
    **dict.fromkeys(("ORM^O01", "OML^O21", "OMG^O19"), "order.changed"),
    **dict.fromkeys(("DFT^P03", "DFT^P11", "BAR^P01", "BAR^P05", "BAR^P06"), "charge.posted"),
    "ORU^R01": "report.released",
}
"""Kind -> the event that it must become."""


class Theirs:
    """A message as python-hl7 reads it."""

    def __init__(self, raw: bytes) -> None:
        self._message = hl7.parse(raw.decode())

    def __call__(self, segment: str, field: int, component: int = 1, number: int = 0) -> str | None:
        """None for what is absent or empty."""
        try:
            found = str(self._message.extract_field(segment, number + 1, field, 1, component, 1))
        except (KeyError, IndexError):
            return None
        return found or None

    def count(self, segment: str) -> int:
        return len(self._message.segments(segment)) if segment in [str(one[0]) for one in self._message] else 0


def moment(text: str | None) -> str | None:
    """A time of HL7 as a canonical one."""
    if text is None:
        return None
    year, month, day, hour, minute, second = re.findall(r"^(\d{4})(..)(..)(..)(..)(..)$", text)[0]
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}+08:00"


def patient(event: dict[str, Any], they: Theirs) -> None:
    told = event["patient"]
    assert (told["id"], told["name"]) == (they("PID", 3), they("PID", 5))
    assert told["sex"] == {"M": "male", "F": "female", "O": "other", "U": "unknown"}[they("PID", 8) or ""]
    assert told["birthDate"].replace("-", "") == they("PID", 7)


def visit(event: dict[str, Any], they: Theirs) -> None:
    told = event["visit"]
    assert (told["id"], told["class"], told["department"]) == (they("PV1", 19), they("PV1", 2), they("PV1", 3))
    assert told["doctor"] == {"code": they("PV1", 7), "name": they("PV1", 7, 2)}
    assert told["admittedAt"] == moment(they("PV1", 44))
    assert told.get("dischargedAt") == moment(they("PV1", 45))


def visit_changed(kind: str, event: dict[str, Any], they: Theirs) -> None:
    assert event["change"] == VISITS[kind[4:]]
    patient(event, they)
    visit(event, they)


def patient_changed(kind: str, event: dict[str, Any], they: Theirs) -> None:
    assert event["change"] == PERSONS[kind[4:]]
    patient(event, they)
    assert event.get("replaces") == they("MRG", 1)


def appointment_changed(kind: str, event: dict[str, Any], they: Theirs) -> None:
    assert event["change"] == APPOINTMENTS[kind[4:]]
    assert (event["id"], event["status"]) == (they("SCH", 2), they("SCH", 25))
    assert event["start"] == moment(they("SCH", 11, 4))
    assert ("patient" in event) == (kind not in ("SIU^S23", "SIU^S24"))
    if "patient" in event:
        patient(event, they)


def order_changed(kind: str, event: dict[str, Any], they: Theirs) -> None:
    patient(event, they)
    visit(event, they)
    assert event["orders"] == [
        {
            "control": they("ORC", 1, 1, at),
            "id": they("ORC", 2, 1, at),
            "item": {"code": they("OBR", 4, 1, at), "name": they("OBR", 4, 2, at)},
        }
        for at in range(they.count("ORC"))
    ]


def report_released(kind: str, event: dict[str, Any], they: Theirs) -> None:
    patient(event, they)
    (report,) = event["reports"]
    assert (report["id"], report["order"], report["status"]) == (they("OBR", 3), they("OBR", 2), they("OBR", 25))
    assert (report["results"], report["issuedAt"]) == (they.count("OBX"), moment(they("OBR", 22)))


def charge_posted(kind: str, event: dict[str, Any], they: Theirs) -> None:
    patient(event, they)
    assert event["account"] == they("PID", 18)
    charges = event.get("charges", [])
    assert len(charges) == they.count("FT1")
    for at, charge in enumerate(charges):
        assert (charge["id"], charge["type"]) == (they("FT1", 2, 1, at), they("FT1", 6, 1, at))
        assert charge["amount"] == round(float(they("FT1", 11, 1, at) or 0) * 100)


def document_released(kind: str, event: dict[str, Any], they: Theirs) -> None:
    patient(event, they)
    document = event["document"]
    assert (document["change"], document["id"]) == (DOCUMENTS[kind[4:]], they("TXA", 12))
    assert document["type"] == {"code": they("TXA", 2), "name": they("TXA", 2, 2)}
    assert document["status"] == they("TXA", 17)


CHECKS: dict[str, Callable[[str, dict[str, Any], Theirs], None]] = {
    "visit.changed": visit_changed,
    "patient.changed": patient_changed,
    "appointment.changed": appointment_changed,
    "order.changed": order_changed,
    "report.released": report_released,
    "charge.posted": charge_posted,
    "document.released": document_released,
}


class Row(NamedTuple):
    """What the bus kept of one message."""

    kind: str
    state: str
    event: str
    raw: bytes
    body: bytes


@pytest.fixture(scope="module")
def told(shared_hospital: Sandbox) -> Iterator[list[Row]]:
    """All that the sandbox's senders told a bus, in the order of arrival."""
    with start_bus(shared_hospital) as bus:
        send(bus)
        with closing(sqlite3.connect(bus.folder / "esb.db")) as database:
            columns = "kind, state, event, raw_bytes, body_bytes, content"
            yield [row(*found) for found in database.execute(f"SELECT {columns} FROM inbox ORDER BY position")]


def row(kind: str, state: str, event: str, raw: int, body: int, content: bytes) -> Row:
    whole = unpack(content)
    return Row(kind, state, event, whole[:raw], whole[raw : raw + body])


def send(bus: Bus) -> None:
    ports = ["--his", str(port_of(bus)), "--lis", str(port_of(bus, "lis_inbound"))]
    command = [sys.executable, "-m", "sandbox.sender", *ports, "--rounds", str(ROUNDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"AA": ROUNDS * len(STRUCTURES)}), done.stderr


def test_the_sandbox_tells_all_that_the_table_has() -> None:
    assert set(STRUCTURES) == set(EVENTS)


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_a_message_becomes_its_event(told: list[Row], kind: str) -> None:
    found = [one for one in told if one.kind == kind]
    assert [(one.state, one.event) for one in found] == [("event", EVENTS[kind])] * ROUNDS
    for one in found:
        CHECKS[one.event](kind, json.loads(one.body), Theirs(one.raw))
