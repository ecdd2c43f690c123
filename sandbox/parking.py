"""Car parks, the cars inside, quotes and payments. Amounts are integer fen here; the AKE channel writes yuan."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.clock import Clock
from sandbox.ledger import Ledger
from sandbox.registration import Refusal

QUOTE_SECONDS = 600
LEAVE_MINUTES = 15


@dataclass(slots=True)
class Lot:
    """A car park with its exit lanes; `longitude` and `latitude` in degrees as text."""

    code: str
    name: str
    address: str
    longitude: str
    latitude: str
    total: int
    channels: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Stay:
    """A car inside: `serial` is the park's own number of the visit (parkingCode), `paid` in fen."""

    serial: str
    plate: str
    lot: str
    entered: datetime
    paid: int = 0
    paid_until: datetime | None = None


@dataclass(slots=True)
class Quote:
    """What was due at a moment; valid ten minutes."""

    bill: str
    stay: Stay
    at: datetime
    fee: int
    due: int


@dataclass(slots=True)
class Payment:
    """A paid bill of ours; `number` is the park's."""

    bill: str
    number: str
    serial: str
    plate: str
    value: int
    at: datetime


class Parking:
    """Three lots P1 to P3 of 200, 120 and 40 places. 京A12345 stands in P1 since 2 h 10 min (15 yuan due), 粤B00001
    since ten minutes (free), the new-energy 京AD12345 since a day and more; the exit P1-OUT1 sees 京A12345."""

    def __init__(self, clock: Clock, ledger: Ledger, rng: random.Random) -> None:
        self._clock, self._ledger = clock, ledger
        self.lots = {
            "P1": Lot("P1", "模拟医院地下停车场", "测试路1号", "114.0579", "22.5431", 200),
            "P2": Lot("P2", "模拟医院地面停车场", "测试路1号北门", "114.0583", "22.5436", 120),
            "P3": Lot("P3", "模拟医院急诊停车场", "测试路1号东门", "114.0590", "22.5429", 40),
        }
        self.stays: dict[str, Stay] = {}
        self.payments: dict[str, Payment] = {}
        self._quotes: dict[tuple[str, str], Quote] = {}
        self._numbers = 0
        now = clock.now().replace(microsecond=0)
        for plate, minutes in (("京A12345", 130), ("粤B00001", 10), ("京AD12345", 1500)):
            self._enter(plate, "P1", now - timedelta(minutes=minutes))
        for n in range(40):
            minutes = rng.randint(5, 600)
            self._enter(f"测A{n:05d}", ("P1", "P2", "P3")[n % 3], now - timedelta(minutes=minutes))
        self.lots["P1"].channels = {"P1-OUT1": "京A12345", "P1-OUT2": None}

    def free_places(self, lot: Lot) -> int:
        return lot.total - sum(stay.lot == lot.code for stay in self.stays.values())

    def find(self, lot: str, plate: str = "", serial: str = "") -> Stay:
        """The car inside; refused with car_absent."""
        for stay in self.stays.values():
            if lot in ("", stay.lot) and ((serial and stay.serial == serial) or (not serial and stay.plate == plate)):
                return stay
        raise Refusal("car_absent", "车辆不在场")

    def quote(self, stay: Stay) -> Quote:
        now = self._clock.now().replace(microsecond=0)
        fee = fee_of(now - stay.entered)
        covered = stay.paid_until is not None and now <= stay.paid_until
        self._numbers += 1
        quote = Quote(f"Q{self._numbers:08d}", stay, now, fee, 0 if covered else max(0, fee - stay.paid))
        self._quotes[(stay.serial, f"{now:%Y%m%d%H%M%S}")] = quote
        return quote

    def pay(self, serial: str, charged: str, amount: int, bill: str) -> Payment:
        """Pay a quote exactly, once a bill. Refused with bill_synced, car_absent, bill_missing,
        quote_expired, parameter."""
        if bill in self.payments:
            raise Refusal("bill_synced", "账单已同步")
        stay = self.find("", serial=serial)
        quote = self._quotes.get((serial, charged))
        if quote is None:
            raise Refusal("bill_missing", "账单不存在")
        now = self._clock.now()
        if (now - quote.at).total_seconds() > QUOTE_SECONDS:
            raise Refusal("quote_expired", "费用已过期，请重新查询")
        if amount != quote.due:
            raise Refusal("parameter", "金额与查询不符")
        stay.paid += amount
        stay.paid_until = now + timedelta(minutes=LEAVE_MINUTES)
        paid = Payment(bill, f"YDT{len(self.payments) + 1:08d}", serial, stay.plate, amount, now)
        self.payments[bill] = paid
        self._ledger.add("rest", "parking_paid", bill, None, f"{serial} {amount}")
        return paid

    def _enter(self, plate: str, lot: str, at: datetime) -> None:
        serial = f"{lot}{at:%Y%m%d%H%M%S}{len(self.stays):03d}"
        self.stays[serial] = Stay(serial, plate, lot, at)


def fee_of(stayed: timedelta) -> int:
    """Fen: the first half hour is free, then five yuan for every hour begun, at most forty yuan in 24 hours."""
    if stayed <= timedelta(minutes=30):
        return 0
    days, rest = divmod(stayed, timedelta(days=1))
    hours = -(-rest // timedelta(hours=1))
    return days * 4000 + min(4000, hours * 500)
