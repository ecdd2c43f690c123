"""The commands as a person runs them: what they print, how they end."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from esb.buffer import Message, SqlBuffer
from esb.cli import main
from esb.clock import SystemClock
from esb.observe import Metrics
from esb.store import Store
from tests.esb.buffer.suite import row
from tests.esb.configured import ROOT, Configured

LOCK = {
    "orderNo": "R1",
    "patientId": "P1",
    "fee": 2500,
    "slot": {
        "slotId": "S1",
        "scheduleId": "R1",
        "departmentId": "D1",
        "doctorId": "D001",
        "start": "2026-01-16T08:30:00+08:00",
        "end": "2026-01-16T09:00:00+08:00",
    },
}


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    copy = Configured(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESB_SECRETS", str(ROOT / "sandbox" / "secrets"))
    return copy


def esb(*arguments: str, given: bytes | str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=given)


def test_help_says_where_to_start_and_what_the_exit_status_means() -> None:
    shown = esb("--help").output
    assert "esb lint" in shown
    assert "Exit status" in shown
    for command in ("run", "lint", "test", "explain", "try", "decode", "encode"):
        assert esb(command, "--help").exit_code == 0


def test_lint_counts_what_is_sound_and_lists_what_is_not(demo: Configured) -> None:
    assert esb("lint").output == "sound: 10 routes, 5 endpoints, 10 mappings, 10 callbacks, 7 translations\n"
    assert json.loads(esb("lint", "--json").output)["findings"] == []
    demo.edit("routes.yaml", "adapter: soap", "adapter: sap")
    found = esb("lint", "--json")
    assert found.exit_code == 2
    assert json.loads(found.output)["findings"][0] | {"file": ""} == {
        "file": "",
        "line": 10,
        "column": 14,
        "message": "adapter 'sap' does not exist",
        "hint": "did you mean 'soap'?",
    }
    assert "routes.yaml:10:14: adapter 'sap' does not exist" in esb("lint").output


def test_the_bus_does_not_start_on_what_lint_refuses(demo: Configured) -> None:
    demo.edit("routes.yaml", "adapter: soap", "adapter: sap")
    started = subprocess.run(
        [sys.executable, "-m", "esb.cli", "run", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert started.returncode == 2
    assert "nothing was started" in started.stderr


@pytest.mark.parametrize("refuses", ["UPDATE ON queue", "UPDATE ON exchange"])
def test_a_store_that_does_not_do_what_the_start_needs_is_told_in_one_line(demo: Configured, refuses: str) -> None:
    """The buffer gives back what was taken, the pipeline takes up what was begun."""
    path = demo.folder / "esb.db"

    async def prepare() -> None:
        store = Store(f"sqlite:///{path}", Metrics())
        await store.start()
        buffer = SqlBuffer(store, SystemClock())
        await buffer.accept(row("E1"), Message("E1", "his", "slot.free"))
        await buffer.take("his", 1)
        await store.open(row("E2")._replace(state="received"))
        await store.close()

    asyncio.run(prepare())
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TRIGGER no BEFORE {refuses} BEGIN SELECT RAISE(ABORT, 'not today'); END")
    started = subprocess.run(
        [sys.executable, "-m", "esb.cli", "run", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ESB_STORE": f"sqlite:///{path}"},
    )
    assert started.returncode == 2, started.stderr
    assert f"{path}: did not do what the bus needs to start: not today" in started.stderr
    assert "Traceback" not in started.stderr


def test_examples_run_and_a_wrong_one_says_which_field(demo: Configured) -> None:
    assert esb("test").output.endswith(" passed, 0 failed\n")
    demo.edit("mappings/his_soap/registration.find.yaml", "      fee: 2500\n", "      fee: 2501\n")
    failed = esb("test", "registration.find")
    assert failed.exit_code == 1
    assert "example 'the lock is there' failed" in failed.output
    assert "fee" in failed.output
    listed = json.loads(esb("test", "registration.find", "--json").output)["examples"]
    assert [one["passed"] for one in listed].count(False) == 1


def test_explain_shows_the_defaults_that_apply() -> None:
    shown = esb("explain", "registration.lock").output
    assert "retried: never; what is unknown is settled" in shown
    assert "concurrency: 32" in shown
    assert "slot.start: required" in shown
    facts = json.loads(esb("explain", "registration.lock", "--json").output)
    assert facts["answers"]["slot_full"].startswith("409")
    unknown = esb("explain", "registraton.lock")
    assert (unknown.exit_code, "did you mean 'registration.lock'?" in unknown.output) == (2, True)


def test_no_secret_is_explained_or_tried() -> None:
    for arguments in (("explain", "parking.fee"), ("explain", "parking.fee", "--json")):
        assert "SBXAKESECRET" not in esb(*arguments).output
    tried = esb("try", "parking.fee", "-", given='{"plate": "京A12345"}')
    assert '"carCode":"京A12345"' in tried.output
    assert "SBXAKESECRET" not in tried.output


def test_try_shows_the_bytes_and_sends_nothing() -> None:
    tried = esb("try", "registration.lock", "-", given=json.dumps(LOCK))
    assert tried.exit_code == 0
    assert "<n1:VisitTime>20260116083000</n1:VisitTime><n1:Fee>25.00</n1:Fee>" in tried.output
    facts = json.loads(esb("try", "registration.lock", "-", "--json", given=json.dumps(LOCK)).output)
    assert facts["payload"]["SlotNo"] == "S1"


def test_try_names_every_wrong_field() -> None:
    wrong = esb("try", "registration.lock", "-", given=json.dumps({**LOCK, "fee": "x", "patientId": 1}))
    assert wrong.exit_code == 1
    assert "/fee: " in wrong.output
    assert "/patientId: " in wrong.output


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("hl7v2", b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5\rPID|1||P1^^^HIS~X2||\\T\\^Y\rZ99|a||\r"),
        ("xml", '<?xml version="1.0" encoding="utf-8"?>\n<病人 类="1"><名>甲</名><名/></病人>'.encode()),
        ("form", b"a=1&b=%E4%B8%AD&b=2"),
        ("fhir", b'{"resourceType":"Patient","id":"p","extension":[{"url":"u","valueDecimal":1.50}]}'),
    ],
)
def test_a_message_comes_back_from_json_as_it_was(format: str, data: bytes) -> None:
    decoded = esb("decode", format, "-", "--json", given=data)
    assert decoded.exit_code == 0, decoded.output
    assert len(decoded.output.splitlines()) == 1
    encoded = esb("encode", format, "-", given=decoded.output)
    assert (
        encoded.stdout_bytes.strip(b"\n") in (data, data.partition(b"\n")[2])
        or esb("decode", format, "-", "--json", given=encoded.stdout_bytes).output == decoded.output
    )


@pytest.mark.parametrize(
    ("format", "data", "reason"),
    [
        ("json", b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        ("xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "DOCTYPE"),
        ("hl7v2", b"PID|1", "does not begin with MSH"),
        ("fhir", b"[]", "resource"),
    ],
)
def test_what_cannot_be_read_says_why_and_ends_with_1(format: str, data: bytes, reason: str) -> None:
    result = esb("decode", format, "-", given=data)
    assert result.exit_code == 1
    assert reason in result.output


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esb.cli", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("esb, version ")


def test_a_setting_that_cannot_be_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESB_PORT", "many")
    found = esb("lint", "--json")
    assert (found.exit_code, json.loads(found.output)["findings"][0]["file"]) == (2, "ESB_PORT")


def test_explain_shows_no_secret_that_came_by_another_way_than_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_DB", "postgresql://reader:canary77@127.0.0.1/lis")
    shown = esb("explain", "department.list").output
    assert "url: ***" in shown
    assert "canary77" not in shown


def test_try_takes_a_whole_number_as_the_facade_does() -> None:
    assert esb("try", "registration.lock", "-", given=json.dumps(LOCK).replace("2500", "2500.0")).exit_code == 0


def test_a_store_without_subscribers_says_so(demo: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{demo.folder / 'esb.db'}"
    monkeypatch.setenv("ESB_STORE", url)

    async def prepare() -> None:
        store = Store(url, Metrics())
        await store.start()
        await store.close()

    asyncio.run(prepare())
    assert esb("events", "subscribers").output.startswith("no subscribers: routes.yaml has none under 'events'")
    assert json.loads(esb("events", "subscribers", "--json").output) == {"subscribers": []}
