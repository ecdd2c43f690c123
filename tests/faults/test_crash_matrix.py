"""Every named place to die, on every backend (F01-F06, CP01, CP03-CP05, CP08, CP09), judged by the checker.

A site is started once; for each cell a place is armed while it runs, clients want things until the bus dies there, it
is started again, and the clients go on with their keys until everything is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from esb import crash
from tests.faults.backends import NAMES, RUNS, Services, made
from tests.faults.clients import Frontend, browsing, send_message
from tests.faults.history import Kind
from tests.faults.proxy import Hold, Proxy
from tests.faults.site import DIRECT, QUEUED, Site, standing
from tests.faults.table import Tried
from tests.journeys.conftest import open_slot
from tests.sandbox_process import Sandbox

CLIENTS, DOUBTS = 4, 2


class Cell(NamedTuple):
    """A place to die and the way of an exchange on which it lies."""

    way: str
    point: str


CELLS = [
    *(Cell("queued", point) for point in crash.QUEUED),
    *(Cell("doubt", point) for point in crash.SETTLED),
    *(Cell("inbound", point) for point in crash.INBOUND),
    *(Cell("broker", point) for point in crash.BROKERED),
    *(Cell("direct", point) for point in crash.DIRECT),
    *(Cell("direct doubt", point) for point in crash.SETTLED[:2]),
]
FEW = (
    Cell("queued", "after_send_before_result"),
    *(one for one in CELLS if one.way == "broker"),
)
"""What the backends beside the embedded one are tried with when there is little time."""


def grid() -> list[object]:
    """Cells by backend and routes, so that each site is started once."""
    rows: list[object] = []
    for name in NAMES:
        for cell in sorted(CELLS, key=lambda one: one.way.startswith("direct")):
            is_wanted = name == "sqlite-sql" or RUNS > 1 or cell in FEW
            if is_wanted and (cell.way != "broker" or name.endswith("rabbit")):
                routes = "direct" if cell.way.startswith("direct") else "queued"
                rows.append(pytest.param((name, routes), cell, id=f"{name}-{cell.way}-{cell.point}".replace(" ", "_")))
    return rows


class Sites:
    """One site at a time, started anew when another backend or other routes are asked for."""

    def __init__(self, hospital: Sandbox, services: Services, folders: pytest.TempPathFactory) -> None:
        self._hospital, self._services, self._folders = hospital, services, folders
        self._running = ExitStack()
        self._key = ("", "")
        self._site: Site

    def on(self, name: str, routes: str) -> Site:
        if self._key != (name, routes):
            self.close()
            folder: Path = self._folders.mktemp(f"{name}-{routes}")
            backend = self._running.enter_context(made(name, folder, self._services))
            changes = QUEUED if routes == "queued" else DIRECT
            self._site = Site(self._hospital, backend, folder, changes, ESB_LEASE="3")
            self._running.callback(self._site.stop)
            self._site.start()
            self._key = (name, routes)
        return self._site

    def close(self) -> None:
        self._key = ("", "")
        self._running.close()


@pytest.fixture(scope="module")
def sites(shared_hospital: Sandbox, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with closing(Sites(shared_hospital, services, tmp_path_factory)) as found:
        yield found


@pytest.fixture
def site(request: pytest.FixtureRequest, sites: Sites) -> Site:
    return sites.on(*request.param)


@pytest.fixture
def quiet(site: Site, hospital: Sandbox) -> Site:
    """The site before a cell: alive, its hospital fresh."""
    if site.process.poll() is not None:
        site.start()
    site.fresh()
    return site


@pytest.mark.parametrize(("site", "cell"), grid(), indirect=["site"])
async def test_killed_there_nothing_is_lost_and_nothing_is_done_twice(quiet: Site, cell: Cell, tried: Tried) -> None:
    for run in range(RUNS):
        tried(f"kill -9, {cell.way}: {cell.point}", quiet.backend.name)
        await kill_and_judge(quiet, cell, run)


async def kill_and_judge(site: Site, cell: Cell, run: int) -> None:
    site.fresh()
    if cell.way.endswith("doubt"):
        site.hospital.control.fault("soap", "reset_after", operation="LockRegistration", times=DOUBTS)
        site.hospital.control.fault("soap", "reset_before", operation="FindRegistration", times=7)
    passages = DOUBTS if cell.way.endswith("doubt") else CLIENTS
    site.arm(f"{cell.point}:{run % passages + 1}")
    wants = asyncio.create_task(want(site, cell, f"{cell.way[0]}{site.starts}"))
    died = asyncio.create_task(asyncio.to_thread(site.died, 60.0))
    assert await died, f"it did not die {cell.point}: {site.bus.log()[-2000:]}"
    await asyncio.to_thread(site.start)
    await wants
    assert await asyncio.to_thread(site.verdict) == []


async def want(site: Site, cell: Cell, name: str) -> None:
    """What the clients of a cell want: messages taken in, or places taken and given back."""
    if cell.way == "inbound":
        ends = await asyncio.gather(*(send_message(site, f"{name}-{number}") for number in range(CLIENTS)))
        assert {one.kind for one in ends} == {Kind.OK}
        return
    slots = [open_slot(site.bus, skip=skip) for skip in range(CLIENTS)]
    async with browsing() as session:
        await asyncio.gather(*(_come_and_go(site, session, f"{name}-{n}", slots[n]) for n in range(CLIENTS)))


async def _come_and_go(site: Site, session: aiohttp.ClientSession, order: str, slot: dict[str, Any]) -> None:
    client = Frontend(site, session, order)
    held = await client.lock(order, slot)
    assert held.kind is Kind.OK, held
    given = await client.unlock(order)
    assert given.kind is Kind.OK, given


@pytest.mark.parametrize("name", NAMES if RUNS > 1 else NAMES[:1])
async def test_killed_while_the_bytes_are_with_the_hospital_and_its_answer_is_on_the_way(
    hospital: Sandbox, tmp_path: Path, services: Services, tried: Tried, name: str
) -> None:
    """CP04, F05: the hospital did it, the answer is held back, kill -9."""
    tried("kill -9 while the bytes are out (CP04, F05)", name)
    async with Proxy(("127.0.0.1", hospital.http)) as proxy:
        his = f"http://127.0.0.1:{proxy.port}/soap/his"
        async with standing(hospital, services, tmp_path, DIRECT, name, HIS_URL=his, ESB_LEASE="3") as site:
            slot = await asyncio.to_thread(open_slot, site.bus)
            proxy.script(Hold())
            async with browsing() as session:
                locked = asyncio.create_task(Frontend(site, session).lock("CP04", slot))
                while not await asyncio.to_thread(hospital.control.ledger, key="CP04"):
                    assert not locked.done()
                site.kill()
                await asyncio.to_thread(site.start)
                assert (await locked).kind is Kind.OK
            assert await asyncio.to_thread(site.verdict) == []
        assert proxy.seen["Hold"] == 1
        assert len(hospital.control.requests(operation="LockRegistration")) == 1
