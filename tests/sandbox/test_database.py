"""The database file: the views of LIS, PACS and HIS, and its own faults."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from tests.sandbox.test_mllp import message, send
from tests.sandbox_process import Sandbox


def rows(hospital: Sandbox, statement: str, *values: object) -> list[sqlite3.Row]:
    with contextlib.closing(sqlite3.connect(hospital.database, timeout=0.1)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(statement, values).fetchall()


def test_departments_come_in_three_levels_under_their_parents(hospital: Sandbox) -> None:
    found = {row["dept_id"]: row for row in rows(hospital, "SELECT * FROM v_department")}
    columns = ["dept_id", "dept_name", "parent_id", "dept_level", "address", "phone", "intro", "status"]
    assert list(found["01"].keys()) == columns
    assert [found[no]["parent_id"] for no in ("01", "0101", "010101")] == [None, "01", "0101"]
    assert all(row["parent_id"] in found for row in found.values() if row["dept_level"] > 1)


def test_results_have_the_names_of_the_real_views_misspelt_as_they_are(hospital: Sandbox) -> None:
    found = rows(hospital, "SELECT * FROM v_lisresult WHERE hispatientid = ?", "P0000001")
    assert {"lisid", "hiscardid", "barcode", "testdate", "examcode", "samplyid", "sampltype"} <= set(found[0].keys())
    assert len(found) == 24
    details = rows(hospital, 'SELECT itemcode, result, unit, "range" FROM v_lisdetail WHERE lisid = ?', "LIS0001")
    assert tuple(details[0]) == ("WBC", "11.20", "10*9/L", "3.5-9.5")
    image = rows(
        hospital, "SELECT applyNum, Findings, Impression, Image FROM v_pacsresult WHERE hispatientid = ?", "P0000001"
    )
    assert bytes(image[0]["Image"]).startswith(b"\xff\xd8")


def test_a_patient_made_elsewhere_appears_in_the_view(hospital: Sandbox) -> None:
    send(hospital, message("ADT^A28", "M1", "PID|1||44030019040229003X^^^GA^NI||患者新||19040229|F"))
    assert [tuple(r) for r in rows(hospital, "SELECT name, gender FROM v_mzbrxx WHERE hispatientid = 'P0000051'")] == [
        ("患者新", "女")
    ]
    hospital.control.reset()
    assert rows(hospital, "SELECT 1 FROM v_mzbrxx WHERE hispatientid = 'P0000051'") == []


def test_a_hanging_database_locks_readers_out_until_repaired(hospital: Sandbox) -> None:
    hospital.control.fault("sql", "hang")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        rows(hospital, "SELECT 1 FROM v_department")
    hospital.control.clear_faults()
    assert rows(hospital, "SELECT 1 FROM v_department")


def test_views_can_be_emptied_or_lost(hospital: Sandbox) -> None:
    hospital.control.fault("sql", "empty")
    assert rows(hospital, "SELECT * FROM v_department") == []
    hospital.control.fault("sql", "garbage")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        rows(hospital, "SELECT * FROM v_department")
    hospital.control.clear_faults()
    assert rows(hospital, "SELECT * FROM v_department")
