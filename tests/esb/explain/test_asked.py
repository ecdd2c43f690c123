"""``esb explain`` as a person runs it: what it prints, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esb.cli import main
from tests.esb.configured import ROOT, Configured
from tests.esb.test_cli import LOCK


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    copy = Configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESB_SECRETS", str(ROOT / "sandbox" / "secrets"))
    return copy


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments])


def written(name: str, tree: object) -> str:
    Path(name).write_text(json.dumps(tree), encoding="utf-8")
    return name


def test_an_operation_lists_what_every_field_is_made_from() -> None:
    shown = explain("registration.lock").output
    assert "request.Fee: request.fee | yuan" in shown
    assert "answer.fee: answer.Lock.Fee | fen" in shown


def test_a_field_is_explained_as_text_and_as_json() -> None:
    assert "through     yuan: " in explain("registration.lock", "--field", "Fee").output
    tree = json.loads(explain("registration.lock", "--field", "Fee", "--json").output)
    assert tree["made"][0]["ways"][0]["steps"][0]["written"] == "yuan"


def test_an_unknown_field_ends_with_2_and_the_nearest_name() -> None:
    unknown = explain("registration.lock", "--field", "PatientIDs")
    assert (unknown.exit_code, "did you mean 'PatientID'?" in unknown.output) == (2, True)


def test_a_file_is_followed_and_patient_data_only_shown_when_asked_for() -> None:
    file = written("lock.json", {**LOCK, "patientId": "PATIENT77"})
    masked = explain(file, "--by", "registration.lock")
    assert masked.exit_code == 0, masked.output
    assert "request.PatientID = 'xxxxxxx99'" in masked.output
    assert "PATIENT77" in explain(file, "--by", "registration.lock", "--unmask").output


def test_a_file_that_cannot_be_mapped_ends_with_1_and_the_place() -> None:
    file = written("lock.json", {"orderNo": "R1", "patientId": "P1"})
    failed = explain(file, "--by", "registration.lock", "--side", "request")
    assert failed.exit_code == 1
    assert "FAILED request.SlotNo: $slot.slotId is missing" in failed.output
    assert json.loads(explain(file, "--by", "registration.lock", "--side", "request", "--json").output)["sides"][0][
        "error"
    ]


def test_a_mapping_file_has_its_own_table_and_fields() -> None:
    file = "mappings/hl7_siu/registration.lock.yaml"
    assert "request.ARQ-1: request.orderNo" in explain(file).output
    assert "from        request.patientId" in explain(file, "--field", "PID-3.1").output


def test_the_answer_of_another_hospitals_mapping_is_read_by_its_own_form() -> None:
    Path("a.hl7").write_text("MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.4\rMSA|AE|1\rERR|^^^1001&full||207|E|1001^full\r")
    shown = explain("a.hl7", "--by", "mappings/hl7_siu/registration.lock.yaml")
    assert shown.exit_code == 0, shown.output
    assert "answer refused" in shown.output
    assert "'slot_full'" in shown.output


def test_what_is_neither_an_operation_nor_a_file_names_the_nearest() -> None:
    unknown = explain("registration.lok")
    assert (unknown.exit_code, "did you mean 'registration.lock'?" in unknown.output) == (2, True)


def test_a_list_shows_its_first_items_and_says_that_there_are_more() -> None:
    slot = {
        **{"SlotNo": "S1", "ScheduleNo": "R88", "DoctorNo": "D1", "DoctorName": "A", "DeptCode": "D", "DeptName": "B"},
        **{"Date": "2026-01-16", "Session": "S", "Begin": "08:30", "End": "09:00", "Total": "5", "Left": "2"},
        **{"Fee": "25.00", "Status": "1"},
    }
    answer = {"ResultCode": "0", "Schedules": {"Slot": [slot] * 5}}
    request = {"from": "2026-01-16", "to": "2026-01-16"}
    file = written("slots.json", {"operation": "schedule.list", "request": request, "answer": answer})
    shown = explain(file).output
    assert "items[2].fee = 2500" in shown
    assert "items[3].fee" not in shown
    assert "items[3] and the items after it" in shown
    assert "items[4].fee = 2500" in explain(file, "--field", "items[].fee").output


def test_a_field_that_the_message_does_not_make_ends_with_2_and_the_nearest_name() -> None:
    unknown = explain(written("lock.json", LOCK), "--field", "PatientIDs")
    assert (unknown.exit_code, "did you mean 'PatientID'?" in unknown.output) == (2, True)


def test_a_site_without_a_value_is_refused() -> None:
    refused = explain(written("lock.json", LOCK), "--site", "zone")
    assert (refused.exit_code, "'zone' is not NAME=VALUE" in refused.output) == (2, True)


@pytest.mark.parametrize("wrong", [{"exchange": [1]}, {"site": "x"}, {"operation": ["registration.lock"]}])
def test_an_exchange_of_the_wrong_form_is_refused_in_a_sentence(wrong: dict[str, object]) -> None:
    refused = explain(written("x.json", {"operation": "registration.lock", "request": LOCK, **wrong}))
    assert (refused.exit_code, refused.exception.__class__) == (2, SystemExit)
