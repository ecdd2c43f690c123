"""What lint says of callbacks and listening endpoints, with the place in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.esb.configured import Configured

VISIT = "mappings/hl7_events/visit.changed.yaml"
RESULT = "{from: lis_inbound, on: [ORU], emits: report.released}"


@pytest.fixture
def demo(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


def test_callbacks_of_the_demo_hospital_are_loaded(demo: Configured) -> None:
    plan = demo.load()
    assert set(plan.listeners) == {"his_inbound", "lis_inbound"}
    assert plan.translations["lis.result"].file.endswith("mappings/hl7_events/report.released.yaml")
    assert "lis_inbound" not in plan.endpoints


def told(source: str = "lis_inbound", on: str = "[ORU]", emits: str = "report.released") -> str:
    """The line of the laboratory's callback."""
    return f"{{from: {source}, on: {on}, emits: {emits}}}"


ROUTES = "routes.yaml"
EVENTS = "schemas/events.yaml"
LIS = "mllp://127.0.0.1:2576'}"
ASKS = "{from: lis_inbound, on: [QBP^Q22], answers: patient.find}"
ASKED, ANSWERED = "mappings/hl7_events/patient.find.yaml", "mappings/hl7_events/patient.find.answer.yaml"
MISTAKES = [
    (ROUTES, RESULT, told(source="lis"), "endpoint 'lis' is called and does not listen"),
    (ROUTES, RESULT, told(source="lis_inbond"), "did you mean 'lis_inbound'?"),
    (ROUTES, RESULT, told(emits="report.relased"), "did you mean 'report.released'?"),
    (ROUTES, RESULT, told(on="[]"), "'on' Tuple should have at least 1 item"),
    (ROUTES, RESULT, told(on="[ORU R01]"), "should match pattern"),
    (ROUTES, RESULT, f"{RESULT}\n  lis.more: {RESULT}", "'ORU' belongs to 'lis.result' already"),
    (ROUTES, RESULT, told(emits="report.released, mapping: rprt"), "rprt.yaml' does not exist"),
    (ROUTES, "{to: lis, timeout: 5s, retry: 1}", "{to: lis_inbound}", "'lis_inbound' listens and is not called"),
    (ROUTES, LIS, "tcp://127.0.0.1:2576'}", "must be an address such as mllp://127.0.0.1:2575"),
    (ROUTES, LIS, "mllp://127.0.0.1:2576', frming: strict}", "unknown key 'frming' (did you mean 'framing'?)"),
    (VISIT, "change: $MSH-9.2", "chnge: $MSH-9.2", "has no 'chnge' (did you mean 'change'?)"),
    (VISIT, "meaning(event_visit_hl7)", "meaning(event_visit)", "unknown code table"),
    (VISIT, "$EVN-6? ?? $EVN-2?", "$EVX-6? ?? $EVN-2?", "EVX"),
    (VISIT, "change: admitted", "change: amitted", "/change"),
    (ROUTES, ASKS, ASKS.replace("patient.find", "patient.fnd"), "did you mean 'patient.find'?"),
    (ROUTES, ASKS, ASKS.replace("patient.find", "registration.lock"), "only a read may answer a question"),
    (ROUTES, ASKS, ASKS.replace("patient.find", "article.list"), "operation 'article.list' is not in the contract"),
    (ROUTES, ASKS, ASKS.replace("}", ", emits: report.released}"), "either 'emits' an event or 'answers'"),
    (ROUTES, ASKS, ASKS.replace("}", ", mapping: patient.find_qry2}"), "patient.find_qry2.yaml' does not exist"),
    (ASKED, "to: json", "to: hl7v2", "the request of an operation is JSON, not hl7v2"),
    (ASKED, "  documentNumber:", "  docNumber:", "has no 'docNumber' (did you mean 'documentNumber'?)"),
    (ASKED, "name: TEST PATIENT", "nme: TEST PATIENT", "/nme"),
    (ANSWERED, "$items", "$itms", "has no 'itms'"),
    (ANSWERED, "from: json", "from: hl7v2", "the answer of an operation is JSON, not hl7v2"),
    (ANSWERED, "to: hl7v2 RSP_K21", "to: hl7v2", "does not say which message answers"),
    (ANSWERED, "sex: male", "sex: man", "/items/0/sex"),
    (EVENTS, "  visit.changed:\n    post:", "  visit.changed:\n    put:", "an event is told by one POST"),
]


@pytest.mark.parametrize(("file", "old", "new", "found"), MISTAKES)
def test_a_mistake_is_found_before_anything_listens(
    demo: Configured, file: str, old: str, new: str, found: str
) -> None:
    demo.edit(file, old, new)
    findings = demo.findings()
    assert any(one.startswith(f"{file}:") and found in one for one in findings), findings
