"""What lint must find: every mistake between contract, routes, mappings, code tables and adapters, where it is made."""

from pathlib import Path

import pytest

from esb.clock import SystemClock
from esb.lint import examine, survey
from esb.observe import Metrics
from tests.esb.configured import Configured

UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2}"
LOCK = "registration.lock:   {to: his, timeout: 4s, settle: registration.find}"


@pytest.fixture
def demo(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


def test_the_demo_hospital_is_sound(demo: Configured) -> None:
    plan = demo.load()
    assert set(plan.mappings) == set(plan.routes.routes) == set(plan.contract.operations)


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        (
            "routes.yaml",
            LOCK,
            "registration.lock: {to: his, timeout: 4s, settle: registration.find, retry: 2}",
            "'registration.lock' is once and must never be sent again",
        ),
        (
            "routes.yaml",
            LOCK,
            "registration.lock: {to: his}",
            "'registration.lock' is once and has no settle",
        ),
        (
            "routes.yaml",
            "settle: registration.find",
            "settle: registration.fnd",
            "settle operation 'registration.fnd' has no route (did you mean 'registration.find'?)",
        ),
        (
            "routes.yaml",
            "settle: registration.find",
            "settle: registration.unlock",
            "settle operation 'registration.unlock' must be a read; it is idempotent",
        ),
        (
            "routes.yaml",
            "settle: registration.find",
            "settle: doctor.search",
            "'doctor.search' does not answer what 'registration.lock' answers",
        ),
        (
            "routes.yaml",
            "registration.unlock: {to: his, timeout: 4s",
            "registration.unlock: {to: his, cache: 5s, timeout: 4s",
            "only reads are cached; 'registration.unlock' is idempotent",
        ),
        (
            "routes.yaml",
            "report.list:         {to: lis,",
            "report.list:         {to: lis, cache: 5s,",
            "'report.list' answers what belongs to its caller (x-owner) and is not cached",
        ),
        (
            "routes.yaml",
            "  parking.fee: ",
            "  parking.fees: ",
            "operation 'parking.fees' is not in the contract (did you mean 'parking.fee'?)",
        ),
        ("routes.yaml", "adapter: soap", "adapter: sap", "adapter 'sap' does not exist (did you mean 'soap'?)"),
        ("routes.yaml", "version: 2.5.1", "vershun: 2.5.1", "unknown key 'vershun' (did you mean 'version'?)"),
        (
            "routes.yaml",
            "dialect: his_soap",
            "dialect: his_sope",
            "mappings/his_sope/schedule.list.yaml' does not exist",
        ),
        (
            "mappings/his_soap/schedule.list.yaml",
            "DeptCode: $departmentId?",
            "DeptCode: $departmentid?",
            "schedule.list.yaml:4:13: '$departmentid': the contract's request has no 'departmentid' (did you mean 'dep",
        ),
        (
            "mappings/his_soap/registration.lock.yaml",
            "$slot.start |",
            "$slot.strat |",
            "'$slot.strat': the contract's request has no 'strat' (did you mean 'start'?)",
        ),
        (
            "mappings/his_soap/registration.lock.yaml",
            "      lockId: $Lock.No",
            "      lockid: $Lock.No",
            "the contract's answer has no 'lockid' (did you mean 'lockId'?)",
        ),
        (
            "mappings/his_soap/registration.find.yaml",
            "refused: {code: not_found}",
            "refused: {code: not_fond}",
            "refusal 'not_fond' is not in the contract (did you mean 'not_found'?)",
        ),
        (
            "mappings/his_soap/registration.find.yaml",
            "refused: {code: not_found}",
            "malformed: there is no such order",
            "the mapping of 'registration.find' never refuses with not_found: absence could not be settled",
        ),
        (
            "mappings/his_soap/registration.find.yaml",
            "$Lock.Expires |",
            "$Lock.Expire |",
            "registration.find.yaml:12:18: '$Lock.Expire': the answer has no 'Expire' (did you mean 'Expires'?)",
        ),
        (
            "mappings/his_soap/schedule.list.yaml",
            "$s.DoctorName",
            "$s.DoctorNam",
            "'$s.DoctorNam': what it is taken from has no 'DoctorNam' (did you mean 'DoctorName'?)",
        ),
        ("mappings/his_soap/doctor.search.yaml", "| fen", "| fenn", "(did you mean 'fen'?)"),
        (
            "mappings/his_soap/doctor.search.yaml",
            "gender_gbt2261",
            "gender_gbt2262",
            "(did you mean 'gender_gbt2261'?)",
        ),
        (
            "mappings/his_soap/doctor.search.yaml",
            "action: SearchDoctors",
            "action: SearchDoctor",
            "did you mean 'SearchDoctors'?",
        ),
        (
            "mappings/his_soap/doctor.search.yaml",
            "  Keyword: $keyword?",
            "  Keywrd: $keyword?",
            "did you mean 'Keyword'?",
        ),
        (
            "mappings/hospital_db/department.list.yaml",
            "parent: $parentId",
            "parnt: $parentId",
            "what is sent has no 'parnt' (did you mean 'parent'?)",
        ),
        (
            "mappings/his_hl7/patient.find.yaml",
            "  - RCP-1: I",
            "  - RPC-1: I",
            "RPC",
        ),
        (
            "mappings/lis_fhir/report.get.yaml",
            "search DiagnosticReport",
            "serch DiagnosticReport",
            "did you mean 'search'?",
        ),
        ("mappings/parking_ake/parking.fee.yaml", "  body:\n", "  boddy:\n", "did you mean 'body'?"),
        (
            "mappings/parking_ake/parking.fee.yaml",
            "    unavailable: the car park does not answer its platform\n",
            "    unknown: the car park does not answer its platform\n",
            "outcome 'unknown' has no example (add one under examples)",
        ),
        (
            "mappings/parking_ake/parking.fee.yaml",
            "given: {plate: 京A12345, lotId: P1}",
            "given: {plate: 京A, lotId: P1}",
            "example 'two hours to pay': /plate",
        ),
        (
            "mappings/his_hl7/patient.find.yaml",
            "$QAK-2 ==",
            "$QKA-2 ==",
            "patient.find.yaml:18:30: '$QKA-2': the answer has no 'QKA' (did you mean 'QAK'?)",
        ),
        (
            "mappings/his_hl7/patient.find.yaml",
            "$p-5.1? ??",
            "$p-5.77? ??",
            "28:15: '$p-5.77': what it is taken from has no",
        ),
        ("mappings/his_hl7/patient.find.yaml", "$p-13.1?", "$p-7? | fen", "'fen' does not take an HL7 time stamp"),
        ("mappings/his_hl7/patient.find.yaml", "  - RCP-1: I", "  - RCP-91: I", "14:5: what is sent has no '91'"),
        (
            "mappings/his_hl7/patient.find.yaml",
            "$p-7? | read_ts_date",
            "$p-7?",
            "an HL7 time stamp where a date is needed ('| read_ts' and '| read_ts_date' read an HL7 time stamp)",
        ),
        ("mappings/lis_fhir/report.get.yaml", "$r.issued |", "$r.issud |", "has no 'issud' (did you mean 'issued'?)"),
        (
            "mappings/lis_fhir/report.get.yaml",
            "$o.valueQuantity.unit?",
            "$o.valueQuantity.unt?",
            "28:15: '$o.valueQuantity.unt': what it is taken from has no 'unt' (did you mean 'unit'?)",
        ),
        (
            "mappings/lis_fhir/report.get.yaml",
            "$o.code.coding[0].code?",
            "$o.code.coding.code?",
            "23:15: '$o.code.coding.code': a list has no 'code'",
        ),
        ("mappings/lis_fhir/report.get.yaml", "$r.conclusion?", "$r.issued | fen", "'fen' does not take a time"),
        ("mappings/his_soap/registration.lock.yaml", "  OrderNo:", "  # OrderNo:", "required and not given: OrderNo"),
        (
            "mappings/his_soap/schedule.list.yaml",
            "fee: $s.Fee | fen",
            "fee: $s.Fee",
            "26:14: text where a whole number is needed",
        ),
        (
            "mappings/his_soap/schedule.list.yaml",
            "        slotId: $s.SlotNo\n",
            "",
            "13:9: required and not given: slotId",
        ),
        (
            "mappings/his_soap/schedule.list.yaml",
            "meaning(level_12320)",
            "meaning(gender_gbt2261)",
            "31:16: may be 'female', 'male', 'other', 'unknown', which is not allowed here",
        ),
        ("schemas/parking.yaml", "x-effect: read", "x-efect: read", "x-effect"),
        ("schemas/wsdl/his.wsdl", "<wsdl:definitions", "<!DOCTYPE x>\n<wsdl:definitions", "DOCTYPE"),
    ],
)
def test_a_mistake_is_found_and_the_right_word_offered(
    demo: Configured, file: str, old: str, new: str, finding: str
) -> None:
    demo.edit(file, old, new)
    found = demo.findings()
    assert any(finding in one for one in found), "\n".join(found)


