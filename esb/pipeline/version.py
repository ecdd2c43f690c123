"""A version of the configuration as the pipeline runs it: lanes and endpoints that were loaded together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from esb.blind import Blind
from esb.clock import Clock
from esb.config.routes import RouteConfig, ShadowConfig
from esb.contract.operation import Operation
from esb.endpoint import Endpoint
from esb.errors import Outcome
from esb.mapping import Mapping as FieldMapping
from esb.model import Effect, Result, Tree
from esb.observe import Metrics
from esb.pipeline.subject import Subject
from esb.policies.cache import Cache

_LONGEST_S = 900.0


@dataclass(frozen=True, slots=True)
class Route:
    """One line of routes.yaml with its parts: which system answers an operation, and by which mapping.

    ``site`` is what the mapping sees as ``$site``, ``mapped_by`` its file with a digest for the journal. ``digest``
    is that of all files that the mapping is made of; two routes share a cache only when it is known and equal.
    ``blind`` is how the journal names patients, None when it does not. ``shadow`` is who is asked too, with an endpoint
    of its own whatever system it leads to.
    """

    config: RouteConfig
    endpoint: Endpoint
    mapping: FieldMapping
    site: Mapping[str, Tree] = field(default_factory=dict)
    mapped_by: str = ""
    digest: str = ""
    blind: Blind | None = None
    shadow: Route | None = None


class Lane:
    """All that one operation needs on its way, looked up and bound once."""

    def __init__(
        self,
        operation: Operation,
        route: Route,
        endpoint: Endpoint,
        version: Version,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.operation = operation
        self.config = route.config
        self.endpoint = endpoint
        self.mapping = route.mapping
        self.site = dict(route.site)
        self.mapped_by = route.mapped_by or route.mapping.file
        self.version = version
        self.subject = Subject.of(operation, route.blind)
        self.is_queued = route.config.is_queued
        self.accepted = metrics.queue_accepted.labels(endpoint.name)
        self.retries = 0 if operation.effect is Effect.ONCE or self.is_queued else route.config.retry.times
        cached = operation.effect is Effect.READ and route.config.cache_s > 0
        self.cache: Cache[Result] | None = Cache(clock, route.config.cache_s) if cached else None
        self.hits = metrics.cache_hits.labels(operation.name)
        self.seconds = metrics.exchange_seconds.labels(operation.name)
        self.counts = {str(one): metrics.exchanges.labels(operation.name, str(one)) for one in (*Outcome, "cancelled")}
        self._digest = route.digest
        self.shadow: Shadowed | None = None

    @property
    def sites(self) -> tuple[object, ...]:
        """What its mappings see of the systems, its shadow's too."""
        return self.site, self.shadow.lane.site if self.shadow else None

    def keep_cache(self, earlier: Lane) -> None:
        """Go on with what ``earlier`` has cached, if this lane would answer the same to the same request."""
        same_mapping = self._digest != "" and self._digest == earlier._digest
        same_system = self.endpoint is earlier.endpoint and self.site == earlier.site
        if same_mapping and same_system and self.config.cache_s == earlier.config.cache_s:
            self.cache = earlier.cache


@dataclass(frozen=True, slots=True)
class Shadowed:
    """The shadow of a lane: how it is configured, and the lane on which it is asked."""

    config: ShadowConfig
    lane: Lane

    @property
    def label(self) -> str:
        """What report and metrics call it."""
        return self.config.label


class Version:
    """Routes that come into use together and go out of use together; made in any thread, used on the event loop.

    What ``earlier`` and this one have in common is carried over: the live endpoint where its settings are the same, and
    what was cached where mapping, endpoint and site are. ``loaded`` are the endpoints as they were loaded, with the
    limits that are now written.
    """

    def __init__(
        self,
        name: str,
        operations: Mapping[str, Operation],
        routes: Mapping[str, Route],
        clock: Clock,
        metrics: Metrics,
        earlier: Version | None = None,
    ) -> None:
        self.name = name
        every = [one for route in routes.values() for one in (route, route.shadow) if one is not None]
        self.loaded = {route.endpoint.name: route.endpoint for route in every}
        known: Mapping[str, Endpoint] = earlier.endpoints if earlier else {}
        self.endpoints: dict[str, Endpoint] = {
            one: _live(endpoint, known.get(one)) for one, endpoint in self.loaded.items()
        }

        def made(one: str, route: Route) -> Lane:
            return Lane(operations[one], route, self.endpoints[route.endpoint.name], self, clock, metrics)

        self.lanes: dict[str, Lane] = {one: made(one, route) for one, route in routes.items()}
        for one, route in routes.items():
            if route.shadow is not None and route.config.shadow is not None:
                self.lanes[one].shadow = Shadowed(route.config.shadow, made(one, route.shadow))
        for one, lane in earlier.lanes.items() if earlier else ():
            if one in self.lanes:
                self.lanes[one].keep_cache(lane)
        self.is_over = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """An exchange, or the settling of one, begins to run on this version; pair with ``leave``."""
        self._under_way += 1
        self._idle.clear()

    def leave(self) -> None:
        """It has ended."""
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def over(self) -> None:
        """Return when all that runs on this version has ended, at the latest when it had its time to.

        That is the longest that any route gives an exchange and then its settling. What is unknown after that is
        settled by the version in use, as after a restart.
        """
        patience = min(_LONGEST_S, max(map(_patience, self.lanes.values()), default=0.0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()
        self.is_over = True

    async def release(self) -> None:
        """Let go of the lanes, a few at a time: to free hundreds of mappings at once would hold up the loop."""
        while self.lanes:
            self.lanes.popitem()
            await asyncio.sleep(0)

    def spare(self) -> Iterator[Endpoint]:
        """Endpoints that were loaded and not taken, because the live one goes on."""
        return (one for name, one in self.loaded.items() if one is not self.endpoints[name])

    def equals(self, earlier: Version) -> bool:
        """Whether it is ``earlier`` over again, in its secrets too: a site value may be one."""
        return (
            self.name == earlier.name
            and self.endpoints == earlier.endpoints
            and all(_is_same(lane, earlier.lanes[name]) for name, lane in self.lanes.items())
        )

    def has(self, endpoint: Endpoint) -> bool:
        """Whether its lanes may lead to ``endpoint``."""
        return self.endpoints.get(endpoint.name) is endpoint


def _live(loaded: Endpoint, known: Endpoint | None) -> Endpoint:
    return known if known is not None and known.is_same(loaded) else loaded


def _is_same(lane: Lane, earlier: Lane) -> bool:
    return lane.sites == earlier.sites and lane.subject == earlier.subject


def _patience(lane: Lane) -> float:
    settling = sum(lane.config.settle_after_s) if lane.config.settle else 0.0
    return 2 * lane.config.timeout_s + settling + 1.0
