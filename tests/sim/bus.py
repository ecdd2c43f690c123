"""The bus as a process that can be killed: the real pipeline, worker, store and endpoints, and who starts it again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from esb.buffer import Entry, Where
from esb.clock import SHANGHAI, Ids
from esb.codecs import yaml
from esb.config.routes import EndpointConfig, RouteConfig
from esb.contract import load_contract
from esb.endpoint import Endpoint
from esb.errors import ConfigError
from esb.mapping import Codes, Mapping, compile_mapping, load_codes, load_mapping
from esb.model import Result
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.store import Store, StoreError
from esb.worker import Worker
from tests.sim.disk import Disk, File
from tests.sim.history import History
from tests.sim.hospital import Hospital
from tests.sim.loop import Loop
from tests.sim.plan import Plan, Version
from tests.sim.wire import Wire

_ROOT = Path(__file__).parents[2]
_BEGAN = datetime(2026, 1, 15, 7, 0, tzinfo=SHANGHAI)
_BROKEN = "action: {action}\nrequest: {{OrderNo: $orderNumber}}\nresponse: [{{when: $ResultCode == '0', done: {{}}}}]\n"


class NoAnswer(Exception):
    """The connection was refused, or broke before an answer came."""


class Clock:
    """The machine's: ``offset`` is how wrong the wall clock is, in seconds."""

    def __init__(self, loop: Loop) -> None:
        self.monotonic = loop.time
        self.offset = 0.0

    def now(self) -> datetime:
        return _BEGAN + timedelta(seconds=self.monotonic() + self.offset)


@cache
def contract() -> Any:
    """The product's own."""
    return load_contract(_ROOT / "schemas")


@cache
def _codes() -> Codes:
    return load_codes(_ROOT / "mappings" / "codes")


@cache
def mapping(operation: str, is_broken: bool) -> Mapping:
    """The demo hospital's, or one with a typo that lint would have refused."""
    file = _ROOT / "mappings" / "his_soap" / f"{operation}.yaml"
    if not is_broken:
        return load_mapping(file, _codes())
    text = _BROKEN.format(action=load_mapping(file, _codes()).action)
    return compile_mapping(yaml.load(text, f"{operation}.yaml"), text, _codes())


def load_everything() -> None:
    """Contract and mappings, sound and broken."""
    for operation in ("registration.lock", "registration.unlock", "registration.find"):
        for is_broken in (False, True):
            mapping(operation, is_broken)
    contract()


class Process:
    """One life of the bus."""

    def __init__(self, bus: Bus, version: Version) -> None:
        self._bus = bus
        self.is_open = False
        self.number, self.context = bus.loop.process()
        self.metrics = Metrics()
        self.store = Store(
            bus.file.url, self.metrics, linger_s=0.1, engine=bus.file.engine, writer=bus.disk.writer
        )  # fmt: skip
        random_ = random.Random(f"bus {bus.plan.seed} {self.number}")
        self.pipeline = bus.make_pipeline(
            contract().operations,
            self.routes(version),
            self.store,
            clock=bus.clock,
            ids=Ids(bus.clock, random_.randbytes),
            metrics=self.metrics,
            in_flight=bus.plan.in_flight,
            uniform=random_.random,
            version=version.name,
        )
        self.worker = Worker(self.pipeline, bus.clock, self.metrics)
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.pipeline.start()
        self._working = asyncio.get_running_loop().create_task(self.worker.run())
        self.is_open = True

    async def stop(self) -> None:
        """As on SIGTERM."""
        self.is_open = False
        if self._working:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self.pipeline.close()

    def routes(self, version: Version) -> dict[str, Route]:
        """As ``esb.reload`` makes them."""
        endpoints = {name: self._endpoint(name, version) for name in {r["to"]: 0 for r in version.routes.values()}}
        return {
            operation: Route(
                RouteConfig.model_validate(route),
                endpoints[route["to"]],
                mapping(operation, operation in version.broken),
                {},
                "",
                f"{operation}{operation in version.broken}",
            )
            for operation, route in version.routes.items()
        }

    def _endpoint(self, name: str, version: Version) -> Endpoint:
        config = EndpointConfig.model_validate({"adapter": "his", "dialect": "his_soap", "limits": version.limits})
        wire = Wire(name, self._bus.hospital, self._bus.crowded)
        return Endpoint(name, config, wire, clock=self._bus.clock, metrics=Metrics())

    async def run(self, operation: str, request: dict[str, Any], key: str | None, principal: str) -> Result:
        """What the facade does with a request."""
        exchange = self.pipeline.begin(operation, request, key=key, principal=principal, request_id="")
        return await self.pipeline.run(exchange)

    async def reload(self, version: Version) -> None:
        """As ``esb.reload`` puts another configuration in place."""
        self.pipeline.replace(self.pipeline.prepare(self.routes(version), version.name))

    async def parked(self) -> list[Entry]:
        return await self.pipeline.buffer.list((Where.PARKED,))


