"""``esb hl7 deidentify``: the same person is the same stranger everywhere, and all else stays as it was."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

from esb.codecs.hl7v2 import Message, decode, framed
from esb.hl7.deidentify import Deidentifier, Options, Secret, numbers
from tests.esb.hl7.commands import esb

CARD = "11010519491231002X"
FULL = (
    "MSH|^~\\&|HIS|H|LAB|L|20240315101500||ADT^A08^ADT_A01|C1|P|2.5.1|||||||UNICODE UTF-8\r"
    "EVN|A08|20240315101500\r"
    f"PID|1||P0001234^^^HIS^MR~{CARD}^^^CN^NI||张^三丰^^^^^L||19491231|M|||海淀区中关村大街27号^^北京市^北京^100080"
    "||13812345678^PRN^PH~^NET^Internet^zsf@mail.cn|||||ACC1234567|123-45-6789\r"
    "NK1|1|SMITH^JOHN^Q|SPO|1 MAPLE STREET^^TORONTO^ON^M6G 2T9|(416)888-8889\r"
    "PV1|1|I|A^1^2||||D0012345^李^医生||||||||||||V000123|||||||||||||||||||||||||20240314080000|20240320\r"
    "GT1|1||张^三丰||海淀区中关村大街27号^^北京市^北京^100080|13812345678\r"
    "OBX|1|TX|N^Note||张三丰 (P0001234, 1949-12-31) came with John Smith, 138-1234-5678||||||F|||20240315\r"
    "OBX|2|NM|2160-0^Crea^LN||88|umol/L|60-110|N|||F\r"
    "NTE|1||身份证11010519491231002X, doctor 李医生\r"
    "ZPI|张三丰|P0001234|VIP\r"
)


def work(*options: str, key: bytes = b"the key of the tests") -> Deidentifier:
    return Deidentifier(Secret(key), Options(staff="staff" in options, drop_unknown="drop" in options))


def done(*texts: str, deidentifier: Deidentifier | None = None) -> list[Message]:
    """What messages become in one run."""
    deidentifier = deidentifier or work()
    messages = [decode(text.encode()) for text in texts]
    for message in messages:
        deidentifier.learn(message)
    return [decode(deidentifier.apply(message)) for message in messages]


def pid(
    number: str, name: str = "Doe^Jane", rest: str = "||19800101|F", head: str = "ADT^A08|C1", more: str = ""
) -> str:
    return f"MSH|^~\\&|A|B|C|D|20240101120000||{head}|P|2.5\rPID|1||{number}||{name}{rest}\r{more}"


def moved(message: Message, original: str, segment: str, field: int) -> int:
    """By how many days."""
    new, old = message.get(segment, 0, field) or "", decode(original.encode()).get(segment, 0, field) or ""
    return (datetime.strptime(new[:8], "%Y%m%d") - datetime.strptime(old[:8], "%Y%m%d")).days  # noqa: DTZ007


def test_nothing_of_the_patient_is_left_and_everything_agrees() -> None:
    (new,) = done(FULL)
    name = f"{new.get('PID', 0, 5, 1, 1)}{new.get('PID', 0, 5, 1, 2)}"
    number, identity_card = new.get("PID", 0, 3, 1, 1) or "", new.get("PID", 0, 3, 2, 1) or ""
    phone = new.get("PID", 0, 13, 1, 1) or ""
    for part in (
        "张三丰",
        "张^三丰",
        "P0001234",
        CARD,
        "1949",
        "138",
        "zsf",
        "ACC1234",
        "45-6789",
        "SMITH",
        "MAPLE",
        "888",
    ):
        assert part not in new.text, part
    assert new.get("GT1", 0, 3) == new.get("PID", 0, 5, 1, 0).removesuffix("^^^^^L")  # type: ignore[union-attr]
    assert new.get("GT1", 0, 5) == new.get("PID", 0, 11)
    assert new.get("GT1", 0, 6) == phone
    note = new.get("OBX", 0, 5) or ""
    assert note.startswith(f"{name} ({number}, ")
    assert f"{phone[:3]}-{phone[3:7]}-{phone[7:]}" in note
    kin = [new.get("NK1", 0, 2, 1, number) or "" for number in (1, 2)]
    assert f"{kin[1]} {kin[0]}".casefold() in note.casefold()
    assert identity_card in (new.get("NTE", 0, 3) or "")
    assert numbers.card_digit(identity_card) == identity_card[17]
    assert identity_card[6:14] == new.get("PID", 0, 7)
    assert int(identity_card[16]) % 2 == 0
    assert (new.get("ZPI", 0, 1), new.get("ZPI", 0, 2), new.get("ZPI", 0, 3)) == (name, number, "VIP")


def test_all_times_of_a_patient_move_by_the_same_days() -> None:
    (new,) = done(FULL)
    places = [("MSH", 7), ("EVN", 2), ("PID", 7), ("PV1", 44), ("PV1", 45), ("OBX", 14)]
    days = {moved(new, FULL, segment, field) for segment, field in places}
    assert len(days) == 1
    assert -393 <= days.pop() <= -28
    assert (new.get("MSH", 0, 7) or "").endswith("101500")


def test_what_is_not_about_a_person_stays_byte_for_byte() -> None:
    (new,) = done(FULL)
    old = decode(FULL.encode())
    assert [segment.name for segment in new] == [segment.name for segment in old]
    assert new.segments("OBX")[1].text == old.segments("OBX")[1].text
    for segment, field in (("MSH", 9), ("PID", 8), ("PV1", 3), ("PV1", 7), ("NK1", 3), ("OBX", 3), ("MSH", 18)):
        assert new.get(segment, 0, field, 0) == old.get(segment, 0, field, 0), (segment, field)
    for before, after in zip(old, new, strict=True):
        assert len(before.fields()) == len(after.fields())


@pytest.mark.parametrize(
    "text",
    [
        "MSH|^~\\&|A|B|C|D|20240101||ACK|1|P|2.5\rMSA|AA|C77\r",
        "MSH|^~\\&|A|B|C|D|20240101||MFN^M02|1|P|2.5\rMFI|STF\rSTF|D1|D1|Wang^Li\r",
        "MSH|^~\\&|A|B|C|D|20240101||NMD^N02|1|P|2.5\n\nNCK|20240101\n  ",
    ],
)
def test_a_message_about_nobody_is_itself(text: str) -> None:
    deidentifier = work()
    message = decode(text.encode())
    deidentifier.learn(message)
    assert deidentifier.apply(message) is message.raw


def test_placeholders_nulls_and_empty_fields_stay() -> None:
    (new,) = done(pid('""', "UNKNOWN^", '||""|U||||||||||||000-00-0000'))
    assert new.segments("PID")[0].text == 'PID|1||""||UNKNOWN^||""|U||||||||||||000-00-0000'


def test_a_patient_is_the_same_stranger_in_every_message_and_run() -> None:
    texts = [pid("P100200"), pid("P100200^^^LAB", "DOE^JANE"), pid("P300400", "Roe^Jane")]
    one, two, other = done(*texts)
    assert one.get("PID", 0, 3) == two.get("PID", 0, 3, 1, 1)
    assert (one.get("PID", 0, 5) or "").upper() == two.get("PID", 0, 5)
    assert one.get("PID", 0, 7) == two.get("PID", 0, 7)
    assert one.get("PID", 0, 3) != other.get("PID", 0, 3)
    assert done(texts[0]) == [one]
    assert done(texts[0], deidentifier=work(key=b"another")) != [one]


def test_ids_that_stand_together_are_one_person_whatever_the_order() -> None:
    merged = pid("P300400", more="MRG|P100200\r", head="ADT^A40|C9")
    texts = [pid("P100200"), merged, pid("P300400~L55")]
    days = [moved(new, text, "PID", 7) for new, text in zip(done(*texts), texts, strict=True)]
    assert len(set(days)) == 1
    first = done(*texts)[0]
    new = done(*texts)[1]
    assert new.get("MRG", 0, 1) == first.get("PID", 0, 3)
    assert sorted(one.raw for one in done(*texts[::-1])) == sorted(one.raw for one in done(*texts))


def test_different_patients_move_by_different_days() -> None:
    texts = [pid(f"P{number}00") for number in range(100, 130)]
    assert len({moved(new, text, "PID", 7) for new, text in zip(done(*texts), texts, strict=True)}) > 15


def test_two_patients_in_one_message_move_by_their_own_days() -> None:
    text = pid("P100200", more="OBX|1|DT|X||20240101\rPID|2||P300400||Roe^J||19900101\rOBX|1|DT|X||20240101\r")
    (new,) = done(text)
    ours, theirs = (
        done(pid(number, more="OBX|1|DT|X||20240101\r"))[0].get("OBX", 0, 5) for number in ("P100200", "P300400")
    )
    assert [segment.get(5) for segment in new.segments("OBX")] == [ours, theirs]


def test_an_answer_moves_with_the_message_that_it_answers() -> None:
    ack = "MSH|^~\\&|C|D|A|B|20240101120001||ACK|X9|P|2.5\rMSA|AA|C1\r"
    message, answer = done(pid("P100200"), ack)
    assert answer.get("MSA", 0, 2) == message.get("MSH", 0, 10) != "C1"
    assert moved(answer, ack, "MSH", 7) == moved(message, pid("P100200"), "MSH", 7)


def test_queries_ask_for_the_stranger() -> None:
    query = "MSH|^~\\&|A|B|C|D|2024||QBP^Q22|1|P|2.5\rQPD|Q22|T1|@PID.3.1^P100200~@PID.5.1^Doe~@PID.5.2^Jane~@PID.8^F"
    by_id = "MSH|^~\\&|A|B|C|D|2024||QBP^Q23|2|P|2.5\rQPD|Q23^Find|T2|P100200^^^HIS\r"
    old = "MSH|^~\\&|A|B|C|D|2024||QRY^A19|3|P|2.3\rQRD|20240101|R|I|Q1|||1|P100200^Doe^Jane|DEM\r"
    new, first, second, third = done(pid("P100200"), query, by_id, old)
    number, family, name = (new.get("PID", 0, *at) for at in ((3, 1, 1), (5, 1, 1), (5, 1, 2)))
    assert first.get("QPD", 0, 3, 0) == f"@PID.3.1^{number}~@PID.5.1^{family}~@PID.5.2^{name}~@PID.8^F"
    assert second.get("QPD", 0, 3) == f"{number}^^^HIS"
    assert third.get("QRD", 0, 8) == f"{number}^{family}^{name}"


def test_staff_stays_unless_asked_for_but_its_times_move() -> None:
    more = "OBR|1|||X|||||||||||||||||||||||||||||D1&Wang&Li^20240101120000\rPRT||A||AT|D2^Zhao^Min\r"
    text = pid("P100200", more=more + "PV1|1|I|||||D3^Qian^Bo\r")
    (kept,) = done(text)
    (gone,) = done(text, deidentifier=work("staff"))
    assert (kept.get("OBR", 0, 33) or "").startswith("D1&Wang&Li^2023")
    for name in ("Wang", "Zhao", "Qian"):
        assert name in kept.text
        assert name not in gone.text
    assert "20240101120000" not in kept.text
    assert moved(kept, text, "MSH", 7) == moved(gone, text, "MSH", 7)


def test_staff_of_a_message_about_nobody_is_replaced_when_asked_for() -> None:
    text = "MSH|^~\\&|A|B|C|D|20240101||MFN^M02|1|P|2.5\rMFI|STF\rSTF|D1|D1234|Wang^Li|||F|19700101\r"
    (new,) = done(text, deidentifier=work("staff"))
    assert "Wang" not in new.text
    assert "D1234" not in new.text
    assert new.get("MSH", 0, 7) == "20240101"


def test_z_segments_are_searched_and_told_or_dropped() -> None:
    text = pid(
        "P100200", more="ZZ1|P100200|Jane|Jane came|9\rPV1|1|I\rPID|||||||||||||||||||||||||||||||||||||||||||extra\r"
    )
    telling, dropping = work(), work("drop")
    (new,) = done(text, deidentifier=telling)
    assert "P100200" not in new.text
    assert "Jane" not in new.text
    assert telling.kept == {"ZZ1-4": 1, "PID-43": 1}
    (short,) = done(text, deidentifier=dropping)
    assert [segment.name for segment in short] == ["MSH", "PID", "PV1", "PID"]
    assert "extra" not in short.text
    assert not dropping.kept


def test_a_line_that_is_no_segment_is_searched_too() -> None:
    (new,) = done(pid("P100200", more="NTE|1||first\rJane Doe (P100200) said\r"))
    assert not re.search("Jane|Doe|P100200", new.text)


def test_an_embedded_document_is_removed_with_what_continues_it() -> None:
    data = "JVBERi0xLjQK" * 30
    (new,) = done(pid("P100200", more=f"OBX|1|ED|PDF||H^application^pdf^Base64^{data[:200]}\rADD|{data}\r"))
    assert data[:20] not in new.text
    assert new.get("OBX", 0, 5, 1, 5)


@pytest.mark.parametrize("charset", ["GB 18030-2000", "GBK", "UNICODE UTF-8"])
def test_charset_delimiters_and_line_ends_stay(charset: str) -> None:
    head = f"MSH$*!\\&$A$B$C$D$20240101$$ADT*A08$C1$P$2.5$$$$$${charset}"
    text = f"{head}\nPID$1$$P100200!L5$$张*三$$19800101\r\n\nNTE$1$$a\\S\\b\n"
    codec = "utf-8" if "UTF" in charset else "gb18030"
    deidentifier = work()
    message = decode(text.encode(codec), charset)
    deidentifier.learn(message)
    new = deidentifier.apply(message).decode(codec)
    assert re.fullmatch(
        r"MSH\$\*!\\&\$A\$B\$C\$D\$2023\d{4}.*\nPID\$1\$\$\w\d{6}!\w\d\$\$.\*.\$\$\d{8}\r\n\nNTE.*b\n", new, re.DOTALL
    )


def test_names_written_as_bytes_in_ascii_stay_so() -> None:
    text = "MSH|^~\\&|A|B|C|D|20240101||ADT^A08|C1|P|2.5||||||GB 18030-2000\rPID|1||P100200||\\XD5C5\\^\\XC8FD\\\r"
    deidentifier = work()
    message = decode(text.encode(), "GB 18030-2000")
    deidentifier.learn(message)
    new = deidentifier.apply(message)
    assert new.isascii()
    assert re.search(rb"\|\\X[0-9A-F]{4}\\\^\\X[0-9A-F]{4}\\\r$", new)
    assert b"D5C5" not in new


def stored(folder: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    for name, data in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_the_command_keeps_folders_batches_and_frames(tmp_path: Path) -> None:
    one, two = pid("P100200").encode(), pid("P300400", "Roe^Jim").encode()
    batch = b"FHS|^~\\&|A||||20240101\rBHS|^~\\&\r" + one + two + b"BTS|2\rFTS|1\r"
    folder = stored(
        tmp_path / "in",
        [("a/ADT_P100200_20240101.hl7", one), ("batch.hl7", batch), ("dump", framed(one) + framed(two))],
    )
    found = esb("hl7", "deidentify", folder, "--into", tmp_path / "out", "--key", tmp_path / "key", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {"files": 3, "messages": 5, "changed": 5, "kept": {}, "problems": []}
    new = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    dump = (tmp_path / "out" / "dump").read_bytes()
    (name,) = os.listdir(tmp_path / "out" / "a")
    first = new[f"a/{name}"]
    assert re.fullmatch(r"ADT_\w\d{6}_2023\d{4}\.hl7", name)
    assert decode(first).get("PID", 0, 3) == name.split("_")[1]
    assert dump.startswith(framed(first))
    assert new["batch.hl7"].split(b"\r")[0].startswith(b"FHS|^~\\&|A||||2023")
    assert new["batch.hl7"].endswith(b"BTS|2\rFTS|1\r")
    assert first in new["batch.hl7"]
    for data in (*new.values(), dump):
        assert not re.search(b"P100200|P300400|Jane|Doe|Roe|19800101", data)


def test_a_key_is_made_for_its_owner_and_used_again(tmp_path: Path) -> None:
    folder = stored(tmp_path / "in", [("a.hl7", pid("P100200").encode())])
    key = tmp_path / "key"
    for out in ("one", "two"):
        assert esb("hl7", "deidentify", folder, "--into", tmp_path / out, "--key", key).exit_code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) == 65
    assert (tmp_path / "one" / "a.hl7").read_bytes() == (tmp_path / "two" / "a.hl7").read_bytes()
    assert key.read_text().strip() not in (tmp_path / "one" / "a.hl7").read_text()


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    good = pid("P100200").encode()
    folder = stored(
        tmp_path / "in", [("a.hl7", good + b"MSH|^~\\&&&&|P100200\r" + good), ("b.hl7", b"P100200 nonsense")]
    )
    found = esb("hl7", "deidentify", folder, "--into", tmp_path / "out", "--seed", "x")
    assert found.exit_code == 1
    assert "a.hl7: MSH-2 has 7 characters" in found.stderr
    assert "b.hl7: does not begin with MSH" in found.stderr
    for file in (tmp_path / "out").iterdir():
        assert b"P100200" not in file.read_bytes()
    assert (tmp_path / "out" / "a.hl7").read_bytes().count(b"MSH") == 2


def test_the_call_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = stored(tmp_path / "in", [("a.hl7", pid("P1").encode())])
    for wrong in (
        [folder, "--into", tmp_path / "out"],
        [folder, "--into", tmp_path / "out", "--seed", "x", "--key", tmp_path / "key"],
        [folder, "--into", folder, "--seed", "x"],
        ["-", "--into", tmp_path / "out", "--seed", "x"],
        [folder, "--into", tmp_path / "out", "--seed", ""],
    ):
        assert esb("hl7", "deidentify", *wrong).exit_code == 2
    assert not (tmp_path / "out").exists()
    assert (folder / "a.hl7").read_bytes() == pid("P1").encode()
