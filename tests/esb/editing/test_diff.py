"""What a change of a mapping changes on recorded exchanges: found by field, patients' data never shown."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from esb.cli import main
from esb.codecs import json as exact
from esb.codecs import yaml
from esb.editing.persons import altered
from esb.fields import flat
from esb.observe import Metrics
from esb.store import Row, Store
from tests.esb.configured import ROOT, Configured

LOCK = "his_soap/registration.lock"
FIND = "his_hl7/patient.find"


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The old mappings in ``mappings``, a copy to change in ``new/mappings``, the examples recorded in ``recorded``."""
    (tmp_path / "new").mkdir()
    copy = Configured(tmp_path / "new")
    Configured(tmp_path)
    (tmp_path / "recorded").mkdir()
    for name in (LOCK, FIND):
        record(name, tmp_path / "recorded")
    monkeypatch.chdir(tmp_path)
    return copy


def record(name: str, folder: Path) -> None:
    """Every example of a mapping as a recording, one a line."""
    file = ROOT / "mappings" / f"{name}.yaml"
    kept = ("answer", "site", "exchange")
    lines = [
        {"operation": file.stem, "dialect": file.parent.name, "request": example["given"]}
        | {key: example[key] for key in kept if key in example}
        for example in yaml.load(file).value["examples"]
    ]
    (folder / f"{file.stem}.jsonl").write_bytes(b"\n".join(map(exact.encode, lines)))


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["diff", *arguments])


def differences(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(diff(*arguments, "--json").output)["differences"]
    return found


def test_the_same_mappings_differ_in_nothing_wherever_they_are() -> None:
    same = diff("mappings", "new/mappings", "--on", "recorded")
    assert (same.exit_code, "0 fields differ" in same.output) == (0, True), same.output


def test_a_changed_field_is_counted_and_shown(demo: Configured) -> None:
    demo.edit(f"mappings/{LOCK}.yaml", "Fee: $fee | yuan", "Fee: $fee | text")
    changed = diff("mappings", "new/mappings", "--on", "recorded")
    assert changed.exit_code == 1
    assert "registration.lock sends Fee: 11 of 11" in changed.output
    assert "25.00 -> 2500" in changed.output
    assert len(differences("mappings", "new/mappings", "--on", "recorded")) == 1


def test_what_is_understood_otherwise_is_shown_by_outcome_and_field(demo: Configured) -> None:
    demo.edit(f"mappings/{LOCK}.yaml", "'1001', '1002'", "'1002'")
    demo.edit(f"mappings/{LOCK}.yaml", "      fee: $Lock.Fee | fen\n", "")
    found = {one["name"]: one for one in differences("mappings", "new/mappings", "--on", "recorded")}
    assert {(one["before"], one["after"]) for one in found["outcome"]["samples"]} == {("refused", "malformed")}
    assert [(one["before"], one["after"]) for one in found["fee"]["samples"]] == [("2500", None)]


def test_a_mapping_that_fails_on_one_side_is_named_with_its_line(demo: Configured) -> None:
    demo.edit(f"mappings/{LOCK}.yaml", "lockId: $Lock.No", "lockId: $Lock.Num")
    failed = diff(f"mappings/{LOCK}.yaml", f"new/mappings/{LOCK}.yaml", "--on", "recorded")
    assert failed.exit_code == 1
    place = f"new/mappings/{LOCK}.yaml:{line_of('lockId')}: response[1].done.lockId: $Lock.Num is missing"
    assert f"done -> {place}" in failed.output


def line_of(key: str) -> int:
    lines = (ROOT / "mappings" / f"{LOCK}.yaml").read_text("utf-8").split("\n")
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:"))


def test_no_patients_data_is_shown(demo: Configured) -> None:
    demo.edit(f"mappings/{FIND}.yaml", "QPD-3[2].2: $name", "QPD-3[2].2: $name | suffix('x')")
    demo.edit(f"mappings/{FIND}.yaml", "QPD-3[1].2: $documentNumber", "QPD-3[1].2: $documentNumber | slice(0, 17)")
    demo.edit(f"mappings/{FIND}.yaml", "phone: $p-13.1?", "phone: $p-11.1?")
    demo.edit(f"mappings/{FIND}.yaml", "birthDate: $p-7? | read_ts_date", "birthDate: '2000-01-01'")
    shown = diff("mappings", "new/mappings", "--on", "recorded").output
    assert {"QPD-3[2].2", "QPD-3[1].2", "items[].phone", "items[].birthDate"} <= set(shown.replace(":", " ").split())
    for secret in ("测试患者", "11010119000101123", "13000000000", "测试路", "1900-01-01"):
        assert secret not in shown


def test_what_is_sent_of_a_patient_is_found_by_trying_another_patient() -> None:
    other = altered(
        {"name": "张三", "id": "A1", "born": "2001-02-03", "fee": 5}, {("name",): "name", ("born",): "date"}
    )
    assert other == {"name": "测测", "id": "A1", "born": "2002-03-04", "fee": 5}


def test_trees_and_segments_are_told_apart_by_field() -> None:
    assert flat({"a": [{"b": 1}, {"b": 2}], "c": []}) == {"a[0].b": 1, "a[1].b": 2, "c": []}
    assert flat([{"PID-1": "1"}, {"OBX-1": "1"}, {"OBX-1": "2"}]) == {"PID-1": "1", "OBX-1": "1", "OBX[1]-1": "2"}


def test_nothing_to_compare_is_no_success() -> None:
    nothing = diff(
        "mappings/his_soap/doctor.search.yaml", "new/mappings/his_soap/doctor.search.yaml", "--on", "recorded"
    )
    assert (nothing.exit_code, "0 compared" in nothing.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ('{"request": {}}', "is no recording"),
        ('{"operation": "a", "request": {}, "answr": {}}', "unknown key 'answr' (did you mean 'answer'?)"),
        ('{"operation": "a", "request": []}', "structures"),
        ('{"operation": "a", "request": {}, "answer": "<a"}', "'answer' cannot be read"),
    ],
)
def test_a_recording_that_cannot_be_read_is_named(text: str, message: str) -> None:
    Path("recorded/bad.jsonl").write_text(f"\n{text}\n", "utf-8")
    bad = diff("mappings", "new/mappings", "--on", "recorded")
    assert bad.exit_code == 2
    assert f"recorded/bad.jsonl:2:1: {message}" in bad.output or message in bad.output


