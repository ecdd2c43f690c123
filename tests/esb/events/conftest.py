"""Subscribers are tried on SQLite and on PostgreSQL, each test on an empty database."""

from __future__ import annotations

import pytest

from tests.esb.pipeline.conftest import backend, quiet, shared

__all__ = ["backend", "quiet", "shared"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.endswith("test_subscribers"):
        kinds = ["postgresql"] if "two_processes" in metafunc.function.__name__ else ["sqlite", "postgresql"]
        metafunc.parametrize("backend", kinds, indirect=True)
