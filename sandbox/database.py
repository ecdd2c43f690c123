"""The hospital's SQLite file: base tables and the views that interfaces may read."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

from sandbox.faults import Fault
from sandbox.hospital import Hospital
from sandbox.seed import Patient

TABLES = """
CREATE TABLE t_department (id TEXT PRIMARY KEY, name TEXT NOT NULL, parent TEXT, level INTEGER NOT NULL,
    address TEXT, phone TEXT, intro TEXT, status INTEGER NOT NULL);
CREATE TABLE t_patient (id TEXT PRIMARY KEY, card TEXT, name TEXT NOT NULL, gender TEXT, birthday TEXT);
CREATE TABLE t_report (id TEXT PRIMARY KEY, kind TEXT NOT NULL, patient TEXT NOT NULL, card TEXT, barcode TEXT,
    tested TEXT, code TEXT, name TEXT, specimen TEXT, status TEXT, doctor TEXT, finding TEXT, impression TEXT,
    image BLOB);
CREATE TABLE t_report_item (report TEXT NOT NULL, line INTEGER NOT NULL, code TEXT, name TEXT, result TEXT, unit TEXT,
    span TEXT, PRIMARY KEY (report, line));
"""
VIEWS = {
    "v_department": """SELECT id AS dept_id, name AS dept_name, parent AS parent_id, level AS dept_level, address,
        phone, intro, status FROM t_department""",
    "v_lisresult": """SELECT id AS lisid, card AS hiscardid, patient AS hispatientid, barcode, tested AS testdate,
        code AS examcode, name AS examname, substr(specimen, 1, 2) AS samplyid, specimen AS sampltype
        FROM t_report WHERE kind = 'lab' AND status IN ('final', 'corrected', 'amended')""",
    "v_lisdetail": """SELECT report AS lisid, code AS itemcode, name AS itemname, result, unit, span AS "range"
        FROM t_report_item""",
    "v_pacsresult": """SELECT card AS hiscardid, patient AS hispatientid, id AS "applyNum", barcode, tested AS testdate,
        code AS subtype, '影像' AS "type", code, name, doctor, finding AS "Findings", impression AS "Impression",
        image AS "Image" FROM t_report WHERE kind = 'imaging' AND status IN ('final', 'corrected', 'amended')""",
    "v_mzbrxx": "SELECT id AS hispatientid, card AS hiscardid, name, gender, birthday FROM t_patient",
}
GENDERS = {"M": "男", "F": "女"}


def department_rows(hospital: Hospital) -> list[tuple[object, ...]]:
    return [
        (d.id, d.name, d.parent, d.level, d.address, d.phone, d.intro, d.status) for d in hospital.departments.values()
    ]


def patient_row(patient: Patient) -> tuple[object, ...]:
    card = patient.identifiers.get("HC", "")
    return (patient.id, card, patient.name, GENDERS.get(patient.sex, "未知"), patient.birth.isoformat())


def report_rows(hospital: Hospital) -> list[tuple[object, ...]]:
    return [
        (
            r.id,
            r.kind,
            r.patient,
            hospital.patients[r.patient].identifiers.get("HC", ""),
            r.barcode,
            f"{r.issued:%Y-%m-%d %H:%M:%S}",
            r.code,
            r.name,
            r.specimen,
            r.status,
            r.doctor,
            r.finding,
            r.conclusion,
            r.image,
        )
        for r in hospital.reports.values()
    ]


def item_rows(hospital: Hospital) -> list[tuple[object, ...]]:
    return [
        (report.id, line, item.code, item.name, item.result, item.unit, item.range)
        for report in hospital.reports.values()
        for line, item in enumerate(report.items, 1)
    ]


class Database:
    """The file is made anew at every start and reset, in place, so that open readers see the fresh rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for leftover in (path, path.with_name(path.name + "-journal")):
            leftover.unlink(missing_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(TABLES)
        self._views_whole = False
        self._make_views()
        self._holder: threading.Thread | None = None
        self._let_go = threading.Event()

    def fill(self, hospital: Hospital) -> None:
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        for table in ("t_department", "t_patient", "t_report", "t_report_item"):
            run.execute(f"DELETE FROM {table}")
        run.executemany("INSERT INTO t_department VALUES (?,?,?,?,?,?,?,?)", department_rows(hospital))
        run.executemany("INSERT INTO t_patient VALUES (?,?,?,?,?)", map(patient_row, hospital.patients.values()))
        run.executemany("INSERT INTO t_report VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", report_rows(hospital))
        run.executemany("INSERT INTO t_report_item VALUES (?,?,?,?,?,?,?)", item_rows(hospital))
        run.execute("COMMIT")

    def add_patient(self, patient: Patient) -> None:
        self._connection.execute("INSERT OR REPLACE INTO t_patient VALUES (?,?,?,?,?)", patient_row(patient))

    def break_by(self, fault: Fault) -> None:
        """`delay` and `hang` lock the file against every reader (for `seconds`, or until repaired), `empty` takes
        the rows out of the views, `garbage` drops the views. Raises ValueError for others."""
        if fault.fault in ("delay", "hang_before"):
            self._hold(fault.seconds if fault.fault == "delay" else None)
        elif fault.fault in ("empty", "garbage"):
            self._views_whole = False
            for name, text in VIEWS.items():
                self._connection.execute(f"DROP VIEW IF EXISTS {name}")
                if fault.fault == "empty":
                    self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM ({text}) WHERE 1 = 0")
        else:
            raise ValueError("the sql channel knows delay, hang, empty and garbage")

    def repair(self) -> None:
        self._let_go.set()
        if self._holder is not None:
            self._holder.join()
            self._holder = None
        self._make_views()

    def close(self) -> None:
        self.repair()
        self._connection.close()

    def _make_views(self) -> None:
        if self._views_whole:
            return
        for name, text in VIEWS.items():
            self._connection.execute(f"DROP VIEW IF EXISTS {name}")
            self._connection.execute(f"CREATE VIEW {name} AS {text}")
        self._views_whole = True

    def _hold(self, seconds: float | None) -> None:
        self.repair()
        self._let_go = threading.Event()
        locked = threading.Event()
        self._holder = threading.Thread(
            target=self._hold_exclusively, args=(self._let_go, seconds, locked), daemon=True
        )
        self._holder.start()
        locked.wait(5)

    def _hold_exclusively(self, let_go: threading.Event, seconds: float | None, locked: threading.Event) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=5)) as other:
            other.execute("BEGIN EXCLUSIVE")
            locked.set()
            until = None if seconds is None else time.monotonic() + seconds
            let_go.wait(None if until is None else max(0.0, until - time.monotonic()))
            other.execute("ROLLBACK")
