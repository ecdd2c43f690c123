"""What an action of the SQL adapter may be, and what lint says about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import sql
from adapters.sql.statement import Procedure, Statement, parse
from esb.spi import ANY, ConfigError, Refused
from tests.adapters.suite import make_call


@pytest.mark.parametrize(
    ("text", "style", "written", "names"),
    [
        ("SELECT a FROM t WHERE b = :b", "postgresql", "SELECT a FROM t WHERE b = $1", ("b",)),
        ("SELECT :b, :c, :b", "postgresql", "SELECT $1, $2, $3", ("b", "c", "b")),
        ("SELECT 1 WHERE :b is not null OR a = :b", "postgresql", None, ("b", "b")),
        ("SELECT :b, :c, :b", "sqlite", "SELECT ?, ?, ?", ("b", "c", "b")),
        ("SELECT :b FROM t WHERE c LIKE 'a%'", "mariadb", "SELECT %s FROM t WHERE c LIKE 'a%%'", ("b",)),
        ("SELECT 7 % 4", "mariadb", "SELECT 7 %% 4", ()),
        ("SELECT x::date FROM t", "postgresql", "SELECT x::date FROM t", ()),
        ("SELECT '12:30', \"a:b\" FROM t", "postgresql", "SELECT '12:30', \"a:b\" FROM t", ()),
        ("SELECT 'it''s :no', :yes", "sqlite", "SELECT 'it''s :no', ?", ("yes",)),
        ("SELECT `a:b`, :c", "mariadb", "SELECT `a:b`, %s", ("c",)),
        ("SELECT d->>'a' FROM t WHERE d ? :k", "postgresql", "SELECT d->>'a' FROM t WHERE d ? $1", ("k",)),
        ("SELECT a#>>'{b,c}' FROM t;  ", "postgresql", "SELECT a#>>'{b,c}' FROM t", ()),
        ("WITH 科室 AS (SELECT :名称 AS n) SELECT n FROM 科室", "sqlite", None, ("名称",)),
    ],
)
def test_binds_are_found_outside_of_quotes_and_casts(text: str, style: Any, written: str | None, names: Any) -> None:
    parsed = parse(text, style)
    assert isinstance(parsed, Statement)
    assert parsed.names == names
    assert written is None or parsed.sql == written


@pytest.mark.parametrize("style", ["postgresql", "mariadb", "sqlite"])
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("SELECT 1;;", "one statement"),
        ("SELECT 1 -- c", "comments"),
        ("SELECT /*! 1 */ 2", "comments"),
        ("SELECT 'a", "not closed"),
        ('SELECT "a', "not closed"),
        ("SELECT '${name}'", "template"),
        ("SELECT '{{ name }}'", "template"),
        ("SELECT * FROM t WHERE a = {name}", "template"),
        ("SELECT * FROM t WHERE a = %s", "template"),
        ("SELECT * FROM t WHERE a = %(name)s", "template"),
        ("SELECT * FROM t WHERE a = $1", "template"),
        ("SELECT $$;DROP TABLE t;$$", "template"),
        ("DROP TABLE t", "begins with"),
        ("SET x = 1", "begins with"),
        ("BEGIN", "begins with"),
        ("PRAGMA query_only = OFF", "begins with"),
        ("ATTACH 'x' AS y", "begins with"),
        ("COPY t TO 'x'", "begins with"),
        ("LOAD DATA INFILE 'x' INTO TABLE t", "begins with"),
        ("", "begins with"),
        ("SELECT 1 INTO OUTFILE 'x'", "writes files"),
    ],
)
def test_what_is_not_one_plain_statement_is_refused(text: str, word: str, style: Any) -> None:
    with pytest.raises(ValueError, match=word):
        parse(text, style)


def test_an_ambiguous_backslash_or_placeholder_is_refused() -> None:
    for style in ("postgresql", "mariadb"):
        with pytest.raises(ValueError, match="backslash"):
            parse(r"SELECT 'a\' OR :b", style)
    for style in ("mariadb", "sqlite"):
        with pytest.raises(ValueError, match="placeholder"):
            parse("SELECT ?", style)


@pytest.mark.parametrize(
    ("text", "names", "modes", "listed"),
    [
        ("call his.lock", (), (), False),
        ("CALL his.lock()", (), (), True),
        ("call lock(in a, INOUT b, out c, d)", ("a", "b", "c", "d"), ("in", "inout", "out", "in"), True),
        ("call 锁号( in 号 , out 结果 );", ("号", "结果"), ("in", "out"), True),
    ],
)
def test_a_call_names_its_parameters_and_their_direction(text: str, names: Any, modes: Any, listed: bool) -> None:
    parsed = parse(text, "mariadb")
    assert isinstance(parsed, Procedure)
    assert (parsed.parameters, parsed.modes, parsed.listed) == (names, modes, listed)


@pytest.mark.parametrize(
    "text",
    [
        "call",
        "call a b",
        "call a(in b",
        "call a(in a, in a)",
        "call a('x')",
        "call a(); drop table t",
        "call a.b.c.d",
        "call a(in)x",
    ],
)
def test_a_call_that_is_more_than_a_call_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"call|parameter"):
        parse(text, "postgresql")


def adapter(**settings: Any) -> sql.Sql:
    return sql.connect(sql.Settings.model_validate({"url": "sqlite:///somewhere.db", **settings}))


@pytest.mark.parametrize(
    ("action", "fields", "word"),
    [
        ("SELECT :a", ["a"], None),
        ("SELECT :a", [], ":a is not given"),
        ("SELECT a, b AS a FROM t", [], "'a' stands twice"),
        ("DELETE FROM t", [], "read_only: false"),
        ("SELECT 1; SELECT 2", [], "one statement"),
        ("call x(in a)", ["a"], "no stored procedures"),
    ],
)
def test_lint_says_what_is_wrong_with_an_action(action: str, fields: list[str], word: str | None) -> None:
    found = list(adapter().check(action, fields))
    assert (not found) if word is None else (word in " ".join(found))


def test_lint_wants_the_in_parameters_and_takes_any_where_none_are_listed() -> None:
    it = adapter(url="mariadb://hub@his.invalid/his", read_only=False)
    assert list(it.describe("call x(in a, out b)").request.fields) == ["a"]
    assert ":a is not given" in " ".join(it.check("call x(in a, out b)", []))
    assert it.describe("call x").request is ANY
    assert not list(it.check("call x", ["a", "b"]))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"url": "oracle://x"}, "postgresql://"),
        ({"url": "no address"}, "address"),
        ({"url": "sqlite://"}, "path of a file"),
        ({"url": "sqlite:///:memory:"}, "path of a file"),
        ({"url": "sqlite:///x.db", "text_charset": "klingon"}, "klingon"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        adapter(**settings)


def test_no_secret_is_shown() -> None:
    settings = sql.Settings.model_validate(
        {"url": "mariadb://hub:SECRETMARKER@his.invalid/x", "password": "SECRETMARKER"}
    )
    assert "SECRETMARKER" not in repr(settings)


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("SELECT :a", {}),
        ("SELECT :a", {"a": 1, "b": 2}),
        ("SELECT :a", ["a"]),
        ("SELECT :a", {"a": {"b": 1}}),
        ("SELECT :a", {"a": [1]}),
        ("SELECT :a", {"a": 1.5}),
        ("DELETE FROM t WHERE a = :a", {"a": 1}),
        ("SELECT 1; SELECT 2", {}),
    ],
)
async def test_a_call_that_cannot_be_written_sends_nothing(action: str, payload: Any) -> None:
    it = adapter()
    call = make_call()
    with pytest.raises(Refused):
        await it.call(action, payload, call)
    assert not call.wire.left
    await it.close()
