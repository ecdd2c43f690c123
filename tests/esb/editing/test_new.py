"""``esb new mapping`` as a person runs it: where it writes, what it refuses, what lint still asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esb.cli import main
from esb.codecs import yaml
from esb.editing.names import load_words
from tests.esb.configured import ROOT, Configured

WSDL = str(ROOT / "schemas" / "wsdl" / "his.wsdl")
FIND = Path("mappings/his_soap/registration.find.yaml")


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    copy = Configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESB_SECRETS", str(ROOT / "sandbox" / "secrets"))
    return copy


def new(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["new", "mapping", *arguments])


def test_a_draft_stands_where_the_route_looks_for_it_and_lint_says_what_remains(demo: Configured) -> None:
    demo.edit("routes.yaml", "$file.schemas/wsdl/his.wsdl", WSDL)
    FIND.unlink()
    made = new("registration.find", "--from", f"{WSDL}#FindRegistration", "--to", "his")
    assert made.exit_code == 0, made.output
    assert FIND.read_text("utf-8").startswith("# yaml-language-server: $schema=../../schemas/editor/mapping.json\n")
    for outcome in ("done", "refused", "unavailable"):
        assert f"outcome '{outcome}' has no example" in made.output
    linted = CliRunner().invoke(main, ["lint"]).output
    assert "registration.find.yaml" in linted
    assert all(line in linted for line in made.output.splitlines() if line.startswith(str(FIND)) and "has no" in line)


def test_nothing_is_written_over() -> None:
    before = FIND.read_text("utf-8")
    refused = new("registration.find", "--from", f"{WSDL}#FindRegistration", "-o", str(FIND))
    assert (refused.exit_code, "exists already" in refused.output) == (2, True)
    assert FIND.read_text("utf-8") == before


def test_without_a_place_it_is_printed() -> None:
    printed = new("registration.find", "--from", f"{WSDL}#FindRegistration")
    assert yaml.load(printed.output).value["action"] == "FindRegistration"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("registration.fnd", "--from", f"{WSDL}#FindRegistration"), "did you mean 'registration.find'?"),
        (("registration.find", "--from", f"{WSDL}#FindRegistratio"), "did you mean 'FindRegistration'?"),
        (("registration.find", "--from", f"{WSDL}#Nothing"), "operations: SearchDoctors, ListSchedules"),
        (("registration.find", "--from", WSDL), "is a WSDL (name one operation: "),
        (("registration.find", "--from", "nothing.xml"), "cannot be read"),
        (("registration.find", "--from", "fhir:Nothing"), "FHIR R4 has no resource 'Nothing'"),
        (("registration.find", "--from", f"{WSDL}#FindRegistration", "--to", "hiss"), "did you mean 'his'?"),
        (("registration.find", "--from", "odd.txt"), "is no HL7 v2, XML or JSON"),
        (("registration.find", "--from", "odd.xml"), "odd.xml"),
    ],
)
def test_what_cannot_be_drafted_says_why(arguments: tuple[str, ...], message: str) -> None:
    Path("odd.txt").write_text("a|b", "utf-8")
    Path("odd.xml").write_text("<a><b></a>", "utf-8")
    refused = new(*arguments)
    assert (refused.exit_code, message in refused.output) == (2, True), refused.output


def test_a_sample_gives_codes_as_constants_and_no_persons_data(tmp_path: Path) -> None:
    request = tmp_path / "find.xml"
    request.write_text(
        "<Query><CHANNEL>WX</CHANNEL><ID_NO>110101199003070011</ID_NO><NAME>张三</NAME><REMARK>李四</REMARK></Query>",
        "utf-8",
    )
    text = new("patient.find", "--from", str(request)).output
    draft = yaml.load(text).value
    assert draft["action"] == "Query"
    assert draft["request"] == {"CHANNEL": "WX", "ID_NO": "$documentNumber", "NAME": "$name"}
    assert "张三" not in text
    assert "李四" not in text


def test_an_answer_becomes_an_example_of_what_the_draft_makes_of_it(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text('{"code": "0", "data": {"lockNo": "L1", "orderNo": "R202601150001", "state": "1"}}', "utf-8")
    draft = yaml.load(new("registration.find", "--from", f"{WSDL}#FindRegistration", "--answer", str(answer)).output)
    assert draft.value["response"][0]["when"] == "$ResultCode == '0' and $Lock.OrderNo == $request.orderNo"


def test_patients_of_a_sample_answer_become_strangers(tmp_path: Path) -> None:
    answer = tmp_path / "answer.hl7"
    answer.write_text(
        "MSH|^~\\&|HIS|H1|HUB|WX|20260115||RSP^K22^RSP_K21|R1|P|2.5.1|||||CHN|UNICODE UTF-8\r"
        "MSA|AA|M1\rPID|1||P0000001^^^HIS^PI||张三丰||19330405|M|||某某路7号||13912345678\r",
        "utf-8",
        newline="",
    )
    text = new("patient.find", "--from", str(answer), "--answer", str(answer)).output
    (example,) = yaml.load(text).value["examples"]
    assert example["done"]["items"][0]["name"] == "测测测"
    assert example["done"]["items"][0]["birthDate"] == "2001-02-03"
    for secret in ("张三丰", "1933", "某某路", "13912345678", "P0000001"):
        assert secret not in text.split("examples:")[1]


def test_a_hospitals_own_words_are_understood(tmp_path: Path) -> None:
    request = tmp_path / "find.json"
    request.write_text('{"zdyhm": "R1"}', "utf-8")
    assert "$orderNo" not in new("registration.find", "--from", str(request)).output.split("examples")[0].split("#")[0]
    words = tmp_path / "words.yaml"
    words.write_text("phrases: {zdyhm: order number}\n", "utf-8")
    drafted = new("registration.find", "--from", str(request), "--words", str(words)).output
    assert "zdyhm: $orderNo" in drafted


@pytest.mark.parametrize(
    ("name", "concepts"),
    [
        ("DeptCode", {"department", "number"}),
        ("DEPT_ID", {"department", "number"}),
        ("KSDM", {"department", "number"}),
        ("科室代码", {"department", "number"}),
        ("BRXM", {"patient", "name"}),
        ("HOSP_PATIENT_ID", {"patient", "number"}),
        ("csrq", {"birth", "date"}),
        ("剩余号数", {"left"}),
        ("expiresAt", {"expire"}),
        ("doctorTitle", {"doctor", "position"}),
    ],
)
def test_names_are_read_as_concepts(name: str, concepts: set[str]) -> None:
    assert load_words().read(name) == concepts


@pytest.mark.parametrize("declared", [' encoding="GBK"', ""])
def test_a_sample_is_read_by_its_charset(declared: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample.xml"
    sample.write_bytes(
        f'<?xml version="1.0"{declared}?><Find><OrderNo>R1</OrderNo><类型>门诊</类型></Find>'.encode("gbk")
    )
    printed = new("registration.find", "--from", str(sample))
    assert printed.exit_code == 0, printed.output
    assert yaml.load(printed.output).value["request"]["类型"] == "门诊"


def test_a_part_of_which_nothing_is_alike_is_empty_and_not_null(tmp_path: Path) -> None:
    sample = tmp_path / "sample.hl7"
    sample.write_text("MSH|^~\\&|A|B|C|D|2026||QBP^Q22|1|P|2.5\rZZZ|^^^9\rQPD|1\r", "utf-8")
    printed = new("report.get", "--from", str(sample))
    assert printed.exit_code == 0, printed.output
    assert all(isinstance(segment, dict) for segment in yaml.load(printed.output).value["request"])


def test_a_wsdl_needs_no_address_and_a_request_no_fields(tmp_path: Path) -> None:
    text = Path(WSDL).read_text("utf-8")
    wsdl = tmp_path / "his.wsdl"
    wsdl.write_text(re.sub(r"<soap:address [^>]*/>", '<soap:address location="REPLACE_ME"/>', text), "utf-8")
    assert new("registration.find", "--from", f"{wsdl}#FindRegistration").exit_code == 0
    wsdl.write_text("<nothing/>", "utf-8")
    refused = new("registration.find", "--from", f"{wsdl}#FindRegistration")
    assert (refused.exit_code, refused.output.startswith(f"{wsdl}: ")) == (2, True)


def test_a_sample_answer_that_begins_with_blanks_is_written_so_that_it_loads(tmp_path: Path) -> None:
    answer = tmp_path / "answer.xml"
    answer.write_text("\t<Answer>\n  <Code>0</Code>\n</Answer>\n", "utf-8")
    printed = new("registration.find", "--from", f"{WSDL}#FindRegistration", "--answer", str(answer))
    assert printed.exit_code == 0, printed.output
