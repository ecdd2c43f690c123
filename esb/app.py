"""The one place where the parts of the bus are put together."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import uvicorn
import uvloop

from esb import lint, observe
from esb.clock import Ids, SystemClock
from esb.config.settings import Settings
from esb.errors import ConfigError, Finding
from esb.facade import Facade, Limits, server_config
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.store import Store, StoreError

_PRUNE_S = 3600.0


def serve(settings: Settings, environ: Mapping[str, str]) -> None:
    """Run the whole bus until SIGINT or SIGTERM; raises ``ConfigError`` before anything was started."""
    clock = SystemClock()
    began = clock.monotonic()
    observe.configure(settings.log_level, clock.now, sys.stderr)
    bus = Bus(settings, environ, clock)
    listening = _listen(settings.host, settings.port)
    port = listening.getsockname()[1]
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        config = server_config(bus.facade, host=settings.host, port=port)
        bus.ready = lambda: _log_start(settings.host, port, clock.monotonic() - began)
        runner.run(_Server(config).serve(sockets=[listening]))
    if bus.failure:
        raise bus.failure


class Bus:
    """A whole bus: everything is loaded and checked when it is made, nothing is opened before ``lifespan``.

    ``ready`` is called once, when the first request can be answered; ``failure`` is why it never was.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: SystemClock) -> None:
        self.failure: ConfigError | None = None
        self.ready: Callable[[], None] = lambda: None
        metrics = Metrics()
        plan = lint.load(settings, environ, clock, metrics)
        routes = {
            name: Route(config, plan.endpoints[config.to], plan.mappings[name])
            for name, config in plan.routes.routes.items()
        }
        self._store = Store(settings.store, metrics)
        self._clock, self._kept = clock, timedelta(days=settings.journal_days)
        self._pipeline = Pipeline(
            plan.contract.operations,
            routes,
            self._store,
            clock=clock,
            ids=Ids(clock),
            metrics=metrics,
            in_flight=settings.in_flight,
        )
        self.facade = Facade(
            plan.contract,
            self._pipeline,
            limits=Limits(body=settings.body_limit),
            lifespan=self.lifespan,
            registry=metrics.registry,
            clock=clock,
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The pipeline open; on leaving, effects under way have ended and everything is closed."""
        try:
            await self._pipeline.start()
        except ConfigError as error:
            self.failure = error
            raise
        _settle_memory()
        pruning = asyncio.create_task(self._prune())
        self.ready()
        try:
            yield
        finally:
            pruning.cancel()
            await self._pipeline.close()

    async def _prune(self) -> None:
        """Delete what the journal need not keep any more, every hour."""
        while True:
            try:
                rows = await self._store.prune(self._clock.now() - self._kept)
                observe.get_logger().info("journal_pruned", rows=rows)
            except StoreError as error:
                observe.get_logger().warning("journal_not_pruned", reason=str(error))
            await asyncio.sleep(_PRUNE_S)


class _Server(uvicorn.Server):
    """uvicorn raises the signal again after a clean end; a bus that was told to stop and did so ends with status 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _settle_memory() -> None:
    """What was loaded stays: the collector need not look at it again, nor run for every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _log_start(address: str, port: int, seconds: float) -> None:
    observe.get_logger().info("bus_started", address=address, port=port, seconds=round(seconds, 3))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        hint = "another bus may be running; choose a port with --port or ESB_PORT"
        raise ConfigError([Finding(f"{host}:{port}", 0, 0, f"cannot listen: {error.strerror}", hint)]) from None
