"""What happens on the wire to each kind of system, by a proxy before it: F16, F17, F18, I2, I8, I11.

The sandbox can misbehave itself; here it does not: the hospital does all that it is asked, and the network between
loses, cuts and spoils what it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.bus_process import Bus
from tests.faults.backends import Services
from tests.faults.clients import Frontend, browsing
from tests.faults.history import Kind
from tests.faults.proxy import Drop, Hang, Pass, Plan, Proxy, Refuse, Reply
from tests.faults.site import DIRECT, Site, standing
from tests.faults.table import Tried
from tests.faults.test_overload import PATIENT, schedules
from tests.journeys.conftest import open_slot
from tests.sandbox_process import Sandbox, start_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTIONS: dict[str, tuple[str, str, Any]] = {
    "soap": ("GET", schedules(), None),
    "mllp": ("POST", "/v1/patients/search", PATIENT),
    "fhir": ("GET", "/v1/patients/P0000001/reports", None),
    "rest": ("GET", "/v1/parking/fees?plate=%E4%BA%ACA12345", None),
}
SPOILT: dict[str, tuple[Plan, set[str]]] = {
    "refused": (Refuse(), {"unavailable", "no_answer"}),
    "hangs": (Hang(), {"no_answer", "endpoint_busy", "unavailable"}),
    "dropped": (Drop(), {"no_answer"}),
    "cut off": (Reply(keep=20), {"no_answer", "malformed_answer"}),
    "garbage": (Reply(instead=b"\x00\xff\x13garbage\r\n\r\n"), {"no_answer", "malformed_answer"}),
    "gbk": (
        Reply(instead=b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n\xd2\xbd\xc9\xfa\xbc\xd7\xd2\xd2"),
        {"no_answer", "malformed_answer"},
    ),
}
HURRIED = {
    **DIRECT,
    "patient.find:        {to: index, timeout: 4s, retry: 1}": "patient.find: {to: index, timeout: 1200ms}",
    "report.list:         {to: lis, timeout: 5s, retry: 1}": "report.list: {to: lis, timeout: 1200ms}",
    "parking.fee:         {to: parking, timeout: 4s, retry: 1}": "parking.fee: {to: parking, timeout: 1200ms}",
    "limits: {concurrency: 4}": "limits: {concurrency: 4, breaker: 500 in 30s}",
}


class Wired:
    """A site whose systems all stand behind a proxy, one for each protocol."""

    def __init__(self, site: Site, proxies: dict[str, Proxy]) -> None:
        self.site, self.proxies = site, proxies

    def ask(self, protocol: str) -> tuple[int, dict[str, str], Any]:
        method, path, body = QUESTIONS[protocol]
        return self.site.bus.call(method, path, body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wired(
    shared_hospital: Sandbox, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Wired]:
    async with AsyncExitStack() as stack:
        proxies: dict[str, Proxy] = {}
        for protocol in QUESTIONS:
            port = shared_hospital.mllp if protocol == "mllp" else shared_hospital.http
            proxies[protocol] = await stack.enter_async_context(Proxy(("127.0.0.1", port)))
        at = {protocol: f"http://127.0.0.1:{proxy.port}" for protocol, proxy in proxies.items()}
        folder: Path = tmp_path_factory.mktemp("wired")
        site = await stack.enter_async_context(
            standing(
                shared_hospital,
                services,
                folder,
                HURRIED,
                HIS_URL=f"{at['soap']}/soap/his",
                LIS_URL=f"{at['fhir']}/fhir/r4",
                PARKING_URL=at["rest"],
                INDEX_PORT=str(proxies["mllp"].port),
            )
        )
        yield Wired(site, proxies)


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("protocol", QUESTIONS)
async def test_a_question_whose_answer_is_spoilt_has_a_typed_end_and_the_next_one_is_answered(
    wired: Wired, protocol: str, how: str, tried: Tried
) -> None:
    """F16, F18."""
    tried(f"wire: {how}, SOAP, MLLP, FHIR, REST (F16-F18)", "sqlite-sql")
    plan, codes = SPOILT[how]
    proxy = wired.proxies[protocol]
    proxy.usual = plan
    status, headers, problem = await asyncio.to_thread(wired.ask, protocol)
    proxy.usual = Pass()
    assert problem["code"] in codes, problem
    assert status == (502 if problem["code"] == "malformed_answer" else 503)
    assert status == 502 or int(headers["retry-after"]) >= 1
    assert proxy.seen[type(plan).__name__] > 0
    await answered(wired, protocol)


@pytest.mark.parametrize("protocol", QUESTIONS)
async def test_a_slow_answer_is_waited_for_and_a_dripping_one_has_its_deadline(wired: Wired, protocol: str) -> None:
    """F16: each byte that comes is no reason to wait longer than the route says."""
    proxy = wired.proxies[protocol]
    proxy.usual = Reply(delay=0.2)
    await answered(wired, protocol)
    proxy.usual = Reply(drip=0.5)
    status, _, problem = await asyncio.to_thread(wired.ask, protocol)
    proxy.usual = Pass()
    assert (status, problem["code"]) == (503, "no_answer")
    await answered(wired, protocol)


async def answered(wired: Wired, protocol: str) -> None:
    """The next question is answered; the deadlines are short here, and a busy machine may miss one."""
    for _ in range(5):
        status, _, problem = await asyncio.to_thread(wired.ask, protocol)
        if status == 200:
            return
        assert problem["code"] == "no_answer", problem
    raise AssertionError("it is not answered any more")


@pytest.mark.parametrize("how", [one for one in SPOILT if one != "gbk"])
async def test_a_lock_whose_answer_is_lost_on_the_way_is_settled_and_sent_once(
    wired: Wired, how: str, tried: Tried
) -> None:
    """F17, I8: the hospital did it and nobody heard it, or it never came there; the checker knows the difference."""
    tried("wire: the answer to a lock (F17)", "sqlite-sql")
    site, proxy = wired.site, wired.proxies["soap"]
    slot = await asyncio.to_thread(open_slot, site.bus)
    site.fresh()
    proxy.script(SPOILT[how][0])
    async with browsing() as session:
        held = await Frontend(site, session).lock(f"W-{how[:2]}", slot)
    assert held.kind is Kind.OK
    assert await asyncio.to_thread(site.verdict) == []
    assert await asyncio.to_thread(sends, site, f"W-{how[:2]}") <= 1 + (how in ("refused", "hangs"))


def sends(site: Site, order: str) -> int:
    rows = site.hospital.control.requests(operation="LockRegistration")
    return sum(row["decoded"]["OrderNo"] == order for row in rows)


async def test_a_database_that_is_cut_off_is_told_and_found_again(services: Services, tmp_path: Path) -> None:
    """F16 for SQL: PostgreSQL behind the proxy hangs, drops, and answers again."""
    cluster = services.postgresql()
    with cluster.database() as url:
        address = url.replace("postgresql+psycopg", "postgresql")
        connection = await asyncpg.connect(address)
        await connection.close()
        with start_sandbox("--postgres", address) as hospital:
            async with Proxy(("127.0.0.1", cluster.port)) as proxy:
                database = address.replace(f":{cluster.port}/", f":{proxy.port}/")
                changes = {
                    **DIRECT,
                    "department.list:     {to: hospital_db, timeout: 3s, retry: 2, cache: 60s}": (
                        "department.list: {to: hospital_db, timeout: 1200ms}"
                    ),
                }
                async with standing(hospital, services, tmp_path, changes, HOSPITAL_DB=database) as site:
                    assert await found_again(site.bus)
                    for plan in (Hang(), Drop(), Refuse()):
                        proxy.usual = plan
                        assert await departments(site.bus) == 503
                        proxy.usual = Pass()
                        assert await found_again(site.bus)


async def departments(bus: Bus) -> int:
    return (await asyncio.to_thread(bus.call, "GET", "/v1/departments?level=1"))[0]


async def found_again(bus: Bus) -> bool:
    """A pool may hold a few connections that died unseen."""
    for _ in range(30):
        if await departments(bus) == 200:
            return True
    return False
