"""Application acknowledgements on a connection of their own, both ways; the sequence number protocol as a sender."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.hl7v2 import ListenerSettings, Settings, control_id
from esb.inbound import Answers
from esb.spi import Call, OutcomeUnknown, Refused, Unavailable
from esb.store.inbox import prune_inbox
from tests.adapters.hl7v2_peer import ACTION, QUERY, Connect, ack, adapters, answering, control
from tests.adapters.suite import make_call, peer
from tests.esb.inbound.kit import END, Station, adt, at, frame, station

LATER = {"accept_ack": "AL", "application_ack": "AL", "later_answers": "lis"}
HEAR = {"later_answers": "lis"}


@pytest.fixture
async def adapt() -> AsyncIterator[Connect]:
    async with adapters() as connect_to:
        yield connect_to


def application(verdict: str, of: bytes, own: str = "APP1", msh: str = "|||AL|NE") -> bytes:
    """An application's acknowledgement as a message of its own."""
    head = f"MSH|^~\\&|LIS|LAB|HUB|WX|20260115||ACK^Q22^ACK|{own}|P|2.5.1{msh}"
    return f"{head}\rMSA|{verdict}|{of.decode()}\r".encode()


def calling(his: Station, seconds: float = 10.0) -> Call:
    """One that hears what the listener hears."""
    return replace(make_call(seconds), answers=his.answers)


async def told_later(
    verdict: str, his: Station, requests: list[bytes], commit: bytes = b"CA", seconds: float = 10.0
) -> list[bytes]:
    """A system that accepts at once and whose application answers to our listener; what it heard there."""
    heard: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(END)
        requests.append(request)
        writer.write(ack(commit, control(request)))
        if verdict:
            heard.set_result(await his.send(application(verdict, control(request))))
        await reader.read()

    async with peer(behave) as (_, port), adapters() as connect_to:
        call = calling(his, seconds)
        answer = await connect_to(port, **LATER).call(ACTION, QUERY, call)
        assert answer.get("MSA", 0, 2) == control(requests[0]).decode()
        assert b"MSA|CA|" in call.wire.received
        assert f"MSA|{verdict}|".encode() in call.wire.received
        return await asyncio.wait_for(heard, 5)


@pytest.mark.parametrize("verdict", ["AA", "AE"])
async def test_the_application_answers_through_a_listener(tmp_path: Path, verdict: str) -> None:
    async with station(tmp_path, **HEAR) as his:
        (commit,) = await told_later(verdict, his, [])
        assert (at(commit, "MSA", 1), at(commit, "MSA", 2)) == ("CA", "APP1")
        assert [(row.state, row.event, row.control) for row in await his.rows()] == [("answer", "", "APP1")]


