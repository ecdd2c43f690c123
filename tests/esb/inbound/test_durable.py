"""What is acknowledged is in the store, whatever happens to the store; what is not stored is not acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from esb.observe import Metrics
from esb.store import Store, receiving
from tests.esb.inbound.kit import CORPUS, adt, at, frame, station
from tests.esb.kit import prune

MESSAGES = CORPUS / "hl7v2" / "messages"


def is_acknowledgement(raw: bytes) -> bool:
    """These are never acknowledged."""
    head = raw[max(0, raw.find(b"MSH")) :]
    fields = head.split(b"\r", 1)[0].split(b"\n", 1)[0].split(head[3:4])
    return len(fields) > 8 and fields[8].startswith(b"ACK")


async def test_nothing_is_acknowledged_before_its_commit(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        commits: list[bool] = []
        writer = his.store._writer
        transact = writer._transact

        def slowly(batch: Any) -> Any:
            done = transact(batch)
            commits.append(True)
            return done

        writer._transact = slowly  # type: ignore[method-assign]
        sender = await his.open()
        for number in range(20):
            sender.writer.write(frame(adt(f"M{number}")))
            await sender.answer()
            with sqlite3.connect(tmp_path / "esb.db") as other:
                assert other.execute("SELECT count(*) FROM inbox").fetchone() == (number + 1,)
            other.close()
        assert commits


async def test_a_full_disk_is_answered_and_recovers_without_a_restart(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        await his.send(adt("M0"))
        with his.store.engine.begin() as connection:
            pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        limit = {"pages": pages + 8}

        def limited(raw: Any, _: Any, __: Any) -> None:
            raw.execute(f"PRAGMA max_page_count={limit['pages']}")

        sa.event.listen(his.store.engine, "checkout", limited)
        his.store._writer.commits.close()
        sender = await his.open()
        heard: dict[str, str] = {}
        for number in range(60):
            answer = await sender.send(adt(f"F{number}", more="OBX|1|TX|||" + "x" * 900))
            heard[f"F{number}"] = at(answer, "MSA", 1)
        enhanced = await sender.send(adt("E1", msh="|||AL|NE", more="OBX|1|TX|||" + "x" * 900))
        limit["pages"] = 1_000_000
        again = await sender.send(adt("F59", more="OBX|1|TX|||" + "x" * 900))
        kept = {row.control for row in await his.rows()}
    assert set(heard.values()) == {"AA", "AE"}
    assert {name for name, verdict in heard.items() if verdict == "AA"} | {"M0", "F59"} == kept
    assert (at(enhanced, "MSA", 1), at(again, "MSA", 1)) == ("CE", "AA")


async def test_the_store_of_an_earlier_start_knows_its_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their keys had been written down or not."""
    monkeypatch.setattr(receiving, "_WRITTEN_DOWN_AFTER", 20)
    async with station(tmp_path) as his:
        first = await his.send(*(adt(f"M{number}") for number in range(70)))
    async with station(tmp_path) as his:
        again = await his.send(*(adt(f"M{number}") for number in range(70)))
        (other,) = await his.send(adt("M3", "PID|1||P2"))
        events = await his.store.events(0)
        with his.store.engine.begin() as connection:
            written = connection.execute(sa.text("SELECT count(*) FROM inbox_key")).scalar_one()
    assert again == first
    assert at(other, "MSA", 1) == "AE"
    assert [event.control for event in events] == [f"M{number}" for number in range(70)]
    assert 20 < written <= 70


async def test_positions_grow_and_are_never_used_twice(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        await his.send(*(adt(f"M{number}") for number in range(5)))
        positions = [event.position for event in await his.store.events(0)]
        assert [event.control for event in await his.store.events(positions[2], most=1)] == ["M3"]
        from datetime import datetime, timedelta

        removed = await prune(his.store, datetime.fromisoformat((await his.rows())[0].received) + timedelta(days=1))
        assert removed == 4, "the last one stays, so that its position is not given to another"
        await his.send(adt("M9"))
        assert [event.position for event in await his.store.events(0)][-1] > positions[-1]
        assert at((await his.send(adt("M0")))[0], "MSA", 1) == "AA", "what was pruned may come again"


async def test_what_was_rolled_back_is_no_repeat(tmp_path: Path) -> None:
    async with station(tmp_path) as his:
        await his.send(adt("M0"))
        settle = his.store._receiving.settle

        def failing(connection: sa.Connection, offers: Any) -> Any:
            settle(connection, offers)
            raise sa.exc.OperationalError("INSERT", None, OSError("disk I/O error"))

        his.store._receiving.settle = failing  # type: ignore[method-assign]
        (refused,) = await his.send(adt("M1"))
        his.store._receiving.settle = settle  # type: ignore[method-assign]
        (taken,) = await his.send(adt("M1"))
        rows = await his.rows()
    assert (at(refused, "MSA", 1), at(taken, "MSA", 1)) == ("AE", "AA")
    assert [row.control for row in rows] == ["M0", "M1"]


async def test_a_store_of_the_second_schema_version_gets_its_inbox(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/esb.db", Metrics())
    await store.start()
    await store.close()
    with sqlite3.connect(tmp_path / "esb.db") as connection:
        for table in ("inbox", "inbox_key", "inbox_mark", "alembic_version"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE schema_version SET version = 2")
    connection.close()
    async with station(tmp_path) as his:
        await his.send(adt("M1"))
        assert len(await his.rows()) == 1


@pytest.mark.skipif(not MESSAGES.is_dir(), reason="the shared corpus is not here")
async def test_every_message_of_the_corpus_has_one_answer_and_keeps_its_bytes(tmp_path: Path) -> None:
    files = sorted(path for path in MESSAGES.rglob("*") if path.is_file())
    raws = [path.read_bytes() for path in files]
    raws = [raw for raw in raws if not {0x0B, 0x1C} & set(raw) and not is_acknowledgement(raw)]
    kinds = ("ADT", "ORU", "ORM", "SIU", "MDM", "DFT")
    async with station(tmp_path, *kinds, acknowledge="original") as his:
        sender = await his.open()
        heard = []
        for at_once in range(0, len(raws), 50):
            some = raws[at_once : at_once + 50]
            sender.writer.write(b"".join(map(frame, some)))
            heard += [await sender.answer() for _ in some]
        with pytest.raises(TimeoutError):
            await sender.answer(0.2)
        kept = Counter(row.raw for row in await his.rows())
    assert len(raws) > 900
    assert set(kept) == set(raws)
    verdicts = Counter(at(one, "MSA", 1) for one in heard)
    assert set(verdicts) <= {"AA", "AE", "AR"}
    assert verdicts["AA"] > 100


async def test_a_flood_keeps_memory_bounded(tmp_path: Path) -> None:
    """Ten connections that send as fast as they can and read nothing: what is read waits for its commit."""
    async with station(tmp_path, in_flight=4) as his:
        senders = [await his.open() for _ in range(10)]
        message = b"".join(frame(adt(f"S{number}")) for number in range(200))
        for sender in senders:
            sender.writer.write(message)
        await asyncio.sleep(0.2)
        heard = [await sender.answer() for sender in senders for _ in range(200)]
    assert len(heard) == 2000
