"""A hospital with places in slots, a registrar's window, and every way to answer badly. Shares no code with the bus.

Its ledger is the truth: every request that reached it, when it was carried out, and what that changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from tests.sim.history import History
from tests.sim.plan import LONGEST_LATE_S, Plan

Reply = tuple[str, dict[str, Any]]
"""How it ended for who asked: ``reply`` with the answer, ``garbage``, ``reset``."""


@dataclass
class Request:
    """One that arrived. ``state``: ``pending``, ``nothing`` (never carried out, or it changed nothing), ``effect``."""

    number: int
    at: float
    action: str
    order: str
    exchange: str
    endpoint: str
    state: str = "pending"
    code: str = ""
    carried_out: bool = False


@dataclass
class Lock:
    """A place that is held. ``status`` as the hospital writes it: 1 locked, 2 released."""

    no: str
    order: str
    slot: str
    status: str = "1"

    def shown(self) -> dict[str, str]:
        return {
            "No": self.no,
            "OrderNo": self.order,
            "SlotNo": self.slot,
            "Fee": "25.00",
            "Expires": "20260115094000",
            "Status": self.status,
        }


@dataclass
class Slot:
    capacity: int
    sold: int = 0
    most: int = 0
    locks: list[Lock] = field(default_factory=list)

    @property
    def taken(self) -> int:
        return self.sold + sum(lock.status == "1" for lock in self.locks)


class Hospital:
    """``request`` is what a wire leads to, ``asked`` is called soon after each; ``heal`` ends all that is broken."""

    def __init__(
        self,
        plan: Plan,
        rng: random.Random,
        loop: asyncio.AbstractEventLoop,
        history: History,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan, self._rng, self._loop, self._history = plan, rng, loop, history
        self.slots = {f"S{number}": Slot(plan.capacity) for number in range(plan.slots)}
        self.requests: list[Request] = []
        self.locks: dict[str, list[Lock]] = {}
        self._healthy = False
        self._outside, self._asked = copy_context(), asked
        self._names = list(plan.behaviours)
        self._weights = list(plan.behaviours.values())

    def heal(self) -> None:
        """From now on it answers soon and well."""
        self._healthy = True

    @property
    def is_down(self) -> bool:
        """Whether it accepts no connection now."""
        now = self._loop.time()
        return not self._healthy and any(begin <= now < end for begin, end in self._plan.down)

    def behaviour(self) -> str:
        """What it will do with the next request."""
        if self.is_down:
            return "refuse"
        drawn = self._rng.random()
        if self._healthy:
            return "answer"
        for name, weight in zip(self._names, self._weights, strict=True):
            drawn -= weight
            if drawn < 0:
                return name
        return "answer"

    def pause(self) -> float:
        """Seconds that half of an exchange takes."""
        longest = 0.05 if self._healthy else self._plan.his_s
        return self._rng.choice((0.0, 0.001, self._rng.uniform(0, longest)))

    def request(
        self, behaviour: str, action: str, fields: dict[str, Any], exchange: str, endpoint: str
    ) -> asyncio.Future[Reply]:
        """It has arrived; the future has what comes back, if anything does."""
        request = Request(
            len(self.requests), self._loop.time(), action, str(fields["OrderNo"]), exchange, endpoint
        )  # fmt: skip
        self.requests.append(request)
        self._history.note("his", "arrived", number=request.number, action=action, order=request.order, as_=behaviour)
        back: asyncio.Future[Reply] = self._loop.create_future()
        after = self._rng.uniform(0.5, LONGEST_LATE_S) if behaviour == "late" else self.pause()
        self._in(self._rng.uniform(0, after), self._asked)
        self._in(after, self._come_to, behaviour, request, fields, back)
        return back

    def _in(self, seconds: float, does: Callable[..., None], *what: Any) -> None:
        """Later, whether or not the process that asked still lives."""
        self._loop.call_later(seconds, does, *what, context=self._outside.copy())

    def _come_to(self, behaviour: str, request: Request, fields: dict[str, Any], back: asyncio.Future[Reply]) -> None:
        if behaviour in ("busy", "reset_before", "hang_before") or (behaviour in ("garbage", "odd") and self._coin()):
            request.state, answer = "nothing", {"ResultCode": "-999", "ResultMsg": "queue full"}
        else:
            answer = self._carry_out(request, fields)
        self._history.note("his", request.state, number=request.number, order=request.order, code=request.code)
        if behaviour not in ("hang_before", "hang_after"):
            self._in(self.pause(), self._reply, behaviour, answer, back)

    def _reply(self, behaviour: str, answer: dict[str, Any], back: asyncio.Future[Reply]) -> None:
        if back.done():
            return
        if behaviour in ("reset_before", "lose_reply"):
            back.set_result(("reset", {}))
        elif behaviour == "garbage":
            back.set_result(("garbage", {}))
        elif behaviour == "odd":
            back.set_result(("reply", {"ResultCode": "9", "ResultMsg": "what"}))
        elif behaviour == "other_order" and "Lock" in answer:
            back.set_result(("reply", {**answer, "Lock": {**answer["Lock"], "OrderNo": "R9"}}))
        else:
            back.set_result(("reply", answer))

    def _carry_out(self, request: Request, fields: dict[str, Any]) -> dict[str, Any]:
        request.carried_out = True
        does = {"LockRegistration": self._lock, "UnlockRegistration": self._unlock, "FindRegistration": self._find}
        answer, changed = does[request.action](request.order, fields)
        request.state, request.code = "effect" if changed else "nothing", answer["ResultCode"]
        return answer

    def _lock(self, order: str, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Asked twice for one order it takes two places, unless it is one of those that look."""
        before = [lock for lock in self.locks.get(order, ()) if lock.status == "1"]
        if before and self._plan.deduplicates:
            return _ok(before[0]), False
        slot = self.slots[fields["SlotNo"]]
        if slot.taken >= slot.capacity:
            return {"ResultCode": "1001", "ResultMsg": "full"}, False
        lock = Lock(f"L{len(self.requests)}", order, fields["SlotNo"])
        slot.locks.append(lock)
        slot.most = max(slot.most, slot.taken)
        self.locks.setdefault(order, []).append(lock)
        return _ok(lock), True

    def _unlock(self, order: str, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        if order not in self.locks:
            return {"ResultCode": "1004", "ResultMsg": "no such order"}, False
        held = [lock for lock in self.locks[order] if lock.status == "1"]
        for lock in held:
            lock.status = "2"
        return {"ResultCode": "0", "ResultMsg": "ok"}, bool(held)

    def _find(self, order: str, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        if order not in self.locks:
            return {"ResultCode": "1004", "ResultMsg": "no such order"}, False
        return _ok(self.locks[order][-1]), False

    def _coin(self) -> bool:
        return self._rng.random() < 0.5

    async def window(self) -> None:
        """A registrar sells what is free, whoever wants it on the phone."""
        while not self._healthy:
            await asyncio.sleep(self._rng.uniform(0.2, 4))
            name = self._rng.choice(list(self.slots))
            slot = self.slots[name]
            if slot.taken < slot.capacity:
                slot.sold += 1
                slot.most = max(slot.most, slot.taken)
                self._history.note("window", "sold", slot=name)


def _ok(lock: Lock) -> dict[str, Any]:
    return {"ResultCode": "0", "ResultMsg": "ok", "Lock": lock.shown()}
