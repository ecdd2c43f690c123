"""The SQL adapter on real PostgreSQL, MariaDB and SQLite: the promises that all three keep."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters import sql
from adapters.sql.statement import Statement
from esb.spi import Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.sql_services import Site, elsewhere, site, until
from tests.adapters.suite import make_call
from tests.ports import free_port

BLOB = {"postgresql": "bytea", "mariadb": "blob", "sqlite": "blob"}
STAMP = {"postgresql": "timestamp", "mariadb": "datetime", "sqlite": "datetime"}
QUOTED = {"postgresql": '"range"', "mariadb": "`range`", "sqlite": '"range"'}
IMAGE = {"postgresql": "'\\x89504e47'", "mariadb": "X'89504E47'", "sqlite": "X'89504E47'"}

TABLES = """
CREATE TABLE lisresult (lisid int PRIMARY KEY, hispatientid char(8), examname varchar(40), sampltype varchar(10),
    testdate {stamp} NULL, birthday date, amount decimal(10,2), ratio double precision, image {blob});
CREATE TABLE lisdetail (itemcode varchar(10), result varchar(20), {range} varchar(20));
CREATE TABLE pacslist (id int PRIMARY KEY);
INSERT INTO lisresult VALUES (1, 'P1', '血常规', NULL, '2026-01-16 08:30:00', '1990-05-01', 25.50, 0.1, {image});
INSERT INTO lisresult VALUES (2, 'P1', '', '', NULL, NULL, NULL, NULL, NULL);
INSERT INTO lisdetail VALUES ('WBC', '5.6', '4-10');
CREATE VIEW v_lisresult AS SELECT * FROM lisresult;
CREATE VIEW v_lisdetail AS SELECT * FROM lisdetail
"""


@pytest.fixture(scope="module", params=["postgresql", "mariadb", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kind = request.param
    with site(kind, tmp_path_factory.mktemp("sql")) as it:
        text = TABLES.format(stamp=STAMP[kind], blob=BLOB[kind], range=QUOTED[kind], image=IMAGE[kind])
        elsewhere(lambda: it.do(*text.split(";\n")))
        yield it


@contextlib.asynccontextmanager
async def on(db: Site, **settings: Any) -> AsyncIterator[sql.Sql]:
    adapter = sql.connect(sql.Settings.model_validate({"url": db.url, **settings}))
    try:
        yield adapter
    finally:
        await adapter.close()


async def rows(adapter: sql.Sql, action: str, **binds: Any) -> Any:
    return (await adapter.call(action, binds, make_call(5)))["rows"]


def text(db: Site) -> str:
    """How a bare bind is told to be a text."""
    return {"postgresql": "CAST(:x AS text)", "mariadb": ":x", "sqlite": ":x"}[db.kind]


async def slowly(db: Site) -> str:
    return {
        "postgresql": "SELECT 'x' FROM pg_sleep(:s)",
        "mariadb": "SELECT SLEEP(:s)",
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9 * :s)"
        " SELECT max(i) FROM n",
    }[db.kind]


async def test_a_view_comes_back_with_exact_money_local_time_and_null_that_is_not_empty(db: Site) -> None:
    async with on(db) as adapter:
        call = make_call(5)
        answer = await adapter.call(
            "SELECT lisid, examname, sampltype, testdate, birthday, amount, image FROM v_lisresult"
            " WHERE hispatientid = :patient ORDER BY lisid",
            {"patient": "P1"},
            call,
        )
        first, second = answer["rows"]
    assert list(first) == ["lisid", "examname", "sampltype", "testdate", "birthday", "amount", "image"]
    assert (first["lisid"], first["examname"], first["image"]) == (1, "血常规", "iVBORw==")
    assert first["amount"] == Decimal("25.5")
    assert not isinstance(first["amount"], float)
    if db.kind != "sqlite":  # which has no dates: a column of texts is what it is
        assert (first["testdate"], first["birthday"]) == ("2026-01-16T08:30:00+08:00", "1990-05-01")
    assert second == {**dict.fromkeys(first), "lisid": 2, "examname": "", "sampltype": ""}
    assert call.wire.sent.startswith(b"SELECT lisid")
    assert call.wire.sent.endswith(b'\n{"patient":"P1"}')
    assert b'"rows"' in call.wire.received


async def test_a_float_column_is_a_decimal_with_its_own_digits(db: Site) -> None:
    async with on(db) as adapter:
        assert (await rows(adapter, "SELECT ratio FROM lisresult WHERE lisid = 1"))[0]["ratio"] == Decimal("0.1")


async def test_a_reserved_word_is_a_column_when_quoted(db: Site) -> None:
    async with on(db) as adapter:
        found = await rows(adapter, f"SELECT itemcode, {QUOTED[db.kind]} FROM v_lisdetail WHERE itemcode = :c", c="WBC")
        assert found == [{"itemcode": "WBC", "range": "4-10"}]


async def test_char_padding_goes_on_request(db: Site) -> None:
    column = {
        "postgresql": "hispatientid",
        "mariadb": "RPAD(hispatientid, 8, ' ')",
        "sqlite": "hispatientid || '      '",
    }
    action = f"SELECT {column[db.kind]} AS p FROM lisresult WHERE lisid = 1"
    async with on(db) as padded, on(db, trim_chars=True) as trimmed:
        assert await rows(padded, action) == [{"p": "P1      "}]
        assert await rows(trimmed, action) == [{"p": "P1"}]


async def test_null_as_a_bind_leaves_a_filter_out(db: Site) -> None:
    action = "SELECT lisid FROM v_lisresult WHERE (:name IS NULL OR examname = :name) ORDER BY lisid"
    async with on(db) as adapter:
        assert await rows(adapter, action, name=None) == [{"lisid": 1}, {"lisid": 2}]
        assert await rows(adapter, action, name="血常规") == [{"lisid": 1}]
        assert await rows(adapter, action, name="") == [{"lisid": 2}]


NAUGHTY = [
    "'; DROP TABLE lisresult; --",
    "' OR '1'='1",
    "\\' OR 1=1 -- ",
    "\\",
    "a\\'b\"c`d",
    "%s %d %(x)s %%",
    ":x $1 ?",
    "/* x */ -- y",
    "縗\\' OR 1=1#",
    "\u00bf\u005c' OR 1=1 -- ",
    "ʼ OR 1=1",
    "\r\n\t\x1a",
    "𠮷😀",
    "a" * 5000,
]


@pytest.mark.parametrize("value", NAUGHTY)
async def test_a_bound_value_is_a_value_whatever_it_holds(db: Site, value: str) -> None:
    async with on(db) as adapter:
        assert await rows(adapter, f"SELECT {text(db)} AS x", x=value) == [{"x": value}]
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE examname = :x", x=value) == []


async def test_binds_of_every_kind_fit_the_columns_they_meet(db: Site) -> None:
    async with on(db) as adapter:
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = :n", n=1) == [{"lisid": 1}]
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = :n", n="1") == [{"lisid": 1}]
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE amount = :a", a=Decimal("25.50")) == [
            {"lisid": 1}
        ]
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE birthday = :d", d="1990-05-01") == [{"lisid": 1}]


WRITES = {
    "postgresql": "WITH gone AS (DELETE FROM lisdetail RETURNING 1) SELECT * FROM gone",
    "mariadb": "INSERT INTO pacslist VALUES (1)",
    "sqlite": "WITH n(i) AS (SELECT 1) INSERT INTO pacslist SELECT i FROM n",
}


async def test_the_database_itself_refuses_to_write(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        smuggled = Statement(WRITES[db.kind], (), True)
        adapter._parse = lambda action: smuggled if action == "smuggled" else sql.parse(action, db.kind)  # type: ignore[assignment,arg-type]
        with pytest.raises(Refused) as caught:
            await adapter.call("smuggled", {}, make_call(5))
        assert caught.value.code in ("25006", "1792", "SQLITE_READONLY")
        assert await rows(adapter, "SELECT itemcode FROM lisdetail") == [{"itemcode": "WBC"}]
    assert await db.do("SELECT * FROM pacslist") == []


async def test_writing_is_committed_where_it_is_allowed_and_a_refused_one_is_not(db: Site) -> None:
    async with on(db, read_only=False, connections=1) as adapter:
        answer = await adapter.call("INSERT INTO pacslist VALUES (:a)", {"a": 7}, make_call(5))
        assert answer == {"rows": [], "affected": 1}
        assert await db.do("SELECT id FROM pacslist") == [(7,)]
        with pytest.raises(Refused) as caught:
            await adapter.call("INSERT INTO pacslist VALUES (:a)", {"a": 7}, make_call(5))
        assert caught.value.code in ("23505", "1062", "SQLITE_CONSTRAINT_PRIMARYKEY")
        assert (await adapter.call("DELETE FROM pacslist WHERE id = :a", {"a": 7}, make_call(5)))["affected"] == 1
    assert await db.do("SELECT id FROM pacslist") == []


async def test_a_mistake_in_the_statement_is_unavailable_and_repeats_no_value(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        with pytest.raises(Unavailable, match="lacks what the statement needs") as caught:
            await adapter.call("SELECT nope FROM lisresult WHERE examname = :x", {"x": "SECRETMARKER"}, make_call(5))
        assert "SECRETMARKER" not in f"{caught.value!r}"
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = 1") == [{"lisid": 1}]


async def test_a_slow_statement_is_stopped_by_the_agreed_limit_and_its_connection_is_clean(db: Site) -> None:
    async with on(db, connections=1, statement_timeout_s=0.2) as adapter:
        call = make_call(5)
        started = call.clock.monotonic()
        with pytest.raises(Unavailable, match=r"57014|1969|INTERRUPT"):
            await adapter.call(await slowly(db), {"s": 30}, call)
        assert call.clock.monotonic() - started < 1.5
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = 1") == [{"lisid": 1}]
        await nothing_runs(db)


async def test_a_slow_statement_ends_with_the_deadline(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        call = make_call(0.4)
        started = call.clock.monotonic()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await adapter.call(await slowly(db), {"s": 30}, call)
        assert call.clock.monotonic() - started < 1.0
        assert call.wire.left
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = 1") == [{"lisid": 1}]
        await nothing_runs(db)


async def test_a_cancelled_call_stops_its_statement_and_frees_its_connection(db: Site) -> None:
    limit = 1 if db.kind == "mariadb" else 60  # MariaDB has no cancelling but its own limit
    async with on(db, connections=1, statement_timeout_s=limit) as adapter:
        await rows(adapter, "SELECT lisid FROM lisresult")
        call = make_call(5)
        task = asyncio.create_task(adapter.call(await slowly(db), {"s": 30}, call))
        await until(lambda: _is(call.wire.left))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await rows(adapter, "SELECT lisid FROM lisresult WHERE lisid = 1") == [{"lisid": 1}]
        await nothing_runs(db)


async def _is(value: bool) -> bool:
    return value


async def nothing_runs(db: Site) -> None:
    """No backend of this database is still at work on what we gave up."""
    watch = {
        "postgresql": f"SELECT 1 FROM pg_stat_activity WHERE datname = '{db.name}' AND state = 'active'"
        " AND pid <> pg_backend_pid()",
        "mariadb": f"SELECT 1 FROM information_schema.processlist WHERE db = '{db.name}' AND command = 'Query'"
        " AND id <> CONNECTION_ID()",
    }
    if db.kind in watch:
        await until(lambda: _nothing(db, watch[db.kind]))


async def _nothing(db: Site, statement: str) -> bool:
    return not await db.do(statement)


COUNTING = {
    "postgresql": "SELECT i FROM generate_series(1, CAST(:n AS int)) AS i",
    "mariadb": "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :n) SELECT i FROM s",
    "sqlite": "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :n) SELECT i FROM s",
}


async def test_more_rows_than_agreed_are_malformed_and_not_cut_off(db: Site) -> None:
    async with on(db, max_rows=300, connections=1) as adapter:
        assert len(await rows(adapter, COUNTING[db.kind], n=300)) == 300
        with pytest.raises(Malformed, match="max_rows"):
            await adapter.call(COUNTING[db.kind], {"n": 301}, make_call(5))
        assert len(await rows(adapter, COUNTING[db.kind], n=2)) == 2


async def test_more_bytes_than_agreed_are_malformed(db: Site) -> None:
    async with on(db, max_answer_bytes=1000) as adapter:
        with pytest.raises(Malformed, match="max_answer_bytes"):
            await adapter.call(f"SELECT {text(db)} AS x", {"x": "a" * 1001}, make_call(5))


async def test_two_columns_of_one_name_are_malformed(db: Site) -> None:
    async with on(db) as adapter:
        with pytest.raises(Malformed, match="stands twice"):
            await adapter.call("SELECT lisid, lisid FROM lisresult", {}, make_call(5))


async def test_waiting_in_vain_for_a_free_connection_sends_nothing(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        first = make_call(5)
        task = asyncio.create_task(adapter.call(await slowly(db), {"s": 30}, first))
        await until(lambda: _is(first.wire.left))
        second = make_call(0.15)
        with pytest.raises(Unavailable, match="in time"):
            await adapter.call("SELECT 1", {}, second)
        assert not second.wire.left
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_many_calls_share_few_connections(db: Site) -> None:
    async with on(db, connections=2) as adapter:
        found = await asyncio.gather(*(rows(adapter, f"SELECT {text(db)} AS x", x=str(n)) for n in range(30)))
        assert found == [[{"x": str(n)}] for n in range(30)]


async def test_a_probe_tells_life_from_death(db: Site) -> None:
    async with on(db) as adapter:
        await adapter.probe(make_call())
        await adapter.close()
        await adapter.close()
        with pytest.raises(Unavailable):
            await adapter.probe(make_call())
        with pytest.raises(Unavailable):
            await adapter.call("SELECT 1", {}, make_call())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@127.0.0.1:{port}/test",
        "mariadb://root@127.0.0.1:{port}/test",
        "sqlite:///{folder}/missing.db",
        "sqlite:///{folder}",
    ],
)
async def test_a_database_that_is_not_there_is_unavailable(url: str, tmp_path: Path) -> None:
    settings = {"url": url.format(port=free_port(), folder=tmp_path)}
    adapter = sql.connect(sql.Settings.model_validate(settings))
    call = make_call()
    with pytest.raises(Unavailable):
        await adapter.call("SELECT 1", {}, call)
    assert not call.wire.left
    with pytest.raises(Unavailable):
        await adapter.probe(make_call())
    await adapter.close()
    await until(_no_driver_threads)  # they report to the loop after a connection that failed


async def _no_driver_threads() -> bool:
    return not any("_connection_worker" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("name", ["no_such_database", "no_such_user"])
async def test_a_stranger_is_not_let_in_and_nothing_is_sent(db: Site, name: str) -> None:
    if db.kind == "sqlite":
        return
    user, database = ("nobody_here", db.name) if name == "no_such_user" else (db.url.split("//")[1].split("@")[0], name)
    host = db.url.split("@")[1].split("/")[0]
    adapter = sql.connect(sql.Settings.model_validate({"url": f"{db.kind}://{user}:SECRETMARKER@{host}/{database}"}))
    call = make_call()
    with pytest.raises(Unavailable) as caught:
        await adapter.call("SELECT 1", {}, call)
    assert not call.wire.left
    assert "SECRETMARKER" not in repr(caught.value)
    await adapter.close()


def test_the_example_of_a_mapping_may_be_text() -> None:
    assert sql.decode('{"rows": [{"fee": 12.50}]}') == {"rows": [{"fee": Decimal("12.50")}]}
