"""What FHIR actions are sent and answer, as lint sees it."""

from __future__ import annotations

import pytest

from adapters import fhir
from esb.spi import ANY, Adapter, Described, Description
from esb.types import Lost, Type


def adapter(release: str = "R4") -> Adapter:
    return fhir.connect(fhir.Settings.model_validate({"base_url": "http://127.0.0.1:1/fhir", "release": release}))


def described(action: str, release: str = "R4") -> Description:
    system = adapter(release)
    assert isinstance(system, Described)
    return system.describe(action)


def required(type_: Type) -> set[str]:
    return {name for name, field in type_.fields.items() if field.required}


def kinds(type_: Type) -> tuple[str, ...]:
    return type_.fields["resourceType"].words


@pytest.mark.parametrize(
    ("action", "needed", "kind"),
    [
        ("read Patient", {"id"}, "Patient"),
        ("vread Patient", {"id", "versionId"}, "Patient"),
        ("capabilities", set(), "CapabilityStatement"),
        ("search Patient", set(), "Bundle"),
        ("transaction", set(), "Bundle"),
        ("batch", set(), "Bundle"),
    ],
)
def test_an_action_needs_its_parameters_and_answers_its_resource(action: str, needed: set[str], kind: str) -> None:
    found = described(action)
    assert required(found.request) == needed
    assert kinds(found.answer) == (kind,)


def test_a_search_takes_any_parameter_and_finds_any_resource() -> None:
    found = described("search Slot")
    assert found.request.at(["schedule.actor"]) is ANY
    assert found.answer.at(["entry", "resource", "status"]) is ANY
    assert isinstance(found.answer.at(["entries"]), Lost)


def test_a_read_takes_nothing_but_its_own_parameters() -> None:
    assert described("read Patient").request.at(["_elements"]) is ANY
    assert described("read Patient").request.at(["identifier"]) == Lost("identifier", ("_elements", "_summary", "id"))


def test_a_resource_is_written_with_its_controls_and_without_its_name() -> None:
    created = described("create Observation")
    assert required(created.request) == {"status", "code"}
    assert created.request.at(["_if_none_exist", "identifier"]) is ANY
    assert isinstance(created.request.at(["_if_match"]), Lost)
    updated = described("update Observation")
    assert updated.request.at(["_search", "identifier"]) is ANY
    assert isinstance(updated.request.at(["valueQuantity", "unt"]), Lost)


def test_what_was_written_is_answered_whole_as_an_id_or_with_remarks() -> None:
    answer = described("create Observation").answer
    assert required(answer) == {"resourceType"}
    assert set(kinds(answer)) == {"Observation", "OperationOutcome"}
    assert isinstance(answer.at(["issue", "diagnostics"]), Type)
    assert isinstance(answer.at(["status"]), Type)


def test_a_bundle_that_is_sent_holds_any_resource() -> None:
    request = described("transaction").request
    assert request.at(["entry", "resource", "status"]) is ANY
    method = request.at(["entry", "request", "method"])
    assert isinstance(method, Type)
    assert method.required


@pytest.mark.parametrize("action", ["delete Slot", "operation Slot/$hold", "operation $ping"])
def test_what_the_server_decides_is_not_known(action: str) -> None:
    assert described(action).answer is ANY
    assert described(action).request.sort == "structure"


def test_nothing_is_known_of_a_wrong_action_or_of_a_type_without_a_shape() -> None:
    assert described("raed Patient") == Description()
    assert described("read Paitent") == Description()
    assert described("create Evidence") == Description()
    assert described("read Evidence").answer is ANY


def test_the_release_decides() -> None:
    assert isinstance(described("read Encounter", "R4").answer.at(["actualPeriod"]), Lost)
    assert isinstance(described("read Encounter", "R5").answer.at(["actualPeriod"]), Type)
