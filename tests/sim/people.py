"""Who uses the bus: frontends with keys and little patience, an operator, an administrator, a wrong clock."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from esb.errors import ConfigError, Outcome
from esb.model import Result
from esb.parked import Desk, NotParkedError
from esb.store import StoreError
from tests.esb.buffer.suite import release
from tests.sim.bus import Bus, NoAnswer
from tests.sim.plan import Plan

_LOCK, _UNLOCK, _FIND = "registration.lock", "registration.unlock", "registration.find"
_ATTEMPTS, _POLLS = 5, 6
_FINAL = (Outcome.DONE, Outcome.REFUSED, Outcome.MALFORMED)


def lock_request(order: str, slot: str, patient: str) -> dict[str, Any]:
    start, end = "2026-01-16T08:30:00+08:00", "2026-01-16T09:00:00+08:00"
    place = {"slotId": slot, "scheduleId": "R1", "departmentId": "D1", "doctorId": "D7", "start": start, "end": end}
    return {"orderNo": order, "patientId": patient, "slot": place, "fee": 2500}


class Frontend:
    """Locks places and gives them back. What it sends again it sends under the same key."""

    def __init__(self, number: int, plan: Plan, bus: Bus) -> None:
        self._name, self._plan, self._bus = f"c{number}", plan, bus
        self._rng = random.Random(f"frontend {plan.seed} {number}")

    async def run(self) -> None:
        """All its intents, one after another."""
        for number in range(self._plan.intents):
            await asyncio.sleep(self._rng.uniform(0, 3))
            await self._intent(f"{self._name}n{number}")

    async def _intent(self, order: str) -> None:
        slot = self._rng.choice(list(self._bus.hospital.slots))
        patient = self._rng.choice(("P1", "P2"))
        request = lock_request(order, slot, patient)
        drawn = self._rng.random()
        if drawn < 0.15:
            await self._together(order, request)
        else:
            await self._insist(_LOCK, order, request, f"L-{order}")
            if drawn < 0.6:
                await self._insist(_UNLOCK, order, {"orderNo": order}, self._rng.choice((f"U-{order}", None)))
            elif drawn < 0.8:
                await self._call(_FIND, order, {"orderNo": order}, None, self._rng.choice((0.05, 5.0)))

    async def _together(self, order: str, request: dict[str, Any]) -> None:
        """Lock, give back, and give back again, without waiting for any of them; one of them twice at once."""
        await asyncio.gather(
            self._insist(_LOCK, order, request, f"L-{order}"),
            self._insist(_LOCK, order, request, f"L-{order}"),
            self._later(0.2, _UNLOCK, order, f"U-{order}"),
            self._later(0.4, _UNLOCK, order, f"V-{order}"),
        )

    async def _later(self, seconds: float, operation: str, order: str, key: str) -> None:
        await asyncio.sleep(seconds)
        await self._insist(operation, order, {"orderNo": order}, key)

    async def _insist(self, operation: str, order: str, request: dict[str, Any], key: str | None) -> None:
        """Again under the same key until there is an end, or patience is."""
        for _ in range(_ATTEMPTS if key else 1):
            result = await self._call(operation, order, request, key, self._rng.choice((0.3, 5.0, 20.0)))
            if result is not None and result.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
                result = await self._poll(operation, order, result.exchange)
            if result is not None and result.outcome in _FINAL and result.code != "idempotency_running":
                return
            if key and self._rng.random() < 0.1:
                await self._mistake(operation, order, request, key)
            wait = min(3.0, result.retry_after or 0.5) if result else 0.5
            await asyncio.sleep(wait + self._rng.uniform(0, 1))

    async def _mistake(self, operation: str, order: str, request: dict[str, Any], key: str) -> None:
        """Something else under a key that was used."""
        await self._call(operation, f"{order}x", {**request, "orderNo": f"{order}x"}, key, 5.0)

    async def _poll(self, operation: str, order: str, exchange: str) -> Result | None:
        result = None
        for _ in range(_POLLS):
            await asyncio.sleep(self._rng.uniform(0.3, 4))
            try:
                result = await self._bus.ask(lambda process: process.pipeline.find(exchange, self._name))[0]
            except (NoAnswer, StoreError):
                continue
            if result is None:
                self._bus.history.note(self._name, "missing", exchange=exchange, order=order)
                return None
            self._tell("polled", operation, order, "", result)
            if result.outcome not in (Outcome.ACCEPTED, Outcome.UNKNOWN):
                return result
        return result

    async def _call(
        self, operation: str, order: str, request: dict[str, Any], key: str | None, patience: float
    ) -> Result | None:
        history = self._bus.history
        try:
            future, task = self._bus.ask(lambda process: process.run(operation, request, key, self._name))
        except NoAnswer:
            return None
        asked = history.note(self._name, "asked", operation=operation, order=order, key=key)
        began = self._bus.loop.time()
        try:
            async with asyncio.timeout(patience):
                result = await future
        except TimeoutError:
            history.note(self._name, "left", operation=operation, order=order)
            if operation == _FIND:
                task.cancel()
            return None
        except NoAnswer as error:
            history.note(self._name, "no_answer", operation=operation, order=order, why=str(error))
            return None
        self._tell(
            "told", operation, order, key or "", result, asked=asked, took=round(self._bus.loop.time() - began, 4)
        )
        return result

    def _tell(self, what: str, operation: str, order: str, key: str, result: Result, **more: Any) -> None:
        self._bus.history.note(
            self._name,
            what,
            operation=operation,
            order=order,
            key=key,
            exchange=result.exchange,
            outcome=result.outcome.value,
            code=result.code,
            body="" if result.body is None else dict(sorted(result.body.items())),
            replayed=result.replayed,
            delivery=result.delivery,
            **more,
        )


class Operator:
    """Looks at what is parked and lets it go again, or ends it."""

    def __init__(self, plan: Plan, bus: Bus, settings: Any) -> None:
        self._plan, self._bus, self._settings = plan, bus, settings
        self._rng = random.Random(f"operator {plan.seed}")

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(2, 6))
            await self.look(0.3)

    async def look(self, share_discarded: float) -> None:
        """One look."""
        try:
            for entry in await self._bus.ask(lambda process: process.parked())[0]:
                exchange, discards = entry.message.id, self._rng.random() < share_discarded
                self._bus.history.note(
                    "operator", "discards" if discards else "releases", exchange=exchange, why=entry.reason
                )
                if discards:
                    Desk(self._settings, self._bus.clock).discard([exchange], "enough")
                else:  # not by the desk, which says by the machine's clock when it is tried
                    await self._bus.ask(lambda process, one=exchange: release(process.pipeline.buffer, one, "again"))[0]
        except (NoAnswer, NotParkedError, StoreError, ConfigError) as error:
            self._bus.history.note("operator", "failed", why=type(error).__name__)


async def administer(plan: Plan, bus: Bus) -> None:
    """Take up one version after the other."""
    rng = random.Random(f"administrator {plan.seed}")
    for version in plan.versions[1:]:
        await asyncio.sleep(rng.uniform(1, 8))
        await use(bus, version)


async def use(bus: Bus, version: Any) -> None:
    """Have the bus take up a version, now or when it starts again."""
    bus.version = version
    try:
        await bus.ask(lambda process: process.reload(version))[0]
        bus.history.note("admin", "reloaded", version=version.name)
    except NoAnswer:
        bus.history.note("admin", "written", version=version.name)


async def turn_the_clock(plan: Plan, bus: Bus) -> None:
    """Steps of the wall clock; what is monotonic goes on."""
    for at, step in sorted(plan.clock_steps):
        await asyncio.sleep(max(0.0, at - bus.loop.time()))
        bus.clock.offset += step
        bus.history.note("clock", "stepped", seconds=step)