class Bus:
    """Starts the process, kills it, starts it again. ``make_pipeline`` is the pipeline's class, or a broken one."""

    def __init__(
        self,
        plan: Plan,
        loop: Loop,
        history: History,
        hospital: Hospital,
        disk: Disk,
        file: File,
        make_pipeline: Callable[..., Pipeline] = Pipeline,
    ) -> None:
        self.plan, self.loop, self.history, self.hospital, self.disk, self.file = (
            plan, loop, history, hospital, disk, file,
        )  # fmt: skip
        self.make_pipeline = make_pipeline
        self.clock = Clock(loop)
        self.version = plan.versions[0]
        self.process: Process | None = None
        self.is_quiet = False
        self._rng = random.Random(f"supervisor {plan.seed}")
        self._outside = copy_context()
        self._open: dict[asyncio.Future[Any], None] = {}
        self._most = max(version.limits["concurrency"] for version in plan.versions)

    def begin(self) -> None:
        """Start a process."""
        self.process = process = Process(self, self.version)
        self.loop.create_task(self._started(process), context=process.context.copy())

    async def _started(self, process: Process) -> None:
        try:
            await process.start()
        except (ConfigError, StoreError) as error:
            self.history.note("bus", "not_up", process=process.number, why=str(error).replace("\n", " ")[-60:])
            self.kill("its start failed")
        else:
            self.history.note("bus", "up", process=process.number, version=process.pipeline.version)

    def kill(self, why: str) -> None:
        """kill -9 now, and a start soon."""
        process = self.process
        if process is None or (self.is_quiet and process.is_open):
            return
        self.history.note("bus", "killed", process=process.number, why=why)
        self._gone(process)

    def _gone(self, process: Process) -> None:
        self.process = None
        process.is_open = False
        self.loop.kill(process.number)
        process.store._lock.free()
        process.store._writer.commits.close()  # as its end closes every file
        for future in list(self._open):
            self._open.pop(future)
            if not future.done():
                future.set_exception(NoAnswer("connection reset"))
        self.loop.call_later(self._rng.uniform(0.1, 2.0), self.begin, context=self._outside.copy())

    def stop(self) -> None:
        """SIGTERM, and a start when it has ended."""
        process = self.process
        if process is None or not process.is_open or self.is_quiet:
            return
        self.history.note("bus", "stopping", process=process.number)
        self.loop.create_task(self._stopped(process), context=process.context.copy())

    async def _stopped(self, process: Process) -> None:
        await process.stop()
        if self.process is process:
            self.history.note("bus", "stopped", process=process.number)
            self._gone(process)

    def ask(self, work: Callable[[Process], Coroutine[Any, Any, Any]]) -> tuple[asyncio.Future[Any], Any]:
        """Have the process do ``work``: a future of its result or ``NoAnswer``, and the task in the process."""
        process = self.process
        if process is None or not process.is_open:
            raise NoAnswer("connection refused")
        future = self.loop.create_future()
        self._open[future] = None
        task = self.loop.create_task(work(process), context=process.context.copy())
        task.add_done_callback(partial(self._answered, future), context=process.context.copy())
        return future, task

    def _answered(self, future: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        self._open.pop(future, None)
        if future.done():
            return
        if task.cancelled():
            future.set_exception(NoAnswer("cancelled"))
        elif error := task.exception():
            future.set_exception(error if isinstance(error, StoreError) else NoAnswer(repr(error)))
            if not isinstance(error, StoreError):
                self.history.note("bus", "raised", why=repr(error))
        else:
            future.set_result(task.result())

    def crowded(self, under_way: int) -> None:
        """A call begins: so many are with the hospital now."""
        if under_way > self._most:
            self.history.note("bus", "crowded", calls=under_way, most=self._most)
