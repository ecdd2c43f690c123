"""What frames that have not ended may take together, and who has to go when they want more (I10)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.hl7v2 import ListenerSettings
from tests.esb.inbound.kit import END, VT, Sender, Station, adt, at, station

KIB = 1024


async def holds(his: Station, size: int) -> None:
    """Wait until the listener has read so much of frames that have not ended."""
    async with asyncio.timeout(5):
        while his.listener.unfinished != size:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def begun(his: Station, size: int, control: str) -> Sender:
    """A connection in the middle of a frame of which ``size`` bytes have arrived."""
    sender, before = await his.open(), his.listener.unfinished
    head = adt(control, more="OBX|1|TX|||")
    sender.writer.write(VT + head + b"x" * (size - len(head)))
    await holds(his, before + size)
    return sender


async def test_the_connection_that_asks_for_more_than_there_is_goes_and_the_others_go_on(tmp_path: Path) -> None:
    async with station(tmp_path, max_frame_bytes=64 * KIB, max_unfinished_bytes=100 * KIB) as his:
        first, second = await begun(his, 40 * KIB, "A"), await begun(his, 30 * KIB, "B")
        greedy = await begun(his, 20 * KIB, "C")
        greedy.writer.write(b"x" * 40 * KIB)
        heard = (await greedy.rest()).strip(VT + END)
        assert (at(heard, "MSA", 1), at(heard, "MSA", 2)) == ("AR", "C")
        assert his.counted("crowded_out") == 1
        for sender, control in ((first, "A"), (second, "B")):
            sender.writer.write(b"\r" + END)
            assert at(await sender.answer(), "MSA", 1) == "AA", control
        (lost,) = [row for row in await his.rows() if row.state == "unreadable"]
        assert lost.reason == "unreadable: frames that have not ended need more than 102400 bytes together"
        assert his.listener.unfinished == 0


async def test_who_has_less_than_its_share_is_never_the_one_that_goes(tmp_path: Path) -> None:
    async with station(tmp_path, max_frame_bytes=64 * KIB, max_unfinished_bytes=100 * KIB) as his:
        hogs = [await begun(his, 49 * KIB, "HOG1"), await begun(his, 48 * KIB, "HOG2")]
        small = await his.open()
        small.writer.write(VT + adt("SMALL", more="OBX|1|TX|||" + "x" * 5 * KIB))
        heard = (await hogs[0].rest()).strip(VT + END)
        assert at(heard, "MSA", 2) == "HOG1", "the one that has most"
        small.writer.write(END)
        assert at(await small.answer(), "MSA", 2) == "SMALL"
        hogs[1].writer.write(END)
        assert at(await hogs[1].answer(), "MSA", 2) == "HOG2"


async def test_a_connection_that_ends_gives_back_what_it_held(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        for _ in range(3):
            await (await begun(his, 30 * KIB, "M1")).close()
            await holds(his, 0)
        sender = await his.open()
        sender.writer.write(VT + b"\x0b".join([adt("M1")] * 300) + END)
        assert at(await sender.answer(), "MSA", 1) == "AA"
        await holds(his, 0)


async def test_a_hundred_connections_in_the_middle_of_a_frame_stay_within_the_budget(tmp_path: Path) -> None:
    total = 256 * KIB
    async with station(tmp_path, max_frame_bytes=64 * KIB, max_unfinished_bytes=total) as his:
        senders = [await his.open() for _ in range(100)]
        most = 0
        for start in (VT, *[b""] * 5):
            for sender in senders:
                sender.writer.write(start + b"MSH|^~\\&|" + b"y" * 8 * KIB)
                await asyncio.sleep(0)
                most = max(most, his.listener.unfinished)
        await asyncio.sleep(0.05)
        assert max(most, his.listener.unfinished) <= total
        assert his.counted("crowded_out") > 50
        (answer,) = await his.send(adt("AFTER"))
        assert at(answer, "MSA", 1) == "AA"


def test_a_budget_holds_one_frame_at_least() -> None:
    with pytest.raises(ValueError, match="at least 'max_frame_bytes'"):
        ListenerSettings(listen="mllp://127.0.0.1:0", max_frame_bytes=4096, max_unfinished_bytes=2048)
