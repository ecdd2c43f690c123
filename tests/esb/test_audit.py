"""S26: what people did is kept in a chain: added to, never changed, and a broken row is found."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb import audit
from esb.clock import SHANGHAI
from esb.store.tables import audit as table
from tests.esb.journal.databases import KINDS, database

NOON = datetime(2026, 1, 15, 12, tzinfo=SHANGHAI)


@pytest.fixture(params=KINDS)
def engine(request: Any, tmp_path: Path) -> Iterator[sa.Engine]:
    with database(request.param, tmp_path) as made:
        yield made


def act(number: int) -> audit.Act:
    return audit.Act(NOON, "li", "release", f"E{number}", "the mapping is mended", {"tries": number})


def filled(engine: sa.Engine, rows: int) -> None:
    with engine.begin() as connection:
        for number in range(rows):
            audit.write(connection, act(number))


def unguarded(engine: sa.Engine, statement: str) -> None:
    """As somebody does who owns the database."""
    drops = {
        "sqlite": ("DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"),
        "postgresql": ("DROP TRIGGER audit_no_change ON audit",),
    }
    with engine.begin() as connection:
        for each in (*drops[engine.dialect.name], statement):
            connection.exec_driver_sql(each)


def verified(engine: sa.Engine, *anchors: audit.Anchor) -> audit.Verified:
    with engine.connect() as connection:
        return audit.verify(connection, anchors)


def test_acts_follow_one_another_and_are_listed_newest_first(engine: sa.Engine) -> None:
    filled(engine, 3)
    with engine.connect() as connection:
        rows = list(audit.entries(connection))
        assert [(row.seq, row.actor, row.action, row.object) for row in rows] == [
            (3, "li", "release", "E2"),
            (2, "li", "release", "E1"),
            (1, "li", "release", "E0"),
        ]
        assert [row.seq for row in audit.entries(connection, 1, before=3)] == [2]
        assert [row.seq for row in audit.entries(connection, object="E0", action="")] == [1]
    assert rows[0].prev == rows[1].hash
    assert rows[0].details == '{"tries":2}'
    assert verified(engine) == audit.Verified(3)


def test_an_act_that_is_taken_back_leaves_no_row_and_no_gap(engine: sa.Engine) -> None:
    filled(engine, 1)
    with engine.connect() as connection:
        audit.write(connection, act(7))
        connection.rollback()
    filled(engine, 1)
    assert verified(engine) == audit.Verified(2)


@pytest.mark.parametrize("statement", ["UPDATE audit SET reason = 'x'", "DELETE FROM audit WHERE seq = 2"])
def test_the_database_refuses_to_change_or_delete_a_row(engine: sa.Engine, statement: str) -> None:
    filled(engine, 3)
    with pytest.raises(sa.exc.DBAPIError, match="only added to"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert verified(engine) == audit.Verified(3)


@pytest.mark.parametrize("column", [column.name for column in table.columns if column.name != "seq"])
def test_one_changed_character_is_found_in_its_row(engine: sa.Engine, column: str) -> None:
    filled(engine, 4)
    with engine.connect() as connection:
        told = str(connection.scalar(sa.select(table.c[column]).where(table.c.seq == 3)))
    changed = told[:-1] + chr(ord(told[-1]) ^ 1)
    unguarded(engine, f"UPDATE audit SET {column} = '{changed}' WHERE seq = 3")
    assert verified(engine).broken == 3


def test_a_row_that_was_taken_out_is_missed(engine: sa.Engine) -> None:
    filled(engine, 4)
    unguarded(engine, "DELETE FROM audit WHERE seq = 2")
    assert verified(engine) == audit.Verified(1, 2, "row 2 is missing")


def test_rows_taken_from_the_end_are_missed_by_an_anchor_only(engine: sa.Engine) -> None:
    filled(engine, 4)
    with engine.connect() as connection:
        anchor = audit.anchor(connection, NOON)
    assert verified(engine, anchor) == audit.Verified(4)
    unguarded(engine, "DELETE FROM audit WHERE seq = 4")
    assert verified(engine) == audit.Verified(3)
    assert verified(engine, anchor) == audit.Verified(3, 4, "the row that was anchored on 2026-01-15 is missing")
    filled(engine, 1)
    assert verified(engine, anchor).why == "it is not the row that was anchored on 2026-01-15"


def test_an_empty_audit_is_in_order_and_has_an_anchor(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        anchor = audit.anchor(connection, NOON)
    assert (anchor.seq, verified(engine, anchor)) == (0, audit.Verified(0))


def test_many_at_once_make_one_chain(engine: sa.Engine) -> None:
    def acts(worker: int) -> None:
        for number in range(10):
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                audit.write(connection, act(worker * 100 + number))
                connection.commit()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(acts, range(4)))
    assert verified(engine) == audit.Verified(40)