def test_mistakes_in_several_files_are_found_at_once(demo: Configured) -> None:
    demo.edit("routes.yaml", LOCK, "registration.lock: {to: his}")
    demo.edit("mappings/his_soap/doctor.search.yaml", "| fen", "| fenn")
    demo.edit("mappings/his_soap/registration.find.yaml", "refused: {code: not_found}", "refused: {code: no}")
    files = {finding.split(":")[0] for finding in demo.findings()}
    assert files == {
        "routes.yaml",
        "mappings/his_soap/doctor.search.yaml",
        "mappings/his_soap/registration.find.yaml",
    }


def test_a_broken_line_of_routes_hides_no_other_mistake(demo: Configured) -> None:
    demo.edit("routes.yaml", "doctor.search:       {to: his, timeout: 3s", "doctor.search:       {to: his, timeout: 3x")
    demo.edit("routes.yaml", LOCK, "registration.lock: {to: his, retry: 2}")
    demo.edit("routes.yaml", "adapter: fhir", "adapter: fire")
    demo.edit("mappings/parking_ake/parking.fee.yaml", "| fen", "| fenn")
    found = "\n".join(demo.findings())
    for part in (
        "must be a duration",
        "has no settle",
        "must never be sent again",
        "adapter 'fire'",
        "did you mean 'fen'?",
    ):
        assert part in found
    assert "no route leads to" not in found


