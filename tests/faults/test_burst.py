"""The release of slots at seven o'clock: far more callers than places, all at once, and all who were turned away come
back together: F21, F22, I3, I10. Smaller in ``make test``, 10,000 callers in the long run.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.faults.backends import NAMES, RUNS, Services
from tests.faults.clients import Frontend, browsing
from tests.faults.history import Kind
from tests.faults.site import QUEUED, Site, standing
from tests.faults.table import Tried
from tests.faults.test_overload import limited
from tests.journeys.conftest import LOCK, tomorrow
from tests.sandbox_process import Sandbox


class Size(NamedTuple):
    """So many callers within ``seconds``; the hospital bears ``rate`` a second, ``backlog`` may wait."""

    callers: int
    seconds: float
    slots: int
    rate: int
    backlog: int


SIZE = Size(10_000, 10.0, 200, 20, 1_000) if RUNS > 1 else Size(600, 0.0, 8, 50, 120)
BUNCHED_S = 1.5
"""What waits somewhere for so long, on a machine that is busy, arrives together with what comes next."""


@pytest.mark.parametrize("name", NAMES if RUNS > 1 else NAMES[:1])
async def test_a_burst_at_the_release_of_slots_sells_every_place_once_and_tells_everybody(
    hospital: Sandbox, services: Services, tmp_path: Path, name: str, tried: Tried
) -> None:
    tried(f"release of slots, {SIZE.callers} callers, {SIZE.rate}/s (F21, F22)", name)
    limits = f"{{concurrency: 40, rate: {SIZE.rate}/s, backlog: {SIZE.backlog}, breaker: 500 in 30s}}"
    changes = {**limited(QUEUED, limits), LOCK: QUEUED[LOCK].replace("timeout: 1500ms", "timeout: 60s")}
    async with standing(hospital, services, tmp_path, changes, name) as site:
        slots = released(site)[: SIZE.slots]
        site.fresh()
        places = sum(hospital.control.slots()[slot["slotId"]] for slot in slots)
        async with browsing(120) as session:
            people = (impatient(site, session, n, slots[n % len(slots)]) for n in range(SIZE.callers))
            answers = await asyncio.gather(*people)
        told = [one for waves in answers for one in waves]
        assert {status for status, _ in told} <= {202, 503, 429, 408}, "408: a client that was too busy to send"
        refused = [wait for status, wait in told if status in (503, 429)]
        assert all(wait >= 1 for wait in refused)
        assert len(set(refused)) >= 3, "all of them would come back in the same second"
        history = await asyncio.to_thread(site.history, 600.0)
        ends = Counter(history.ends.values())
        assert ends["done"] == len(history.effects) <= places
        assert set(ends) <= {"done", "refused"}
        assert most_waiting(site, hospital) <= SIZE.backlog + 1, "one that comes during a count is seen at the next"
        assert await asyncio.to_thread(site.verdict) == []
        assert hospital.control.state()["oversold"] == 0
        assert busiest(hospital, 3.0) <= SIZE.rate * (3.0 + BUNCHED_S)
        assert metric(site, 'result="later"') == 0, "what our own rate holds back is not a failed try"


def released(site: Site, days: int = 1) -> list[dict[str, Any]]:
    """The open slots from tomorrow on, those of all doctors."""
    first = date.fromisoformat(tomorrow())
    slots = []
    for day in (first + timedelta(days=number) for number in range(days)):
        status, _, body = site.bus.call("GET", f"/v1/schedules?from={day}&to={day}")
        assert status == 200, body
        slots += [slot for slot in body["items"] if slot["status"] == "open"]
    return slots


async def impatient(
    site: Site, session: aiohttp.ClientSession, number: int, slot: dict[str, Any]
) -> list[tuple[int, int]]:
    """Ask at one's moment, and when turned away twice more, at the same time as all others: status and Retry-After."""
    await asyncio.sleep(SIZE.seconds * number / SIZE.callers)
    client = Frontend(site, session, f"B{number}", tries=1)
    waits: list[tuple[int, int]] = []
    for _ in range(3):
        entry = await client.lock(f"B{number}", slot)
        waits.append((entry.status, client.retry_after))
        if entry.kind is Kind.OK:
            break
        await asyncio.sleep(0.3)
    return waits


def sent(hospital: Sandbox) -> list[float]:
    """When locks came to the hospital, in order."""
    rows = hospital.control.requests(operation="LockRegistration")
    return sorted(datetime.fromisoformat(row["at"]).timestamp() for row in rows)


def most_waiting(site: Site, hospital: Sandbox) -> int:
    """The most that had been accepted and had not come to the hospital, at any moment; rather too few than too many."""
    arrived = sent(hospital)
    accepted = sorted(one.at for one in site.log.read() if one.kind is Kind.OK)
    return max(number - bisect_left(arrived, at) for number, at in enumerate(accepted, 1))


def busiest(hospital: Sandbox, seconds: float) -> int:
    """The most that came to the hospital within so many seconds."""
    times = sent(hospital)
    return max(bisect_left(times, at + seconds) - number for number, at in enumerate(times))


def metric(site: Site, label: str) -> float:
    text = site.bus.call("GET", "/metrics")[2].decode()
    found = [line for line in text.splitlines() if line.startswith("queue_deliveries_total") and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)
