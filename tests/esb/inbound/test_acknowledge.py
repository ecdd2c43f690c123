"""Which acknowledgements are due, and their bytes in the sender's version, charset and delimiters."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.hl7v2.acknowledge import Writer, answers
from esb.codecs import hl7v2
from esb.spi import Flaw
from tests.esb.inbound.kit import adt, at, frame, station

GOOD = None
WRONG = Flaw("field_missing", "PID-3.1 is missing", "PID-3.1")
UNWANTED = Flaw("unwanted", "no callback is for messages of type 'ZZZ'")
LOST = Flaw("not_kept", "it could not be stored; send it again")
REPEATED = Flaw("conflict", "another message was sent with this id before")


def heard(flaw: Flaw | None, mode: str = "by_message", accept: str = "", application: str = "") -> list[str]:
    """The verdicts in order."""
    writer = Writer(hl7v2.decode(adt()), "20260115093000", "L1")
    frames = answers(writer, mode, accept, application, flaw).split(b"\x1c\r")  # type: ignore[arg-type]
    return [at(one[1:], "MSA", 1) for one in frames if one]


@pytest.mark.parametrize(
    ("flaw", "verdict"), [(GOOD, "AA"), (WRONG, "AE"), (UNWANTED, "AR"), (LOST, "AE"), (REPEATED, "AE")]
)
def test_original_mode_has_one_answer(flaw: Flaw | None, verdict: str) -> None:
    assert heard(flaw) == [verdict]
    assert heard(flaw, "original", "AL", "AL") == [verdict], "whatever the message asks for"


@pytest.mark.parametrize(
    ("accept", "application", "good", "wrong", "unwanted", "lost"),
    [
        ("AL", "AL", "CA AA", "CA AE", "CR", "CE"),
        ("AL", "NE", "CA", "CA", "CR", "CE"),
        ("AL", "", "CA", "CA", "CR", "CE"),
        ("NE", "AL", "AA", "AE", "", ""),
        ("", "AL", "AA", "AE", "", ""),
        ("NE", "NE", "", "", "", ""),
        ("ER", "ER", "", "AE", "CR", "CE"),
        ("SU", "SU", "CA AA", "CA", "", ""),
        ("AL", "ER", "CA", "CA AE", "CR", "CE"),
        ("ER", "AL", "AA", "AE", "CR", "CE"),
    ],
)
def test_enhanced_mode_answers_what_was_asked_for(
    accept: str, application: str, good: str, wrong: str, unwanted: str, lost: str
) -> None:
    given = [" ".join(heard(flaw, accept=accept, application=application)) for flaw in (GOOD, WRONG, UNWANTED, LOST)]
    assert given == [good, wrong, unwanted, lost]


def test_a_sender_that_only_knows_enhanced_mode_may_leave_its_fields_empty() -> None:
    assert heard(GOOD, "enhanced") == ["CA"]


def test_the_application_acknowledgement_is_a_message_of_its_own_that_asks_for_none() -> None:
    writer = Writer(hl7v2.decode(adt()), "20260115093000", "L1")
    commit, application = answers(writer, "by_message", "AL", "AL", GOOD).split(b"\x1c\r")[:2]
    assert (at(commit[1:], "MSH", 10), at(commit[1:], "MSH", 15)) == ("L1", "")
    assert [at(application[1:], "MSH", number) for number in (10, 15, 16)] == ["L1A", "NE", "NE"]
    assert at(application[1:], "MSA", 2) == "M1"


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("2.1", "ACK"),
        *((old, "ACK^A01") for old in ("2.2", "2.3")),
        *((new, "ACK^A01^ACK") for new in ("2.3.1", "2.8", "")),
    ],
)
def test_the_answer_is_in_the_version_of_the_message(version: str, kind: str) -> None:
    message = adt().replace(b"|2.5.1", f"|{version}".encode())
    answer = Writer(hl7v2.decode(message), "20260115093000", "L1").write("AA", None)[1:-2]
    assert (at(answer, "MSH", 9), at(answer, "MSH", 12)) == (kind, version)


def test_the_answer_has_the_delimiters_of_the_message() -> None:
    message = b"MSH$*~!@$HIS$H1$HUB$WX$2026$$ADT*A01*ADT_A01$M1$P$2.5.1\rPID$1\r"
    answer = Writer(hl7v2.decode(message), "20260115093000", "L1").write("AE", Flaw("field_missing", "a$b", "PID-3.1"))
    lines = answer[1:-2].split(b"\r")
    assert lines[0].startswith(b"MSH$*~!@$HUB$WX$HIS$H1$20260115093000$$ACK*A01*ACK$L1$P$2.5.1")
    assert lines[1] == b"MSA$AE$M1$a!F!b"
    assert lines[2].startswith(b"ERR$$PID*1*3*1*1$101*Required field missing*HL70357$E")
    assert hl7v2.decode(answer[1:-2]).get("MSA", 0, 3) == "a$b"


@pytest.mark.parametrize("charset", ["UNICODE UTF-8", "GB 18030-2000"])
def test_the_answer_is_in_the_charset_of_the_message(charset: str) -> None:
    codec = {"UNICODE UTF-8": "utf-8", "GB 18030-2000": "gb18030"}[charset]
    text = f"MSH|^~\\&|医院|H1|HUB|WX|2026||ADT^A01|M1|P|2.5.1||||||{charset}\rPID|1||P1||测试患者\r"
    answer = Writer(hl7v2.decode(text.encode(codec)), "20260115093000", "L1").write("AA", None)[1:-2]
    assert "|医院|H1|" in answer.decode(codec)
    assert at(answer, "MSH", 18) == charset


async def test_a_sender_that_wants_both_hears_both_after_the_commit_and_again_on_a_repeat(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        for _ in range(2):
            sender.writer.write(frame(adt("M1", msh="|||AL|AL")))
            both = [await sender.answer(), await sender.answer()]
            assert [at(one, "MSA", 1) for one in both] == ["CA", "AA"]
        assert len(await his.rows()) == 1


async def test_a_sender_that_wants_nothing_hears_nothing_and_its_message_is_kept(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        sender.writer.write(frame(adt("M1", msh="|||NE|NE")) + frame(adt("M2")))
        assert at(await sender.answer(), "MSA", 2) == "M2"
        assert [row.control for row in await his.rows()] == ["M1", "M2"]


async def test_a_sender_that_counts_is_told_which_number_is_expected(tmp_path: Path) -> None:
    """Sequence number protocol: MSH-13 in, MSA-4 out."""

    def numbered(control: str, number: int) -> bytes:
        return adt(control, msh=f"|{number}")

    async with station(tmp_path, sequence=True) as his:
        sent = [numbered("L0", 0), numbered("M1", 1), numbered("M2", 2), numbered("M4", 4), numbered("M2", 2)]
        heard = await his.send(*sent, numbered("M3", 3), numbered("M4", 4), numbered("L1", 0))
    assert [(at(one, "MSA", 1), at(one, "MSA", 4)) for one in heard] == [
        *(("AA", "1"), ("AA", "2"), ("AA", "3"), ("AE", "3"), ("AA", "3")),
        *(("AA", "4"), ("AA", "5"), ("AA", "5")),
    ]
    async with station(tmp_path, sequence=True) as his:
        (again,) = await his.send(numbered("L2", 0))
        events = await his.store.events(0)
    assert at(again, "MSA", 4) == "5", "the number outlives a restart"
    assert [event.control for event in events] == ["M1", "M2", "M3", "M4"]
