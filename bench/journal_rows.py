"""Rows of a hospital's journal by the million: half a year, mostly reads, some patients seen often and most once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from esb.clock import SHANGHAI
from esb.store.bodies import pack
from esb.store.tables import Row, exchange, idempotency

BEGIN = datetime(2026, 1, 1, tzinfo=SHANGHAI)
DAYS = 180
VERSION = "filled_in"
OPERATIONS = (
    ("schedule.list", "his", "read", 40),
    ("department.list", "his", "read", 20),
    ("patient.find", "his", "read", 15),
    ("report.list", "lis", "read", 14),
    ("registration.lock", "his", "once", 5),
    ("registration.unlock", "his", "idempotent", 4),
    ("report.get", "lis", "read", 1.99),
    ("parking.fee", "parking", "read", 0.01),
)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OUTCOMES = (("done", "", 96), ("refused", "slot_full", 2.5), ("unavailable", "unavailable", 1), ("unknown", "x", 0.1))
_PAGE = 20_000
_KEY = ("operation", "principal", "key", "fingerprint", "exchange", "again")


def id_at(moment: datetime, tail: str) -> str:
    """An id of that time."""
    stamp = int(moment.timestamp() * 1000)
    return "".join([_ALPHABET[(stamp >> shift) & 31] for shift in range(45, -1, -5)]) + tail


def rows(count: int, *, days: float = DAYS, begin: datetime = BEGIN, seed: int = 1) -> Iterator[Row]:
    """In the order of their ids."""
    random_ = random.Random(seed)
    request = b'{"departmentId":"B0101","from":"2026-01-15","to":"2026-01-15"}'
    sent = pack(b"<soapenv:Envelope><soapenv:Body><Query><Dept>B0101</Dept></Query></soapenv:Body></soapenv:Envelope>")
    raw = pack(b"<Slot><No>1</No><Time>08:00</Time></Slot>" * 40)
    names, outcomes = [one[:3] for one in OPERATIONS], [one[:2] for one in _OUTCOMES]
    operations = random_.choices(names, [one[3] for one in OPERATIONS], k=count)
    states = random_.choices(outcomes, [one[2] for one in _OUTCOMES], k=count)
    for number, ((operation, endpoint, effect), (state, code)) in enumerate(zip(operations, states, strict=True)):
        moment = begin + timedelta(days=days * number / count)
        one = id_at(moment, f"{number:016d}")
        keyed = effect != "read"
        digest = f"{random_.getrandbits(128):032x}"
        about = operation not in ("schedule.list", "department.list", "parking.fee")
        subject = f"v1.k1.{digest}" if about and number % 10 else "v1.k1." + f"{number % 500:032x}" if about else ""
        at = moment.isoformat(timespec="milliseconds")
        yield Row(
            id=one, operation=operation, endpoint=endpoint, effect=effect, state=state, code=code, message="",
            details="", principal="app", key=f"key-{digest[:20]}" if keyed else one,
            fingerprint=bytes.fromhex(digest) * 2 if keyed else b"", request_id=f"req-{digest[20:]}-{number}",
            cause="", received=at, finished=at, timings='{"map":0.080,"call":12.100,"interpret":0.300,"total":12.480}',
            attempts=1, mapping="mappings/his_soap/schedule.list.yaml@0123456789ab", version=VERSION, reason="",
            subject=subject, owner="", request=pack(request), sent=sent, raw=raw, answer=b"",
        )  # fmt: skip


def fill(engine: sa.Engine, made: Iterator[Row]) -> int:
    """Insert them, thousands a transaction and on SQLite without a sync; how many they were."""
    total = 0
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
        while page := list(itertools.islice(made, _PAGE)):
            connection.execute(exchange.insert(), [row._asdict() for row in page])
            keyed = (row for row in page if row.fingerprint)
            taken = [(row.operation, row.principal, row.key, row.fingerprint, row.id, False) for row in keyed]
            connection.execute(idempotency.insert(), [dict(zip(_KEY, one, strict=True)) for one in taken])
            connection.commit()
            total += len(page)
    return total
