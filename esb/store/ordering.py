"""Order keys over processes: who adds or removes rows of one is alone with it until the transaction ends.

A process on a file is alone anyway. On PostgreSQL each key is an advisory lock of the transaction. Whoever needs
several takes them together and sorted, or two could wait for each other; so ``Writer`` takes those of all works of a
transaction before the first of them is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import sqlalchemy as sa

Key = tuple[str, str]
"""An endpoint, and an order key among its messages; an empty one orders nothing."""

_ALONE = sa.text("SELECT pg_advisory_xact_lock(its_key) FROM unnest(CAST(:its_keys AS bigint[])) AS its_key")


def keep_order(connection: sa.Connection, keys: Iterable[Key]) -> None:
    """Nobody else adds or removes rows of these keys before this transaction has ended."""
    if connection.dialect.name == "postgresql" and (numbers := sorted({_number(*one) for one in keys if one[1]})):
        connection.execute(_ALONE, {"its_keys": numbers})


def _number(endpoint: str, order_key: str) -> int:
    digest = hashlib.blake2b(f"{endpoint}\n{order_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
