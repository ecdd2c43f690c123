"""``esb decode hl7v2`` and ``esb encode hl7v2`` on many messages at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esb.codecs.hl7v2 import framed
from tests.esb.hl7.commands import ADT, CORPUS, esb, lines

ORU = ADT.replace("ADT^A08^ADT_A01|C1", "ORU^R01|C2").replace("P0001234", "P2")
BROKEN = "MSH|^~\\&&&&|HIS\r"


def stored(folder: Path, **files: str | bytes) -> Path:
    for name, text in files.items():
        (folder / f"{name}.hl7").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_one_message_of_one_file_is_printed_whole(tmp_path: Path) -> None:
    file = stored(tmp_path, a=ADT) / "a.hl7"
    pretty = esb("decode", "hl7v2", file).stdout
    assert pretty.count("\n") > 10
    line = esb("decode", "hl7v2", "--json", file).stdout
    assert line.count("\n") == 1
    assert json.loads(line) == json.loads(pretty)
    assert json.loads(line)["segments"][0][10] == "C1"


def test_values_of_fields_come_a_line_a_message_and_empty_where_there_are_none(tmp_path: Path) -> None:
    stored(tmp_path, a=ADT + ORU, b=BROKEN, c=ORU)
    found = esb("decode", "hl7v2", "--get", "PID-3", "--get", "PID-5.2", "--get", "PV1-2", tmp_path)
    assert found.stdout.splitlines() == ["P0001234^^^HIS^MR\t三\t", "P2^^^HIS^MR\t三\t", "\t\t", "P2^^^HIS^MR\t三\t"]
    assert "b.hl7: MSH-2 has 7 characters" in found.stderr
    assert found.exit_code == 1


def test_getting_nothing_at_all_is_told_by_the_exit_status(tmp_path: Path) -> None:
    file = stored(tmp_path, a=ADT) / "a.hl7"
    assert esb("decode", "hl7v2", "--get", "PID-3", file).exit_code == 0
    nothing = esb("decode", "hl7v2", "--get", "ZZZ-1", file)
    assert (nothing.stdout, nothing.exit_code) == ("\n", 1)
    wrong = esb("decode", "hl7v2", "--get", "PID3", file)
    assert wrong.exit_code == 2
    assert "is no field path" in wrong.stderr


def test_line_ends_and_tabs_in_a_value_do_not_break_its_line(tmp_path: Path) -> None:
    file = stored(tmp_path, a=ADT + "NTE|1||a\\X0D\\b\tc\r") / "a.hl7"
    assert esb("decode", "hl7v2", "--get", "NTE-3", file).stdout == "a\\rb\\tc\n"


def test_many_messages_are_lines_with_their_place_and_errors_are_lines_too(tmp_path: Path) -> None:
    stored(tmp_path, a=ADT + ORU, b=BROKEN)
    found = esb("decode", "hl7v2", tmp_path)
    assert found.exit_code == 1
    first, second, third = lines(found)
    assert (first["file"], first["number"], first["offset"]) == (str(tmp_path / "a.hl7"), 1, 0)
    assert (second["number"], second["offset"]) == (2, len(ADT.encode()))
    assert second["message"]["segments"][2][3][0] == "P2"
    assert third["error"] == {
        "reason": "MSH-2 has 7 characters where 4 or 5 belong",
        "offset": 4,
        "segment": "MSH",
        "field": 2,
    }


def test_a_byte_that_is_no_character_is_told_with_its_field(tmp_path: Path) -> None:
    bad = ADT.encode().replace("三".encode(), b"\xff\xff")
    stored(tmp_path, a=ADT, b=ADT.encode() + bad)
    error = lines(esb("decode", "hl7v2", tmp_path))[2]["error"]
    assert (error["segment"], error["field"]) == ("PID", 5)
    assert error["offset"] == len(ADT.encode()) + bad.index(b"\xff")


def test_a_dump_of_mllp_is_read_message_by_message_from_standard_input() -> None:
    dump = b"noise" + b"".join(framed(text.encode()) for text in (ADT, ORU)) + b"\x0b" + ADT.encode() + b"\x1c"
    found = esb("decode", "hl7v2", "--get", "MSH-10", "-", given=dump[5:])
    assert found.stdout.splitlines() == ["C1", "C2", "C1"]
    assert found.exit_code == 0


@pytest.mark.parametrize("mllp", [False, True])
def test_encode_takes_the_lines_back(tmp_path: Path, mllp: bool) -> None:
    stored(tmp_path, a=ADT + ORU, b=BROKEN, c=ORU)
    printed = esb("decode", "hl7v2", tmp_path).stdout
    made = esb("encode", "hl7v2", "-", *(["--mllp"] if mllp else []), given=printed)
    messages = [text.encode() for text in (ADT, ORU, ORU)]
    assert made.stdout_bytes == b"".join(map(framed, messages) if mllp else messages)
    assert made.exit_code == 1
    assert "line 3: was not read: MSH-2 has 7 characters" in made.stderr


def test_encode_takes_one_document_and_says_what_is_none() -> None:
    tree = esb("decode", "hl7v2", "-", given=ADT.encode()).stdout
    assert esb("encode", "hl7v2", "-", given=tree).stdout_bytes == ADT.encode()
    wrong = esb("encode", "hl7v2", "-", given='{"segments": []}\n[1]\nx\n')
    assert wrong.exit_code == 1
    assert [line.split(":")[1] for line in wrong.stderr.splitlines()] == [" line 1", " line 2", " line 3"]


def test_other_formats_take_one_file_and_no_paths(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    file = tmp_path / "a.json"
    assert esb("decode", "json", file).exit_code == 0
    assert esb("decode", "json", file, file).exit_code == 2
    assert esb("decode", "json", "--get", "PID-3", file).exit_code == 2


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_the_whole_corpus_goes_through_in_one_command_and_comes_back() -> None:
    found = esb("decode", "hl7v2", CORPUS / "messages")
    assert found.exit_code == 1
    printed = lines(found)
    errors = [line for line in printed if "error" in line]
    assert len({line["file"] for line in printed}) == 1046
    assert len(errors) < 10
    assert all(set(line["error"]) >= {"reason", "offset"} for line in errors)
    assert esb("decode", "hl7v2", CORPUS / "messages").stdout == found.stdout


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpus is not here")
def test_batches_give_as_many_messages_as_they_have() -> None:
    index = [json.loads(line) for line in (CORPUS / "batch-index.jsonl").read_text(encoding="utf-8").splitlines()]
    for entry in index:
        printed = lines(esb("decode", "hl7v2", CORPUS / "batch" / entry["id"], CORPUS / "batch" / entry["id"]))
        assert sum("message" in line for line in printed) == 2 * entry["msh_segments"], entry["id"]
