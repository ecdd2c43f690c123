"""What the journal takes and gives: a part of ``bench.durable``.

Cost: an uncached and a cached read over HTTP with the journal against the same bus that makes and writes no rows, in
turn, five times; the middle of the ratios within a round counts. Search: the slowest of four tries of each kind among a
million rows, the first of them with nothing of that index read yet; on PostgreSQL in the parts that a bus makes.
Pruning: 99 of 100 reads while half of the rows are deleted, against the same bus when that is over.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from bench.facade import IN_FLIGHT, UNCACHED, target
from bench.harness import Row, get, load, row
from bench.journal_rows import BEGIN, DAYS, VERSION, fill, rows
from esb.clock import SHANGHAI
from esb.journal.search import Query, page
from esb.store import parts
from esb.store.engines import engine_of, open_up
from tests.bus_process import Bus, start_bus
from tests.sandbox_process import Sandbox

ROUNDS = 5
_MIDDLE = BEGIN + timedelta(days=DAYS / 2)
_DAY = {"since": _MIDDLE, "until": _MIDDLE + timedelta(days=1)}


def cost(hospital: Sandbox, folder: Path, seconds: float, filled: Path) -> Iterator[Row]:
    """Reads with the journal against reads without."""
    kinds: Mapping[str, dict[str, str]] = {"uncached": UNCACHED, "cached": {}}
    for kind, changes in kinds.items():
        with ExitStack() as stack:
            buses: dict[str, Bus] = {}
            for module in ("esb.cli", "bench.baselines.no_journal"):
                place = folder / f"{kind}-{module}"
                place.mkdir()
                shutil.copy(filled, place / "esb.db")
                started = start_bus(hospital, changes=changes, folder=place, module=module, environ=_KEEP)
                buses[module] = stack.enter_context(started)
            rates = [{name: _rate(bus, seconds) for name, bus in buses.items()} for _ in range(ROUNDS)]
        on, off = ([each[name] for each in rates] for name in buses)
        ratio = statistics.median(one / other for one, other in zip(on, off, strict=True))
        name = f"{kind} read, against no journal"
        yield row(name, statistics.median(on), "req/s", ">= 0.9", statistics.median(off), ratio)


_KEEP = {"ESB_JOURNAL_DAYS": "36500"}


def _rate(bus: Bus, seconds: float) -> float:
    done = load(bus.port, get(bus.port, target()), IN_FLIGHT, seconds)
    if done.failures:
        raise SystemExit(f"{done.failures} of {done.requests} requests failed")
    return done.rate


def searches(engine: sa.Engine) -> Iterator[tuple[str, float]]:
    """Each kind of search with milliseconds of its slowest try."""
    with engine.connect() as connection:
        middle = page(connection, Query(until=_MIDDLE), most=1)[0]
        lock = page(connection, Query(operation="registration.lock", until=_MIDDLE), most=1)[0]
    often = f"v1.k1.{0:032x}"
    for name, query in (
        ("id", Query(ids=(middle.id,))),
        ("time", Query(**_DAY)),
        ("operation", Query(operation="report.list")),
        ("a rare operation", Query(operation="parking.fee")),
        ("endpoint", Query(endpoint="parking")),
        ("outcome", Query(states=("unknown",))),
        ("code", Query(code="slot_full")),
        ("idempotency key", Query(key=str(lock.facts["key"]))),
        ("request id", Query(request_id=str(middle.facts["request_id"]))),
        ("patient", Query(subjects=(often, "v1.k0.none"))),
        ("patient and outcome", Query(subjects=(often,), states=("refused",))),
        ("operation, outcome and time", Query(operation="report.list", states=("refused",), **_DAY)),
    ):
        yield name, max(_took(engine, query) for _ in range(4))


def _took(engine: sa.Engine, query: Query) -> float:
    began = time.perf_counter()
    with engine.connect() as connection:
        page(connection, query)
    return (time.perf_counter() - began) * 1000


def in_days(engine: sa.Engine) -> None:
    """On PostgreSQL parts for all days that are filled in, as a bus has them that was there all the time."""
    if engine.dialect.name != "postgresql":
        return
    with engine.begin() as connection:
        before = parts.parts(connection)[0]
        width = parts.width(connection, timedelta(days=DAYS)).days
        days = [(BEGIN + timedelta(days=day)).date() for day in range(0, DAYS + 1, width)]
        bounds = ["MINVALUE", *(f"'{parts.bound(day)}'" for day in days), f"'{before.high}'"]
        names = [before.name, *(f"exchange_{day:%Y%m%d}" for day in days)]
        connection.exec_driver_sql(f"DROP TABLE {before.name}")
        for name, low, high in zip(names, bounds, bounds[1:], strict=False):
            made = f"CREATE TABLE {name} PARTITION OF exchange FOR VALUES FROM ({low}) TO ({high})"
            connection.exec_driver_sql(made)


def searched(url: str, count: int, where: str) -> Iterator[Row]:
    """Fill a store and search it."""
    engine = engine_of(url)
    try:
        open_up(engine)
        in_days(engine)
        fill(engine, rows(count))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("VACUUM ANALYZE exchange")
        for name, took in searches(engine):
            yield row(f"{where}, {count:,} rows, by {name}", took, "ms", "<= 100")
    finally:
        engine.dispose()


def pruning(hospital: Sandbox, folder: Path, seconds: float, filled: Path) -> Iterator[Row]:
    """Reads while the older half is deleted, and afterwards."""
    folder.mkdir()
    shutil.copy(filled, folder / "esb.db")
    environ = {"ESB_JOURNAL_DAYS": str((datetime.now(SHANGHAI) - _MIDDLE).days)}
    before = _count(folder)
    with start_bus(hospital, changes=UNCACHED, folder=folder, environ=environ) as bus:
        began, during = time.perf_counter(), []
        while '"journal_pruned"' not in bus.log():
            during.append(load(bus.port, get(bus.port, target()), IN_FLIGHT, seconds).p99)
        took = time.perf_counter() - began
        after = [load(bus.port, get(bus.port, target()), IN_FLIGHT, seconds).p99 for _ in range(ROUNDS)]
    deleted = before - _count(folder)
    calm = statistics.median(after)
    yield row("99 of 100 reads while it prunes, against after", statistics.median(during), "ms", "<= 1.5", calm)
    yield row(f"rows pruned beside them ({deleted:,})", deleted / took, "rows/s", ">= 1000")


def _count(folder: Path) -> int:
    """How many of the rows that were filled in are there."""
    with closing(sqlite3.connect(folder / "esb.db")) as database:
        return int(database.execute("SELECT count(*) FROM exchange WHERE version = ?", (VERSION,)).fetchone()[0])


def measured(hospital: Sandbox, folder: Path, seconds: float, count: int) -> Iterator[Row]:
    """All of it on SQLite with so many rows."""
    filled = folder / "filled.db"
    yield from searched(f"sqlite:///{filled}", count, "SQLite")
    with closing(sqlite3.connect(filled)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yield from cost(hospital, folder, seconds, filled)
    yield from pruning(hospital, folder / "pruning", seconds, filled)
