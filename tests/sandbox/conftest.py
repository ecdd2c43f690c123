"""One sandbox for the whole folder, fresh data before every test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.sandbox_process import Sandbox, start_sandbox

SHANGHAI = timezone(timedelta(hours=8))


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with start_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def hospital(running: Sandbox) -> Sandbox:
    running.control.reset()
    return running


@pytest.fixture
def tomorrow() -> str:
    return (datetime.now(SHANGHAI) + timedelta(days=1)).date().isoformat()
