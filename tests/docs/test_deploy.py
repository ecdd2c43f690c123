"""What ``deploy/`` says of the bus is true of it: commands, settings, files. No container is started here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from esb.cli import main
from esb.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
BUSES = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "hospital-esb"}


def names_of(environment: dict[str, str]) -> set[str]:
    return {name.removeprefix("ESB_").lower() for name in environment if name.startswith("ESB_")}


@pytest.mark.parametrize("name", BUSES)
def test_a_service_runs_a_command_of_ours_with_settings_of_ours(name: str) -> None:
    program, command = BUSES[name]["command"]
    assert program == "esb"
    assert command in main.commands
    assert names_of(BUSES[name]["environment"]) <= Settings.model_fields.keys()


def test_a_stop_is_given_the_time_that_a_drain_may_take() -> None:
    assert {one["stop_grace_period"] for one in BUSES.values()} == {"40s"}


def test_every_port_is_the_machines_own() -> None:
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    for password in re.findall(r"PASS(?:WORD)?: '?([^'\s}]+)|://esb:([^@]+)@", text):
        assert "".join(password).startswith("${")


def test_what_the_image_is_made_of_is_there() -> None:
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert [one for one in copied if not (ROOT / one).exists()] == []
    environment = dict(
        part.split("=") for line in re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE) for part in line.split()
    )
    assert names_of(environment) <= Settings.model_fields.keys()
