"""Where answers to messages of ours stand in the inbox."""

from __future__ import annotations

import sqlalchemy as sa

from esb.store.migrations.lacking import make

revision = "5"
down_revision = "4"

_then = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_answer = sa.Table(
    "inbox_answer",
    _then,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("word", "control")),
    sa.Column("position", _BIG, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
sa.Index("inbox_answer_position", _answer.c.position)


def upgrade() -> None:
    """See the module."""
    make(_then)
