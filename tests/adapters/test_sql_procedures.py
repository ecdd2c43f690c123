"""PostgreSQL and MariaDB each in its own ways: procedures, smuggled writes, GBK, locks, connections that die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from adapters import sql
from adapters.sql.statement import Statement
from esb.spi import Malformed, OutcomeUnknown, Refused, Unavailable
from tests.adapters.sql_services import Site, elsewhere, site, until
from tests.adapters.suite import make_call
from tests.adapters.test_sql import on, rows

POSTGRESQL = [
    "CREATE TABLE slot (no int PRIMARY KEY, left_ int, fee numeric(8,2))",
    "INSERT INTO slot VALUES (1, 5, 12.50), (2, 0, 20)",
    """CREATE FUNCTION sneaky() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO slot VALUES (99, 1, 1); RETURN 1; END $$""",
    "CREATE FUNCTION unlock_writing() RETURNS text LANGUAGE sql AS"
    " $$ SELECT set_config('default_transaction_read_only', 'off', false) $$",
    "CREATE FUNCTION slots_of(minimum int) RETURNS SETOF slot LANGUAGE sql AS"
    " $$ SELECT * FROM slot WHERE left_ >= minimum ORDER BY no $$",
    """CREATE FUNCTION take(slot_no int, OUT code int, OUT message text) LANGUAGE plpgsql AS
    $$ BEGIN UPDATE slot SET left_ = left_ - 1 WHERE no = slot_no AND left_ > 0;
       code := CASE WHEN FOUND THEN 0 ELSE 1001 END;
       message := CASE code WHEN 0 THEN '成功' ELSE '号源已满' END; END $$""",
    """CREATE PROCEDURE lock_slot(slot_no int, INOUT amount numeric, OUT code int) LANGUAGE plpgsql AS
    $$ BEGIN amount := amount + (SELECT fee FROM slot WHERE no = slot_no); code := 0;
       UPDATE slot SET left_ = left_ - 1 WHERE no = slot_no; END $$""",
    """CREATE PROCEDURE refuse() LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM slot; RAISE EXCEPTION '号源已停诊'; END $$""",
    """CREATE PROCEDURE commits() LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO slot VALUES (98, 1, 1); COMMIT; END $$""",
]
MARIADB = [
    "CREATE TABLE slot (no int PRIMARY KEY, left_ int, fee decimal(8,2)) ENGINE=InnoDB",
    "INSERT INTO slot VALUES (1, 5, 12.50), (2, 0, 20)",
    """CREATE FUNCTION sneaky() RETURNS int MODIFIES SQL DATA
    BEGIN INSERT INTO slot VALUES (99, 1, 1); RETURN 1; END""",
    """CREATE PROCEDURE commits() BEGIN COMMIT; INSERT INTO slot VALUES (98, 1, 1); COMMIT; END""",
    """CREATE PROCEDURE slots_of(minimum int) BEGIN SELECT * FROM slot WHERE left_ >= minimum ORDER BY no; END""",
    """CREATE PROCEDURE take(IN slot_no int, OUT code int, OUT message varchar(40) CHARACTER SET utf8mb4)
    BEGIN UPDATE slot SET left_ = left_ - 1 WHERE no = slot_no AND left_ > 0;
      SET code = IF(ROW_COUNT() = 1, 0, 1001); SET message = IF(code = 0, '成功', '号源已满'); END""",
    """CREATE PROCEDURE lock_slot(slot_no int, INOUT amount decimal(8,2), OUT code int)
    BEGIN SELECT amount + fee INTO amount FROM slot WHERE no = slot_no; SET code = 0;
      UPDATE slot SET left_ = left_ - 1 WHERE no = slot_no; END""",
    """CREATE PROCEDURE refuse() BEGIN DELETE FROM slot;
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '号源已停诊'; END""",
    """CREATE PROCEDURE two_sets(n int) BEGIN SELECT n AS a; SELECT n + 1 AS b UNION SELECT n + 2; END""",
    """CREATE PROCEDURE commits_slowly() BEGIN INSERT INTO slot VALUES (97, 1, 1); COMMIT; SELECT SLEEP(30); END""",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    folder = tmp_path_factory.mktemp("sql")
    with site("postgresql", folder) as postgresql, site("mariadb", folder) as mariadb:
        elsewhere(lambda: postgresql.do(*POSTGRESQL))
        elsewhere(lambda: mariadb.do(*MARIADB))
        yield {"postgresql": postgresql, "mariadb": mariadb}


@pytest.fixture(params=["postgresql", "mariadb"])
def db(request: pytest.FixtureRequest, made: dict[str, Site]) -> Site:
    return made[request.param]


@pytest.fixture
def pg(made: dict[str, Site]) -> Site:
    return made["postgresql"]


@pytest.fixture
def maria(made: dict[str, Site]) -> Site:
    return made["mariadb"]


async def left(db: Site, no: int = 1) -> int:
    found: int = (await db.do(f"SELECT left_ FROM slot WHERE no = {no}"))[0][0]
    return found


async def test_a_function_with_out_parameters_acts_and_answers(db: Site) -> None:
    before = await left(db)
    async with on(db, read_only=False) as adapter:
        action = "call take(in slot_no, out code, out message)"
        done = await adapter.call(action, {"slot_no": 1}, make_call(5))
        assert done == {"rows": [], "out": {"code": 0, "message": "成功"}}
        full = await adapter.call(action, {"slot_no": 2}, make_call(5))
        assert full["out"] == {"code": 1001, "message": "号源已满"}
    assert await left(db) == before - 1


async def test_an_inout_parameter_goes_in_and_comes_out_exactly(db: Site) -> None:
    async with on(db, read_only=False) as adapter:
        answer = await adapter.call(
            "call lock_slot(slot_no, inout amount, out code)", {"slot_no": 1, "amount": Decimal("0.10")}, make_call(5)
        )
        assert answer["out"] == {"amount": Decimal("12.60"), "code": 0}


async def test_rows_of_a_procedure_come_back(db: Site) -> None:
    async with on(db) as adapter:
        for action in ("call slots_of", "call slots_of(in minimum)"):
            answer = await adapter.call(action, {"minimum": 0}, make_call(5))
            assert [row["no"] for row in answer["rows"]][:2] == [1, 2]
            assert answer["out"] == {}


async def test_several_result_sets_are_all_kept(maria: Site) -> None:
    async with on(maria, connections=1) as adapter:
        for n in (1, 5):
            answer = await adapter.call("call two_sets(n)", {"n": n}, make_call(5))
            assert answer["rows"] == [{"a": n}]
            assert answer["sets"] == [[{"a": n}], [{"b": n + 1}, {"b": n + 2}]]


async def test_the_procedures_own_refusal_is_a_refusal_with_its_words_and_undoes_everything(db: Site) -> None:
    async with on(db, read_only=False, connections=1) as adapter:
        with pytest.raises(Refused) as caught:
            await adapter.call("call refuse", {}, make_call(5))
        assert caught.value.code in ("P0001", "1644")
        assert caught.value.message == "号源已停诊"
        assert (await rows(adapter, "SELECT count(*) AS n FROM slot WHERE no < 90"))[0]["n"] == 2


@pytest.mark.parametrize("action", ["SELECT sneaky() AS x", "call take(in slot_no, out code, out message)"])
async def test_a_write_smuggled_into_a_function_is_refused_by_the_database(db: Site, action: str) -> None:
    before = await left(db)
    async with on(db, connections=1) as adapter:
        with pytest.raises(Refused) as caught:
            await adapter.call(action, {"slot_no": 1} if "slot_no" in action else {}, make_call(5))
        assert caught.value.code in ("25006", "1792")
        assert (await rows(adapter, "SELECT count(*) AS n FROM slot WHERE no = 99"))[0]["n"] == 0
    assert await left(db) == before


async def test_a_procedure_that_ends_our_transaction_still_cannot_write(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        with pytest.raises(Refused):
            await adapter.call("call commits", {}, make_call(5))
        assert await db.do("SELECT no FROM slot WHERE no = 98") == []


async def test_settings_changed_by_a_statement_do_not_outlive_it(pg: Site) -> None:
    async with on(pg, connections=1) as adapter:
        await rows(adapter, "SELECT unlock_writing() AS x")
        assert await rows(adapter, "SELECT current_setting('default_transaction_read_only') AS x") == [{"x": "on"}]
        with pytest.raises(Refused):
            await adapter.call("SELECT sneaky() AS x", {}, make_call(5))


async def test_the_server_itself_refuses_several_statements(db: Site) -> None:
    double = Statement("SELECT 1; INSERT INTO slot VALUES (96, 1, 1)", (), True)
    async with on(db, read_only=False) as adapter:
        adapter._parse = lambda _: double  # type: ignore[assignment]
        with pytest.raises((Refused, Unavailable), match=r"42601|1064"):
            await adapter.call("both", {}, make_call(5))
    assert await db.do("SELECT no FROM slot WHERE no = 96") == []


async def test_a_locked_row_is_unavailable_and_nothing_happened(db: Site) -> None:
    async with on(db, read_only=False, statement_timeout_s=20) as adapter:
        before = await left(db)
        sleeping = (
            "WITH s AS (SELECT no FROM slot WHERE no = 1 FOR UPDATE) SELECT CAST(pg_sleep(2) AS text) AS x FROM s"
            if db.kind == "postgresql"
            else "SELECT SLEEP(2) FROM slot WHERE no = 1 FOR UPDATE"
        )
        holder = make_call(5)
        task = asyncio.create_task(adapter.call(sleeping, {}, holder))
        await until(lambda: _left(holder))
        await asyncio.sleep(0.2)
        with pytest.raises(Unavailable) as caught:
            await adapter.call("SELECT no FROM slot WHERE no = 1 FOR UPDATE NOWAIT", {}, make_call(5))
        assert "55P03" in str(caught.value) or "1205" in str(caught.value)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await left(db) == before


async def _left(call: Any) -> bool:
    return bool(call.wire.left)


KILL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = '{0}' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT CONCAT('KILL ', id) FROM information_schema.processlist"
    " WHERE db = '{0}' AND id <> CONNECTION_ID()",
}


async def kill(db: Site) -> None:
    found = await db.do(KILL[db.kind].format(db.name))
    if db.kind == "mariadb":
        for row in found:
            await db.do(row[0])


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_connection_killed_under_a_statement_leaves_the_outcome_unknown(db: Site, read_only: bool) -> None:
    slow = "SELECT CAST(pg_sleep(:s) AS text) AS x" if db.kind == "postgresql" else "SELECT SLEEP(:s) AS x"
    async with on(db, connections=1, read_only=read_only) as adapter:
        call = make_call(5)
        task = asyncio.create_task(adapter.call(slow, {"s": 30}, call))
        await until(lambda: _left(call))
        await asyncio.sleep(0.1)
        await kill(db)
        with pytest.raises(OutcomeUnknown):
            await task
        assert await rows(adapter, "SELECT no FROM slot WHERE no = 1") == [{"no": 1}]


async def test_a_connection_killed_between_calls_costs_no_answer(db: Site) -> None:
    async with on(db, connections=1) as adapter:
        assert await rows(adapter, "SELECT no FROM slot WHERE no = 1") == [{"no": 1}]
        await kill(db)
        assert await rows(adapter, "SELECT no FROM slot WHERE no = 1") == [{"no": 1}]


async def test_a_procedure_that_committed_before_it_was_stopped_is_unknown(maria: Site) -> None:
    async with on(maria, read_only=False, statement_timeout_s=0.3) as adapter:
        with pytest.raises(OutcomeUnknown):
            await adapter.call("call commits_slowly", {}, make_call(5))
        assert await maria.do("SELECT no FROM slot WHERE no = 97") == [(97,)]
        await maria.do("DELETE FROM slot WHERE no = 97")


async def test_a_deadlock_is_unavailable_for_the_one_that_lost(db: Site) -> None:
    """Each holds one row and wants the other's; the database ends one of them."""
    await db.do("DELETE FROM slot WHERE no IN (31, 32)", "INSERT INTO slot VALUES (31, 1, 1), (32, 1, 1)")
    sleep = "(SELECT 0 FROM pg_sleep(0.3))" if db.kind == "postgresql" else "SLEEP(0.3)"
    update = "UPDATE slot SET left_ = left_ + {sleep} * 0 + 1 WHERE no = {no}"
    first, second = (update.format(sleep=sleep, no=no) for no in (31, 32))
    async with on(db, read_only=False, statement_timeout_s=20) as adapter:
        procedures = {"pair_a": (first, second), "pair_b": (second, first)}
        for name, (one, two) in procedures.items():
            await db.do(
                f"CREATE PROCEDURE {name}() LANGUAGE sql AS $$ {one}; {two} $$"
                if db.kind == "postgresql"
                else f"CREATE PROCEDURE {name}() BEGIN {one}; {two}; END"
            )
        calls = (adapter.call(f"call {name}", {}, make_call(8)) for name in procedures)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(lost) == 1
    expected = Unavailable if db.kind == "postgresql" else OutcomeUnknown  # a procedure of MariaDB may have committed
    assert isinstance(lost[0], expected)
    assert "deadlock" in str(lost[0])


