"""Reload: a running bus takes up changed routes, mappings and code tables, all of them at once or none.

What is found wrong keeps the whole of it out and the version in use goes on serving. ``docs/reload.md`` is the
operator's view.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from esb import lint
from esb.blind import Blind
from esb.clock import Clock
from esb.config.files import Digests, Files, Look
from esb.config.routes import RouteConfig
from esb.config.settings import Settings
from esb.config.subjects import load_blind
from esb.errors import ConfigError, Finding
from esb.events import Subscribers, Subscription
from esb.inbound import Callback, Callbacks, Inlet, Listeners, Question
from esb.lint import Plan
from esb.model import Tree
from esb.observe import Metrics, get_logger
from esb.pipeline import Pipeline, Route, Version

_TRIES = 5
_SHOWN = 5
_SWITCH_S = 0.0002
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds together, and the digests of exactly the files that it was made of."""

    plan: Plan
    digests: Digests
    routes: Mapping[str, Route]
    inlets: Mapping[str, Inlet] = field(default_factory=dict)
    subscriptions: tuple[Subscription, ...] = ()


class RejectedError(ConfigError):
    """Files that are kept out; ``digests`` are theirs, None when nobody can say."""

    def __init__(self, findings: Iterable[Finding], digests: Digests | None) -> None:
        super().__init__(findings)
        self.digests = digests


def load(settings: Settings, environ: Mapping[str, str], clock: Clock, metrics: Metrics) -> Loaded:
    """What the files say now, whoever is writing them; raises ``RejectedError`` with every finding. Blocks."""
    files = Files(settings)
    for _ in range(_TRIES):
        before = files.read()
        found: list[Finding] = []
        try:
            plan = lint.load(settings, environ, clock, metrics)
            blind = load_blind(settings.secrets, environ)
        except ConfigError as error:
            found = list(error.findings)
        except OSError as error:  # gone or locked between two looks at it
            found = [Finding(str(error.filename or settings.mappings), 0, 0, f"cannot be read: {error.strerror}")]
        if files.read() == before:
            break
    else:
        message, hint = "the files change while they are read", "reload when all are written"
        raise RejectedError([Finding(str(settings.routes), 0, 0, message, hint)], None)
    if found:
        raise RejectedError(found, before)
    return Loaded(plan, before, _routes(plan, before, files, blind), _inlets(plan, before, files), _subscriptions(plan))


def _subscriptions(plan: Plan) -> tuple[Subscription, ...]:
    return tuple(
        Subscription(event, one.label, one.call, one.begin == "start", plan.fillings.get((event, one.label)))
        for event, subscribers in plan.routes.events.items()
        for one in subscribers
    )


def _routes(plan: Plan, digests: Digests, files: Files, blind: Blind | None) -> dict[str, Route]:
    routes = {}
    for operation, config in plan.routes.routes.items():
        mapping = plan.mappings[operation]
        name = files.name(mapping.file)
        routes[operation] = Route(
            config,
            plan.endpoints[config.to],
            mapping,
            plan.routes.endpoints[config.to].site,
            f"{mapping.file}@{digests.files.get(name, '')[:12]}",
            digests.mapping(name),
            blind,
            _shadow(plan, operation),
        )
    return routes


def _shadow(plan: Plan, operation: str) -> Route | None:
    config, found = plan.routes.routes[operation], plan.shadows.get(operation)
    if found is None:
        return None
    asked = RouteConfig(to=found.endpoint.name, timeout_s=config.timeout_s)
    return Route(asked, found.endpoint, found.mapping, found.endpoint.site)


def _inlets(plan: Plan, digests: Digests, files: Files) -> dict[str, Inlet]:
    found: dict[str, list[Callback | Question]] = {name: [] for name in plan.listeners}
    for name, config in plan.routes.callbacks.items():
        translation, site = plan.translations[name], plan.routes.endpoints[config.source].site
        mapped_by = f"{translation.file}@{digests.files.get(files.name(translation.file), '')[:12]}"
        made: Callback | Question
        if config.emits is not None:
            made = Callback(name, config.on, plan.contract.events[config.emits], translation, site, mapped_by)
        else:
            operation = plan.contract.operations[str(config.answers)]
            made = Question(name, config.on, operation, translation, plan.answers[name], site, mapped_by)
        found[config.source].append(made)
    return {
        name: Inlet(plan.listeners[name], Callbacks.of(callbacks, digests.version)) for name, callbacks in found.items()
    }


