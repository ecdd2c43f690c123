"""Sessions, slots and the book of registration locks. The one rule: a slot never has more takers than places."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from sandbox.clock import Clock
from sandbox.ledger import Ledger

LOCK_SECONDS = 600
OPEN, STOPPED, UNRELEASED = 1, 0, 2
LOCKED, RELEASED, EXPIRED, CONFIRMED = "locked", "released", "expired", "confirmed"


class Refusal(Exception):
    """The hospital says no; every channel has its own code for `reason`: slot_full, slot_unknown, session_stopped,
    patient_unknown, order_unknown, order_conflict, order_confirmed, slot_taken, schedule_full, parameter, exists."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


@dataclass(slots=True)
class Schedule:
    """A doctor's session of one date: S morning, X afternoon, Y evening; level 1 ordinary, 2 expert, 3 emergency;
    fee in fen; status OPEN, STOPPED or UNRELEASED."""

    no: str
    doctor: str
    dept: str
    date: date
    session: str
    level: int
    fee: int
    status: int
    slots: list[Slot] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(slot.total for slot in self.slots)

    @property
    def left(self) -> int:
        return sum(slot.left for slot in self.slots)


@dataclass(slots=True)
class Slot:
    """A stretch of a session with `total` places; `version` grows with every change that can be seen."""

    no: str
    schedule: Schedule
    begin: datetime
    end: datetime
    total: int
    sold: int = 0
    held: int = 0
    version: int = 1

    @property
    def left(self) -> int:
        return self.total - self.sold - self.held


@dataclass(slots=True)
class Lock:
    """A registration under its order number. `fee` in fen; `booking` is the hospital's number once confirmed."""

    no: str
    order: str
    slot: Slot
    patient: str | None
    fee: int
    created: datetime
    expires: datetime
    status: str = LOCKED
    booking: str | None = None


class Book:
    """All locks by order number. Every change goes through here, so counts, ledger and `revision` agree."""

    def __init__(self, slots: dict[str, Slot], clock: Clock, ledger: Ledger) -> None:
        self.slots = slots
        self.locks: dict[str, Lock] = {}
        self.revision = 0
        self._clock = clock
        self._ledger = ledger
        self._expiries: list[tuple[float, str]] = []
        self._numbers = 0

    def lock(
        self, order: str, slot: Slot, patient: str | None, channel: str, operation: str = "lock"
    ) -> tuple[Lock, bool]:
        """Hold a place for ten minutes; the same order and slot repeats the first answer (False = repeated)."""
        self.expire()
        known = self.locks.get(order)
        if known is not None:
            if known.slot is slot and patient in (None, known.patient):
                return known, False
            raise Refusal("order_conflict", f"订单号{order}已用于其他号源")
        self._check_free(slot)
        slot.held += 1
        now = self._clock.now().replace(microsecond=0)
        self._numbers += 1
        expires = datetime.fromtimestamp(int(now.timestamp()) + LOCK_SECONDS, now.tzinfo)
        lock = Lock(f"L{self._numbers:06d}", order, slot, patient, slot.schedule.fee, now, expires)
        self.locks[order] = lock
        heapq.heappush(self._expiries, (expires.timestamp(), order))
        self._changed(slot)
        self._ledger.add(channel, operation, order, slot.no)
        return lock, True

    def release(self, order: str, channel: str) -> Lock:
        """Give the place back; released or expired already is fine, a confirmed one needs `cancel`."""
        lock = self.find(order)
        if lock.status == CONFIRMED:
            raise Refusal("order_confirmed", f"订单{order}已确认，请走退号")
        if lock.status == LOCKED:
            lock.slot.held -= 1
            lock.status = RELEASED
            self._changed(lock.slot)
            self._ledger.add(channel, "release", order, lock.slot.no)
        return lock

    def confirm(self, order: str, channel: str) -> Lock:
        """Turn a held place into a sold one; a confirmed order is returned as it is."""
        lock = self.find(order)
        if lock.status in (RELEASED, EXPIRED):
            raise Refusal("slot_taken", f"订单{order}的号源已释放")
        if lock.status == LOCKED:
            lock.slot.held -= 1
            lock.slot.sold += 1
            lock.status = CONFIRMED
            lock.booking = f"H{5000 + self._numbers}-{lock.no}"
            self._changed(lock.slot)
            self._ledger.add(channel, "confirm", order, lock.slot.no)
        return lock

    def cancel(self, order: str, channel: str) -> Lock:
        """Give back a held or a sold place; doing it again is fine."""
        lock = self.find(order)
        if lock.status != CONFIRMED:
            return self.release(order, channel)
        lock.slot.sold -= 1
        lock.status = RELEASED
        self._changed(lock.slot)
        self._ledger.add(channel, "cancel", order, lock.slot.no)
        return lock

    def find(self, order: str) -> Lock:
        self.expire()
        lock = self.locks.get(order)
        if lock is None:
            raise Refusal("order_unknown", f"订单{order}不存在")
        return lock

    def expire(self) -> None:
        """Free the places of locks whose ten minutes are over; costs nothing while there is none."""
        now = self._clock.time()
        while self._expiries and self._expiries[0][0] <= now:
            lock = self.locks.get(heapq.heappop(self._expiries)[1])
            if lock is not None and lock.status == LOCKED:
                lock.slot.held -= 1
                lock.status = EXPIRED
                self._changed(lock.slot)
                self._ledger.add("hospital", "expire", lock.order, lock.slot.no)

    def change_slot(
        self, slot: Slot, total: int | None = None, sold: int | None = None, status: int | None = None
    ) -> None:
        """The desk's hand: other places, other sales, another status. Raises Refusal where places would be oversold."""
        new_total = slot.total if total is None else total
        new_sold = slot.sold if sold is None else sold
        if new_sold < 0 or new_total < new_sold + slot.held:
            raise Refusal("parameter", "places would be oversold")
        slot.total, slot.sold = new_total, new_sold
        if status is not None:
            slot.schedule.status = status
            for other in slot.schedule.slots:
                other.version += 1
        self._changed(slot)

    def snapshot(self) -> tuple[dict[str, Lock], dict[str, tuple[int, int, int]], list[tuple[float, str]]]:
        counts = {no: (slot.sold, slot.held, slot.version) for no, slot in self.slots.items()}
        return {order: replace(lock) for order, lock in self.locks.items()}, counts, list(self._expiries)

    def restore(self, kept: tuple[dict[str, Lock], dict[str, tuple[int, int, int]], list[tuple[float, str]]]) -> None:
        """Undo everything since `snapshot`."""
        self.locks, counts, self._expiries = kept
        for no, (sold, held, version) in counts.items():
            slot = self.slots[no]
            slot.sold, slot.held, slot.version = sold, held, version
        self.revision += 1

    def _check_free(self, slot: Slot) -> None:
        if slot.schedule.status != OPEN:
            raise Refusal("session_stopped", "该班次已停诊或未放号")
        if slot.left <= 0:
            raise Refusal("slot_full", "号源已满")

    def _changed(self, slot: Slot) -> None:
        if min(slot.held, slot.sold, slot.left) < 0:
            raise AssertionError(f"{slot.no} oversold")
        slot.version += 1
        self.revision += 1
