"""One hospital and, for those who ask, private PostgreSQL and RabbitMQ for all that is broken here."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import table
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


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> table.Tried:
    """Notes that a run of a fault on a backend begins."""

    def note(fault: str, backend: str) -> None:
        request.node.user_properties.append((table.PROPERTY, [fault, backend]))

    return note


commit = functools.cache(table.commit)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """With ``ESB_FAULT_TABLE`` every run is a line in that file."""
    file = os.environ.get("ESB_FAULT_TABLE")
    if file and report.when == "call" and not report.skipped:
        table.add(Path(file), table.runs_of(report.user_properties, report.passed, commit()))
