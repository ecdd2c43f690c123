"""Answers in the store: a damaged one is nobody's and holds up nobody, and a store that fails is not the system's."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from esb.clock import SystemClock
from esb.config.routes import EndpointConfig
from esb.endpoint import Endpoint
from esb.inbound import Answers
from esb.pipeline import endings
from esb.pipeline.again import OUR_LIMITS
from esb.policies import Limited
from esb.spi import Refused
from tests.adapters.hl7v2_peer import ACTION, QUERY, ack, adapters, answering, control
from tests.adapters.suite import peer
from tests.adapters.test_hl7v2_later import HEAR, LATER, application, calling
from tests.esb.inbound.kit import at, station


def damage(folder: Path, own: str) -> None:
    with sqlite3.connect(folder / "esb.db") as database:
        database.execute("UPDATE inbox SET content = x'07' WHERE control = ?", (own,))


def rejecting(request: bytes) -> bytes:
    return ack(b"CR", control(request))


async def test_a_damaged_answer_hides_no_other(tmp_path: Path) -> None:
    damaged = asyncio.Event()

    async def sleep(_: float) -> None:
        await damaged.wait()
        await asyncio.sleep(0.01)

    async with station(tmp_path, **HEAR) as his:
        other = Answers(his.store, sleep)
        async with other.expecting("lis", "M1") as first, other.expecting("lis", "M2") as second:
            await his.send(application("AA", b"M1", own="APP1"), application("AA", b"M2", own="APP2"))
            damage(tmp_path, "APP1")
            damaged.set()
            raw = await asyncio.wait_for(second, 10)
            assert (at(raw, "MSA", 2), first.done()) == ("M2", False)
            assert await his.answers.newest("lis", "M1") is None
            await his.send(application("AE", b"M1", own="APP3"))
            assert at(await asyncio.wait_for(first, 10), "MSA", 1) == "AE"


async def test_a_store_that_cannot_be_read_is_not_held_against_the_system(tmp_path: Path) -> None:
    """Its breaker stays closed, and a queued message keeps its tries."""
    config = EndpointConfig.model_validate(
        {"adapter": "hl7v2", "dialect": "his", "limits": {"breaker": "1 in 30s for 60s"}}
    )
    clock = SystemClock()
    async with station(tmp_path, **HEAR) as his, peer(answering(rejecting)) as (far, port), adapters() as connect_to:
        lis = Endpoint("lis", config, connect_to(port, **LATER), clock=clock, metrics=his.metrics)
        with sqlite3.connect(tmp_path / "esb.db") as database:
            database.execute("ALTER TABLE inbox_answer RENAME TO away")
        for _ in range(2):
            with pytest.raises(Limited, match="cannot be read") as raised:
                await lis.call(ACTION, QUERY, calling(his))
            assert endings.of_error(raised.value).code in OUR_LIMITS
        assert far.connections == 0
        with sqlite3.connect(tmp_path / "esb.db") as database:
            database.execute("ALTER TABLE away RENAME TO inbox_answer")
        with pytest.raises(Refused):
            await lis.call(ACTION, QUERY, calling(his))
