"""A bus on real files whose one system is scripted: what a reload changes, and what it must not."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from esb import reload
from esb.clock import Ids, SystemClock
from esb.config.settings import Settings
from esb.model import Result
from esb.observe import Metrics
from esb.pipeline import Pipeline
from esb.reload import Reloader
from esb.store import Row, Store
from tests.esb.configured import ROOT
from tests.esb.kit import until
from tests.esb.scripted.system import CONNECTED, System

ROUTES = """
endpoints:
  his:
    adapter: system
    dialect: his_soap
    settings: {address: first}
    limits: {concurrency: 4, breaker: 3 in 30s for 60s}
routes:
  doctor.search: {to: his, timeout: 300ms, cache: 60s}
  registration.lock: {to: his, timeout: 300ms, settle: registration.find, settle_after: [10ms, 20ms]}
  registration.find: {to: his, timeout: 300ms}
"""
SLOT = {"slotId": "S1", "scheduleId": "R88", "departmentId": "D0101", "doctorId": "D007"}
TIMES = {"start": "2026-01-16T08:30:00+08:00", "end": "2026-01-16T09:00:00+08:00"}
DOCTOR = {"DoctorNo": "D007", "Name": "A", "DeptCode": "D1", "DeptName": "E", "Sex": "1", "Fee": "25.00"}
DOCTORS = {"ResultCode": "0", "Doctors": {"Doctor": [DOCTOR]}}
LOCKED = {
    "ResultCode": "0",
    "Lock": {"No": "L1", "OrderNo": "R1", "SlotNo": "S1", "Fee": "25.00", "Expires": "20260115094000", "Status": "1"},
}
SEARCH = "mappings/his_soap/doctor.search.yaml"


class Bus:
    """The bus, its files in ``folder``, and what tests ask of both."""

    def __init__(self, folder: Path, watch: float = 0.0, sleep: Any = asyncio.sleep, routes: str = ROUTES) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "mappings", folder / "mappings")
        (folder / "schemas").mkdir()
        for name in ("common", "doctors", "registrations"):
            shutil.copy(ROOT / "schemas" / f"{name}.yaml", folder / "schemas")
        (folder / "secrets").mkdir()
        (folder / "routes.yaml").write_text(routes, "utf-8")
        self.settings = Settings(
            routes=folder / "routes.yaml",
            schemas=folder / "schemas",
            mappings=folder / "mappings",
            secrets=folder / "secrets",
            adapters="tests.esb.scripted",
            watch=watch,
        )
        self.metrics, clock = Metrics(), SystemClock()
        CONNECTED.clear()
        loaded = reload.load(self.settings, {}, clock, self.metrics)
        self.store = Store(f"sqlite:///{folder}/esb.db", self.metrics, linger_s=0.001)
        self.pipeline = Pipeline(
            loaded.plan.contract.operations, loaded.routes, self.store, clock=clock, ids=Ids(clock),
            metrics=self.metrics, sleep=sleep, version=loaded.digests.version,
        )  # fmt: skip
        self.reloader = Reloader(self.settings, {}, self.pipeline, loaded, clock=clock, metrics=self.metrics)
        self.his.does("SearchDoctors", DOCTORS)

    @property
    def his(self) -> System:
        """The system as it was connected to at the start."""
        return CONNECTED[0]

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        with (self.folder / file).open("a", encoding="utf-8") as opened:
            opened.write(text)

    def reloads(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("config_reloads_total", {"result": result}) or 0.0

    async def reload(self, result: str = "loaded") -> None:
        """Ask for a reload and wait until one has ended as ``result``."""
        before = self.reloads(result)
        self.reloader.request()
        await self.until(lambda: self.reloads(result) > before)

    async def until(self, look: Callable[[], Any]) -> None:
        async def found() -> Any:
            return look()

        await until(found)

    async def ask(self, operation: str, request: dict[str, Any], key: str | None = None) -> Result:
        exchange = self.pipeline.begin(operation, request, key=key, principal="app", request_id="Q")
        return await self.pipeline.run(exchange)

    async def doctor(self, keyword: str = "a") -> dict[str, Any]:
        """The one doctor that a search finds."""
        result = await self.ask("doctor.search", {"keyword": keyword})
        assert result.body is not None, result
        found: dict[str, Any] = result.body["items"][0]
        return found

    async def lock(self, key: str = "K1") -> Result:
        request = {"orderNo": "R1", "patientId": "P1", "slot": {**SLOT, **TIMES}, "fee": 2500}
        return await self.ask("registration.lock", request, key)

    async def settled(self, exchange: str) -> Row:
        """The journal's row, once it is not unknown any more."""
        async with asyncio.timeout(15):
            while (row := await self.row(exchange)).state == "unknown":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return row

    async def row(self, exchange: str) -> Row:
        row: Row = await until(lambda: self.store.find(exchange))
        return row


@contextlib.asynccontextmanager
async def reloading(folder: Path, **more: Any) -> AsyncIterator[Bus]:
    bus = Bus(folder, **more)
    await bus.pipeline.start()
    task = asyncio.create_task(bus.reloader.run())
    try:
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.pipeline.close()