async def test_gbk_in_a_latin_1_database_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    hexed = "血常规€".encode("gb18030").hex()
    folder = tmp_path_factory.mktemp("gbk")
    options = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    with site("postgresql", folder, options=options) as db:
        await db.do(
            "CREATE TABLE v_lisresult (examname text)",
            f"INSERT INTO v_lisresult VALUES (convert_from('\\x{hexed}', 'LATIN1'))",
        )
        async with on(db, text_charset="gbk") as adapter:
            assert await rows(adapter, "SELECT examname FROM v_lisresult") == [{"examname": "血常规€"}]
    with site("mariadb", folder, options="CHARACTER SET latin1") as db:
        await db.do("CREATE TABLE v_lisresult (examname varchar(40))", f"INSERT INTO v_lisresult VALUES (X'{hexed}')")
        async with on(db, text_charset="gbk") as adapter:
            assert await rows(adapter, "SELECT examname FROM v_lisresult") == [{"examname": "血常规€"}]


async def test_postgresql_values_of_every_kind_are_canonical(pg: Site) -> None:
    action = """SELECT CAST('2026-01-16 00:30:00+00' AS timestamptz) AS z, CAST('infinity' AS timestamp) AS i,
        true AS b, ARRAY[1.50, NULL] AS a, CAST('{"fee": 1.50}' AS jsonb) AS j, CAST(NULL AS date) AS n,
        TIME '08:05' AS t, CAST('00000000-0000-0000-0000-000000000001' AS uuid) AS u,
        1.10::float8 AS f, 'x'::char(3) AS c"""
    async with on(pg) as adapter:
        assert (await rows(adapter, action))[0] == {
            "z": "2026-01-16T08:30:00+08:00",
            "i": "infinity",
            "b": True,
            "a": [Decimal("1.50"), None],
            "j": {"fee": Decimal("1.50")},
            "n": None,
            "t": "08:05:00",
            "u": "00000000-0000-0000-0000-000000000001",
            "f": Decimal("1.1"),
            "c": "x  ",
        }
        listed = await rows(adapter, "SELECT no FROM slot WHERE no = ANY(:nos) ORDER BY no", nos=[2, 1])
        assert listed == [{"no": 1}, {"no": 2}]


