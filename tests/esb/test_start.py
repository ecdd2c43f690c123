"""What a start does not load: it costs every start its time, and every process its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from esb.store.engines import engine_of, open_up

_OPENED = """
import sys
import esb.app
from esb.store.engines import engine_of, open_up
engine = engine_of(sys.argv[1])
open_up(engine)
engine.dispose()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
EXTRAS = {"psycopg", "asyncpg", "aiomysql", "pika", "zeep", "hl7apy", "fhir"}


def loaded(url: str) -> set[str]:
    """The packages of a process that opened this store and has no endpoint."""
    done = subprocess.run([sys.executable, "-c", _OPENED, url], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_store_that_is_as_it_should_be_loads_no_migrations_and_a_file_no_extra(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'esb.db'}"
    engine = engine_of(url)
    open_up(engine)
    engine.dispose()
    found = loaded(url)
    assert "sqlalchemy" in found
    assert found & {*EXTRAS, "alembic", "mako"} == set()
