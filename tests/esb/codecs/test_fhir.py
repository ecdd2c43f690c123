"""FHIR resources: nothing lost, every finding named, references and extensions found."""

from __future__ import annotations

import hashlib
import json as stdlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fhir.resources import fhirtypes as r5_types
from fhir.resources.R4B import fhirtypes as r4b_types

from esb.codecs import DecodeError, EncodeError, fhir

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "fhir"
EXAMPLES = sorted(CORPUS.glob("r[45]/*.json"))
needs_corpus = pytest.mark.skipif(not EXAMPLES, reason="the shared corpus is not beside this checkout")


def _exactly(data: bytes) -> Any:
    """The standard library's reading, with sign, digits and exponent of every number."""
    return stdlib.loads(data, parse_float=lambda text: Decimal(text).as_tuple())


@needs_corpus
def test_every_official_example_comes_back_with_each_digit() -> None:
    assert len(EXAMPLES) == 237
    for path in EXAMPLES:
        data = path.read_bytes()
        written = fhir.encode(fhir.decode(data))
        assert _exactly(written) == _exactly(data), path.name


@needs_corpus
def test_the_examples_are_the_ones_of_the_manifest() -> None:
    manifest = stdlib.loads((CORPUS / "manifest.json").read_bytes())["resources"]
    assert {entry["file"]: entry["sha256"] for entry in manifest} == {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in EXAMPLES
    }


@needs_corpus
@pytest.mark.parametrize("release", ["R4", "R5"])
def test_every_official_example_is_valid(release: fhir.Release) -> None:
    paths = [path for path in EXAMPLES if path.parent.name == release.lower()]
    found = {path.name: issues for path in paths if (issues := fhir.validate(fhir.decode(path.read_bytes()), release))}
    assert found == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "is an object, not an array"),
        (b"1", "not a single value"),
        (b"{}", "needs 'resourceType'"),
        (b'{"resourceType":""}', "needs 'resourceType'"),
        (b'{"resourceType":"Patient","id":"a","id":"b"}', "duplicate key 'id'"),
        (b"<html></html>", "a value is missing (line 1, column 1)"),
    ],
)
def test_what_is_no_resource_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as error:
        fhir.decode(data)
    assert reason in error.value.reason


def test_only_resources_are_written() -> None:
    with pytest.raises(EncodeError, match="needs 'resourceType'"):
        fhir.encode({"status": "free"})
    assert fhir.encode({"resourceType": "Basic", "x": Decimal("12.00")}) == b'{"resourceType":"Basic","x":12.00}'


@pytest.mark.parametrize(
    ("resource", "path", "message"),
    [
        ({"resourceType": "Patient", "gender": "1"}, "Patient.gender", "is not one of male, female, other, unknown"),
        ({"resourceType": "Patient", "birthDate": "19900101"}, "Patient.birthDate", "does not match"),
        ({"resourceType": "Patient", "name": [{"text": 7}]}, "Patient.name[0].text", "valid string"),
        ({"resourceType": "Patient", "nme": []}, "Patient.nme", "not permitted"),
        ({"resourceType": "Slot", "status": "free"}, "Slot.schedule", "required"),
        ({"resourceType": "Slott"}, "Slott", "FHIR R4 has no resource of this name"),
        ({"resourceType": "MedicinalProduct"}, "MedicinalProduct", "cannot be checked"),
        ({"resourceType": "Evidence", "status": "draft"}, "Evidence", "cannot be checked"),
        (
            {"resourceType": "Patient", "contained": [{"resourceType": "Organization", "name": 3}]},
            "Patient.contained[0].name",
            "valid string",
        ),
        (
            {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {"resourceType": "Group", "type": 1}}]},
            "Bundle.entry[0].resource.type",
            "valid string",
        ),
    ],
)  # fmt: skip
def test_a_finding_names_its_path_and_never_the_value(resource: Any, path: str, message: str) -> None:
    (issue,) = fhir.validate(resource, "R4")
    assert issue.path == path
    assert message in issue.message
    assert "19900101" not in str(issue)


def test_all_findings_come_at_once() -> None:
    patient = {"resourceType": "Patient", "birthDate": "1990.1.1", "bogus": 1, "name": "x"}
    assert {issue.path for issue in fhir.validate(patient)} == {"Patient.birthDate", "Patient.bogus", "Patient.name"}