async def test_mariadb_values_of_every_kind_are_canonical(maria: Site) -> None:
    action = """SELECT CAST('2026-01-16 08:30:00.5' AS datetime(1)) AS d, CAST('30:05:00' AS time) AS t,
        CAST(1.50 AS decimal(8,2)) AS m, NULL AS n, X'00' AS b, 1.5e0 AS f, DATE '2026-01-16' AS y"""
    async with on(maria) as adapter:
        assert (await rows(adapter, action))[0] == {
            "d": "2026-01-16T08:30:00.500000+08:00",
            "t": "30:05:00",
            "m": Decimal("1.50"),
            "n": None,
            "b": "AA==",
            "f": Decimal("1.5"),
            "y": "2026-01-16",
        }


async def test_an_out_parameter_that_does_not_come_back_is_malformed(pg: Site) -> None:
    async with on(pg) as adapter:
        with pytest.raises(Malformed, match="out parameters"):
            await adapter.call("call slots_of(in minimum, out nope)", {"minimum": 0}, make_call(5))


async def test_a_procedure_that_does_not_exist_is_unavailable(db: Site) -> None:
    async with on(db) as adapter:
        with pytest.raises(Unavailable, match=r"42883|1305"):
            await adapter.call("call no_such_thing(in a)", {"a": 1}, make_call(5))


async def test_the_password_may_stand_apart(pg: Site) -> None:
    adapter = sql.connect(sql.Settings.model_validate({"url": pg.url, "password": "trusted anyway"}))
    assert await rows(adapter, "SELECT 1 AS x") == [{"x": 1}]
    await adapter.close()
