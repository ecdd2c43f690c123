"""The measure itself: what counts as equal, and what does not."""

from __future__ import annotations

import pytest

from tests.hl7_to_fhir.compare import aligned, compare, resources
from tests.hl7_to_fhir.score import score_bundles

ID = "9e909e52-61a1-be50-1878-a12ef8c36346"


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"id": "1", "resourceType": "Patient", "gender": "male"}, {"gender": "male"}),
        ({"at": "2026-01-16T08:30:00+08:00"}, {"at": "2026-01-16T00:30:00Z"}),
        ({"subject": {"reference": f"Patient/{ID}"}}, {"subject": {"reference": "Patient/" + ID.replace("9", "8")}}),
        ({"name": [{"family": "A"}, {"family": "B"}]}, {"name": [{"family": "B"}, {"family": "A"}]}),
    ],
)
def test_these_are_equal(expected: object, found: object) -> None:
    compared = compare(expected, found)
    assert (compared.equal, compared.differences) == (compared.expected, [])


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"subject": {"reference": f"Patient/{ID}"}}, {"subject": {"reference": f"Person/{ID}"}}),
        ({"active": True}, {"active": 1}),
        ({"value": 1}, {"value": "1"}),
        ({"date": "2026-01-16"}, {"date": "2026-01-16T00:00:00+08:00"}),
        ({"name": "A"}, {"name": {"family": "A"}}),
        ({"name": [{"family": "A"}]}, {"name": {"family": "A"}}),
        ({"code": {"coding": [{"code": "1"}]}}, {}),
    ],
)
def test_these_are_not(expected: object, found: object) -> None:
    assert compare(expected, found).equal == 0


def test_a_leaf_in_the_wrong_item_does_not_count() -> None:
    codings = [{"code": "1", "system": "a"}, {"code": "2", "system": "b"}]
    compared = compare(codings, [{"code": "1", "system": "b"}, {"code": "2", "system": "a"}])
    assert (compared.equal, compared.expected) == (2, 4)


def test_more_than_is_expected_is_counted_apart() -> None:
    compared = compare([{"code": "1"}], [{"code": "1", "display": "one"}, {"code": "3"}])
    assert (compared.equal, compared.expected, compared.surplus) == (1, 1, 2)


def test_resources_are_counted_by_type() -> None:
    expected = {"entry": [{"resource": {"resourceType": kind}} for kind in ("Patient", "Location", "Location")]}
    found = {"entry": [{"resource": {"resourceType": kind}} for kind in ("Location", "Device")]}
    counts = score_bundles(expected, found).counts
    assert {kind: (tally.found, tally.expected, tally.surplus) for kind, tally in counts.items()} == {
        "Device": (0, 0, 1),
        "Location": (1, 2, 0),
        "Patient": (0, 1, 0),
    }


def test_a_reference_counts_when_it_leads_to_the_pair() -> None:
    def bundle(ids: tuple[str, str, str], mother: str) -> dict[str, object]:
        names = [
            {"resourceType": "Patient", "id": one, "name": name} for one, name in zip(ids, ("A", "B"), strict=False)
        ]
        report = {"resourceType": "Observation", "id": ids[2], "subject": {"reference": f"Patient/{mother}"}}
        return {"entry": [{"resource": one} for one in (*names, report)]}

    expected = bundle(("1", "2", "3"), "2")
    for mother, equal in (("8", 1), ("7", 0)):
        ours = bundle(("7", "8", "9"), mother)
        left, right = map(resources, aligned(expected, ours))
        assert compare(left["Observation"], right["Observation"]).equal == equal
