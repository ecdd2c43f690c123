"""What lint says of shadows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.esb.configured import Configured

LIST = "{to: his, timeout: 3s, retry: 2, cache: 5s"
UNLOCK = "registration.unlock: {to: his, timeout: 4s, retry: 2"


@pytest.fixture
def hospital(tmp_path: Path) -> Configured:
    copy = Configured(tmp_path)
    (tmp_path / "mappings" / "his_next").mkdir()
    for name in ("schedule.list", "registration.unlock"):
        shutil.copy(tmp_path / "mappings" / "his_soap" / f"{name}.yaml", tmp_path / "mappings" / "his_next")
    return copy


def shadowed(hospital: Configured, text: str, line: str = LIST) -> list[str]:
    hospital.edit("routes.yaml", line, f"{line}, shadow: {text}")
    return [one.split(": ", 1)[1] for one in hospital.findings() if one.startswith("routes.yaml")]


def test_a_sound_shadow_has_an_endpoint_of_its_own_within_small_limits(hospital: Configured) -> None:
    hospital.edit("routes.yaml", LIST, f"{LIST}, shadow: {{to: his, dialect: his_next, share: 10%}}")
    plan = hospital.load()
    (shadow,) = plan.shadows.values()
    assert (shadow.endpoint.name, shadow.endpoint.limits.concurrency) == ("his:shadow", 4)
    assert shadow.endpoint is not plan.endpoints["his"]
    assert shadow.mapping.file.endswith("his_next/schedule.list.yaml")
    config = plan.routes.routes["schedule.list"].shadow
    assert config is not None
    assert (config.share, config.label) == (0.1, "his by his_next")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{to: hiss}", "endpoint 'hiss' does not exist"),
        ("{to: his_inbound}", "endpoint 'his_inbound' listens and is not called"),
        ("{to: his}", "the shadow of 'schedule.list' is what it shadows"),
        ("{to: index}", "schedule.list.yaml' does not exist"),
        ("{to: his, dialect: none}", "mappings/none/schedule.list.yaml' does not exist"),
        ("{to: his, dialect: his_next, share: 0%}", "share"),
        ("{to: his, dialect: his_next, share: 200%}", "share"),
        ("{to: his, dialect: his_next, share: ten}", "must be a share such as 10% or 100%"),
        ("{to: his, dialect: his_next, match: [doctorId, begin]}", "has items with doctorId, begin"),
        ("{to: his, dialect: his_next, ignore: ['items[].fe']}", "the contract's answer has no 'fe'"),
    ],
)
def test_what_is_wrong_with_a_shadow_is_said_with_its_place(hospital: Configured, text: str, said: str) -> None:
    found = shadowed(hospital, text)
    assert [one for one in found if said in one], found


def test_only_reads_have_shadows(hospital: Configured) -> None:
    found = shadowed(hospital, "{to: his, dialect: his_next}", UNLOCK)
    assert [one for one in found if "only reads have a shadow; 'registration.unlock' is idempotent" in one], found


def test_a_mapping_of_a_shadow_is_checked_against_contract_and_system(hospital: Configured) -> None:
    hospital.edit("mappings/his_next/schedule.list.yaml", "$from", "$fromm")
    hospital.edit("routes.yaml", LIST, f"{LIST}, shadow: {{to: his, dialect: his_next}}")
    assert [one for one in hospital.findings() if one.startswith("mappings/his_next/schedule.list.yaml")]
