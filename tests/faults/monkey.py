"""It kills what it can reach, every few seconds, while clients work: the bus, PostgreSQL, RabbitMQ (F10, F11, F13)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.faults.clients import Frontend, browsing, send_message
from tests.faults.history import Violation
from tests.faults.site import Site
from tests.journeys.conftest import open_slot

CLIENTS, SENDERS, SLOTS = 6, 2, 10
_PAUSE_S = 0.05


class Monkey:
    """``seed`` decides what is killed and when. ``did`` counts what it has done."""

    def __init__(self, site: Site, seed: int, tell: Callable[[str], object] = lambda _: None):
        self._site, self._random, self._tell = site, random.Random(seed), tell
        self.did: Counter[str] = Counter()
        acts: dict[str, Callable[[], None]] = {"kill -9 of the bus": self._bus}
        if cluster := site.backend.cluster:
            acts["kill -9 of PostgreSQL"] = cluster.kill
            acts["immediate stop of PostgreSQL"] = cluster.stop
        if node := site.backend.node:
            acts["kill -9 of RabbitMQ"] = node.kill
            acts["kill -9 and wipe of RabbitMQ"] = self._wipe
        self._acts = acts

    async def run(self, deaths: int, every: float) -> None:
        """So many deaths, at most ``every`` seconds apart, each kind before any comes again; all is up afterwards."""
        again = iter(lambda: self._random.choice(list(self._acts)), "")
        for name in itertools.islice(itertools.chain(self._acts, again), deaths):
            await asyncio.sleep(self._random.uniform(every / 2, every))
            self._tell(name)
            await asyncio.to_thread(self._act, name)
            self.did[name] += 1
        await asyncio.sleep(every / 2)

    def _act(self, name: str) -> None:
        self._acts[name]()
        self._come_back()

    def _wipe(self) -> None:
        """Its virtual host has to be made again, as an operator would."""
        self._site.backend.wipe()

    def _bus(self) -> None:
        self._site.kill()

    def _come_back(self) -> None:
        """Stores first: a bus does not start without its store."""
        site = self._site
        if site.backend.cluster and not site.backend.cluster.is_up:
            site.backend.cluster.start()
        site.backend.start_broker()
        if site.process.poll() is not None:
            site.start()


class Crowd:
    """Clients that take places and give them back and systems that tell us things, until they are told to stop."""

    def __init__(self, site: Site, name: str) -> None:
        self._site, self._name = site, name
        self._over = asyncio.Event()
        self.intents = 0

    def stop(self) -> None:
        """Begin nothing new."""
        self._over.set()

    async def run(self) -> None:
        """Until ``stop``, and until everybody knows what became of what he began."""
        slots = [await asyncio.to_thread(open_slot, self._site.bus, skip=skip) for skip in range(SLOTS)]
        async with browsing() as session:
            people = (self._person(session, f"{self._name}{n}", slots[n % SLOTS]) for n in range(CLIENTS))
            systems = (self._system(f"{self._name}m{n}") for n in range(SENDERS))
            await asyncio.gather(*people, *systems)

    async def _person(self, session: aiohttp.ClientSession, name: str, slot: dict[str, Any]) -> None:
        client = Frontend(self._site, session, name, tries=300)
        for number in itertools.count():
            if self._over.is_set():
                return
            self.intents += 2
            await client.lock(f"{name}-{number}", slot)
            await client.unlock(f"{name}-{number}")
            await asyncio.sleep(_PAUSE_S)

    async def _system(self, name: str) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            self.intents += 1
            await send_message(self._site, f"{name}-{number}", tries=300)
            await asyncio.sleep(_PAUSE_S)


async def rage(site: Site, monkey: Monkey, deaths: int, every: float, name: str) -> tuple[int, list[Violation]]:
    """Let both loose on a site; how many intents there were, and the verdict."""
    crowd = Crowd(site, name)
    working = asyncio.create_task(crowd.run())
    await monkey.run(deaths, every)
    crowd.stop()
    await working
    return crowd.intents, await asyncio.to_thread(site.verdict, 120.0)
