"""The listener as senders see it: framing, acknowledgements, repeats, order, limits."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from esb.inbound import desk
from esb.journal import received
from tests.esb.inbound.kit import CORPUS, END, VT, Station, adt, at, frame, station

FRAMES = CORPUS / "mllp-frames" / "frames.json"
CASES = json.loads(FRAMES.read_text("utf-8"))["cases"] if FRAMES.is_file() else []


def _chunks(case: dict[str, Any]) -> Iterator[bytes]:
    for chunk in case["chunks"]:
        yield base64.b64decode(chunk) if isinstance(chunk, str) else chunk["repeat"].encode() * chunk["times"]


@pytest.mark.skipif(not CASES, reason="the shared corpus is not here")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_the_frames_of_the_corpus_hear_what_they_must(tmp_path: Path, case: dict[str, Any]) -> None:
    async with station(tmp_path, max_frame_bytes=1024 * 1024) as his:
        sender = await his.open()
        for chunk in _chunks(case):
            sender.writer.write(chunk)
            await asyncio.sleep(case["pause_s"])
        if case["close_after"]:
            await sender.close()
        expected = case["expect_acks"]
        if isinstance(expected, list):
            heard = [await sender.answer() for _ in expected]
            assert [(at(one, "MSA", 1), at(one, "MSA", 2)) for one in heard] == [("CA", one) for one in expected]
        elif case["id"] == "http-get":
            sender.writer.write_eof()
            assert await sender.rest() == b""
        elif case["id"] != "half-then-close":
            heard_ = (await sender.rest() if case["id"] != "not-msh" else await sender.answer()).strip(VT + END)
            assert at(heard_, "MSA", 1) in ("AR", "AE", "CR", "")
        await sender.close()
        rows = await his.rows()
        assert [row.control for row in rows if row.state == "event"] == (expected if isinstance(expected, list) else [])
        assert await his.send(adt("AFTER")) != [], "the listener lives"


async def test_a_positive_answer_names_message_version_and_kind(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        (answer,) = await his.send(adt("M1"))
        (row,) = await his.rows()
    assert [at(answer, "MSH", number) for number in (3, 4, 5, 6, 9, 11, 12)] == [
        *("HUB", "WX", "HIS", "H1", "ACK^A01^ACK", "P", "2.5.1")
    ]
    assert answer.endswith(b"\rMSA|AA|M1\r")
    assert (row.raw, row.event, row.body, row.control) == (adt("M1"), "patient.told", b'{"id":"P1"}', "M1")
    assert row.answer == frame(answer)


async def test_a_repeat_hears_the_stored_answer_and_makes_no_second_event(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        first, again = await his.send(adt("M1"), adt("M1"))
        (later,) = await his.send(adt("M1"))
        events = await his.store.events(0)
    assert first == again == later
    assert [event.control for event in events] == ["M1"]


async def test_copies_that_arrive_together_make_one_event(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        answers = [one for (one,) in await asyncio.gather(*(his.send(adt("M1")) for _ in range(20)))]
        rows = await his.rows()
    assert len(set(answers)) == 1
    assert len(rows) == 1


async def test_another_message_with_the_same_id_is_an_error_and_kept(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        _, answer, again = await his.send(adt("M1"), adt("M1", "PID|1||P2"), adt("M1"))
        rows = await his.rows()
    assert (at(answer, "MSA", 1), at(answer, "ERR", 3)) == ("AE", "207^Application internal error^HL70357")
    assert at(again, "MSA", 1) == "AA"
    assert [(row.state, row.body) for row in rows] == [("event", b'{"id":"P1"}'), ("conflict", b"")]
    assert rows[1].raw == adt("M1", "PID|1||P2")


async def test_an_id_may_be_used_again_after_its_time(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        his.desk.same_id_s = 0.05
        await his.send(adt("M1"))
        await asyncio.sleep(0.1)
        (answer,) = await his.send(adt("M1", "PID|1||P2"))
        (later,) = await his.send(adt("M1", "PID|1||P2"))
        events = await his.store.events(0)
    assert (at(answer, "MSA", 1), at(later, "MSA", 1)) == ("AA", "AA")
    assert [event.body for event in events] == [b'{"id":"P1"}', b'{"id":"P2"}']


@pytest.mark.parametrize(
    ("message", "state", "verdict", "error"),
    [
        (adt("M1", kind="ORU^R01"), "unwanted", "AR", "200^Unsupported message type^HL70357"),
        (adt("M1", "PID|1"), "parked", "AE", "101^Required field missing^HL70357"),
        (adt("M1", "PID|1||P1|||||Q"), "parked", "AE", "103^Table value not found^HL70357"),
        (adt("M1", f"PID|1||{'P' * 41}"), "parked", "AE", "207^Application internal error^HL70357"),
        (adt(""), "parked", "AE", "101^Required field missing^HL70357"),
        (b"PID|1||P1\r", "unreadable", "AR", "100^Segment sequence error^HL70357"),
    ],
    ids=["unknown type", "field missing", "unknown code", "breaks the contract", "no id", "no MSH"],
)
async def test_what_becomes_no_event_is_answered_with_the_reason_and_kept(
    tmp_path: Path, message: bytes, state: str, verdict: str, error: str
) -> None:
    async with station(tmp_path) as his:
        (answer,) = await his.send(message)
        (row,) = await his.rows()
    assert (at(answer, "MSA", 1), at(answer, "ERR", 3)) == (verdict, error)
    assert (row.state, row.raw, row.body) == (state, message, b"")
    assert row.reason


async def test_an_error_names_segment_field_and_component(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        new, old = await his.send(adt("M1", "PID|1"), adt("M2", "PID|1").replace(b"|2.5.1", b"|2.3"))
    assert at(new, "ERR", 2) == "PID^1^3^1^1"
    assert (at(new, "ERR", 4), at(new, "ERR", 8)) == ("E", "PID-3[1].1 is missing")
    assert (at(old, "MSH", 9), at(old, "ERR", 1)) == ("ACK^A01", "PID^1^3^101&Required field missing&HL70357")


async def test_an_unknown_event_of_a_known_type_has_a_code_of_its_own(tmp_path: Path) -> None:
    async with station(tmp_path, "ADT^A01") as his:
        (answer,) = await his.send(adt("M1", kind="ADT^A99"))
    assert (at(answer, "MSA", 1), at(answer, "ERR", 3)) == ("AR", "201^Unsupported event code^HL70357")


async def test_a_parked_message_sent_again_is_tried_again(tmp_path: Path) -> None:
    async with station(tmp_path, "ADT^A01") as his:
        await his.send(adt("M1", kind="ADT^A02"), adt("M2"))
        (still,) = await his.send(adt("M1", kind="ADT^A02"))
        before = await his.rows()
        by_kind = dict(his.desk.callbacks.by_kind)
        his.desk.callbacks = type(his.desk.callbacks)({**by_kind, "ADT^A02": by_kind["ADT^A01"]}, "v2")
        now, repeated = await his.send(adt("M1", kind="ADT^A02"), adt("M1", kind="ADT^A02"))
        rows, events = await his.rows(), await his.store.events(0)
    assert at(still, "MSA", 1) == "AR"
    assert len(before) == 2, "a second try that fails is not kept twice"
    assert (at(now, "MSA", 1), repeated) == ("AA", now)
    assert [(row.control, row.state) for row in rows] == [("M1", "superseded"), ("M2", "event"), ("M1", "event")]
    assert [event.control for event in events] == ["M2", "M1"], "readers of events that had passed it see it"


async def test_a_message_sent_again_stays_where_it_was_and_is_logged_by_that_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[str, str]] = []
    log = SimpleNamespace(warning=lambda event, *, exchange, **_: logged.append((event, exchange)))
    monkeypatch.setattr(desk, "_log", log)
    async with station(tmp_path, "ADT^A01") as his:
        await his.send(adt("M1", kind="ADT^A02"), adt("M2"))
        (first, _) = await his.rows()
        his.desk.callbacks = type(his.desk.callbacks)(his.desk.callbacks.by_kind, "v2")
        await asyncio.sleep(0.002)  # the time that it came again is another one
        await his.send(adt("M1", kind="ADT^A02"))
        (now, _) = await his.rows()
        shown = await his.store.look(lambda connection: received.find(connection, logged[-1][1]))
    assert (now.id, now.received, now.version) == (first.id, first.received, "v2")
    assert logged == [("message_unwanted", first.id)] * 2
    assert shown is not None
    assert shown.position == 1


async def test_answers_come_in_the_order_of_the_messages(tmp_path: Path) -> None:
    async with station(tmp_path, in_flight=8) as his:
        sender = await his.open()
        kinds = ["ADT^A01", "ZZZ^Z01"]
        sender.writer.write(b"".join(frame(adt(f"M{n}", kind=kinds[n % 3 == 1])) for n in range(300)))
        heard = [at(await sender.answer(), "MSA", 2) for _ in range(300)]
        await sender.close()
    assert heard == [f"M{n}" for n in range(300)]


async def test_two_connections_of_one_sender_keep_the_order_of_arrival(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        one, two = await his.open(), await his.open()
        for number in range(100):
            await (one if number % 2 else two).send(adt(f"M{number}"))
        events = await his.store.events(0)
    assert [event.control for event in events] == [f"M{number}" for number in range(100)]


async def test_bytes_outside_of_frames_are_counted_and_kept(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        sender.writer.write(b"GARBAGE\r\n" + frame(adt("M1")) + b"\r\n" + frame(adt("M2")))
        assert [at(await sender.answer(), "MSA", 2) for _ in range(2)] == ["M1", "M2"]
        rows = await his.rows()
    assert [(row.state, row.raw) for row in rows if row.state != "event"] == [("unreadable", b"GARBAGE\r\n")]
    assert his.counted("framing_errors") == 1


async def test_strict_framing_closes_at_the_first_byte_outside_of_a_frame(tmp_path: Path) -> None:
    async with station(tmp_path, framing="strict") as his:
        sender = await his.open()
        sender.writer.write(frame(adt("M1")) + b"x" + frame(adt("M2")))
        assert at(await sender.answer(), "MSA", 2) == "M1"
        await sender.rest()
    assert his.counted("framing_errors") == 1


async def test_a_frame_over_the_limit_is_answered_and_the_connection_closed(tmp_path: Path) -> None:
    async with station(tmp_path, max_frame_bytes=4096) as his:
        sender = await his.open()
        sender.writer.write(frame(adt("BIG", more="OBX|1|TX|||" + "x" * 5000)))
        heard = (await sender.rest()).strip(VT + END)
        (row,) = await his.rows()
    assert (at(heard, "MSA", 1), at(heard, "MSA", 2)) == ("AR", "BIG")
    assert row.state == "unreadable"


async def test_a_frame_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.hl7v2.server._TICK_S", 0.05)
    async with station(tmp_path, frame_s=0.2, bytes_per_s=1_000_000) as his:
        sender = await his.open()
        sender.writer.write(frame(adt("SLOW"))[:40])
        await sender.rest(3.0)
        assert at((await his.send(adt("OTHER")))[0], "MSA", 1) == "AA"


async def test_a_silent_connection_is_closed_after_its_time_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.hl7v2.server._TICK_S", 0.05)
    async with station(tmp_path, idle_s=1.0) as his:
        sender = await his.open()
        for number in range(4):
            await asyncio.sleep(0.3)
            await sender.send(adt(f"M{number}"))
        assert await sender.rest(10.0) == b""
    assert his.counted("closed_idle") == 1


async def test_more_connections_than_allowed_are_refused(tmp_path: Path) -> None:
    async with station(tmp_path, max_connections=2) as his:
        kept = [await his.open() for _ in range(2)]
        await asyncio.gather(*(one.send(adt(f"K{n}")) for n, one in enumerate(kept)))
        third = await his.open()
        assert await third.rest() == b""
        assert at(await kept[0].send(adt("M1")), "MSA", 1) == "AA"


async def test_a_full_store_is_not_read_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = True
    async with station(tmp_path) as his:
        monkeypatch.setattr(type(his.store), "full", property(lambda _: full))
        sender = await his.open()
        sender.writer.write(frame(adt("M0")))
        await sender.answer()
        for number in range(1, 4):
            sender.writer.write(frame(adt(f"M{number}")))
        with pytest.raises(TimeoutError):
            await sender.answer(0.3)
        full = False
        assert [at(await sender.answer(), "MSA", 2) for _ in range(3)] == ["M1", "M2", "M3"]


async def test_a_drain_answers_what_was_read_and_nothing_else(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        await sender.send(adt("M0"))
        sender.writer.write(frame(adt("M1")) + frame(adt("HALF"))[:30])
        await asyncio.sleep(0.05)
        await his.listener.close(5.0)
        assert at(await sender.answer(), "MSA", 2) == "M1"
        assert await sender.rest() == b""
        assert [row.control for row in await his.rows()] == ["M0", "M1"]


async def test_acknowledgements_that_nobody_waits_for_are_not_acknowledged(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        sender.writer.write(frame(adt("A1", kind="ACK^A01", more="MSA|AA|X\r")) + frame(adt("M1")))
        assert at(await sender.answer(), "MSA", 2) == "M1"
    assert his.counted("stray_acks") == 1


async def test_a_message_with_fs_alone_at_its_end_is_answered(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        sender.writer.write(VT + adt("M1") + b"\x1c")
        assert at(await sender.answer(2.0), "MSA", 2) == "M1"


async def test_the_half_closed_connection_of_a_sender_gets_its_answers(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        sender = await his.open()
        sender.writer.write(frame(adt("M1")) + frame(adt("M2")))
        sender.writer.write_eof()
        heard = (await sender.rest()).split(END)
    assert [at(one.strip(VT), "MSA", 2) for one in heard if one] == ["M1", "M2"]


async def _gather(his: Station, count: int) -> list[bytes]:
    return [one for (one,) in await asyncio.gather(*(his.send(adt(f"G{n}")) for n in range(count)))]


async def test_many_connections_at_once_each_hear_their_own(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        heard = await _gather(his, 100)
    assert [at(one, "MSA", 2) for one in heard] == [f"G{n}" for n in range(100)]
