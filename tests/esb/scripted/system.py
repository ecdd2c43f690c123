"""The adapter: every connection that was ever made is kept in ``CONNECTED`` for the test to look at."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from esb.spi import AdapterSettings
from tests.esb.kit import ScriptedAdapter

CONNECTED: list[System] = []


class Settings(AdapterSettings):
    address: str = "here"
    password: SecretStr | None = None
    ca: Path | None = None


class System(ScriptedAdapter):
    """All systems of one test do the same, whoever connected to them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


def connect(settings: Settings) -> System:
    system = System(settings)
    CONNECTED.append(system)
    return system