class Reloader:
    """Loads again when asked to and when the files have changed, one at a time; what was asked last is what counts.

    ``watch_s`` is the time between two looks at the files, 0 for none. Changed files are taken up when two looks in
    a row find them alike: who copies many of them is not taken at half.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        pipeline: Pipeline,
        loaded: Loaded,
        *,
        clock: Clock,
        metrics: Metrics,
        retired: Callable[[], object] = lambda: None,
        listeners: Listeners | None = None,
        subscribers: Subscribers | None = None,
    ) -> None:
        self._settings, self._environ = settings, environ
        self._listeners, self._subscribers = listeners, subscribers
        self._pipeline, self._clock, self._metrics, self._retired = pipeline, clock, metrics, retired
        self._files = Files(settings)
        self._contract, self._schemas = loaded.plan.contract.document, loaded.digests
        self._tried: Digests | None = loaded.digests
        self._asked = asyncio.Event()
        self._rejected: dict[str, Tree] | None = None
        self._show(loaded.digests.version)

    def request(self) -> None:
        """Load soon, whether or not the files have changed; on the event loop."""
        self._asked.set()

    def state(self) -> dict[str, Tree]:
        """For people: the version in use, since when, and what was rejected after it, if the files still say so."""
        shown: dict[str, Tree] = {"version": self._pipeline.version, "since": self._since}
        return {**shown, "rejected": self._rejected} if self._rejected else shown

    async def run(self) -> None:
        """Until it is cancelled."""
        watch = _Watch(self._files, self._settings.watch)
        while True:
            asked = await self._wait(watch)
            try:
                await self._reload(asked)
            except RejectedError as error:
                self._reject(error, asked, "rejected")
            except Exception as error:
                _log.error("config_not_reloaded", exc_info=error)
                message, hint = f"cannot be loaded: {type(error).__name__}", "see config_not_reloaded in the log"
                found = Finding(str(self._settings.routes), 0, 0, message, hint)
                self._reject(RejectedError([found], None), asked, "failed")

    async def _wait(self, watch: _Watch) -> str:
        """Why to load: ``signal``, or ``watch`` when the files have changed and are quiet."""
        while True:
            try:
                async with asyncio.timeout(watch.seconds or None):
                    await self._asked.wait()
                self._asked.clear()
                return "signal"
            except TimeoutError:
                if await watch.has_news():
                    return "watch"

    async def _reload(self, asked: str) -> None:
        if asked == "watch" and await asyncio.to_thread(self._files.read) == self._tried:
            return
        began = self._clock.monotonic()
        loaded, version = await asyncio.to_thread(self._prepared)
        self._tried, self._rejected = loaded.digests, None
        self._metrics.config_findings.set(0)
        if version is None:
            self._end("unchanged", asked, loaded.digests.version, began)
            return
        self._pipeline.replace(version, self._retired)
        if self._listeners is not None:
            self._listeners.replace(loaded.inlets)
        if self._subscribers is not None:
            self._subscribers.replace(loaded.subscriptions)
        self._show(version.name)
        self._end("loaded", asked, version.name, began)

    def _prepared(self) -> tuple[Loaded, Version | None]:
        """In a thread: all that takes time, so that putting it in place takes none. None when nothing is different."""
        with _in_the_background():
            loaded = load(self._settings, self._environ, self._clock, Metrics())
            self._refuse_contract(loaded)
            version = self._pipeline.prepare(loaded.routes, loaded.digests.version)
            self._bind(loaded)
        return loaded, version if self._pipeline.differs(version) else None

    def _bind(self, loaded: Loaded) -> None:
        try:
            if self._listeners is not None:
                self._listeners.bind(loaded.inlets)
        except ConfigError as error:
            raise RejectedError(error.findings, loaded.digests) from None

    def _refuse_contract(self, loaded: Loaded) -> None:
        """The contract is compiled into the facade: half of the bus cannot have another one than the other half."""
        names = loaded.digests.differing(self._schemas, "schemas/")
        if not names or loaded.plan.contract.document == self._contract:
            return
        message, hint = "the contract has changed; it is read at the start only", "restart the bus"
        folder = self._settings.schemas
        raise RejectedError(
            (Finding(str(folder / name.removeprefix("schemas/")), 0, 0, message, hint) for name in names),
            loaded.digests,
        )

    def _reject(self, error: RejectedError, asked: str, result: str) -> None:
        self._tried = error.digests
        version = error.digests.version if error.digests else ""
        findings = error.findings
        self._rejected = {
            "version": version,
            "at": self._clock.now().isoformat(timespec="seconds"),
            "findings": len(findings),
            "first": [str(one) for one in findings[:_SHOWN]],
        }
        for one in findings:
            _log.error("config_finding", version=version, file=one.file, line=one.line, reason=str(one))
        _log.error("config_rejected", version=version, cause=asked, count=len(findings))
        self._metrics.config_findings.set(len(findings))
        self._metrics.config_reloads.labels(result).inc()

    def _show(self, version: str) -> None:
        now = self._clock.now()
        self._since = now.isoformat(timespec="seconds")
        self._metrics.config.info({"version": version})
        self._metrics.config_loaded.set(now.timestamp())

    def _end(self, result: str, asked: str, version: str, began: float) -> None:
        seconds = round(self._clock.monotonic() - began, 3)
        _log.info(f"config_{result}", version=version, cause=asked, seconds=seconds)
        self._metrics.config_reloads.labels(result).inc()


@contextlib.contextmanager
def _in_the_background() -> Iterator[None]:
    """Requests are answered meanwhile: a thread that computes gives way soon, and the collector does not stop all."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval)


class _Watch:
    """Looks at the files."""

    def __init__(self, files: Files, seconds: float) -> None:
        self._files, self.seconds = files, seconds
        self._last: Look | None = None
        self._done: Look | None = None

    async def has_news(self) -> bool:
        """Whether this look and the one before it are alike and unlike the last that was news."""
        look = await asyncio.to_thread(self._files.look)
        quiet, self._last = look == self._last, look
        if not quiet or look == self._done:
            return False
        self._done = look
        return True
