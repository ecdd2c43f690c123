"""What HL7 v2 costs: ``python -m bench.hl7 [--json] [--seconds N] [--megabytes N]``.

An ADT of 5 segments and an ORU of 26: decoded and 12 fields read, and built of the same values, against python-hl7,
hl7apy, node-hl7-client on Node.js and plain splitting or joining, after all of them gave the same values. They run in
turn, seven rounds; of the times the middle counts, and of the ratios the middle of those within one round. Then a batch
file is streamed, and validation is timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

from bench.baselines import hl7_libraries as libraries
from bench.baselines.hl7_libraries import Node, Place
from bench.baselines.node_peer import running
from bench.harness import ROOT, Row, report, row
from bench.mapping import Clock, count_for
from esb.codecs.hl7v2 import build, decode, enveloped, parse, path
from esb.codecs.hl7v2.validate import validate

ROUNDS = 7
HOW_TO_READ = (
    "Ratios with >= say how many times faster we are than the baseline, with <= how many times as long we take.\n"
    "Plain splitting knows one charset and no escapes; plain joining escapes and checks nothing."
)
TARGETS = {
    "python-hl7": ">= 20",
    "hl7apy": ">= 500",
    "node-hl7-client": ">= 1",
    "plain": "<= 3",
}

HEADER = {
    "3": "HIS",
    "4": "H1",
    "5": "HUB",
    "6": "WX",
    "7": "20260115093000",
    "9.1": "ORU",
    "9.2": "R01",
    "10": "M00001",
    "11": "P",
    "12": "2.5",
    "18": "UNICODE UTF-8",
}
PID = {
    "1": "1",
    "3.1": "P100001",
    "3.4": "HIS",
    "3.5": "PI",
    "5.1": "Zhang",
    "5.2": "San",
    "7": "19800101",
    "8": "M",
    "11.1": "1 Main Street",
    "11.3": "Town",
    "13": "13800000000",
}
PV1 = {"1": "1", "2": "I", "3.1": "W1", "3.2": "101", "3.3": "1", "7.1": "D001", "7.2": "Li", "19": "V10001"}
ADT: list[libraries.Row] = [
    ("MSH", {**HEADER, "9.1": "ADT", "9.2": "A01"}),
    ("EVN", {"1": "A01", "2": "20260115093000"}),
    ("PID", PID),
    ("PV1", PV1),
    ("AL1", {"1": "1", "2": "DA", "3.1": "PEN", "3.2": "Penicillin", "4": "MO", "5": "rash"}),
]
OBX = {"2": "NM", "5": "5.1", "6": "mmol/L", "7": "3.9-6.1", "8": "N", "11": "F", "14": "20260115090000"}
ORU: list[libraries.Row] = [
    ("MSH", HEADER),
    ("PID", PID),
    ("PV1", PV1),
    ("ORC", {"1": "RE", "2": "O1", "3": "F1"}),
    ("OBR", {"1": "1", "2": "O1", "3": "F1", "4.1": "CBC", "4.2": "Blood count", "7": "20260115080000"}),
    *(("OBX", {"1": str(at), "3.1": f"T{at}", "3.2": f"Test {at}", **OBX}) for at in range(1, 22)),
]
PERSON = ["MSH-10", "MSH-9.1", "PID-3.1", "PID-5.1"]
ADT_PATHS = [*PERSON, "MSH-7", "MSH-9.2", "PID-3.4", "PID-5.2", "PID-7", "PID-8", "PV1-3.1", "PV1-19"]
ORU_PATHS = [*PERSON, "OBR-2", "OBR-4.1", "OBR-7", "OBX-3.1", "OBX-5", "OBX[1]-5", "OBX[10]-5", "OBX[20]-6"]
CASES = {"ADT of 5 segments": (ADT, ADT_PATHS), "ORU of 26 segments": (ORU, ORU_PATHS)}


def ours(rows: list[libraries.Row]) -> Callable[[], bytes]:
    """Built of the same values by paths, which are escaped and checked."""
    segments = [{f"{name}-{place}": value for place, value in values.items()} for name, values in rows]
    return lambda: build(segments).raw


def reading(rows: list[libraries.Row], paths: list[str], peer: Node) -> dict[str, Clock]:
    """A clock for each reader; refuses to time what reads another value."""
    data = ours(rows)()
    parsed = [parse(one) for one in paths]
    places: list[Place] = [(one.segment, one.occurrence, one.field, one.component) for one in parsed]
    getters = [path(one) for one in paths]

    def read(given: bytes) -> list[str | None]:
        message = decode(given)
        return [get(message) for get in getters]

    readers: dict[str, Callable[[bytes], object]] = {
        "ours": read,
        "plain": libraries.split(places),
        "python-hl7": libraries.python_hl7(places),
        "hl7apy": libraries.hl7apy(places),
    }
    wanted = read(data)
    found = {name: reader(data) for name, reader in readers.items()} | {
        "node-hl7-client": peer.read(data.decode(), places)
    }
    same(found, wanted)
    clocks = {name: clock(partial(reader, data)) for name, reader in readers.items()}
    return {**clocks, "node-hl7-client": peer.seconds}


def writing(rows: list[libraries.Row], peer: Node) -> dict[str, Clock]:
    """A clock for each writer; refuses to time one that writes another value."""
    writers = {
        "ours": ours(rows),
        "plain": libraries.join(rows),
        "python-hl7": libraries.python_hl7_writer(rows),
        "hl7apy": libraries.hl7apy_writer(rows),
    }
    found: dict[str, object] = {name: values(writer(), rows) for name, writer in writers.items()}
    found["node-hl7-client"] = values(peer.write(rows).encode(), rows, header=False)
    same({name: one for name, one in found.items() if name != "node-hl7-client"}, values(ours(rows)(), rows))
    same({"node-hl7-client": found["node-hl7-client"]}, values(ours(rows)(), rows, header=False))
    return {**{name: clock(writer) for name, writer in writers.items()}, "node-hl7-client": peer.seconds}


def values(data: bytes, rows: list[libraries.Row], *, header: bool = True) -> list[str | None]:
    """What is in a message at the places of ``rows``. Node writes a header of its own."""
    message, seen, found = decode(data), dict[str, int](), []
    for name, fields in rows:
        at = seen[name] = seen.get(name, -1) + 1
        if header or name != "MSH":
            found += [path(f"{name}[{at}]-{place}")(message) for place in fields]
    return found


def same(found: Mapping[str, object], wanted: object) -> None:
    for name, one in found.items():
        if one != wanted:
            raise SystemExit(f"{name} gives other values: {one} for {wanted}")


def clock(function: Callable[[], object]) -> Clock:
    def timed(count: int) -> float:
        began = perf_counter()
        for _ in range(count):
            function()
        return perf_counter() - began

    return timed


def compare(title: str, clocks: dict[str, Clock], seconds: float) -> list[Row]:
    """A row for each baseline."""
    counts = {name: count_for(timed, seconds) for name, timed in clocks.items()}
    rounds = [{name: timed(counts[name]) / counts[name] for name, timed in clocks.items()} for _ in range(ROUNDS)]
    rows = []
    for name, target in TARGETS.items():
        ratios = [each[name] / each["ours"] for each in rounds]
        if target.startswith("<="):
            ratios = [1 / ratio for ratio in ratios]
        mine, theirs = (statistics.median(each[key] for each in rounds) * 1e6 for key in ("ours", name))
        rows.append(row(f"{title}, against {name}", mine, "us", target, theirs, statistics.median(ratios)))
    return rows


STREAM = """
import re, sys, time
from pathlib import Path
from esb.codecs.hl7v2 import Batch
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
began = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    batch = Batch(file)
    for found in batch:
        if sys.argv[2] == "read":
            found.message().get("MSH", 0, 10)
