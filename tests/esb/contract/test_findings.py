"""A mistake in schemas/ is told with file, line, column and the nearest valid word; all of them at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from esb.contract import load_contract
from esb.errors import ConfigError

SCHEMAS = Path(__file__).parents[3] / "schemas"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in SCHEMAS.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def place(file: Path, word: str) -> tuple[int, int]:
    """Line and column, from 1, where ``word`` first stands."""
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if word in line:
            return number, line.index(word) + 1
    raise AssertionError(word)


def findings(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_contract(folder)
    return [str(one).removeprefix(f"{folder}/") for one in caught.value.findings]


CASES = [
    # file, old, new, word at the place of the finding, what it says
    (
        "doctors.yaml",
        "schemas/DoctorList'}",
        "schemas/DoctorLits'}",
        "'#/components/schemas/DoctorLits",
        "did you mean 'DoctorList'?",
    ),
    (
        "doctors.yaml",
        "common.yaml#/components/schemas/Id'",
        "comon.yaml#/components/schemas/Id'",
        "'comon.yaml",
        "did you mean 'common.yaml'?",
    ),
    ("doctors.yaml", "common.yaml#/components/schemas/Id'", "schemas/Id'", "'schemas/Id'", "a reference looks like"),
    ("doctors.yaml", "      operationId: doctor.search\n", "", "get:", "operationId is missing"),
    (
        "doctors.yaml",
        "operationId: doctor.search",
        "operationId: DoctorSearch",
        "DoctorSearch",
        "is named like registration.lock",
    ),
    (
        "doctors.yaml",
        "operationId: schedule.list",
        "operationId: doctor.search",
        "",
        "'doctor.search' is already the operation at /v1/doctors",
    ),
    ("doctors.yaml", "/v1/doctors:", "/v1/departments:", "/v1/departments:", "is already in departments.yaml:"),
    ("doctors.yaml", "      x-effect: read\n", "", "get:", "x-effect is missing"),
    ("doctors.yaml", "x-effect: read", "x-effect: raed", "raed", "did you mean 'read'?"),
    ("doctors.yaml", "x-effect: read", "x-efect: read", "x-efect", "did you mean 'x-effect'?"),
    ("doctors.yaml", "x-effect: read", "x-effect: once", "get:", "an operation that happens once is a POST"),
    (
        "doctors.yaml",
        "status: 404, zh: 没有这个科室",
        "status: 402, zh: 没有这个科室",
        "402",
        "no shared response has the refusal status 402",
    ),
    (
        "doctors.yaml",
        "status: 404, zh: 没有这个科室, en",
        "status: 404, zn: 没有这个科室, en",
        "department_unknown",
        "exactly status, zh and en",
    ),
    ("doctors.yaml", "fee: 2500\n", "fee: 25.5\n", "25.5", "the example's /items/0/fee must be an integer"),
    ("doctors.yaml", "example: DR1001", "example: '-'", "'-'", "the example's value must match"),
    ("doctors.yaml", "    get:\n", "    gte:\n", "gte:", "did you mean 'get'?"),
    ("doctors.yaml", "in: query", "in: cookie", "cookie", "a parameter is in path, query or header"),
    ("doctors.yaml", "'200':", "'204':", "responses:", "exactly one of the answers '200' and '201'"),
    (
        "doctors.yaml",
        "maximum: 10000, description: 总号数",
        "maximun: 10000, description: 总号数",
        "maximun",
        "did you mean 'maximum'?",
    ),
    (
        "doctors.yaml",
        "type: integer, minimum: 0, maximum: 10000, description: 总号数",
        "type: integr, description: 总号数",
        "integr,",
        "there is no type 'integr'",
    ),
    (
        "doctors.yaml",
        "session: {type: string",
        "session: {format: dat, type: string",
        "dat,",
        "unknown format 'dat' (did you mean 'date'?)",
    ),
    (
        "doctors.yaml",
        "session: {type: string",
        "session: {pattern: '([', type: string",
        "'(['",
        "'pattern' is not valid JSON Schema",
    ),
    ("doctors.yaml", "      additionalProperties: false\n", "", "", "an object says what else it may hold"),
    (
        "doctors.yaml",
        "required: [id, name, departmentId",
        "required: [id, nmae, departmentId",
        "nmae",
        "'nmae' is no property here",
    ),
    (
        "registrations.yaml",
        "        - {$ref: 'common.yaml#/components/parameters/IdempotencyKey'}\n",
        "",
        "post:",
        "needs the parameter Idempotency-Key",
    ),
    ("registrations.yaml", "x-owner: patientId", "x-owner: patientID", "patientID", "did you mean 'patientId'?"),
    (
        "registrations.yaml",
        "- name: orderNo",
        "- name: orderNumber",
        "/v1/registrations/locks/{orderNo}:",
        "'{orderNo}' has no path parameter",
    ),
    ("registrations.yaml", "slot_full:", "SlotFull:", "SlotFull", "lower case words joined by _"),
    ("reports.yaml", "- name: from", "- name: patientId", "", "'patientId' is already a field of path, query or body"),
    ("patients.yaml", "x-effect: read", "x-effect: once", "post:", "needs the parameter Idempotency-Key"),
    ("patients.yaml", "          application/json:", "          text/json:", "content:", ""),
    ("common.yaml", "openapi: 3.1.0", "openapi: 3.0.3", "3.0.3", "should be an OpenAPI 3.1 document"),
    ("common.yaml", "every: [BadRequest", "every: [BadReqest", "BadReqest", "there is no response 'BadReqest'"),
    ("common.yaml", "x-responses:", "x-response:", "x-response:", "did you mean 'x-responses'?"),
]


@pytest.mark.parametrize(("file", "old", "new", "word", "says"), CASES)
def test_a_mistake_is_told_with_its_place_and_the_nearest_word(
    folder: Path, file: str, old: str, new: str, word: str, says: str
) -> None:
    edit(folder / file, old, new)
    found = findings(folder)
    line, column = place(folder / file, word) if word else (0, 0)
    at = f"{file}:{line}:{column}: " if word else f"{file}:"
    assert [one for one in found if one.startswith(at) and says in one], found


def test_all_mistakes_of_all_files_are_told_at_once(folder: Path) -> None:
    edit(folder / "doctors.yaml", "x-effect: read", "x-effect: raed")
    edit(folder / "parking.yaml", "schemas/ParkingQuote", "schemas/ParkingQote")
    edit(folder / "registrations.yaml", "x-owner: patientId", "x-owner: patient")
    assert {one.split(":")[0] for one in findings(folder)} == {"doctors.yaml", "parking.yaml", "registrations.yaml"}


def test_a_schema_that_refers_to_itself_is_refused(folder: Path) -> None:
    edit(
        folder / "parking.yaml",
        "plate: {$ref: '#/components/schemas/Plate'",
        "plate: {$ref: '#/components/schemas/ParkingQuote'",
    )
    assert [one for one in findings(folder) if "refers to itself" in one]


def test_a_reference_that_is_narrowed_twice_is_refused(folder: Path) -> None:
    edit(
        folder / "parking.yaml",
        "fee: {$ref: 'common.yaml#/components/schemas/Money'",
        "fee: {minimum: 1, $ref: 'common.yaml#/components/schemas/Money'",
    )
    assert [one for one in findings(folder) if "'minimum' is already set by the referenced schema" in one]


def test_broken_yaml_duplicate_keys_and_an_empty_folder_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "parking.yaml").write_text("openapi: 3.1.0\nopenapi: 3.1.0\n")
    (folder / "reports.yaml").write_text("paths: {")
    (folder / "doctors.yaml").write_text("- 1\n")
    found = findings(folder)
    assert [one.split(":")[0] for one in found] == ["doctors.yaml", "parking.yaml", "reports.yaml"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"has no common\.yaml"):
        load_contract(empty)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "1",
        "[]",
        "{get: 1}",
        "{get: {responses: 1}}",
        "{get: {parameters: {a: 1}}}",
        "{post: {requestBody: []}}",
        "{get: {x-refusals: [a]}}",
        "{get: {tags: 1, x-requirement: R05}}",
        "{parameters: 1, get: {}}",
    ],
)
def test_any_other_shape_of_a_path_is_a_finding_and_no_crash(folder: Path, text: str) -> None:
    (folder / "odd.yaml").write_text(f"openapi: 3.1.0\npaths:\n  /v1/odd: {text}\n")
    assert all(one.startswith("odd.yaml:3:") for one in findings(folder))
