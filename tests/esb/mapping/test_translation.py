"""Translations: a message into another, with its examples, from the command line too."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esb.cli import main
from esb.codecs import hl7v2, json, yaml
from esb.errors import ConfigError
from esb.mapping import MappingError, Translation, is_translation, load_translation, run_translation_examples
from esb.mapping.examples import EXCHANGE
from tests.esb.mapping.support import CODES

ADT = b"MSH|^~\\&|HIS|H1|HUB|WX|20260115||ADT^A01|M1|P|2.5.1\rPID|1||P1^^^HIS||||19900101|1\r"
FILE = """\
from: hl7v2 ADT_A01
to: fhir Patient
prune: true
gives:
  resourceType: Patient
  identifier: {$each: '$PID-3[*] as cx', value: $cx.1, system: $cx.4.2?}
  gender: $PID-8 | meaning(gender)
  birthDate: $PID-7? | read_ts_date
  id: $exchange.key
examples:
  - name: a patient
    message: |
      MSH|^~\\&|HIS|H1|HUB|WX|20260115093001||ADT^A01|M1|P|2.5.1
      PID|1||P1||||19900101|1
    gives: {resourceType: Patient, identifier: [{value: P1}], gender: male, birthDate: '1990-01-01', id: KEY1}
"""


def translation(text: str = FILE) -> Translation:
    return Translation.read(yaml.load(text, "adt.yaml"), text, CODES, {})


def test_a_message_is_translated_by_the_compiled_code_and_the_reference() -> None:
    adt = translation()
    patient = {"resourceType": "Patient", "identifier": [{"value": "P1"}], "gender": "male"}
    patient |= {"birthDate": "1990-01-01", "id": "KEY1"}
    message = hl7v2.decode(ADT)
    assert adt.translate(message, EXCHANGE, {}) == adt.translate_slowly(message, EXCHANGE, {}) == patient
    assert adt._translation(message, EXCHANGE, {}) == patient
    assert (adt.source.format, adt.source.type, adt.target.format, adt.target.type) == (
        "hl7v2",
        "ADT_A01",
        "fhir",
        "Patient",
    )


def test_a_packed_translation_still_says_what_is_wrong() -> None:
    adt = translation()
    adt.pack()
    with pytest.raises(MappingError, match=r"adt.yaml:7: gives.gender: \$PID-8 meaning\(gender\): is not a code"):
        adt.translate(hl7v2.decode(ADT.replace(b"|1\r", b"|7\r")), EXCHANGE, {})
    with pytest.raises(MappingError, match=r"adt.yaml:6: gives.identifier: \$PID-3\[\*\] is missing"):
        adt.translate({}, EXCHANGE, {})
    assert [result.passed for result in run_translation_examples(adt)] == [True]


def test_an_example_that_fails_says_where() -> None:
    wrong = FILE.replace("gender: male, birth", "gender: female, birth")
    (result,) = run_translation_examples(translation(wrong))
    assert result.differences == ["gives.gender: expected 'female', got 'male'"]
    (result,) = run_translation_examples(translation(FILE.replace("      MSH|^", "      HSM|^")))
    assert result.differences == ["message: cannot be decoded: does not begin with MSH"]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (
            "from: hl7\nto: fhir\ngives: $PID-3.1 | trimm\nexamples: 1\nmore: 1",
            [
                "adt.yaml:1:7: 'from' must name a format, got 'hl7' (did you mean 'hl7v2'?)",
                "adt.yaml:3:19: unknown function 'trimm' (did you mean 'trim'?)",
                "adt.yaml:4:11: 'examples' must be a list",
                "adt.yaml:5:1: unknown key 'more' (known are from, to, gives, examples, prune)",
            ],
        ),
        ("from: xml", ["adt.yaml:1:1: 'gives' is missing", "adt.yaml:1:1: 'to' is missing"]),
        ("- 1", ["adt.yaml:1:1: a mapping needs 'from' and 'to' and 'gives'"]),
        (
            "from: xml\nto: json\ngives: {}\n"
            "examples: [{name: a, message: 1}, {name: b, message: 1, gives: 2, site: 3}]",
            [
                "adt.yaml:4:12: an example needs 'name', 'message' and 'gives'",
                "adt.yaml:4:35: 'exchange' and 'site' must be structures",
            ],
        ),
    ],
)
def test_a_wrong_file_is_refused_with_every_finding(text: str, findings: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        translation(text)
    assert [str(finding) for finding in raised.value.findings] == findings


def test_a_translation_is_told_from_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "adt.yaml"
    path.write_text(FILE, encoding="utf-8")
    assert load_translation(path, CODES, {}).file == str(path)
    assert is_translation(yaml.load(path))
    assert not is_translation(yaml.load("action: A\nresponse: {done: {}}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (
        ("codes/gender.yaml", "source: a test\nentries: {male: '1'}"),
        ("adt/adt.yaml", FILE),
        ("good.hl7", ADT.decode()),
        ("bad.hl7", ADT.decode().replace("|1\r", "|7\r")),
        ("none.hl7", "hello"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path


def translate(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["translate", str(folder / "adt/adt.yaml"), *arguments])


def test_messages_are_translated_on_the_command_line(folder: Path) -> None:
    done = translate(folder, str(folder / "good.hl7"))
    assert done.exit_code == 0
    assert json.decode(done.stdout_bytes)["identifier"] == [{"value": "P1"}]


def test_a_bad_message_is_named_and_the_others_are_written(folder: Path) -> None:
    files = [str(folder / f"{name}.hl7") for name in ("bad", "none", "good")]
    done = translate(folder, *files, "--into", str(folder / "out"))
    assert done.exit_code == 1
    assert [each.name for each in (folder / "out").iterdir()] == ["good.json"]
    assert f"{files[0]}: {folder}/adt/adt.yaml:7: gives.gender: $PID-8 meaning(gender)" in done.stderr
    assert f"{files[1]}: does not begin with MSH" in done.stderr


@pytest.mark.parametrize(
    ("place", "file"), [("adt", "adt.yaml"), ("codes", "../adt/adt.yaml"), ("adt/x", "../adt.yaml")]
)
def test_tables_and_parts_are_found_from_wherever_one_stands(
    folder: Path, place: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / place).mkdir(exist_ok=True)
    monkeypatch.chdir(folder / place)
    assert CliRunner().invoke(main, ["translate", file, str(folder / "good.hl7")]).exit_code == 0
