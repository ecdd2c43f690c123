"""What a statement says of its binds and its columns."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from adapters import sql
from adapters.sql.columns import columns
from adapters.sql.statement import Style, parse
from esb.codecs import yaml
from esb.spi import Description, Type
from esb.types import Lost

STYLES: tuple[Style, ...] = ("postgresql", "mariadb", "sqlite")
TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, Name TEXT, kind TEXT, day TEXT, n NUMERIC)"


def named(statement: str, style: Style = "sqlite") -> list[str]:
    """The names of the columns, an asterisk at the end where there may be more."""
    found = columns(statement, style)
    return [column.name for column in found.named] + ["*"] * found.open


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT a, t.b, s.t.c FROM t", "a b c"),
        ("SELECT a AS x, count(*) AS y, :z AS z, 'it''s, a' AS q FROM t;", "x y z q"),
        ("SELECT a x, count(*) y, coalesce(b, (SELECT 1)) z FROM t", "x y z"),
        ("select distinct a from t order by b", "a"),
        ("SELECT ALL a FROM t GROUP BY a HAVING count(*) > 1", "a"),
        ("SELECT a FROM t UNION ALL SELECT b FROM u", "a"),
        ("WITH x AS (SELECT b AS a FROM t) SELECT a, 1 AS n FROM x", "a n"),
        ("WITH RECURSIVE x(a, b) AS (SELECT 1), y AS MATERIALIZED (SELECT 2) SELECT b FROM x", "b"),
        ("SELECT CASE WHEN a = 1 THEN b ELSE c END AS k, a IS DISTINCT FROM b AS d, e FROM t", "k d e"),
        ("SELECT sum(a) OVER (PARTITION BY b ORDER BY c) AS s, t.d FROM t", "s d"),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) AS p FROM t", "p"),
        ("SELECT date, time, user, name, status, 科室 FROM t", "date time user name status 科室"),
        ("INSERT INTO t (a) SELECT b FROM u RETURNING id, a AS c", "id c"),
        ("UPDATE t SET a = :a WHERE b = :b RETURNING b", "b"),
        ("SELECT *, a FROM t", "a *"),
        ("SELECT t.*, a FROM t", "a *"),
        ("SELECT 1, a FROM t", "a *"),
        ("SELECT a + b, c FROM t", "c *"),
        ("SELECT -a, NOT a, a IS NULL, f(x), NULL, :a, 1.5, a COLLATE b, (a), b IN (1) FROM t", "*"),
        ("SELECT a || b c, d FROM t", "d *"),
        ("SELECT a INTO b FROM t", "*"),
        ("(SELECT a FROM t) UNION SELECT b FROM u", "*"),
        ("WITH x AS (SELECT 1) (SELECT a FROM t) UNION SELECT b FROM u", "*"),
        ("DELETE FROM t WHERE a = :a", "*"),
        ("VALUES (1, 2)", "*"),
        ("SHOW TABLES", "*"),
        ("SELECT id, lock, x FROM t", "id *"),
        ("SELECT", "*"),
        ("SELECT a, FROM t", "a *"),
        ("SELECT X'4D', rowid, CURRENT_DATE FROM t", "*"),
    ],
)
def test_columns_are_told_where_they_are_certain(statement: str, names: str, style: Style) -> None:
    assert named(statement, style) == names.split()


def test_quotes_and_case_are_read_as_each_database_reads_them() -> None:
    statement = 'SELECT Dept_ID, Kind AS DeptKind, "Mixed" FROM t'
    assert named(statement, "postgresql") == ["dept_id", "deptkind", "Mixed"]
    assert named(statement, "mariadb") == ["Dept_ID", "DeptKind", "*"]
    assert named("SELECT `a b`, c AS `d``e`, f AS 'g', h AS \"i\" FROM t", "mariadb") == ["a b", "d`e", "g", "i"]
    assert named("SELECT a 'b', c AS 'd' FROM t", "postgresql") == ["*"]
    assert named("SELECT DISTINCT ON (a, b) a, c FROM t", "postgresql") == ["a", "c"]
    assert named("SELECT SQL_NO_CACHE STRAIGHT_JOIN a FROM t", "mariadb") == ["a"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id, NAME, t.kind FROM t",
        "SELECT id AS ID, n * 2 AS n2, count(*) c, max(day) 'd' FROM t GROUP BY id",
        "SELECT name FROM t UNION SELECT kind AS other FROM t",
        "WITH x AS (SELECT id AS a, Name FROM t) SELECT a, x.name FROM x",
        "SELECT s.a FROM (SELECT id AS a FROM t) s JOIN t u ON u.id = s.a",
        "SELECT CASE id WHEN 1 THEN 2 END AS k, kind IS DISTINCT FROM day AS other, day FROM t",
        "SELECT sum(n) OVER (ORDER BY id) AS total, `kind` FROM t",
        "SELECT rowid, id FROM t",
        "SELECT *, id AS again FROM t",
        "SELECT X'4D', CURRENT_DATE, n FROM t",
        "INSERT INTO t (id, Name) VALUES (1, 'a') RETURNING id, name AS Called",
    ],
)
def test_sqlite_gives_the_columns_that_were_told(statement: str) -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute(TABLE)
        cursor = database.execute(statement)
        given = [column[0] for column in cursor.description]
        cursor.fetchall()
    database.close()
    told = columns(statement, "sqlite")
    for column in told.named:
        assert column.name in given if column.exact else column.name.lower() in [name.lower() for name in given]
    assert told.open or len(told.named) == len(given)


def adapter(url: str = "sqlite:///somewhere.db", **settings: Any) -> sql.Sql:
    return sql.connect(sql.Settings.model_validate({"url": url, **settings}))


def test_the_demo_view_is_described_whole() -> None:
    file = Path(__file__).resolve().parents[2] / "mappings" / "hospital_db" / "department.list.yaml"
    action = yaml.load(file.read_text(encoding="utf-8"), file.name).value["action"]
    request, answer = adapter().describe(action)
    assert {name: inner.required for name, inner in request.fields.items()} == dict.fromkeys(
        ("keyword", "level", "parent"), True
    )
    assert request.at(["parnt"]) == Lost("parnt", ("keyword", "level", "parent"))
    wanted = "dept_id dept_name parent_id dept_level address phone intro status"
    assert answer.at(["rows", "dept_nmae"]) == Lost("dept_nmae", tuple(wanted.split()))
    assert all(isinstance(answer.at(["rows", name]), Type) for name in wanted.split())
    assert answer.at(["row"]) == Lost("row", ("rows",))
    assert answer.fields["rows"].many
    assert not answer.fields["rows"].open


def test_a_column_is_found_in_any_case_where_the_database_decides_it() -> None:
    rows = adapter().describe("SELECT Dept_ID, a AS Alias FROM t").answer.fields["rows"]
    assert isinstance(rows.at(["DEPT_ID"]), Type)
    assert isinstance(rows.at(["Alias"]), Type)
    assert rows.at(["alias"]) == Lost("alias", ("Dept_ID", "Alias"))
    assert len(rows.fields) == 2


def test_a_row_that_is_not_certain_is_open() -> None:
    answer = adapter().describe("SELECT *, a AS b FROM t").answer
    assert isinstance(answer.at(["rows", "anything"]), Type)
    assert list(answer.fields["rows"].fields) == ["b"]


def test_where_writing_is_allowed_the_answer_counts() -> None:
    answer = adapter(read_only=False).describe("DELETE FROM t WHERE a = :a").answer
    assert answer.fields["affected"].sort == "integer"
    assert isinstance(adapter().describe("SELECT a FROM t").answer.at(["affected"]), Lost)


def test_a_procedure_has_its_listed_parameters_and_unknown_rows() -> None:
    it = adapter("mariadb://hub@his.invalid/his", read_only=False)
    request, answer = it.describe("call his.lock(in slot, inout code, out message)")
    assert list(request.fields) == ["code", "slot"]
    assert list(answer.fields["out"].fields) == ["code", "message"]
    assert answer.at(["out", "mesage"]) == Lost("mesage", ("code", "message"))
    assert isinstance(answer.at(["rows", "x"]), Type)
    assert isinstance(answer.at(["sets", "x"]), Type)


@pytest.mark.parametrize("action", ["SELECT 1; SELECT 2", "DROP TABLE t", "call x", ""])
def test_of_what_cannot_be_run_nothing_is_known(action: str) -> None:
    assert adapter().describe(action) == Description()
    with pytest.raises(ValueError, match=r"."):
        parse(action, "sqlite")