def test_a_file_that_does_not_compile_is_checked_all_the_same(demo: Configured) -> None:
    demo.edit("mappings/his_soap/schedule.list.yaml", "| fen", "| fenn")
    demo.edit("mappings/his_soap/schedule.list.yaml", "$s.DoctorName", "$s.DoctorNam")
    demo.edit("mappings/his_soap/schedule.list.yaml", "  From: $from", "  From: $form")
    found = "\n".join(demo.findings())
    for part in ("unknown function 'fenn'", "'$s.DoctorNam'", "'$form': the contract's request has no 'form'"):
        assert part in found, found


def test_a_table_of_errors_may_know_more_than_a_case_lets_in(demo: Configured) -> None:
    file = "mappings/his_soap/registration.lock.yaml"
    table = demo.folder / "mappings" / "codes" / "his_error.yaml"
    table.write_text(table.read_text("utf-8").replace("entries:", "to_canonical: {'7777': moon_is_down}\nentries:", 1))
    demo.load()
    demo.edit(file, "in ['1001', ", "in ['7777', '1001', ")
    assert any("lock.yaml:26:21: refusal 'moon_is_down' is not in the contract" in each for each in demo.findings())


def test_a_finding_of_an_adapter_stands_at_the_field(demo: Configured) -> None:
    demo.edit("mappings/parking_ake/parking.fee.yaml", "  body:\n", "  boddy:\n")
    (line,) = [at for at, text in enumerate(lines(demo, "mappings/parking_ake/parking.fee.yaml"), 1) if "boddy" in text]
    found = demo.findings()
    assert any(each.startswith(f"mappings/parking_ake/parking.fee.yaml:{line}:3: ") for each in found)


