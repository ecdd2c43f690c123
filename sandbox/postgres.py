"""The same views in a PostgreSQL database, and stored procedures with output parameters as HIS vendors write them."""

from __future__ import annotations

import asyncpg

from sandbox.database import TABLES, VIEWS, department_rows, item_rows, patient_row, report_rows
from sandbox.hospital import Hospital

TABLE_NAMES = ("t_department", "t_patient", "t_report", "t_report_item", "t_slot", "t_lock")
PROCEDURES = """
CREATE TABLE t_slot (no TEXT PRIMARY KEY, places INTEGER NOT NULL, taken INTEGER NOT NULL, CHECK (taken <= places));
CREATE TABLE t_lock (order_no TEXT PRIMARY KEY, patient TEXT NOT NULL, slot TEXT NOT NULL REFERENCES t_slot (no));
CREATE OR REPLACE PROCEDURE p_lock_source(IN p_order_no TEXT, IN p_patient_id TEXT, IN p_slot_no TEXT,
    INOUT result_code TEXT DEFAULT NULL, INOUT result_text TEXT DEFAULT NULL) LANGUAGE plpgsql AS $body$
DECLARE known t_lock%ROWTYPE;
BEGIN
    PERFORM 1 FROM t_slot WHERE no = p_slot_no FOR UPDATE;
    IF NOT FOUND THEN result_code := '1002'; result_text := '号源不存在'; RETURN; END IF;
    PERFORM 1 FROM t_patient WHERE id = p_patient_id;
    IF NOT FOUND THEN result_code := '1003'; result_text := '患者不存在'; RETURN; END IF;
    SELECT * INTO known FROM t_lock WHERE order_no = p_order_no;
    IF FOUND THEN
        IF known.slot <> p_slot_no THEN result_code := '1006'; result_text := '订单号已用于其他号源';
        ELSE result_code := '0'; result_text := '成功'; END IF;
        RETURN;
    END IF;
    UPDATE t_slot SET taken = taken + 1 WHERE no = p_slot_no AND taken < places;
    IF NOT FOUND THEN result_code := '1001'; result_text := '号源已满'; RETURN; END IF;
    INSERT INTO t_lock VALUES (p_order_no, p_patient_id, p_slot_no);
    result_code := '0'; result_text := '成功';
END $body$;
CREATE OR REPLACE FUNCTION f_departments(p_level INTEGER) RETURNS SETOF v_department LANGUAGE sql STABLE AS
    'SELECT * FROM v_department WHERE dept_level = p_level ORDER BY dept_id';
"""


async def fill(url: str, hospital: Hospital) -> None:
    """Drop and make the sandbox's tables, views, the procedure p_lock_source(order, patient, slot, INOUT code,
    INOUT text) and the function f_departments(level). Its locks are its own, apart from those of the other channels."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for table in reversed(TABLE_NAMES):
                await connection.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
            await connection.execute(TABLES.replace("image BLOB", "image BYTEA"))
            for name, text in VIEWS.items():
                await connection.execute(f"CREATE VIEW {name} AS {text}")
            await connection.execute(PROCEDURES)
            await _copy(connection, hospital)
    finally:
        await connection.close()


async def _copy(connection: asyncpg.Connection, hospital: Hospital) -> None:
    slots = [(slot.no, slot.total, slot.sold) for slot in hospital.book.slots.values() if slot.schedule.status == 1]
    rows = {
        "t_department": department_rows(hospital),
        "t_patient": [patient_row(patient) for patient in hospital.patients.values()],
        "t_report": report_rows(hospital),
        "t_report_item": item_rows(hospital),
        "t_slot": slots,
    }
    for table, records in rows.items():
        await connection.copy_records_to_table(table, records=records)
