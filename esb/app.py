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
from enum import StrEnum

import uvicorn
import uvloop

from esb import observe, reload
from esb.buffer import Buffer, SqlBuffer
from esb.chores import Chores
from esb.clock import Ids, SystemClock
from esb.config.settings import Settings
from esb.errors import ConfigError, Finding
from esb.events import Subscribers
from esb.facade import Facade, Limits, server_config
from esb.inbound import Answers, Listeners
from esb.observe import Metrics
from esb.pipeline import Pipeline, Route
from esb.reload import Reloader
from esb.shadow import Shadows
from esb.store import Store, StoreError
from esb.store.engines import address, unusable
from esb.worker import Worker


class Role(StrEnum):
    """What of the bus a process is; all processes of a bus share a store."""

    RUN = "run"
    """Everything."""
    SERVE = "serve"
    """Answers the operations of the contract and settles what it asked."""
    WORK = "work"
    """Delivers what is queued, listens to the hospital's systems and passes their events on; of HTTP only its state."""


def serve(settings: Settings, environ: Mapping[str, str], role: Role = Role.RUN) -> None:
    """Run the bus, or a part of it, until SIGINT or SIGTERM; raises ``ConfigError`` before anything was started.

    SIGHUP reloads the configuration; it waits from here on until the loop hears it, and is lost once that ends.
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        _run(settings, environ, role)
    except ConfigError:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        raise


def _run(settings: Settings, environ: Mapping[str, str], role: Role) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    observe.configure(settings.log_level, clock.now, sys.stderr)
    bus = Bus(settings, environ, clock, role)
    listening = _listen(settings.host, settings.port)
    port = listening.getsockname()[1]
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        config = server_config(bus.facade, host=settings.host, port=port)
        bus.ready = lambda: _log_start(role, settings.host, port, clock.monotonic() - began)
        try:
            runner.run(_Server(config, bus.reloader.request).serve(sockets=[listening]))
        except SystemExit:  # uvicorn's way to end when ``lifespan`` did not begin
            if bus.failure is None:
                raise
    if bus.failure:
        raise bus.failure


class Bus:
    """A bus in its role: everything is loaded and checked when it is made, nothing is opened before ``lifespan``.

    ``ready`` is called once, when the first request can be answered; ``failure`` is why it never was.
    """

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], clock: SystemClock, role: Role = Role.RUN
    ) -> None:
        if role is not Role.RUN and address(settings.store).get_backend_name() == "sqlite":
            raise _not_shared(role)
        self._role, self._url = role, settings.store
        self.failure: ConfigError | None = None
        self.ready: Callable[[], None] = lambda: None
        metrics = Metrics()
        loaded = reload.load(settings, environ, clock, metrics)
        contract = loaded.plan.contract
        self._store = Store(settings.store, metrics, lease_s=settings.lease)
        self._shadows = Shadows(self._store, clock, metrics)
        answers = Answers(self._store)
        self._pipeline = Pipeline(
            contract.operations,
            loaded.routes,
            self._store,
            clock=clock,
            ids=Ids(clock),
            metrics=metrics,
            in_flight=settings.in_flight,
            version=loaded.digests.version,
            copy=self._shadows.copy,
            buffer=_buffer(settings, self._store, clock, metrics, loaded.routes),
            answers=answers,
        )
        self._worker = Worker(self._pipeline, clock, metrics, renew_s=settings.lease / 3)
        self._chores = Chores(self._store, self._pipeline, clock, timedelta(days=settings.journal_days))
        self._subscribers = Subscribers(loaded.subscriptions, self._pipeline, self._store, clock, metrics)
        self._listeners = Listeners(
            loaded.inlets,
            self._store,
            self._pipeline,
            clock=clock,
            ids=Ids(clock),
            metrics=metrics,
            told=self._subscribers.tell,
            answers=answers,
        )
        self.reloader = Reloader(
            settings,
            environ,
            self._pipeline,
            loaded,
            clock=clock,
            metrics=metrics,
            retired=gc.collect,
            listeners=self._listeners,
            subscribers=self._subscribers,
        )
        self.facade = Facade(
            contract,
            self._pipeline,
            limits=Limits(body=settings.body_limit),
            lifespan=self.lifespan,
            registry=metrics.registry,
            clock=clock,
            configuration=self.reloader.state,
            operations=role is not Role.WORK,
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The pipeline open; on leaving, effects under way have ended and everything is closed."""
        try:
            await self._start()
        except ConfigError as error:
            self.failure = error
            raise
        except StoreError as error:
            self.failure = unusable(address(self._url), f"did not do what the bus needs to start: {error}")
            raise self.failure from None
        _settle_memory()
        works = [self.reloader.run(), self._shadows.run()]
        works += [self._chores.take_over(), self._chores.prune(), self._chores.anchor()]
        works += [self._chores.measure() if self._role is Role.SERVE else self._worker.run()]
        beside = [asyncio.create_task(work) for work in works]
        self.ready()
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._close()

    async def _start(self) -> None:
        await self._pipeline.start()
        if self._role is Role.SERVE:
            return
        try:
            await self._subscribers.start()
            await self._listeners.start()
        except (ConfigError, StoreError):
            await self._close()
            raise

    async def _close(self) -> None:
        await self._listeners.close()
        await self._subscribers.close()
        await self._shadows.close()
        await self._pipeline.close()


class _Server(uvicorn.Server):
    """uvicorn raises the signal again after a clean end; a bus that was told to stop and did so ends with status 0.

    SIGHUP is blocked by who starts it until the loop can hear it, and ignored afterwards: the loop's own handlers would
    leave a moment at the end in which it kills.
    """

    def __init__(self, config: uvicorn.Config, hang_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._hang_up = hang_up

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._hang_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        yield
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _buffer(
    settings: Settings, store: Store, clock: SystemClock, metrics: Metrics, routes: Mapping[str, Route]
) -> Buffer:
    """The store's own queue, or the broker of ``ESB_BROKER`` in front of it."""
    if not settings.broker:
        return SqlBuffer(store, clock)
    try:
        from esb.buffer.rabbit import Broker, RabbitBuffer
    except ImportError:
        hint = "pip install 'hospital-esb[rabbit]', or leave ESB_BROKER empty"
        raise ConfigError([Finding("ESB_BROKER", 0, 0, "pika is not installed", hint)]) from None
    queued = sorted({route.endpoint.name for route in routes.values() if route.config.is_queued})
    return RabbitBuffer(store, clock, Broker(settings.broker, settings.broker_prefix), metrics, endpoints=queued)


def _settle_memory() -> None:
    """What was loaded stays: the collector need not look at it again, nor run for every few requests.

    What a reload brings is not frozen, so that it can be collected once it is replaced.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _log_start(role: Role, address: str, port: int, seconds: float) -> None:
    observe.get_logger().info("bus_started", role=str(role), address=address, port=port, seconds=round(seconds, 3))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        hint = "another bus may be running; choose a port with --port or ESB_PORT"
        raise ConfigError([Finding(f"{host}:{port}", 0, 0, f"cannot listen: {error.strerror}", hint)]) from None


def _not_shared(role: Role) -> ConfigError:
    hint = "set ESB_STORE to a postgresql:// address, or let one process be everything: esb run"
    return ConfigError(
        [Finding("ESB_STORE", 0, 0, f"esb {role} is one process of several, and they share a store", hint)]
    )