def test_names_that_moved_between_releases_are_found() -> None:
    appointment = {
        "resourceType": "Appointment",
        "status": "cancelled",
        "cancelationReason": {"text": "x"},
        "participant": [{"status": "accepted", "actor": {"reference": "Patient/1"}}],
    }
    assert fhir.validate(appointment, "R4") == []
    assert "Appointment.cancelationReason" in [issue.path for issue in fhir.validate(appointment, "R5")]


def test_the_names_of_resources_are_those_of_the_models() -> None:
    """R4 as R4B without what R4B added; R5 as it is."""
    for release, models in (("R4", r4b_types), ("R5", r5_types)):
        checkable = fhir.TYPES[release] - fhir.NOT_CHECKABLE[release]  # type: ignore[index]
        assert [kind for kind in checkable if not hasattr(models, f"{kind}Type")] == []
    assert (len(fhir.TYPES["R4"]), len(fhir.TYPES["R5"])) == (146, 158)
    assert {"resourceType", "status", "schedule", "_comment"} <= fhir.elements("Slot")
    assert fhir.elements("Nonsense") == frozenset()


BUNDLE = {
    "resourceType": "Bundle",
    "type": "searchset",
    "entry": [
        {"fullUrl": "http://h/fhir/DiagnosticReport/1", "resource": {"resourceType": "DiagnosticReport", "id": "1"}},
        {"fullUrl": "http://h/fhir/Observation/1", "resource": {"resourceType": "Observation", "id": "1"}},
        {
            "fullUrl": "urn:uuid:7",
            "resource": {
                "resourceType": "Observation",
                "meta": {"versionId": "2"},
                "contained": [{"resourceType": "Device", "id": "d"}],
            },
        },
        {"resource": {"resourceType": "Patient", "id": "p", "meta": {"versionId": "3"}}},
    ],
}


def test_resources_of_a_type_come_in_order_and_a_lone_resource_counts() -> None:
    assert [found.get("id") for found in fhir.resources(BUNDLE, "Observation")] == ["1", None]
    assert fhir.resources(BUNDLE, "Slot") == []
    assert fhir.resources({"resourceType": "Slot"}, "Slot") == [{"resourceType": "Slot"}]
    assert fhir.resources({"resourceType": "Bundle"}, "Slot") == []


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("Observation/1", "Observation"),
        ({"reference": "DiagnosticReport/1"}, "DiagnosticReport"),
        ("http://h/fhir/Observation/1", "Observation"),
        ("urn:uuid:7", "Observation"),
        ("#d", "Device"),
        ("Patient/p/_history/3", "Patient"),
        ("Patient/p/_history/4", None),
        ("Patient/1", None),
        ("http://elsewhere/fhir/Observation/1", None),
        ("1", None),
        ({"display": "someone"}, None),
        (None, None),
    ],
)
def test_a_reference_is_resolved_inside_the_bundle_or_not_at_all(reference: Any, kind: str | None) -> None:
    found = fhir.resolve(BUNDLE, reference)
    assert (found or {}).get("resourceType") == kind


def test_an_extension_gives_its_value() -> None:
    patient = {
        "extension": [
            {"url": "urn:a", "valueBoolean": False},
            {"url": "urn:b", "extension": [{"url": "x", "valueString": "y"}]},
        ]
    }
    assert fhir.extension(patient, "urn:a") is False
    assert fhir.extension(fhir.extension(patient, "urn:b"), "x") == "y"
    assert fhir.extension(patient, "urn:c") is None
    assert fhir.extension({}, "urn:a") is None


def test_pages_merge_into_one_searchset_without_repeats() -> None:
    def page(*identifiers: str, next: bool) -> dict[str, Any]:
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": 3,
            "link": [{"relation": "self", "url": "u"}] + [{"relation": "next", "url": "n"}] * next,
            "entry": [{"resource": {"resourceType": "Slot", "id": each}} for each in identifiers],
        }

    merged = fhir.merge_pages([page("1", "2", next=True), page("2", "3", next=False)])
    assert [slot["id"] for slot in fhir.resources(merged, "Slot")] == ["1", "2", "3"]
    assert merged["link"] == [{"relation": "self", "url": "u"}]
    assert merged["total"] == 3
    assert fhir.merge_pages([]) == {"resourceType": "Bundle", "type": "searchset", "entry": []}
