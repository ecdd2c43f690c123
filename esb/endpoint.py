"""A live system: its adapter with its envelopes, and the limits that belong to the system rather than to a route."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from esb.clock import Clock
from esb.codecs.yaml import Document, PathTuple, nearest
from esb.config.findings import findings
from esb.config.routes import EndpointConfig, Limits
from esb.errors import AdapterError, ConfigError, Finding, Malformed, OutcomeUnknown, Unavailable
from esb.model import Effect, Tree
from esb.observe import Metrics, get_logger
from esb.policies import Limited
from esb.policies.breaker import CircuitBreaker
from esb.policies.breaker import State as BreakerState
from esb.policies.bulkhead import Bulkhead
from esb.policies.ratelimit import RateLimit
from esb.spi import Adapter, AnsweredLater, Call, Described, Description, Envelope, Listener

_GRACE_S = 0.1
_CLOSE_S = 5.0
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """One configured endpoint that systems call. ``identity`` is equal where settings and the files they name are."""

    name: str
    listener: Listener
    identity: Any


class Endpoint:
    """One configured system. ``call`` sends one message within the system's limits; ``site`` is what mappings see.

    Safe for many calls at once on one event loop; made in any thread. ``decode`` is the adapter module's reading of an
    example's text, ``settings`` are the adapter's as it reads them: what it takes for a secret prints as stars.
    """

    def __init__(
        self,
        name: str,
        config: EndpointConfig,
        adapter: Adapter,
        envelopes: Sequence[Envelope] = (),
        *,
        clock: Clock,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        decode: Callable[[str], Tree] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.site = config.site
        self.limits = config.limits
        self.settings = settings or {}
        self._identity = (config.adapter, config.settings, config.envelope, _digests((self.settings, config.envelope)))
        self._adapter = adapter
        self._envelopes = tuple(envelopes)
        self._clock, self._sleep = clock, sleep
        self._decode = decode
        self._looking: asyncio.Task[None] | None = None
        self._is_replaced = False
        limits = config.limits
        self._breaker = CircuitBreaker(clock, **limits.breaker.model_dump(), changed=self._breaker_changed)
        self._bulkhead = Bulkhead(limits.concurrency, limits.queue)
        self._rate = self._rate_of(limits)
        self._count_in(metrics)

    def _rate_of(self, limits: Limits) -> RateLimit | None:
        return RateLimit(self._clock, self._sleep, limits.rate.count, limits.rate.per_s) if limits.rate else None

    def _count_in(self, metrics: Metrics) -> None:
        outcomes = ("done", "refused", "unavailable", "unknown", "malformed", "limited", "cancelled")
        self._counts = {one: metrics.endpoint_calls.labels(self.name, one) for one in outcomes}
        self._shown = metrics.breaker_state.labels(self.name)
        self._shown.set(self._breaker.state.value)
        metrics.endpoint_in_flight.labels(self.name).set_function(lambda: self._bulkhead.in_flight)

    def _breaker_changed(self, state: BreakerState) -> None:
        if not self._is_replaced:
            self._shown.set(state.value)
        _log.warning("breaker_changed", endpoint=self.name, state=state.name.lower())

    def is_same(self, other: Endpoint) -> bool:
        """Whether ``other`` was loaded with equal settings, envelopes and files: then this one's connections serve."""
        return self._identity == other._identity

    def set_limits(self, limits: Limits) -> None:
        """Go on within other limits; breaker, places and rate keep what they know."""
        if limits == self.limits:
            return
        if limits.rate != self.limits.rate:
            self._rate = self._rate_of(limits)
        self._breaker.adjust(**limits.breaker.model_dump())
        self._bulkhead.resize(limits.concurrency, limits.queue)
        self.limits = limits

    def join(self, earlier: Endpoint | None, metrics: Metrics) -> None:
        """Begin to be counted, in the place of ``earlier`` if there is one.

        What it holds of the system's places and rate, both hold together, so that the system bears no more than it is
        said to while the earlier one's last calls run. The breaker begins anew: other settings may be the cure.
        """
        if earlier is not None:
            earlier._is_replaced = True
            mine, self.limits = self.limits, earlier.limits
            self._bulkhead, self._rate = earlier._bulkhead, earlier._rate
            self.set_limits(mine)
        self._count_in(metrics)

    def forget(self, metrics: Metrics) -> None:
        """No number of a system that is no longer there; what was counted stays."""
        for gauge in (metrics.endpoint_in_flight, metrics.breaker_state):
            gauge.remove(self.name)

    async def call(
        self, action: str, payload: Tree, call: Call, before: Callable[[], Awaitable[None]] | None = None
    ) -> Tree:
        """The system's answer, unwrapped. Raises the four adapter errors and ``Limited`` (nothing was sent).

        ``before`` is awaited when every limit has let the call through, just before the adapter may send. The call
        ends by its deadline whatever the adapter does.
        """
        try:
            self._breaker.check(call.effect)
            action, payload, actions = self._wrap(action, payload, call)
            await self._bulkhead.enter(call.remaining(), call.effect)
            try:
                answer = await self._within_limits(action, payload, call, before)
            finally:
                self._bulkhead.leave()
            answer = self._unwrapped(answer, actions, call)
        except AdapterError as error:
            self._counts["limited" if isinstance(error, Limited) else error.outcome].inc()
            self._look()
            raise
        except asyncio.CancelledError:
            self._counts["cancelled"].inc()
            raise
        self._counts["done"].inc()
        return answer

    def _look(self) -> None:
        """An effect never tries whether the system is back, and a system may have no reads: look for a sign of life."""
        ticket = self._breaker.due()
        if ticket is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._decide(ticket))

    async def _decide(self, ticket: int) -> None:
        verdict = self._breaker.succeeded if await self.probe() is None else self._breaker.failed
        verdict(ticket)

    def _wrap(self, action: str, payload: Tree, call: Call) -> tuple[str, Tree, list[str]]:
        actions = []
        for envelope in reversed(self._envelopes):
            actions.append(action)
            action, payload = envelope.wrap(action, payload, call)
        return action, payload, actions

    def _unwrapped(self, answer: Tree, actions: list[str], call: Call) -> Tree:
        for envelope, inner in zip(self._envelopes, reversed(actions), strict=True):
            answer = envelope.unwrap(inner, answer, call)
        return answer

    async def _within_limits(
        self, action: str, payload: Tree, call: Call, before: Callable[[], Awaitable[None]] | None
    ) -> Tree:
        if self._rate:
            await self._rate.enter(call.remaining())
        ticket = self._breaker.enter(call.effect)
        verdict = self._breaker.abandoned
        try:
            if before:
                await before()
            answer = await self._carry(action, payload, call)
            verdict = self._breaker.succeeded
            return answer
        except Limited:
            raise
        except (Unavailable, OutcomeUnknown):
            verdict = self._breaker.failed
            raise
        except AdapterError:
            verdict = self._breaker.succeeded if call.wire.left else self._breaker.abandoned
            raise
        finally:
            verdict(ticket)

    async def _carry(self, action: str, payload: Tree, call: Call) -> Tree:
        remaining = call.remaining()
        if remaining <= 0:
            raise Limited("endpoint_busy", "the deadline passed before anything was sent", retry_after=1.0)
        try:
            async with asyncio.timeout(remaining + _GRACE_S):
                return await self._adapter.call(action, payload, call)
        except TimeoutError:
            raise self._lost(call, "the adapter did not end by the deadline") from None
        except (AdapterError, ConfigError):
            raise
        except Exception as error:
            _log.error("adapter_failed", endpoint=self.name, exchange=call.exchange, exc_info=error)
            raise self._lost(call, f"the adapter raised {type(error).__name__}") from error

    def _lost(self, call: Call, reason: str) -> AdapterError:
        return OutcomeUnknown(reason) if call.wire.left else Unavailable(reason)

    async def answered(self, build: Callable[[], tuple[str, Tree]], call: Call) -> Tree | None:
        """The answer, unwrapped, that came later to what ``build`` says was sent; None when none has. Sends nothing."""
        if not isinstance(self._adapter, AnsweredLater):
            return None
        action, payload, actions = self._wrap(*build(), call)
        answer = await self._adapter.answered(action, payload, call)
        return None if answer is None else self._unwrapped(answer, actions, call)

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """What ``call`` would put on the wire, as text for people. Nothing is sent and no limit is touched."""
        action, payload, _ = self._wrap(action, payload, call)
        return self._adapter.preview(action, payload, call)

    async def probe(self, seconds: float = 2.0) -> str | None:
        """None when the system shows a sign of life within ``seconds``, otherwise why not."""
        deadline = self._clock.monotonic() + seconds
        call = Call("probe", "probe", "probe", Effect.READ, deadline, self._clock)
        try:
            async with asyncio.timeout(seconds + _GRACE_S):
                await self._adapter.probe(call)
        except AdapterError as error:
            return error.reason
        except TimeoutError:
            return "no sign of life in time"
        except Exception as error:
            _log.error("adapter_failed", endpoint=self.name, exc_info=error)
            return f"the adapter raised {type(error).__name__}"
        return None

    async def close(self) -> None:
        """Free the adapter's connections; an adapter that cannot is logged and left behind."""
        if self._looking:
            self._looking.cancel()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._adapter.close()
        except Exception as error:
            _log.error("adapter_failed", endpoint=self.name, exc_info=error)

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        """Lint: what the adapter finds wrong with a mapping's action and the top names of its request."""
        return () if self._envelopes else self._adapter.check(action, fields)

    def describe(self, action: str) -> Description:
        """What the system itself says of an action's request and answer; nothing where envelopes hide it."""
        if self._envelopes or not isinstance(self._adapter, Described):
            return Description()
        return self._adapter.describe(action)

    def decode_example(self, text: str) -> Tree:
        """The tree of an example's answer written as text; raises ``Malformed``."""
        if self._decode is None:
            raise Malformed("this adapter reads no text: write the answer as a tree")
        return self._decode(text)


