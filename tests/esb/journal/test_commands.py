"""``esb journal`` and ``esb audit`` on a store of either kind: S23, S26, S27."""

from __future__ import annotations

import gzip
import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from esb import audit, blind
from esb.blind import parse
from esb.cli import main
from esb.store import tries
from esb.store.tables import audit as audit_table
from esb.store.tables import exchange
from tests.esb.configured import ROOT
from tests.esb.journal.databases import KINDS, opened, store_url
from tests.esb.journal.kit import KEY, put, row

NEW_KEY = "cd" * 32
OLD, NEW = parse(f"k1 {KEY}"), parse(f"k2 {NEW_KEY}\nk1 {KEY}")
PATIENT = "P0000001"


@pytest.fixture(params=KINDS)
def engine(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    (tmp_path / blind.SECRET).write_text(f"k1 {KEY}\n")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ESB_SECRETS", str(tmp_path))
    with store_url(request.param, tmp_path) as url, opened(url) as made:
        monkeypatch.setenv("ESB_STORE", url)
        yield made


def esb(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status, (done.output, done.exception)
    return done


def listed(*arguments: str) -> list[str]:
    return [one["id"] for one in json.loads(esb("journal", "list", "--json", *arguments).output)["exchanges"]]


def acts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(esb("audit", "list", "--json").output)["acts"]
    return found


def test_exchanges_are_listed_for_people_and_for_programs(engine: sa.Engine) -> None:
    lock = row(operation="registration.lock", endpoint="his", state="refused", code="slot_full", key="K1")
    read = row()
    put(engine, lock, read)
    lines = esb("journal", "list").output.splitlines()
    assert [line.split("  ")[0] for line in lines] == [read.id, lock.id, "2 exchanges"]
    assert lines[1].split("  ")[2:6] == ["registration.lock", "to his", "refused", "slot_full"]
    assert listed("--operation", "registration.lock") == [lock.id]
    assert listed("--key", "K1", "--state", "refused", "--state", "unknown") == [lock.id]
    assert listed("--id", read.id, "--since", "2026-01-01", "--until", "2027-01-01T00:00") == [read.id]
    assert listed("--since", "2027-01-01") == []


def test_pages_of_the_list_say_how_to_go_on(engine: sa.Engine) -> None:
    rows = [row() for _ in range(3)]
    put(engine, *rows)
    first = json.loads(esb("journal", "list", "--most", "2", "--json").output)
    assert first["before"] == rows[1].id
    assert f"more with --before {rows[1].id}" in esb("journal", "list", "--most", "2").output
    second = json.loads(esb("journal", "list", "--most", "2", "--json", "--before", first["before"]).output)
    assert ([one["id"] for one in second["exchanges"]], second["before"]) == ([rows[0].id], None)


def test_a_patient_is_found_by_the_number_and_nowhere_is_the_number(engine: sa.Engine) -> None:
    mine, others = row(subject=OLD.of(PATIENT)), row(subject=OLD.of("P0000002"))
    put(engine, mine, others)
    assert listed("--patient", " p000-0001") == [mine.id]
    asked = CliRunner().invoke(main, ["journal", "list", "--patient", "-", "--json"], input=f"{PATIENT}\n")
    assert [one["id"] for one in json.loads(asked.stdout[asked.stdout.index("{") :])["exchanges"]] == [mine.id]
    assert listed("--patient", "--") == []


def test_without_a_key_a_search_for_a_patient_is_refused_with_what_to_do(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / blind.SECRET).unlink()
    assert "no key to search patients with" in esb("journal", "list", "--patient", PATIENT, status=2).output
    assert listed() == []


def test_one_is_shown_with_its_stages_and_relations_and_without_its_patient(engine: sa.Engine) -> None:
    first = row(subject=OLD.of(PATIENT), sent=f"<a><id>{PATIENT}</id><name>张三</name></a>".encode())
    cached = row(cause=first.id, attempts=0)
    put(engine, first, cached)
    shown = esb("journal", "show", first.id).output
    tree = json.loads(shown)
    assert (tree["timings"], tree["endpoint"]) == ({"map": 0.1, "call": 12.0, "total": 12.5}, "lis")
    assert tree["sent"]["format"] == "xml"
    assert tree["related"] == [
        {"relation": "was given this one's answer", "id": cached.id, "operation": "report.list", "state": "done",
         "code": "", "received": cached.received}
    ]  # fmt: skip
    assert [part for part in (PATIENT, "张三") if part in shown] == []
    assert acts() == []
    of_cached = json.loads(esb("journal", "show", cached.id).output)
    assert of_cached["related"][0]["relation"] == "this was given its answer"
    assert "no exchange E404" in esb("journal", "show", "E404", status=1).output


def test_each_try_is_shown_and_exported_with_its_wire_and_without_its_patient(engine: sa.Engine) -> None:
    one, other = row(state="accepted"), row()
    put(engine, one, other)
    sent, raw = f"<a><id>{PATIENT}</id></a>".encode(), b"<html>" + b" " * tries.LONGEST
    with engine.begin() as connection:
        tried = tries.Try("2026-01-15T09:00:00.000+08:00", "his", "malformed", "m", "no xml", 1, "a@1", "1", sent, raw)
        tries.keep(connection, one.id, tried)
        tries.keep(connection, one.id, tried._replace(state="unavailable", code="down", sent=b"", raw=b""))
    shown = esb("journal", "show", one.id).output
    first, second = json.loads(shown)["tries"]
    assert (first["number"], first["state"], first["reason"]) == (1, "malformed", "no xml")
    assert (first["sent"]["bytes"], first["sent"]["format"]) == (len(sent), "xml")
    assert (first["raw"]["bytes"], first["raw"]["cut_to"]) == (len(raw), tries.LONGEST)
    assert (second["number"], second["code"], second["sent"], second["raw"]) == (2, "down", None, None)
    assert PATIENT not in shown
    bare = json.loads(esb("journal", "show", one.id, "--unmask", "--reason", "complaint 17").output)
    assert PATIENT in json.dumps(bare["tries"][0]["sent"])
    lines = [json.loads(line) for line in esb("journal", "export", "--reason", "x").stdout.splitlines()]
    assert {line["id"]: len(line["tries"]) for line in lines} == {one.id: 2, other.id: 0}


def test_a_broken_try_stops_neither_show_nor_export(engine: sa.Engine) -> None:
    one = row(state="accepted")
    put(engine, one)
    with engine.begin() as connection:
        tried = tries.Try("2026-01-15T09:00:00.000+08:00", "his", "malformed", "m", "no xml", 1, "a@1", "1", b"s", b"r")
        tries.keep(connection, one.id, tried)
        tries.keep(connection, one.id, tried)
        broken = {"raw": b"\x01xx"}
        if engine.dialect.name == "sqlite":  # the other has types
            broken |= {"reason": b"\xff", "sent_bytes": b"many"}
        connection.execute(tries.attempt.update().where(tries.attempt.c.number == 1).values(broken))
    first, second = json.loads(esb("journal", "show", one.id).output)["tries"]
    assert (set(first["broken"]), first["raw"]) == (set(broken), None)
    assert ("broken" in second, second["reason"]) == (False, "no xml")
    (line,) = (json.loads(each) for each in esb("journal", "export", "--reason", "x").stdout.splitlines())
    assert line["tries"] == [first, second]


def test_to_see_the_patient_needs_a_reason_and_is_audited(engine: sa.Engine) -> None:
    one = row(raw=f"MSH|^~\\&|A|B|C|D|20260115||ADT^A01|1|P|2.5\rPID|1||{PATIENT}\r".encode())
    put(engine, one)
    esb("journal", "show", one.id, "--unmask", status=2)
    assert acts() == []
    shown = esb("journal", "show", one.id, "--unmask", "--reason", "complaint 17").output
    assert json.loads(shown)["request"] == {"patientId": PATIENT}
    assert (json.loads(shown)["raw"]["format"], PATIENT in json.dumps(json.loads(shown)["raw"])) == ("hl7v2", True)
    assert [(act["action"], act["object"], act["reason"], act["actor"]) for act in acts()] == [
        ("unmask", one.id, "complaint 17", audit.actor())
    ]


def test_an_export_is_json_lines_masked_and_audited(engine: sa.Engine, tmp_path: Path) -> None:
    rows = [row(subject=OLD.of(PATIENT)) for _ in range(205)]
    put(engine, *rows)
    plain, packed = tmp_path / "all.jsonl", tmp_path / "all.jsonl.gz"
    query = ("--operation", "report.list", "--patient", PATIENT, "--reason", "for the vendor")
    done = esb("journal", "export", *query, "--output", str(plain))
    assert "205 exchanges" in done.output
    lines = plain.read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [one.id for one in reversed(rows)]
    assert PATIENT.encode() not in plain.read_bytes()
    esb("journal", "export", *query, "--output", str(packed), "--unmask")
    assert json.loads(gzip.decompress(packed.read_bytes()).splitlines()[0])["request"] == {"patientId": PATIENT}
    assert {stat.S_IMODE(file.stat().st_mode) for file in (plain, packed)} == {0o600}
    last, first = acts()
    assert (first["action"], first["reason"]) == ("export", "for the vendor")
    told = json.loads(first["details"])
    assert told == {"query": {"operation": "report.list", "subjects": [OLD.of(PATIENT)]}, "unmasked": False}
    assert json.loads(last["details"])["unmasked"] is True
    esb("journal", "export", status=2)


def test_a_broken_row_stops_neither_list_nor_show_nor_export(engine: sa.Engine) -> None:
    rows = [row(), row(), row(timings="{", request=b"{]", details="nope", state="exploded")]
    put(engine, *rows)
    with engine.begin() as connection:
        connection.execute(exchange.update().where(exchange.c.id == rows[1].id).values(raw=b"\x01xx"))
    assert listed() == [one.id for one in reversed(rows)]
    assert "broken: state" in esb("journal", "list").output
    assert json.loads(esb("journal", "show", rows[1].id).output)["broken"] == {"raw": "does not unpack"}
    lines = [line for line in esb("journal", "export", "--reason", "x").output.splitlines() if line.startswith("{")]
    assert set(json.loads(lines[0])["broken"]) == {"state", "timings", "details", "request"}
    assert len(lines) == 3


def test_after_a_new_key_rows_under_the_old_one_are_found_and_written_again(engine: sa.Engine, tmp_path: Path) -> None:
    by_request = [row(subject=OLD.of(PATIENT)) for _ in range(3)]
    by_answer = row(operation="report.get", request=b'{"reportId":"R1"}', answer=b"", subject=OLD.of(PATIENT))
    bare = row(subject="")
    put(engine, *by_request, by_answer, bare)
    (tmp_path / blind.SECRET).write_text(f"k2 {NEW_KEY}\nk1 {KEY}\n")
    before = [by_answer.id, *(one.id for one in reversed(by_request))]
    assert listed("--patient", PATIENT) == before
    assert "report.list: 4 written, 0 as they were" in esb("journal", "reindex", "--reason", "new key").output
    assert "report.get: 0 written, 1 as they were" in esb("journal", "reindex", "--reason", "again").output
    assert listed("--patient", PATIENT) == [bare.id, *before]
    with engine.connect() as connection:
        marks = set(connection.scalars(sa.select(exchange.c.subject)))
    assert marks == {NEW.of(PATIENT), OLD.of(PATIENT)}
    assert [act["action"] for act in acts()] == ["reindex", "reindex"]


def test_the_audit_is_verified_and_the_position_of_a_broken_row_reported(engine: sa.Engine, tmp_path: Path) -> None:
    put(engine, one := row())
    for number in range(3):
        esb("journal", "show", one.id, "--unmask", "--reason", f"complaint {number}")
    assert "3 acts" in esb("audit", "verify").output
    anchor = json.loads(esb("audit", "anchor").output)
    (tmp_path / "anchors").write_text(json.dumps(anchor) + "\n")
    assert anchor["seq"] == 3
    esb("audit", "verify", "--anchors", str(tmp_path / "anchors"))
    name = "audit_no_change ON audit" if engine.dialect.name == "postgresql" else "audit_no_update"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
        changed = audit_table.update().where(audit_table.c.seq == 2)
        connection.execute(changed.values(reason="complaint 8"))
    found = esb("audit", "verify", status=1).output
    assert found == "row 2: it was changed; 1 before it are in order\n"
    (tmp_path / "anchors").write_text("{}\n")
    assert "line 1 is no anchor" in esb("audit", "verify", "--anchors", str(tmp_path / "anchors"), status=2).output


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_store_that_is_written_to_is_read_beside(engine: sa.Engine, tmp_path: Path) -> None:
    put(engine, one := row())
    with closing(sqlite3.connect(tmp_path / "esb.db", isolation_level=None)) as bus:
        bus.execute("BEGIN IMMEDIATE")
        bus.execute("UPDATE exchange SET reason = 'under way'")
        assert listed() == [one.id]
        assert json.loads(esb("journal", "show", one.id).output)["reason"] == ""
        bus.execute("ROLLBACK")
