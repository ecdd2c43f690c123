"""Events go nowhere in these tests: what is logged is the business of test_observe.

Whatever changes something is tried on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from tests import postgres
from tests.esb import kit

_ON_BOTH = ("test_effects", "test_not_kept", "test_queued", "test_queued_doubt", "test_settle", "test_tries")


_OF_A_FILE = ("sent_before_a_crash", "never_sent_before_a_crash", "a_store_belongs_to_one_process")
"""What another process left can be taken up at once only where that process certainly is no more; for what replaces it
on PostgreSQL see ``tests/esb/store/test_postgres.py``.
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if any(part in metafunc.function.__name__ for part in _OF_A_FILE):
        return
    if metafunc.module.__name__.rpartition(".")[2] in _ON_BOTH:
        metafunc.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def shared() -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty database for each test."""
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("shared")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        monkeypatch.setattr(kit, "SHARED", url)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer(default=repr)],
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
    )
    yield
    structlog.reset_defaults()
