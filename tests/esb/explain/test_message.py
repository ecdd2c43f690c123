"""A message followed through its mapping, and what of it is shown."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from esb.codecs import json as codec
from esb.explain.choose import CannotExplainError
from esb.explain.masking import form
from esb.explain.message import Explained, Fact, Followed, explain_file
from esb.explain.text import explained_text
from esb.lint import Plan
from tests.esb.configured import Configured
from tests.esb.test_cli import LOCK

FOUND = (
    "MSH|^~\\&|HIS|H1|HUB|WX|20260115093001||RSP^K22^RSP_K21|R1|P|2.5.1|||||CHN|UNICODE UTF-8\r"
    "MSA|AA|M1\rQAK|QT1|OK|Q22^Find Candidates^HL7|1|1|0\r"
    "PID|1||P0000001^^^HIS^PI~110101190001011236^^^GA^NI||测试患者||19000101|M|||测试路1号||13000000000\r"
)


class Explaining:
    def __init__(self, demo: Configured) -> None:
        self.demo = demo

    @functools.cached_property
    def plan(self) -> Plan:
        return self.demo.load()

    def __call__(self, data: Any, **options: Any) -> Explained:
        file = self.demo.folder / "message"
        text = data if isinstance(data, str) else codec.encode(data).decode()
        file.write_text(text, encoding="utf-8", newline="")
        return explain_file(self.demo.settings, self.plan, file, **options)


@pytest.fixture(scope="module")
def explain(tmp_path_factory: pytest.TempPathFactory) -> Explaining:
    return Explaining(Configured(tmp_path_factory.mktemp("demo")))


def fact(side: Followed, target: str, kind: str = "field") -> Fact:
    return next(each for each in side.facts if (each.target, each.kind) == (target, kind))


def test_a_request_is_recognised_and_each_field_says_how_it_was_made(explain: Explaining) -> None:
    found = explain(LOCK)
    (side,) = found.sides
    assert (found.operation, side.side, side.action, side.error) == (
        "registration.lock",
        "request",
        "LockRegistration",
        None,
    )
    assert "satisfies the contract of registration.lock" in found.assumed[0]
    fee = fact(side, "request.Fee")
    line = explain.plan.mappings["registration.lock"].text.split("\n").index("  Fee: $fee | yuan") + 1
    assert (fee.value.value, fee.line, fee.written) == ("25.00", line, "$fee | yuan")
    assert [step.step for step in fee.steps] == ["path", "function"]
    assert [each.target for each in side.facts] == [
        f"request.{name}" for name in ("OrderNo", "PatientID", "SlotNo", "VisitTime", "Fee")
    ]


def test_a_patients_number_is_masked_on_both_sides_of_the_arrow(explain: Explaining) -> None:
    (side,) = explain({**LOCK, "patientId": "PATIENT77"}, by="registration.lock").sides
    number = fact(side, "request.PatientID")
    assert (number.value.value, number.value.masked, number.steps[0].value.value) == ("xxxxxxx99", True, "xxxxxxx99")  # type: ignore[union-attr]
    assert fact(side, "request.SlotNo").value.value == "S1"
    (bare,) = explain({**LOCK, "patientId": "PATIENT77"}, by="registration.lock", bare=True).sides
    assert fact(bare, "request.PatientID").value.value == "PATIENT77"


def test_an_answer_says_which_case_matched_and_what_the_ones_before_it_compared(explain: Explaining) -> None:
    answer = (
        "<LockRegistrationResponse><ResultCode>1001</ResultCode><ResultMsg>x</ResultMsg></LockRegistrationResponse>"
    )
    (side,) = explain(answer, by="registration.lock", request=LOCK).sides
    assert [(case.outcome, case.held) for case in side.cases] == [
        ("refused", False),
        ("done", False),
        ("unavailable", False),
        ("refused", True),
    ]
    condition = side.cases[0].condition
    assert condition is not None
    assert condition.steps[0].source == "answer.ResultCode"  # type: ignore[union-attr]
    assert condition.steps[0].value.value == "1001"  # type: ignore[union-attr]
    code = fact(side, "response[3].refused.code")
    assert (code.value.value, code.steps[1].table, side.outcome) == ("slot_full", "his_error", "refused")  # type: ignore[union-attr]


def test_hl7_is_an_answer_and_what_flows_into_patient_data_is_masked_by_its_kind(explain: Explaining) -> None:
    found = explain(FOUND)
    (side,) = found.sides
    shown = {
        name: fact(side, f"response[0].done.items[0].{name}").value.value
        for name in ("id", "name", "sex", "birthDate", "phone", "address")
    }
    assert (found.operation, side.outcome) == ("patient.find", "done")
    assert shown == {
        "id": "x9999999",
        "name": "测**者",
        "sex": "***",
        "birthDate": "9999-99-99",
        "phone": "130****0000",
        "address": "***",
    }
    left = fact(side, "response[0].done.items[0].identifiers[]")
    assert (left.state, left.reason) == ("left out", "$cx.5? != 'PI' is false")


def test_a_name_that_is_sent_beside_a_number_is_masked_as_a_name(explain: Explaining) -> None:
    asked = {"documentType": "id_card", "documentNumber": "110101190001011236", "name": "Testing Patienthood"}
    (side,) = explain(asked, by="patient.find", side="request").sides
    number, name = (fact(side, f"request[0].QPD-3[{at}].2").value.value for at in (1, 2))
    assert (number, name) == ("110101********1236", "T*****************d")


def test_a_name_in_the_place_of_a_number_keeps_neither_end(explain: Explaining) -> None:
    asked = {"documentType": "id_card", "documentNumber": "Testing Patienthood 12", "name": "测试"}
    shown = json.dumps(explain(asked, by="patient.find", side="request").tree(), ensure_ascii=False)
    assert not any(part in shown for part in ("Testing", "hood"))


def test_a_mapping_that_fails_says_where_and_keeps_what_came_before(explain: Explaining) -> None:
    request = {name: value for name, value in LOCK.items() if name != "slot"}
    (side,) = explain(request, by="registration.lock", side="request").sides
    assert side.error is not None
    assert (side.error.field, side.error.path, side.error.reason) == ("request.SlotNo", "$slot.slotId", "is missing")
    assert [(each.target, each.state) for each in side.facts] == [
        ("request.OrderNo", "made"),
        ("request.PatientID", "made"),
        ("request.SlotNo", "failed"),
    ]
    assert side.facts[-1].steps[0].missing == "request.slot"  # type: ignore[union-attr]


def test_a_recorded_exchange_is_both_sides(explain: Explaining) -> None:
    answer = {
        "ResultCode": "0",
        "Lock": {
            "No": "L1",
            "OrderNo": "R1",
            "SlotNo": "S1",
            "Fee": "25.00",
            "Expires": "20260115094000",
            "Status": "1",
        },
    }
    found = explain({"operation": "registration.lock", "request": LOCK, "answer": answer})
    assert [(side.side, side.outcome) for side in found.sides] == [("request", ""), ("answer", "done")]
    assert fact(found.sides[1], "response[1].done.fee").value.value == 2500


def test_one_field_alone(explain: Explaining) -> None:
    (side,) = explain(LOCK, by="registration.lock", field="Fee").sides
    assert [each.target for each in side.facts] == ["request.Fee"]


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        ("<a/>", {}, "no mapping fits"),
        ("{", {}, "message"),
        (LOCK, {"by": "registration.lok"}, "did you mean 'registration.lock'"),
        ("<a/>", {"by": "registration.lock", "side": "request"}, "a canonical request is JSON"),
        ("no xml", {"by": "his"}, "message"),
    ],
)
def test_what_cannot_be_explained_says_what_to_do(explain: Explaining, data: Any, options: Any, reason: str) -> None:
    with pytest.raises(CannotExplainError, match=reason):
        explain(data, **options)


def test_candidates_are_named_when_several_fit(explain: Explaining) -> None:
    with pytest.raises(CannotExplainError, match=r"--by doctor.search\n  --by schedule.list"):
        explain("<Answer><ResultCode>0</ResultCode></Answer>")


TRANSLATION = """
from: hl7v2 ADT_A01
to: json
gives: {name: $PID-5.1, born: $PID-7 | read_ts_date, kind: patient, zone: $site.zone}
examples:
  - name: a patient
    message: |
      MSH|^~\\&|A|B|C|D|20260101||ADT^A01^ADT_A01|1|P|2.5
      PID|1||P1||DOE^JOHN||19900102
    site: {zone: '+08:00'}
    gives: {name: DOE, born: '1990-01-02', kind: patient, zone: '+08:00'}