def lines(demo: Configured, file: str) -> list[str]:
    return (demo.folder / file).read_text("utf-8").splitlines()


def test_an_endpoint_that_no_route_uses_is_a_mistake(demo: Configured) -> None:
    demo.edit("routes.yaml", "  parking.fee:         {to: parking, timeout: 4s, retry: 1}\n", "")
    assert any("no route leads to endpoint 'parking'" in finding for finding in demo.findings())


def test_files_that_nothing_uses_are_found_and_other_hospitals_are_checked(demo: Configured) -> None:
    mappings = demo.folder / "mappings"
    (mappings / "codes" / "odd.yaml").write_text("source: nobody\nentries: {a: '1'}\n")
    (mappings / "codes" / "kept.yaml").write_text("source: a standard\nstandard: true\nentries: {a: '1'}\n")
    (mappings / "parts").mkdir(exist_ok=True)
    (mappings / "parts" / "odd.yaml").write_text("pair:\n  takes: [a]\n  gives: $a\n")
    (mappings / "parts" / "odd-2.yaml").write_text(
        "a-b: {gives: 1}\nc: {gives: {'$use': 'odd-2.a-b'}}\nd: {gives: {$use : odd-2.c}}\n"
    )
    (mappings / "his_soap" / "parking.fee.yaml").write_text("action: Fee\nresponse: {done: {}}\n")
    (mappings / "his_soap" / "parking.fees.yaml").write_text("action: Fee\nresponse: {done: {}}\n")
    (mappings / "other" / "x").mkdir(parents=True)
    (mappings / "other" / "x" / "deep.yaml").write_text("action: Fee\nresponse: {done: {}}\n")
    (mappings / "other" / "doctor.search.yml").write_text("action: Fee\nresponse: {done: {}}\n")
    (mappings / "other" / "doctor.search.yaml").write_bytes(b"action: \xb9\xd2\xba\xc5\n")
    (mappings / "other" / "schedule.list.yaml").write_text(
        "# {$use: odd.pair} | code(odd)\naction: S\nrequest: {A: $a | x, B: $form}\nresponse: {accepted: {}}\n"
    )
    (mappings / "other" / "parking.fee.yaml").write_text("action: Fee\nrequest: {A: $plat}\nresponse: {done: {}}\n")
    (mappings / "other" / "turn.yaml").write_text("from: hl7v2\nto: fhir Patient\ngives: {resourceTyp: Patient}\n")
    surveyed = survey(demo.settings, demo.load())
    found = [str(each).replace(f"{demo.folder}/mappings/", "") for each in surveyed.findings]
    assert surveyed.idle == (f"{mappings}/his_soap/parking.fee.yaml",)
    for part in (
        "codes/odd.yaml:1:1: no mapping uses code table 'odd'",
        "parts/odd.yaml:1:1: no mapping uses part 'odd.pair'",
        "his_soap/parking.fees.yaml:1:1: operation 'parking.fees' is not in the contract (did you mean 'parking.fee'?)",
        "other/parking.fee.yaml:2:14: '$plat': the contract's request has no 'plat' (did you mean 'plate'?)",
        "other/turn.yaml:3:9: what is sent has no 'resourceTyp' (did you mean 'resourceType'?)",
        "other/x/deep.yaml:1:1: stands where nobody reads it",
        "other/doctor.search.yml:1:1: stands where nobody reads it",
        "other/doctor.search.yaml: is not UTF-8 at byte 8",
        "other/schedule.list.yaml:3:19: unknown function 'x'",
        "other/schedule.list.yaml:3:25: '$form': the contract's request has no 'form' (did you mean 'from'?)",
        "other/turn.yaml:1:1: a translation has no example",
    ):
        assert any(finding.startswith(part) for finding in found), f"{part} is not in\n" + "\n".join(found)
    assert not any(name in finding for finding in found for name in ("kept", "'odd-2.a-b'", "'odd-2.c'"))


def test_the_files_of_the_repository_are_all_used_and_sound(demo: Configured) -> None:
    assert survey(demo.settings, demo.load()).findings == ()