def test_a_database_that_is_no_journal_is_named() -> None:
    with contextlib.closing(sqlite3.connect("other.db")) as connection:
        connection.execute("CREATE TABLE other (one)")
        connection.commit()
    refused = diff("mappings", "new/mappings", "--on", "other.db")
    assert (refused.exit_code, "other.db: is no journal" in refused.output) == (2, True)


def test_a_revision_is_never_an_option_of_git() -> None:
    refused = diff("--on", "recorded", "--", "--output=taken:mappings", "new/mappings")
    assert (refused.exit_code, "does not exist" in refused.output) == (2, True)
    assert not Path("taken").exists()


def test_a_side_that_does_not_load_says_why(demo: Configured) -> None:
    demo.edit(f"mappings/{LOCK}.yaml", "Fee: $fee | yuan", "Fee: $fee | yaun")
    broken = diff(f"mappings/{LOCK}.yaml", f"new/mappings/{LOCK}.yaml", "--on", "recorded")
    assert (broken.exit_code, "did you mean 'yuan'?" in broken.output) == (2, True)
    missing = diff("nowhere.yaml", "mappings", "--on", "recorded")
    assert (missing.exit_code, "does not exist" in missing.output) == (2, True)


def test_a_revision_of_git_is_a_side(demo: Configured, tmp_path: Path) -> None:
    author = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in ("init -q", "add mappings", "commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True, env={**os.environ, **author})
    demo.edit(f"mappings/{LOCK}.yaml", "Fee: $fee | yuan", "Fee: $fee | text")
    found = differences("HEAD:mappings", "new/mappings", "--on", "recorded")
    assert [one["name"] for one in found] == ["Fee"]
    assert "cannot be read" in diff("nothing:mappings", "mappings", "--on", "recorded").output


async def test_a_journal_is_a_recording(demo: Configured, tmp_path: Path) -> None:
    example = yaml.load(ROOT / "mappings" / f"{LOCK}.yaml").value["examples"][0]
    empty = Row(*(b"" if each in _BYTES else 0 if each == "attempts" else "" for each in Row._fields))
    row = empty._replace(
        id="01KF0H3Y8Z6Q2V4N7R9T1W5XBC",
        operation="registration.lock",
        effect="once",
        state="done",
        received="2026-01-15T09:30:00+08:00",
        mapping="mappings/his_soap/registration.lock.yaml",
        request=exact.encode(example["given"]),
        raw=example["answer"].encode(),
    )
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics())
    await store.start()
    store.write(row)
    await store.close()
    demo.edit(f"mappings/{LOCK}.yaml", "      fee: $Lock.Fee | fen\n", "")
    (found,) = differences("mappings", "new/mappings", "--on", "esb.db")
    assert (found["name"], found["samples"][0]["exchange"]) == ("fee", row.id)


_BYTES = ("fingerprint", "request", "sent", "raw", "answer")
