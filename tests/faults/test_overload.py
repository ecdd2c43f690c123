"""Too much at once, one system that hangs, a stop under load: F09, F16, F36, I10.

Judged on outcomes and counts. Times are bounds only ("answered while the other still hung"), never measurements.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.backends import NAMES, RUNS, Services, made
from tests.faults.clients import Frontend, browsing
from tests.faults.history import Kind
from tests.faults.proxy import Drop, Hang, Plan, Proxy, Refuse
from tests.faults.site import DIRECT, Site, standing
from tests.faults.table import Tried
from tests.journeys.conftest import LOCK, QUICK, SCHEDULES, open_slot, tomorrow
from tests.sandbox_process import Sandbox

OPENED = "SELECT count(*) FROM exchange WHERE operation = 'registration.lock'"
PATIENT = {"documentType": "id_card", "documentNumber": "110101190001011236", "name": "患者一"}
OTHERS = (
    ("GET", "/v1/departments?level=1", None),
    ("POST", "/v1/patients/search", PATIENT),
    ("GET", "/v1/patients/P0000001/reports", None),
    ("GET", "/v1/parking/fees?plate=%E4%BA%ACA12345", None),
)
"""One question to each of the other systems: SQL, MLLP, FHIR, REST."""


PATIENT_ROUTES = {
    **DIRECT,
    "patient.find:        {to: index, timeout: 4s, retry: 1}": "patient.find: {to: index, timeout: 60s, retry: 1}",
    "report.list:         {to: lis, timeout: 5s, retry: 1}": "report.list: {to: lis, timeout: 60s, retry: 1}",
    "parking.fee:         {to: parking, timeout: 4s, retry: 1}": "parking.fee: {to: parking, timeout: 60s, retry: 1}",
}
"""What is looked at takes as long as the machine needs, for it shares it with others."""


def limited(changes: dict[str, str], limits: str) -> dict[str, str]:
    """The same routes with other limits for the HIS."""
    kept = {old: new for old, new in changes.items() if not old.startswith("breaker")}
    return {**kept, "limits: {concurrency: 32, queue: 500, breaker: 5 in 30s for 5s}": f"limits: {limits}"}


async def ask(session: aiohttp.ClientSession, site: Site, method: str, path: str, body: Any) -> int:
    async with session.request(method, site.url + path, json=body) as answer:
        await answer.read()
        return answer.status


def schedules() -> str:
    return f"/v1/schedules?doctorId=D001&from={tomorrow()}&to={tomorrow()}"


@pytest.mark.parametrize("plan", [Hang(), Refuse(), Drop()], ids=["hangs", "refuses", "drops"])
async def test_a_system_that_is_broken_leaves_the_others_untouched(
    hospital: Sandbox, services: Services, tmp_path: Path, plan: Plan, tried: Tried
) -> None:
    """F16: 150 callers wait for the HIS; 100 questions to four other systems are all answered."""
    tried(f"one system {type(plan).__name__.lower()}s, 150 wait: the others (F16)", "sqlite-sql")
    async with Proxy(("127.0.0.1", hospital.http)) as proxy:
        his = f"http://127.0.0.1:{proxy.port}/soap/his"
        async with standing(hospital, services, tmp_path, PATIENT_ROUTES, HIS_URL=his) as site:
            proxy.usual = plan
            async with browsing(60) as session:
                stuck = [asyncio.create_task(ask(session, site, "GET", schedules(), None)) for _ in range(150)]
                others = await asyncio.gather(*(ask(session, site, *OTHERS[n % 4]) for n in range(100)))
                assert set(others) == {200}
                told = Counter(await asyncio.gather(*stuck))
                assert set(told) == {503}
        assert proxy.seen[type(plan).__name__] > 0


async def test_a_hanging_system_holds_its_own_places_only_and_no_more_callers_than_it_may(
    hospital: Sandbox, services: Services, tmp_path: Path, tried: Tried
) -> None:
    """F16, I10: 4 places and 10 who wait; 10 others hear meanwhile that it is busy, with a time to come back."""
    tried("one system holds its answers: who finds no place (F16)", "sqlite-sql")
    patient = {**PATIENT_ROUTES, SCHEDULES: "schedule.list: {to: his, timeout: 60s}"}
    changes = limited(patient, "{concurrency: 4, queue: 10, breaker: 500 in 30s}")
    async with standing(hospital, services, tmp_path, changes) as site:
        hospital.control.fault("soap", "hold", operation="ListSchedules")
        async with browsing(60) as session:
            waiting = {asyncio.create_task(session.get(site.url + schedules())) for _ in range(24)}
            told: list[aiohttp.ClientResponse] = []
            while len(told) < 10:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                told += [one.result() for one in done]
            codes = [(one.status, (await one.json())["code"]) for one in told]
            assert codes == [(503, "endpoint_busy")] * 10
            assert all(1 <= int(one.headers["retry-after"]) <= 5 for one in told)
            assert [await ask(session, site, *other) for other in OTHERS] == [200] * 4
            hospital.control.clear_faults()
            assert [(await one).status for one in waiting] == [200] * 14


@pytest.mark.parametrize("name", NAMES if RUNS > 1 else NAMES[:1])
async def test_a_stop_with_200_requests_under_way_answers_all_of_them_and_loses_none(
    hospital: Sandbox, services: Services, tmp_path: Path, name: str, tried: Tried
) -> None:
    """F09: SIGTERM; what ends in its time is answered, the rest hears 503 or 202, and the process ends within 30 s."""
    tried("SIGTERM, 200 requests under way (F09)", name)
    changes = {
        **limited(DIRECT, "{concurrency: 40, queue: 500, breaker: 500 in 30s}"),
        LOCK: DIRECT[LOCK].replace("timeout: 1500ms", "timeout: 60s"),
    }
    async with standing(hospital, services, tmp_path, changes, name) as site:
        slots = [open_slot(site.bus, skip=skip) for skip in range(8)]
        site.fresh()
        hospital.control.fault("soap", "delay_after", operation="LockRegistration", seconds=2.5)
        async with browsing(120) as session:
            clients = [Frontend(site, session, f"T{n}", tries=1) for n in range(200)]
            asked = [asyncio.create_task(one.lock(f"T{n}", slots[n % 8])) for n, one in enumerate(clients)]
            while await asyncio.to_thread(site.backend.rows, OPENED) != [(200,)]:
                assert not any(one.done() for one in asked)
            status = await asyncio.to_thread(site.bus.stop)
            told = await asyncio.gather(*asked)
        assert status == 0
        assert 0 not in {one.status for one in told}, "nobody was cut off without a word"
        assert all(client.retry_after >= 1 for client, one in zip(clients, told, strict=True) if one.status == 503)
        hospital.control.clear_faults()
        await asyncio.to_thread(site.start)
        async with browsing() as session:
            again = await asyncio.gather(
                *(Frontend(site, session, f"T{n}").lock(f"T{n}", slots[n % 8]) for n in range(200))
            )
        assert {one.kind for one in again} <= {Kind.OK, Kind.FAIL}
        assert await asyncio.to_thread(site.verdict) == []


@pytest.fixture(scope="module")
def site(shared_hospital: Sandbox, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("bodies")
    with made("sqlite-sql", folder, services) as backend:
        site = Site(shared_hospital, backend, folder, QUICK)
        site.start()
        yield site
        site.stop()


async def test_a_body_too_large_is_refused_while_it_comes_and_a_bomb_is_not_unpacked(site: Site) -> None:
    """F36: 20 MB in chunks without a length; a gzip of 100 MB."""

    async def endless() -> Any:
        for _ in range(20):
            yield b"x" * 1024 * 1024

    bomb = gzip.compress(b"0" * 100 * 1024 * 1024)
    before = memory(site)
    as_json = {"Content-Type": "application/json"}
    async with browsing() as session:
        async with session.post(f"{site.url}/v1/patients/search", data=endless(), headers=as_json) as answer:
            assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")
        packed = {**as_json, "Content-Encoding": "gzip"}
        async with session.post(f"{site.url}/v1/patients/search", data=bomb, headers=packed) as answer:
            assert (answer.status, (await answer.json())["code"]) in (
                (415, "media_type_unsupported"),
                (413, "body_too_large"),
            )
        assert await ask(session, site, *OTHERS[0]) == 200
    assert memory(site) - before < 16 * 1024, "kilobytes"


def memory(site: Site) -> int:
    """Resident kilobytes of the bus."""
    status = Path(f"/proc/{site.process.pid}/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
