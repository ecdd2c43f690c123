"""What it takes to lose nothing: ``python -m bench.durable [PART ...]``; ``--help`` has the parts and options.

PostgreSQL must run on 127.0.0.1:5432; RabbitMQ is a private node, and everything shares the cores. What is measured
against what is said by the module of each part. Without names all of them run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import accepting, broker, journal, restart, workers
from bench.harness import Row, report
from tests import postgres
from tests.rabbit_node import private_node
from tests.sandbox_process import Sandbox, start_sandbox


@dataclass(frozen=True)
class Given:
    """What every part gets: an empty ``folder``, ``seconds`` of a round, ``rows`` of a journal, messages."""

    hospital: Sandbox
    folder: Path
    seconds: float
    rows: int
    waiting: int


def accept_sqlite(given: Given) -> Iterable[Row]:
    return accepting.on_sqlite(given.hospital, given.folder, given.seconds)


def accept_postgresql(given: Given) -> Iterator[Row]:
    with postgres.database() as store, private_node() as node:
        yield from accepting.on_postgresql(given.hospital, given.folder, given.seconds, store, node.url)


def deliver(given: Given) -> Iterator[Row]:
    yield accepting.delivering(given.hospital, given.folder)


def broker_sqlite(given: Given) -> Iterator[Row]:
    with private_node() as node:
        yield from broker.through_broker(node, f"sqlite:///{given.folder / 'esb.db'}", given.waiting)


def broker_postgresql(given: Given) -> Iterator[Row]:
    with postgres.database() as store, private_node() as node:
        yield from broker.through_broker(node, store, given.waiting)


def journal_sqlite(given: Given) -> Iterable[Row]:
    return journal.measured(given.hospital, given.folder, given.seconds, given.rows)


def journal_postgresql(given: Given) -> Iterator[Row]:
    with postgres.database() as store:
        yield from journal.searched(store, given.rows, "PostgreSQL")


def restarts(given: Given) -> Iterator[Row]:
    waiting = min(given.waiting, 5000)
    yield restart.restarted(given.hospital, given.folder, "SQLite", waiting, {})
    with postgres.database() as store, private_node() as node:
        environ = {"ESB_STORE": store, "ESB_BROKER": node.url}
        yield restart.restarted(given.hospital, given.folder, "PostgreSQL and RabbitMQ", waiting, environ)


def two_workers(given: Given) -> Iterator[Row]:
    count = min(given.waiting, 600)
    yield from workers.two_against_one(given.hospital, given.folder / "sql", "PostgreSQL", count, {})
    with private_node() as node:
        environ = {"ESB_BROKER": node.url}
        kind = "PostgreSQL and RabbitMQ"
        yield from workers.two_against_one(given.hospital, given.folder / "rabbit", kind, count, environ)


PARTS: dict[str, Callable[[Given], Iterable[Row]]] = {
    "accept_sqlite": accept_sqlite,
    "accept_postgresql": accept_postgresql,
    "deliver": deliver,
    "broker_sqlite": broker_sqlite,
    "broker_postgresql": broker_postgresql,
    "journal_sqlite": journal_sqlite,
    "journal_postgresql": journal_postgresql,
    "restarts": restarts,
    "two_workers": two_workers,
}


def measured(names: Iterable[str], options: argparse.Namespace) -> Iterator[Row]:
    """The parts one after another, each in a folder of its own."""
    with start_sandbox() as hospital, tempfile.TemporaryDirectory() as folder:
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            yield from PARTS[name](Given(hospital, place, options.seconds, options.rows, options.waiting))
            print(f"{name}: done, load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--rows", type=int, default=1_000_000, help="in the journal that is searched")
    parser.add_argument("--waiting", type=int, default=100_000, help="messages when the broker is wiped")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    before = os.getloadavg()[0]
    found = list(measured(options.parts or PARTS, options))
    how = (
        f"The ratio is to the baseline of the same run, of each round, the middle of those; else the value is judged.\n"
        f"Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores."
    )
    report("bench.durable: nothing is lost, and what that takes", how, found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
