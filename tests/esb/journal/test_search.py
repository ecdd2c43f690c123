"""The journal is searched by what people know of an exchange, and one broken row hides no other."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.blind import parse
from esb.journal.search import Found, Query, find, page, related, stream
from esb.store import Row, tries
from esb.store.tables import exchange
from tests.esb.journal.databases import KINDS, database
from tests.esb.journal.kit import CLOCK, KEY, put, row

BLIND = parse(f"k1 {KEY}")


@pytest.fixture(params=KINDS)
def engine(request: Any, tmp_path: Path) -> Iterator[sa.Engine]:
    with database(request.param, tmp_path) as made:
        yield made


def ids(engine: sa.Engine, query: Query, **more: Any) -> list[str]:
    with engine.connect() as connection:
        return [found.id for found in page(connection, query, **more)]


@pytest.fixture
def rows(engine: sa.Engine) -> dict[str, Row]:
    made = {
        "first": row(subject=BLIND.of("P0000001")),
        "lock": row(operation="registration.lock", endpoint="his", effect="once", key="K1", request_id="REQ1",
                    state="refused", code="slot_full", subject=BLIND.of("P0000001")),
        "again": row(operation="registration.lock", endpoint="his", effect="once", key="K1", state="refused",
                     code="slot_full", attempts=0),
        "other": row(subject=BLIND.of("P0000002"), state="unavailable", code="no_answer"),
    }  # fmt: skip
    made["again"] = made["again"]._replace(cause=made["lock"].id)
    put(engine, *made.values())
    return made


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(), ["other", "again", "lock", "first"]),
        (Query(operation="registration.lock"), ["again", "lock"]),
        (Query(endpoint="lis"), ["other", "first"]),
        (Query(states=("refused",)), ["again", "lock"]),
        (Query(states=("done",)), ["first"]),
        (Query(states=("done", "unavailable")), ["other", "first"]),
        (Query(code="slot_full"), ["again", "lock"]),
        (Query(key="K1"), ["again", "lock"]),
        (Query(request_id="REQ1"), ["lock"]),
        (Query(subjects=BLIND.all_of("P0000001")), ["lock", "first"]),
        (Query(subjects=BLIND.all_of("P0000001"), states=("refused",), operation="registration.lock"), ["lock"]),
        (Query(subjects=BLIND.all_of("P0000001"), code="slot_full", endpoint="his"), ["lock"]),
        (Query(key="K1", endpoint="lis"), []),
        (Query(subjects=("nobody",)), []),
    ],
)
def test_a_search_finds_the_newest_first(
    engine: sa.Engine, rows: dict[str, Row], query: Query, names: list[str]
) -> None:
    assert ids(engine, query) == [rows[name].id for name in names]


def test_a_time_range_has_its_beginning_and_not_its_end(engine: sa.Engine) -> None:
    made = []
    for _ in range(5):
        made.append(row())
    put(engine, *made)
    end = CLOCK.now()
    inside = Query(since=end - timedelta(seconds=3), until=end)
    assert ids(engine, inside) == [one.id for one in made[3:0:-1]]


def test_pages_follow_one_another_without_gap_or_repeat(engine: sa.Engine) -> None:
    made = [row() for _ in range(7)]
    put(engine, *made)
    first = ids(engine, Query(), most=3)
    second = ids(engine, Query(), before=first[-1], most=3)
    assert first + second + ids(engine, Query(), before=second[-1], most=3) == [one.id for one in reversed(made)]


def test_a_stream_gives_all_of_them_with_their_bodies(engine: sa.Engine) -> None:
    made = [row(raw=b"x" * number) for number in range(450)]
    put(engine, *made)
    with engine.connect() as connection:
        found = list(stream(connection, Query(operation="report.list"), bodies=True))
    assert [one.id for one in found] == [one.id for one in reversed(made)]
    assert [len(one.bodies["raw"]) for one in found] == list(range(449, -1, -1))


def test_a_stream_has_the_tries_of_few_in_memory(engine: sa.Engine) -> None:
    made, size = [row() for _ in range(45)], tries.LONGEST
    put(engine, *made)
    noise = os.urandom(size)
    with engine.begin() as connection:
        one = tries.Try("2026", "his", "malformed", "m", "no xml", 1, "a@1", "1", noise, noise)
        for each in made:
            tries.keep(connection, each.id, one)
            tries.keep(connection, each.id, one)
    with engine.connect() as connection:
        tracemalloc.start()
        found = [
            (each.id, [tried.raw == noise for tried in each.tries]) for each in stream(connection, Query(), bodies=True)
        ]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == [(each.id, [True, True]) for each in reversed(made)]
    assert peak < 45 * 2 * 2 * size


def test_what_an_exchange_has_to_do_with_is_found_both_ways(engine: sa.Engine, rows: dict[str, Row]) -> None:
    with engine.connect() as connection:
        of_lock = related(connection, one(connection, rows["lock"].id))
        of_again = related(connection, one(connection, rows["again"].id))
    assert [each.id for each in of_lock] == [rows["again"].id]
    assert [each.id for each in of_again] == [rows["lock"].id]


def one(connection: sa.Connection, exchange_id: str) -> Found:
    found = find(connection, exchange_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("raw", b"\x01not zlib", "does not unpack"),
        ("raw", b"\x01" + zlib.compress(b"<a/>" * 999)[:-5], "does not unpack"),
        ("request", b"\x07{}", "does not say how it is stored"),
        ("state", "exploded", "there is no state 'exploded'"),
    ],
)
def test_a_broken_row_says_so_and_hides_no_other(engine: sa.Engine, column: str, value: Any, why: str) -> None:
    made = [row() for _ in range(3)]
    put(engine, *made)
    with engine.begin() as connection:
        connection.execute(exchange.update().where(exchange.c.id == made[1].id).values({column: value}))
    with engine.connect() as connection:
        found = page(connection, Query(), bodies=True)
    assert [each.id for each in found] == [each.id for each in reversed(made)]
    assert [dict(each.broken) for each in found] == [{}, {column: why}, {}]


@pytest.mark.parametrize("kept", ["CAST(x'ff41fe' AS TEXT)", "x'4142'", "12"])
def test_on_sqlite_a_text_that_is_none_is_shown_as_broken(tmp_path: Path, kept: str) -> None:
    with database("sqlite", tmp_path) as engine:
        made = [row(), row()]
        put(engine, *made)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE exchange SET reason = {kept} WHERE id = ?", (made[0].id,))
            connection.exec_driver_sql("UPDATE exchange SET attempts = 'many', raw = 3 WHERE id = ?", (made[1].id,))
        with engine.connect() as connection:
            found = page(connection, Query(), bodies=True)
    assert set(found[0].broken) == {"attempts", "raw"}
    assert [each.id for each in found] == [made[1].id, made[0].id]
    assert ("reason" in found[1].broken) or (found[1].facts["reason"] == "12")


INDEXES = [
    (Query(ids=("a",)), "sqlite_autoindex_exchange_1 (id=?)"),
    (Query(since=CLOCK.now(), until=CLOCK.now()), "sqlite_autoindex_exchange_1 (id>? AND id<?)"),
    (Query(operation="a"), "exchange_operation (operation=?)"),
    (Query(operation="a", since=CLOCK.now()), "exchange_operation (operation=? AND id>?)"),
    (Query(endpoint="a"), "exchange_endpoint (endpoint=?)"),
    (Query(states=("refused",)), "exchange_state (state=?)"),
    (Query(code="a"), "exchange_code (code=?)"),
    (Query(key="a"), "exchange_key (key=?)"),
    (Query(request_id="a"), "exchange_request (request_id=?)"),
    (Query(subjects=("a", "b")), "exchange_subject (subject=?)"),
    (Query(causes=("a",)), "exchange_cause (cause=?)"),
    (
        Query(subjects=("a",), operation="a", endpoint="a", states=("refused",), code="a"),
        "exchange_subject (subject=?)",
    ),
    (Query(key="a", operation="a", states=("refused",)), "exchange_key (key=?)"),
]


@pytest.mark.parametrize(("query", "index"), INDEXES)
def test_each_search_goes_by_its_index(tmp_path: Path, query: Query, index: str) -> None:
    plans: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append(str(cursor.fetchall()))

    with database("sqlite", tmp_path) as engine, engine.connect() as connection:
        sa.event.listen(engine, "before_cursor_execute", see)
        page(connection, query)
        page(connection, query, before="b")
    assert index.rstrip(")") in plans[0]
    assert index.split()[0] in plans[1]