taken = time.perf_counter() - began
grown = (peak() - before) * 1024
print(batch.messages, batch.faulty, taken, grown)
"""


def streaming(megabytes: int) -> list[Row]:
    """A file of that size, in a process of its own whose peak of memory is its own."""
    message = ours(ORU)()
    count = megabytes * 1_000_000 // len(message)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batch.hl7"
        with file.open("wb") as out:
            out.writelines(enveloped(message for _ in range(count)))
        for what in ("split", "read"):
            done = subprocess.run(
                [sys.executable, "-c", STREAM, str(file), what], cwd=ROOT, capture_output=True, text=True, check=True
            )
            messages, faulty, taken, grown = map(float, done.stdout.split())
            if (messages, faulty) != (count, 0):
                raise SystemExit(f"{messages} messages and {faulty} faults where {count} were written")
            title = f"batch of {megabytes} MB, " + (
                "split into messages" if what == "split" else "and MSH-10 of each read"
            )
            rows.append(row(title, file.stat().st_size / 1e6 / taken, "MB/s", ">= 10"))
            rows.append(row(f"{title}: memory grown", grown / 1e6, "MB", "<= 10"))
    return rows


def validation(seconds: float) -> Row:
    """Not on the way of a message; the bound is that of a person who waits."""
    message = decode(ours(ORU)())
    timed = clock(lambda: validate(message))
    count = count_for(timed, seconds)
    return row("ORU of 26 segments validated", timed(count) / count * 1e3, "ms", "<= 20")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each contender in each of seven rounds")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the batch file")
    options = parser.parse_args()
    rows: list[Row] = []
    with running(Node) as peer:
        for title, (segments, paths) in CASES.items():
            rows += compare(f"{title}: 12 fields", reading(segments, paths, peer), options.seconds)
            rows += compare(f"{title} built", writing(segments, peer), options.seconds)
    rows += [*streaming(options.megabytes), validation(options.seconds)]
    report("bench.hl7: HL7 v2 read and written", HOW_TO_READ, rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
