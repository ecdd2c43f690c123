"""SQLite's driver by itself, for short statements in every commit: with SQLAlchemy they take ten times as long."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

Rows = list[tuple[Any, ...]]


def run(connection: sa.Connection, text: str, values: Sequence[Any] = ()) -> Rows:
    """All rows of one statement, in a transaction that ``connection`` has begun; raises ``DBAPIError``."""
    try:
        found: Rows = connection.connection.driver_connection.execute(text, values).fetchall()  # type: ignore[union-attr]
    except sqlite3.Error as error:
        raise DBAPIError.instance(text, None, error, sqlite3.Error, hide_parameters=True) from error
    return found
