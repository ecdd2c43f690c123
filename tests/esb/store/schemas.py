"""What a database says its tables are, as lines that can be compared and kept.

``python -m tests.esb.store.schemas`` writes down what each revision makes, for a new revision; those of the others must
not change by it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from esb.store import migrations
from esb.store.engines import begin, engine_of
from esb.store.tables import SCHEMA_VERSION
from tests import postgres

KEPT = Path(__file__).parent / "schemas"
VERSIONS = range(3, SCHEMA_VERSION + 1)
_COLUMNS = """
SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
    || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
_PARTITIONED = "SELECT partrelid::regclass || ' ' || pg_get_partkeydef(partrelid) FROM pg_partitioned_table"
_PARTS = """
SELECT inhrelid::regclass || ' OF ' || inhparent::regclass || ' ' || pg_get_expr(relpartbound, inhrelid)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE relkind = 'r'
"""
_TRIGGERS = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
_DAY = re.compile(r"(exchange_)\d{8}")
_BOUND = re.compile(r"'0[0-9A-Z]{9}'")


def schema(connection: sa.Connection) -> list[str]:
    """Its lines, sorted; days are written as ``DAY``, for they depend on when it was made."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(" ".join(str(line).split()) for line in found.scalars())
    queries = (_COLUMNS, _INDEXES, _PARTITIONED, _PARTS, _TRIGGERS)
    lines = [str(line) for query in queries for line in connection.exec_driver_sql(query).scalars()]
    return sorted(_BOUND.sub("'DAY'", _DAY.sub(r"\1DAY", line)) for line in lines)


def made(url: str, version: int, before: int = 0) -> list[str]:
    """A new store brought up to ``version``, if wanted by way of ``before``."""
    engine = engine_of(url)
    try:
        for wanted in filter(None, (before, version)):
            with engine.connect() as connection:
                begin(connection)
                migrations.upgrade(connection, wanted)
                connection.commit()
        with engine.connect() as connection:
            return schema(connection)
    finally:
        engine.dispose()


def kept(kind: str, version: int) -> Path:
    """Where it is written down what a revision makes."""
    return KEPT / f"{version}.{kind}.txt"


def _stores(folder: str) -> Iterator[tuple[str, int, str]]:
    for version in VERSIONS:
        yield "sqlite", version, f"sqlite:///{folder}/{version}.db"
        with postgres.database() as url:
            yield "postgresql", version, url


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind, version, url in _stores(folder):
            kept(kind, version).write_text("\n".join([*made(url, version), ""]))