async def test_an_application_that_rejects_later_refuses(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        with pytest.raises(Refused, match="AR"):
            await told_later("AR", his, [])


async def test_an_application_that_is_silent_leaves_it_unknown(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        with pytest.raises(OutcomeUnknown, match="accepted, and the application did not answer in time"):
            await told_later("", his, [], seconds=0.6)


async def test_a_commit_that_refuses_is_not_waited_on(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        with pytest.raises(Refused, match="CR"):
            await told_later("", his, [], commit=b"CR")


@pytest.mark.parametrize(("word", "of"), [("lis", b"SOMEBODY"), ("other", b"")])
async def test_an_answer_belongs_to_its_message_and_its_system(tmp_path: Path, word: str, of: bytes) -> None:
    """Another message's answer, and the right one at the listener of another system, are nobody's."""
    async with station(tmp_path, later_answers=word) as his:

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(END)
            writer.write(ack(b"CA", control(request)))
            await his.send(application("AA", of or control(request)))
            await reader.read()

        async with peer(behave) as (_, port), adapters() as connect_to:
            with pytest.raises(OutcomeUnknown):
                await connect_to(port, **LATER).call(ACTION, QUERY, calling(his, 1.0))
        assert [row.state for row in await his.rows()] == ["answer"]


async def test_an_answer_after_the_deadline_is_there_for_who_asks_for_it(tmp_path: Path) -> None:
    requests: list[bytes] = []
    async with station(tmp_path, **HEAR) as his, adapters() as connect_to:
        nobody = connect_to(9, **LATER)
        assert await nobody.answered(ACTION, QUERY, calling(his)) is None
        with pytest.raises(OutcomeUnknown):
            await told_later("", his, requests, seconds=0.6)
        await his.send(application("AA", control(requests[0])))
        call = calling(his)
        answer = await nobody.answered(ACTION, QUERY, call)
        assert answer is not None
        assert (answer.get("MSA", 0, 1), call.wire.left) == ("AA", False)
        assert await connect_to(9).answered(ACTION, QUERY, calling(his)) is None


async def test_what_was_answered_before_is_no_answer_to_a_later_try(tmp_path: Path) -> None:
    """Nor is the same answer, brought again; another one is."""
    async with station(tmp_path, **HEAR) as his:
        wanted = control_id(calling(his), ACTION).encode()
        await his.send(application("AE", wanted))

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(END)
            writer.write(ack(b"CA", control(request)))
            await his.send(application("AE", control(request)), application("AA", control(request), own="APP2"))
            await reader.read()

        async with peer(behave) as (_, port), adapters() as connect_to:
            answer = await connect_to(port, **LATER).call(ACTION, QUERY, calling(his))
        assert answer.get("MSA", 0, 1) == "AA"
        assert [row.control for row in await his.rows()] == ["APP1", "APP2"]


async def test_answers_are_told_apart_by_what_they_answer(tmp_path: Path) -> None:
    """Whatever ids a system gives them: none, always the same, or that of an event."""
    async with station(tmp_path, **HEAR) as his:
        await his.send(adt("SAME"), *(application("AA", of, own="SAME") for of in (b"M1", b"M2", b"M2")))
        await his.send(adt("SAME"), application("AA", b"M3", own=""))
        kept = [(row.state, row.control) for row in await his.rows()]
        assert kept == [("event", "SAME"), ("answer", "SAME"), ("answer", "SAME"), ("answer", "")]
        newest = [await his.answers.newest("lis", of) for of in ("M1", "M2", "M3", "M4")]
        assert [at(raw, "MSA", 2) if raw else "" for raw in newest] == ["M1", "M2", "M3", ""]


async def test_an_answer_is_pruned_with_its_message(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        await his.send(application("AA", b"M1"), application("AA", b"M2", own="APP2"))
        await his.store.transact(lambda connection: prune_inbox(connection, "2999", 100))
        assert await his.answers.newest("lis", "M1") is None
        assert await his.answers.newest("lis", "M2") is not None, "the last one stays, as in the inbox"
        with sqlite3.connect(tmp_path / "esb.db") as database:
            assert database.execute("SELECT control FROM inbox_answer").fetchall() == [("M2",)]


async def test_an_answer_is_acknowledged_as_its_sender_wants_and_only_when_it_is_kept(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        sender = await his.open()
        silent = [application("AA", b"M1", msh=msh) for msh in ("", "|||NE|NE", "|||ER|NE")]
        for one in silent:
            sender.writer.write(frame(one))
        (last,) = [await sender.send(application("AA", b"M1", own="APP9"))]
        assert (at(last, "MSA", 1), at(last, "MSA", 2)) == ("CA", "APP9")
        await his.store.close()
        for msh in ("|||AL|NE", "|||ER|NE"):
            refused = await sender.send(application("AA", b"M2", own="APP10", msh=msh))
            assert (at(refused, "MSA", 1), at(refused, "MSA", 2)) == ("CE", "APP10")


async def test_without_anybody_who_hears_nothing_is_sent(adapt: Connect) -> None:
    async with peer(answering()) as (far, port):
        call = make_call()
        with pytest.raises(Unavailable, match="nobody hears"):
            await adapt(port, **LATER).call(ACTION, QUERY, call)
        assert (far.connections, call.wire.left) == (0, False)


async def test_with_a_store_that_cannot_be_read_nothing_is_sent(tmp_path: Path, adapt: Connect) -> None:
    async with station(tmp_path, **HEAR) as his, peer(answering()) as (far, port):
        with sqlite3.connect(tmp_path / "esb.db") as database:
            database.execute("DROP TABLE inbox_answer")
        with pytest.raises(Unavailable, match="cannot be read"):
            await adapt(port, **LATER).call(ACTION, QUERY, calling(his))
        assert far.connections == 0


async def test_an_answer_that_another_process_hears_is_found_in_the_store(tmp_path: Path) -> None:
    async with station(tmp_path, **HEAR) as his:
        other = Answers(his.store)

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(END)
            writer.write(ack(b"CA", control(request)))
            await his.send(application("AA", control(request)))
            await reader.read()

        async with peer(behave) as (_, port), adapters() as connect_to:
            call = replace(make_call(10.0), answers=other)
            answer = await connect_to(port, **LATER).call(ACTION, QUERY, call)
        assert answer.get("MSA", 0, 1) == "AA"


class Desk:
    """Where a sender wants application acknowledgements to come: acknowledges them as it is told, remembers them."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self.heard: list[bytes] = []
        self.connections = 0

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = (await reader.readuntil(END))[1:-2]
                self.heard.append(message)
                answer = self._answer(message)
                if answer is None:
                    writer.close()
                    return
                writer.write(answer)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def commits(message: bytes) -> bytes:
    return ack(b"CA", at(message, "MSH", 10).encode())


async def counted(his: Station, what: str, wanted: int) -> None:
    async with asyncio.timeout(10):
        while his.counted(what) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_commit_goes_back_at_once_and_the_application_answers_where_the_sender_wants_it(
    tmp_path: Path,
) -> None:
    desk = Desk(commits)
    async with peer(desk.behave) as (_, port), station(tmp_path, answer_to=f"mllp://127.0.0.1:{port}") as his:
        sender = await his.open()
        for number, pid in enumerate(("PID|1||P1", "PID|1")):
            commit = await sender.send(adt(f"M{number}", pid, msh="|||AL|AL"))
            assert (at(commit, "MSA", 1), at(commit, "MSA", 2)) == ("CA", f"M{number}")
        original = await sender.send(adt("M2"))
        await desk.until(2)
        await counted(his, "late_answers_sent", 2)
    assert [(at(one, "MSA", 1), at(one, "MSA", 2)) for one in desk.heard] == [("AA", "M0"), ("AE", "M1")]
    assert [at(one, "MSH", 15) for one in desk.heard] == ["AL", "AL"]
    assert at(original, "MSA", 1) == "AA", "original mode answers where it was asked"
    assert desk.connections == 1


async def test_an_answer_is_brought_again_until_its_receiver_has_it(tmp_path: Path) -> None:
    tries = 0

    def unwilling(message: bytes) -> bytes | None:
        nonlocal tries
        tries += 1
        return commits(message) if tries > 2 else None

    desk = Desk(unwilling)
    async with peer(desk.behave) as (_, port), station(tmp_path, answer_to=f"mllp://127.0.0.1:{port}") as his:
        sender = await his.open()
        await sender.send(adt("M1", msh="|||AL|AL"))
        await sender.send(adt("M2", msh="|||AL|AL"))
        await counted(his, "late_answers_sent", 2)
    assert [at(one, "MSA", 2) for one in desk.heard] == ["M1", "M1", "M1", "M2"], "in order"


async def test_a_repeat_is_answered_again_in_both_places(tmp_path: Path) -> None:
    desk = Desk(commits)
    async with peer(desk.behave) as (_, port), station(tmp_path, answer_to=f"mllp://127.0.0.1:{port}") as his:
        first, again = await his.send(adt("M1", msh="|||AL|AL"), adt("M1", msh="|||AL|AL"))
        await desk.until(2)
        assert [row.control for row in await his.rows()] == ["M1"]
    assert first == again
    assert desk.heard[0] == desk.heard[1]


async def test_an_answer_that_nobody_takes_is_given_up_and_counted(tmp_path: Path) -> None:
    settings = {"answer_to": "mllp://127.0.0.1:9", "answer_for_s": 0.3}
    async with station(tmp_path, **settings) as his:
        (commit,) = await his.send(adt("M1", msh="|||AL|AL"))
        assert at(commit, "MSA", 1) == "CA"
        await counted(his, "late_answers_lost", 1)


class Counting:
    """A receiver of the sequence number protocol, by HL7 chapter 2.10.1 alone."""

    def __init__(self, expected: int = 1) -> None:
        self.expected = expected
        self.numbers: list[int] = []
        self.taken: list[bytes] = []

    def __call__(self, request: bytes) -> bytes:
        number = int(request.split(b"\r")[0].split(b"|")[12])
        self.numbers.append(number)
        verdict = b"AA" if number in (0, self.expected) else b"AE"
        if number and verdict == b"AA":
            self.taken.append(request)
            self.expected += 1
        return ack(verdict, control(request), b"||%d" % self.expected)


async def serve(
    receiver: Callable[[bytes], bytes | None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            answer = receiver(await reader.readuntil(END))
            if answer is None:
                writer.close()
                return
            writer.write(answer)


async def test_numbers_are_agreed_once_and_then_count(adapt: Connect) -> None:
    receiver = Counting(expected=7)
    async with peer(lambda reader, writer: serve(receiver, reader, writer)) as (_, port):
        hub = adapt(port, sequence=True)
        await asyncio.gather(*(hub.call(ACTION, QUERY, make_call()) for _ in range(3)))
    assert receiver.numbers == [0, 7, 8, 9]


async def test_a_message_out_of_step_was_not_taken_and_is_sent_with_the_right_number(adapt: Connect) -> None:
    receiver = Counting()
    async with peer(lambda reader, writer: serve(receiver, reader, writer)) as (_, port):
        hub = adapt(port, sequence=True)
        await hub.call(ACTION, QUERY, make_call())
        receiver.expected = 40
        answer = await hub.call(ACTION, QUERY, make_call())
    assert answer.get("MSA", 0, 1) == "AA"
    assert receiver.numbers == [0, 1, 2, 40]
    assert len(receiver.taken) == 2


async def test_after_silence_the_number_is_agreed_anew(adapt: Connect) -> None:
    receiver = Counting()
    silent = iter((False, True))

    def behave(request: bytes) -> bytes | None:
        answer = receiver(request)
        is_silent = b"|0|" not in request.split(b"\r")[0][-60:] and len(receiver.taken) == 2 and next(silent, False)
        return None if len(receiver.numbers) == 3 or is_silent else answer

    async with peer(lambda reader, writer: serve(behave, reader, writer)) as (_, port):
        hub = adapt(port, sequence=True)
        await hub.call(ACTION, QUERY, make_call())
        with pytest.raises(OutcomeUnknown):
            await hub.call(ACTION, QUERY, make_call())
        await hub.call(ACTION, QUERY, make_call())
    assert receiver.numbers == [0, 1, 2, 0, 3]


async def test_without_an_agreement_nothing_was_sent(adapt: Connect) -> None:
    async with peer(lambda reader, writer: serve(lambda request: ack(b"AR", control(request)), reader, writer)) as (
        _,
        port,
    ):
        call = make_call()
        with pytest.raises(Unavailable, match="no sequence number could be agreed"):
            await adapt(port, sequence=True).call(ACTION, QUERY, call)
    assert not call.wire.left


async def test_our_listener_and_our_client_count_alike(tmp_path: Path, adapt: Connect) -> None:
    async with station(tmp_path, sequence=True) as his:
        hub = adapt(his.port, sequence=True, sending_application="HUB")
        for number in range(3):
            call = make_call()
            call.exchange = f"01KF0H3Y8Z6Q2V4N7R9T1W5X{number:02d}"
            answer = await hub.call("ADT^A01^ADT_A01", [{"PID-3.1": "P1"}], call)
            assert (answer.get("MSA", 0, 1), answer.get("MSA", 0, 4)) == ("AA", str(number + 2))
        assert [row.sequence for row in await his.rows()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"later_answers": "lis"}, "'later_answers' needs"),
        ({"sequence": True, "connections": 2}, "one message at a time"),
        ({"sequence": True, "in_flight": 2}, "one message at a time"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(host="h", port=1, **settings)  # type: ignore[arg-type]


def test_an_address_for_answers_is_an_address() -> None:
    with pytest.raises(ValueError, match="must be an address"):
        ListenerSettings(listen="mllp://127.0.0.1:1", answer_to="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="answer_tls"):
        ListenerSettings(listen="mllp://127.0.0.1:1", answer_to="mllps://127.0.0.1:1")
