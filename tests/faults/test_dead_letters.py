"""An operator replays thousands of dead letters, and in the middle everything dies: F40, F10, F11, F13, I1, I2, I8."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bus_process import ROOT
from tests.faults.backends import NAMES, RUNS, Backend, Services
from tests.faults.clients import Frontend, browsing
from tests.faults.history import Kind
from tests.faults.site import DIRECT, QUEUED, UNLOCK, Site, standing
from tests.faults.table import Tried
from tests.faults.test_burst import released
from tests.sandbox_process import Sandbox

LETTERS, AT_ONCE = (5_000 if RUNS > 1 else 60), 32
PARKS = {**DIRECT, UNLOCK: QUEUED[UNLOCK].replace("retry: 30 over 1m", "retry: 1 over 1s")}
LIMIT_S = 600.0
PARKED = "SELECT count(*) FROM queue WHERE state = 'parked'"
AUDITED = "SELECT count(DISTINCT object) FROM audit WHERE action IN ('replay', 'release')"


@pytest.mark.parametrize("name", NAMES if RUNS > 1 else ["sqlite-sql"])
async def test_dead_letters_are_replayed_though_bus_broker_and_store_die_meanwhile(
    hospital: Sandbox, services: Services, tmp_path: Path, name: str, tried: Tried
) -> None:
    """Each has its one effect, each act is in the audit, and the rehearsal sends nothing."""
    tried(f"replay of {LETTERS} dead letters, all dies meanwhile (F40)", name)
    async with standing(hospital, services, tmp_path, PARKS, name, ESB_LEASE="3") as site:
        async with browsing(60) as session:
            await park(site, session)
        before = hospital.control.requests(operation="UnlockRegistration")[-1]
        status, said = await esb(site, "replay", "--parked")
        assert (status, f"{LETTERS} of {LETTERS} would be carried out" in said) == (0, True), said[-2000:]
        assert hospital.control.requests(operation="UnlockRegistration")[-1] == before
        hospital.control.clear_faults()
        replaying = asyncio.create_task(esb(site, *REPLAY))
        await until(site, LETTERS // 4)
        await asyncio.to_thread(disaster, site)
        await replaying
        status, said = await esb(site, *REPLAY)
        assert status in (0, 2), said[-2000:]
        assert await asyncio.to_thread(site.verdict, LIMIT_S) == []
        done = [row["key"] for row in hospital.control.ledger(operation="release")]
        assert sorted(done) == sorted(orders())
        assert site.backend.rows(AUDITED) == [(LETTERS,)]


REPLAY = ("replay", "--parked", "--really", "--reason", "the HIS is back", "--rate", "500/s")


def orders() -> list[str]:
    return [f"L{number}" for number in range(LETTERS)]


async def park(site: Site, session: aiohttp.ClientSession) -> None:
    """Places are taken, and given back to a hospital that says that it is busy."""
    slots = [slot for slot in released(site, days=6) for _ in range(slot["left"])]
    assert len(slots) >= LETTERS
    room = asyncio.Semaphore(AT_ONCE)

    async def one(order: str, slot: dict[str, Any]) -> None:
        async with room:
            client = Frontend(site, session, order)
            assert (await client.lock(order, slot)).kind is Kind.OK

    async def back(order: str) -> None:
        async with room:
            assert (await Frontend(site, session, order).unlock(order)).kind is Kind.OK

    await asyncio.gather(*map(one, orders(), slots))
    site.hospital.control.fault("soap", "business_error", operation="UnlockRegistration", code="-999")
    await asyncio.gather(*map(back, orders()))
    await until(site, LETTERS, PARKED)


async def until(site: Site, count: int, query: str = AUDITED) -> None:
    """Until so many rows are there."""
    async with asyncio.timeout(LIMIT_S):
        while (await asyncio.to_thread(site.backend.rows, query))[0][0] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def disaster(site: Site) -> None:
    """The broker loses all that it has, the store is stopped, the bus is killed; then all of them come back."""
    backend: Backend = site.backend
    if backend.node:
        backend.wipe()
    if backend.cluster:
        backend.cluster.kill()
    site.kill()
    if backend.cluster:
        backend.cluster.start()
    backend.start_broker()
    site.start()


async def esb(site: Site, *arguments: str) -> tuple[int, str]:
    """The command line beside the bus, as an operator has it."""
    environ = {
        **os.environ,
        **site.backend.environ,
        "ESB_ROUTES": str(site.folder / "routes.yaml"),
        "ESB_SECRETS": str(ROOT / "sandbox" / "secrets"),
    }
    return await asyncio.to_thread(run, [sys.executable, "-m", "esb.cli", *arguments], environ)


def run(command: Iterable[str], environ: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(list(command), cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