"""
ADMITTED = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01^ADT_A01|1|P|2.5\nPID|1||P1||ROE^JANE||19800203\n"


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Explaining:
    demo = Configured(tmp_path_factory.mktemp("translating"))
    demo.forget_callbacks()
    for file in (demo.folder / "mappings").glob("hl7_*/*.yaml"):
        if file.parent.name != "hl7_siu":
            file.unlink()
    (demo.folder / "mappings" / "own").mkdir()
    (demo.folder / "mappings" / "own" / "admitted.yaml").write_text(TRANSLATION, encoding="utf-8")
    return Explaining(demo)


def test_a_message_finds_the_translation_of_its_type_and_shows_only_the_form_of_values(translating: Explaining) -> None:
    found = translating(ADMITTED)
    (side,) = found.sides
    assert found.mapping.endswith("own/admitted.yaml")
    assert "the site is that of the example 'a patient'" in found.assumed[0]
    assert [(each.target, each.value.value) for each in side.facts] == [
        ("gives.name", "***"),
        ("gives.born", "9999-99-99"),
        ("gives.kind", "patient"),
        ("gives.zone", "+08:00"),
    ]


def test_text_has_one_line_a_field(translating: Explaining) -> None:
    text = explained_text(translating(ADMITTED, bare=True, site={"zone": "Z"}))
    assert "gives.born = '1980-02-03'   <- message.PID-7 '19800203' | read_ts_date   :4" in text
    assert "gives.zone = 'Z'   <- site.zone 'Z'   :4" in text


def leaves(tree: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from leaves(inner, (*at, name))
    elif isinstance(tree, list):
        for inner in tree:
            yield from leaves(inner, (*at, "*"))
    else:
        yield at, tree


def secrets(tree: Any, phi: Any) -> set[str]:
    return {value for path, value in leaves(tree) if path in phi and isinstance(value, str) and len(value) > 3}


def test_no_example_shows_what_the_contract_calls_a_patients(explain: Explaining) -> None:
    checked = 0
    for name, mapping in explain.plan.mappings.items():
        operation = explain.plan.contract.operations[name]
        for example in mapping.examples:
            hidden = secrets(dict(example.given), operation.request_phi)
            if example.expects and example.expects[0] == "done":
                hidden |= secrets(example.expects[1], operation.answer_phi)
            exchange: dict[str, Any] = {"operation": name, "request": dict(example.given)}
            if example.answer is not None:
                exchange["answer"] = example.answer
            shown = json.dumps(explain(exchange).tree(), default=str, ensure_ascii=False)
            text = explained_text(explain(exchange))
            constants = mapping.text.partition("\nexamples:")[0]
            leaked = {value for value in hidden if value not in constants and (value in shown or value in text)}
            assert not leaked, (name, example.name)
            checked += len(hidden)
    assert checked > 20


def test_the_json_shape_is_what_the_documents_say(explain: Explaining) -> None:
    tree = explain(LOCK, by="registration.lock").tree()
    assert set(tree) == {"file", "mapping", "operation", "assumed", "masked", "sides"}
    (side,) = tree["sides"]
    assert set(side) == {"side", "action", "outcome", "text", "cases", "facts", "error"}
    fee = side["facts"][-1]
    assert set(fee) == {
        *("kind", "target", "state", "reason", "file", "line", "written", "parts", "steps", "value", "items"),
    }
    assert fee["steps"][0] == {
        "step": "path",
        "written": "$fee",
        "source": "request.fee",
        "value": {"value": 2500, "kind": "a number", "masked": False},
        "missing": "",
        "error": "",
    }
    assert set(fee["steps"][1]) == {"step", "written", "given", "result", "table", "error"}
    assert json.loads(codec.encode(tree)) is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-16T08:30", "9999-99-99x99:99"),
        ("P1", "x9"),
        ("male", "***"),
        ("张三", "***"),
        ("1" * 50, "9" * 40 + "..."),
    ],
)
def test_a_form_tells_digits_from_letters_and_nothing_of_a_word(text: str, shown: str) -> None:
    assert form(text) == shown
