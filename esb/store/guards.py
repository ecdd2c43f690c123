"""The audit is only added to: the database itself refuses to change or delete a row of it."""

from __future__ import annotations

import sqlalchemy as sa

from esb.store.tables import audit

_REFUSED = "the audit is only added to"
_SQLITE = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{act} BEFORE {act.upper()} ON audit "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
    for act in ("update", "delete")
)
_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
    "CREATE OR REPLACE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
)
GUARDS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
"""For each database the statements that guard the audit; to run them again does no harm."""


def _guard(_: sa.Table, connection: sa.Connection, **__: object) -> None:
    for statement in GUARDS.get(connection.dialect.name, ()):
        connection.exec_driver_sql(statement)


sa.event.listen(audit, "after_create", _guard)