def load_endpoint(
    name: str,
    config: EndpointConfig,
    document: Document,
    *,
    clock: Clock,
    metrics: Metrics,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    adapters: str = "adapters",
    envelopes: str = "envelopes",
    place: str = "",
) -> Endpoint:
    """Find the modules, check their settings and connect; no network. Raises ``ConfigError`` with every finding.

    ``adapters`` and ``envelopes`` are packages whose modules are the registry; entry points of the groups
    ``esb.adapters`` and ``esb.envelopes`` add to them. ``document`` is routes.yaml, for the lines;
    ``place`` is the endpoint's name there where it is not ``name``.
    """
    loader = _Loader(document)
    at: PathTuple = ("endpoints", place or name)
    adapter = loader.connect("adapter", adapters, config.adapter, config.settings, (*at, "adapter"), (*at, "settings"))
    layers = [
        loader.connect("envelope", envelopes, layer, settings, (*at, "envelope", i), (*at, "envelope", i, layer))
        for i, (layer, settings) in enumerate(config.envelope)
    ]
    if loader.findings or adapter is None or None in layers:
        raise ConfigError(loader.findings)
    module = loader.modules[0]
    return Endpoint(
        name,
        config,
        adapter,
        layers,
        clock=clock,
        metrics=metrics,
        sleep=sleep,
        decode=getattr(module, "decode", None),
        settings=module.Settings.model_validate(config.settings).model_dump(exclude_unset=True),
    )