QUEUED_UNLOCK = "registration.unlock: {to: his, timeout: 4s, deliver: queued, retry: 20 over 6h"


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (
            "report.get:          {to: lis,",
            "report.get:          {to: lis, deliver: queued,",
            "'report.get' is a read: its answer is needed now and not later (remove deliver: queued)",
        ),
        (UNLOCK, UNLOCK.replace("retry: 2", "retry: 20 over 6h"), "only queued delivery is tried again over a time"),
        (UNLOCK, UNLOCK.replace("retry: 2", "retry: 11"), "cannot wait for more than 10 retries"),
        (UNLOCK, UNLOCK.replace("retry: 2", "ttl: 2h"), "'ttl' is for queued delivery (say deliver: queued as well)"),
        (UNLOCK, UNLOCK.replace("retry: 2", "ordered: $orderNo"), "'ordered' is for queued delivery"),
        (UNLOCK, UNLOCK.replace("retry: 2", "priority: low"), "'priority' is for queued delivery"),
        (
            UNLOCK,
            f"{QUEUED_UNLOCK}, ordered: $orderNumber}}",
            "'$orderNumber': the contract's request has no 'orderNumber' (did you mean 'orderNo'?)",
        ),
        (
            LOCK,
            LOCK.replace("{to: his,", "{to: his, deliver: queued, ordered: $slot,"),
            "'$slot' is no plain value (name a text or a number, such as an id)",
        ),
        (
            LOCK,
            LOCK.replace("{to: his,", "{to: his, deliver: queued, retry: 3 over 1h,"),
            "'registration.lock' is once and must never be sent again",
        ),
        (
            LOCK,
            "registration.lock: {to: his, deliver: queued}",
            "'registration.lock' is once and has no settle",
        ),
    ],
)
def test_what_queued_delivery_cannot_be_is_found(demo: Configured, old: str, new: str, finding: str) -> None:
    demo.edit("routes.yaml", old, new)
    found = demo.findings()
    assert any(finding in each for each in found), found


def test_an_order_that_may_be_missing_is_found(demo: Configured) -> None:
    demo.edit("routes.yaml", LOCK, LOCK.replace("{to: his,", "{to: his, deliver: queued, ordered: $slot.slotId,"))
    demo.load()
    demo.edit(
        "schemas/registrations.yaml", "required: [orderNo, patientId, slot, fee]", "required: [orderNo, patientId]"
    )
    assert any("'slot' may be missing, and then there would be no order" in each for each in demo.findings())


def test_what_is_broken_hides_nothing_of_what_can_be_read(demo: Configured) -> None:
    demo.edit("mappings/codes/his_error.yaml", "entries:", "entry:")
    demo.edit("mappings/his_soap/schedule.list.yaml", "$s.DoctorName", "$s.DoctorNam")
    demo.edit("mappings/parts/hl7_ids.yaml", "gives:", "give:")
    demo.edit("mappings/jkt_12320/patient.find.yaml", "$documentNumber", "$documentNumbr")
    plan, findings = examine(demo.settings, {}, SystemClock(), Metrics())
    assert plan is not None
    found = "\n".join(str(each) for each in [*findings, *survey(demo.settings, plan).findings])
    for part in ("his_error.yaml", "'$s.DoctorNam'", "hl7_ids.yaml", "documentNumbr"):
        assert part in found, found
    assert "refusal" not in found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("$file.schemas/wsdl/his.wsdl", "$file.gone.wsdl", "13:13: file 'gone.wsdl' does not exist"),
        ("$env.HIS_URL", "$env.HIS_GONE", "14:16: environment variable 'HIS_GONE' does not exist"),
    ],
)
def test_what_does_not_exist_outside_is_one_finding(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Not one more for each type that the setting has not got."""
    copy = Configured(tmp_path)
    text = (copy.folder / "routes.yaml").read_text("utf-8")
    line = next(one for one in text.splitlines() if old in one)
    copy.edit("routes.yaml", line, line[: line.index(old)] + new)
    found = copy.findings()
    assert [one for one in found if says in str(one)] == list(found)
    assert len(found) == 1
