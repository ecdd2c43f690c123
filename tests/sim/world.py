"""One seed, from the first request to the quiet at the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog

from esb.config.settings import Settings
from esb.pipeline import Pipeline
from tests.sim.bus import Bus, NoAnswer, load_everything
from tests.sim.check import Seen, rest_within, violations
from tests.sim.disk import Disk, File
from tests.sim.history import Event, History
from tests.sim.hospital import Hospital
from tests.sim.loop import Loop, StuckError
from tests.sim.people import Frontend, Operator, administer, turn_the_clock, use
from tests.sim.plan import Plan, draw

_MOST_STEPS = 60_000
_LOUD = ("error", "critical", "exception")


@dataclass(frozen=True)
class Run:
    """What came of a seed; ``broken`` are the promises that were not kept."""

    seed: int
    broken: list[str]
    history: History
    steps: int
    seconds: float
    processes: int


@cache
def _file() -> File:
    """Made once, with all else that lasts as long as the process; from then on the collector looks at a seed's own."""
    file = File()
    file.wipe()
    load_everything()
    gc.collect()
    gc.freeze()
    return file


def simulate(
    seed: int, *, make_pipeline: Callable[..., Pipeline] = Pipeline, plan: Plan | None = None, logs: bool = False
) -> Run:
    """Run a seed and judge it. With ``logs`` the history has what the bus wrote into its log, too."""
    world = _World(plan or draw(seed), make_pipeline)
    gc.disable()
    try:
        with _logging(world.history, logs):
            broken = world.run()
            world.loop.close()
    finally:
        gc.enable()
    return Run(seed, broken, world.history, world.loop.steps, world.loop.time(), len(world.history.of("up")))


class _World:
    def __init__(self, plan: Plan, make_pipeline: Callable[..., Pipeline]) -> None:
        self._plan, self._file = plan, _file()
        self._file.wipe()
        self.loop = Loop(random.Random(f"loop {plan.seed}"), self._before_step)
        self.history = History(self.loop.time)
        self._rng = random.Random(f"world {plan.seed}")
        self._hospital = Hospital(plan, random.Random(f"hospital {plan.seed}"), self.loop, self.history, self._asked)
        self._disk = Disk(plan, random.Random(f"disk {plan.seed}"), self.loop, self._committed)
        self.loop.thread_s, self.loop.thread_fault = self._disk.pause, self._disk.read_fault
        self.bus = Bus(plan, self.loop, self.history, self._hospital, self._disk, self._file, make_pipeline)
        self._crashes, self._stops = set(plan.crashes), set(plan.stops)
        self._operator = Operator(plan, self.bus, Settings(store=self._file.url))

    def run(self) -> list[str]:
        """The promises that were not kept."""
        try:
            self.loop.run(self._live(), _MOST_STEPS)
        except StuckError as error:
            return [f"I11 it never ends: {error}"]
        return violations(self._seen())

    def _before_step(self) -> None:
        step = self.loop.steps
        if step in self._crashes:
            self._crashes.discard(step)
            self.bus.kill("at a step")
        elif step in self._stops:
            self._stops.discard(step)
            self.bus.stop()

    def _committed(self) -> None:
        if not self.bus.is_quiet and self._rng.random() < self._plan.crash_after_commit:
            self.bus.kill("after a commit")

    def _asked(self) -> None:
        if not self.bus.is_quiet and self._rng.random() < self._plan.crash_while_asked:
            self.bus.kill("while it waited for the hospital")

    async def _live(self) -> None:
        self.bus.begin()
        plan, bus = self._plan, self.bus
        beside = [administer(plan, bus), turn_the_clock(plan, bus)]
        beside += [self._operator.run()] if plan.operator else []
        beside += [self._hospital.window()] if plan.window else []
        tasks = [self.loop.create_task(one) for one in beside]
        await asyncio.gather(*(Frontend(number, plan, bus).run() for number in range(plan.frontends)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._become_quiet()

    async def _become_quiet(self) -> None:
        """Everything works again, and somebody looks after what is parked: then all must come to an end."""
        self.history.note("world", "heals")
        self.bus.is_quiet = True
        self._hospital.heal()
        self._disk.heal()
        self.bus.clock.offset = 0.0
        await self._up()
        await use(self.bus, self._plan.versions[-1])
        until = self.loop.time() + rest_within(self._plan)
        while self._waiting() and self.loop.time() < until:
            await asyncio.sleep(2.0)
            await self._operator.look(0.0)
        await self._reread()

    async def _up(self) -> None:
        while self.bus.process is None or not self.bus.process.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.5)

    def _waiting(self) -> int:
        queued = "SELECT count(*) FROM queue"
        open_ = (
            "SELECT count(*) FROM exchange WHERE cause = '' AND (state IN ('received', 'sent', 'accepted') "
            "OR (state = 'unknown' AND effect = 'once'))"
        )
        return int(self._file.rows(f"SELECT ({queued}) + ({open_})")[0][0])

    async def _reread(self) -> None:
        """Everybody asks once more what became of what they were told of."""
        for exchange, event in {event.facts["exchange"]: event for event in self.history.of("told")}.items():
            with contextlib.suppress(NoAnswer):
                found = await self.bus.ask(lambda process, one=exchange: process.pipeline.find(one))[0]
                facts = {name: event.facts[name] for name in ("operation", "order", "exchange")}
                outcome, code = (found.outcome.value, found.code) if found else ("", "")
                self.history.note(event.who, "reread", **facts, outcome=outcome, code=code)

    def _seen(self) -> Seen:
        journal = self._file.rows(
            "SELECT id, operation, effect, state, code, principal, key, cause, request FROM exchange ORDER BY id"
        )
        queue = self._file.rows("SELECT id, operation, state, reason FROM queue ORDER BY position")
        return Seen(
            self._plan,
            self.history.events,
            self._hospital.requests,
            self._hospital.slots,
            self._hospital.locks,
            journal,
            queue,
            self.loop.errors,
        )


@contextlib.contextmanager
def _logging(history: History, every: bool) -> Iterator[None]:
    """What the bus says of its own mistakes is part of the history."""

    def keep(_: Any, method: str, event: dict[str, Any]) -> Any:
        error = event.pop("exc_info", None)
        if every or error is not None:
            name = event.pop("event")
            event.pop("seconds", None)
            history.note("log", "failed" if error else "log", event=name, **event, error=repr(error) if error else "")
        raise structlog.DropEvent

    before = structlog.get_config()
    level = 0 if every else 40
    structlog.configure(processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(level))
    try:
        yield
    finally:
        structlog.configure(**before)


def report(run: Run, commit: str, most: int = 40) -> str:
    """A failure in words: seed, commit, what was broken, and the last events that concern the first of it."""
    broken = "\n  ".join(run.broken[:5])
    events = "\n".join(map(str, tail(run, most)))
    return f"seed {run.seed} commit {commit} (make sim SEED={run.seed}):\n  {broken}\n{events}"


def tail(run: Run, most: int) -> list[Event]:
    """The events of the orders and exchanges that the first broken promise names, at most so many, the last ones."""
    named = set(run.broken[0].split())
    facts = ("exchange", "order", "number")
    names = {str(one.facts.get("order")) for one in run.history.events if str(one.facts.get("exchange")) in named}
    named |= names - {"None"}
    concerned = [
        one for one in run.history.events if one.who == "bus" or named & {str(one.facts.get(name)) for name in facts}
    ]
    return concerned[-most:]
