"""Events go nowhere in these tests: what is logged is the business of test_observe."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer(default=repr)],
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
    )
    yield
    structlog.reset_defaults()
