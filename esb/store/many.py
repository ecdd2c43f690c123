"""Statements about many rows at once, written as each database is quickest with them.

SQLite gets as many places as there are values. PostgreSQL gets a list for each column: one text for any number of
rows, which the driver need not read again and the server has planned before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa

from esb.store import driver

_LARGEST = 100
_TEXTS_KEPT = 1000

Rows = Sequence[tuple[Any, ...]]


def insert(connection: sa.Connection, table: sa.Table, names: tuple[str, ...], rows: Rows, end: str = "") -> None:
    """Add rows, each the values of the columns ``names``; ``end`` is the end of the statement, such as ON CONFLICT."""
    beginning, kinds = _into(table, names)
    for _ in with_rows(connection, beginning, kinds, rows, end):
        pass


def insert_all(connection: sa.Connection, inserts: Sequence[tuple[sa.Table, tuple[str, ...], Rows]]) -> None:
    """Add rows to several tables; on PostgreSQL in one statement, for each costs a way there and back."""
    wanted = [one for one in inserts if one[2]]
    if connection.dialect.name == "postgresql" and len(wanted) > 1:
        text = _together(tuple((table, names) for table, names, _ in wanted))
        lists = [map(list, zip(*rows, strict=True)) for _, _, rows in wanted]
        connection.exec_driver_sql(text, tuple(chain.from_iterable(lists)))
        return
    for one in wanted:
        insert(connection, *one)


def with_rows(
    connection: sa.Connection, beginning: str, kinds: tuple[str, ...], rows: Rows, end: str = ""
) -> Iterator[Iterable[Any]]:
    """Run the statement that has ``rows``, a query of columns of these ``kinds``, between ``beginning`` and ``end``.

    On SQLite it is run for a hundred rows at a time.
    """
    if connection.dialect.name == "postgresql":
        if rows:
            yield connection.exec_driver_sql(_lists(beginning, kinds, end), tuple(map(list, zip(*rows, strict=True))))
        return
    for at in range(0, len(rows), _LARGEST):
        some = rows[at : at + _LARGEST]
        text = _places(beginning, len(kinds), len(some), end)
        yield driver.run(connection, text, tuple(chain.from_iterable(some)))


@lru_cache(_TEXTS_KEPT)
def _lists(beginning: str, kinds: tuple[str, ...], end: str) -> str:
    """``%b``: in the driver's binary form, or each value would be written out and escaped."""
    return f"{beginning} SELECT * FROM unnest({', '.join([f'%b::{kind}[]' for kind in kinds])}) {end}"


@lru_cache(_TEXTS_KEPT)
def _together(inserts: tuple[tuple[sa.Table, tuple[str, ...]], ...]) -> str:
    *before, last = [_lists(*_into(*one), "") for one in inserts]
    return f"WITH {', '.join(f'part_{at} AS ({text})' for at, text in enumerate(before))} {last}"


@lru_cache(_TEXTS_KEPT)
def _places(beginning: str, columns: int, rows: int, end: str) -> str:
    values = f"({', '.join('?' * columns)})"
    return f"{beginning} VALUES {', '.join([values] * rows)} {end}"


@lru_cache(_TEXTS_KEPT)
def _into(table: sa.Table, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return f"INSERT INTO {table.name} ({', '.join(names)})", tuple(_kind(table.c[name].type) for name in names)


def _kind(of: sa.types.TypeEngine[Any]) -> str:
    if isinstance(of, sa.LargeBinary):
        return "bytea"
    if isinstance(of, sa.Boolean):
        return "bool"
    return "bigint" if isinstance(of, sa.Integer) else "text"