def load_listener(name: str, config: EndpointConfig, document: Document, adapters: str = "adapters") -> Listening:
    """Find the module and check its settings; nothing is bound. Raises ``ConfigError`` with every finding."""
    loader = _Loader(document)
    place: PathTuple = ("endpoints", name)
    listener = loader.listen(adapters, config.adapter, config.settings, (*place, "adapter"), (*place, "settings"))
    for key, given in (("envelope", config.envelope), ("limits", config.limits != Limits())):
        if given:
            loader.findings.append(document.finding((*place, key), f"'{key}' is not for an endpoint that listens"))
    if loader.findings or listener is None:
        raise ConfigError(loader.findings)
    settings = loader.modules[0].ListenerSettings.model_validate(config.settings).model_dump()
    return Listening(name, listener, (config.adapter, config.settings, _digests((settings,))))


def _digests(tree: Any) -> dict[str, str]:
    """Content of each file that ``tree`` names as a ``Path``; of a folder, names and times."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, Path):
        return {str(tree): _digest(tree)}
    if not isinstance(tree, list | tuple):
        return {}
    return {name: digest for item in tree for name, digest in _digests(item).items()}


def _digest(path: Path) -> str:
    try:
        if path.is_dir():
            return str(sorted((one.name, one.stat().st_mtime_ns) for one in path.iterdir()))
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return error.strerror or ""


def installed(kind: str, package: str) -> dict[str, ModuleType]:
    """Every adapter or envelope by name, as ``load_endpoint`` finds it; without those whose library is not installed.

    ``kind`` is ``adapter`` or ``envelope``.
    """
    modules: dict[str, ModuleType] = {}
    for name in sorted(_known(kind, package)):
        with contextlib.suppress(_NotLoadedError):
            modules[name] = _module(kind, package, name)
    return modules


class _Loader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.findings: list[Finding] = []
        self.modules: list[ModuleType] = []

    def connect(
        self, kind: str, package: str, name: str, settings: Mapping[str, Any], at: PathTuple, settings_at: PathTuple
    ) -> Any:
        return self._make(kind, package, name, settings, at, settings_at, "connect", "Settings")

    def listen(
        self, package: str, name: str, settings: Mapping[str, Any], at: PathTuple, settings_at: PathTuple
    ) -> Listener | None:
        made: Listener | None = self._make(
            "adapter", package, name, settings, at, settings_at, "listen", "ListenerSettings"
        )
        return made

    def _make(
        self,
        kind: str,
        package: str,
        name: str,
        settings: Mapping[str, Any],
        at: PathTuple,
        settings_at: PathTuple,
        maker: str,
        model_name: str,
    ) -> Any:
        try:
            module = _module(kind, package, name)
            self.modules.append(module)
            if not hasattr(module, maker):
                raise _NotLoadedError(f"adapter '{name}' cannot listen", "remove 'listen' from its settings")
            return getattr(module, maker)(getattr(module, model_name).model_validate(settings))
        except _NotLoadedError as error:
            self.findings.append(self._document.finding(at, *error.args))
        except ValidationError as error:
            model: type[BaseModel] = getattr(module, model_name)
            self.findings += findings(self._document, settings_at, error, model)
        except ConfigError as error:
            self.findings += [self._placed(one, settings_at) for one in error.findings]
        return None

    def _placed(self, finding: Finding, at: PathTuple) -> Finding:
        """What a module says of its settings, with the place of the settings in routes.yaml."""
        if finding.line or finding.file != "settings":
            return finding
        return self._document.finding(at, finding.message, finding.hint)


class _NotLoadedError(Exception):
    """Message and hint."""


def _module(kind: str, package: str, name: str) -> ModuleType:
    if not _NAME.fullmatch(name):
        raise _NotLoadedError(f"'{name}' is not the name of an {kind}", "small letters, digits and _")
    try:
        return _import(kind, package, name)
    except ModuleNotFoundError as error:
        if error.name in (package, f"{package}.{name}"):
            known = _known(kind, package)
            hint = nearest(name, known) or f"{kind}s: " + ", ".join(sorted(known))
            raise _NotLoadedError(f"{kind} '{name}' does not exist", hint) from None
        missing = f"{kind} '{name}' needs the package '{error.name}', which is not installed"
        raise _NotLoadedError(missing, f"pip install 'hospital-esb[{name}]'") from None


def _import(kind: str, package: str, name: str) -> ModuleType:
    for point in metadata.entry_points(group=f"esb.{kind}s", name=name):
        module: ModuleType = point.load()
        return module
    return importlib.import_module(f"{package}.{name}")


def _known(kind: str, package: str) -> set[str]:
    known = {point.name for point in metadata.entry_points(group=f"esb.{kind}s")}
    try:
        home = importlib.import_module(package)
    except ModuleNotFoundError:
        return known
    return known | {module.name for module in pkgutil.iter_modules(home.__path__)}
