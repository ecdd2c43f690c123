"""One hospital and, for those who ask, private PostgreSQL and RabbitMQ for all that is broken here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.backends import Services
from tests.sandbox_process import Sandbox, start_sandbox


@pytest.fixture(scope="session")
def shared_hospital() -> Iterator[Sandbox]:
    with start_sandbox() as hospital:
        yield hospital


@pytest.fixture
def hospital(shared_hospital: Sandbox) -> Sandbox:
    shared_hospital.control.reset()
    return shared_hospital


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    made = Services()
    yield made
    made.close()
