"""The shared HL7 v2 corpus in figures: ``python -m tests.esb.codecs.hl7_corpus``.

How many messages give their bytes back, how many of the values on which two libraries agree are ours too, how many
batch files give their messages, and every exception by name. The tests assert the same.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from esb.codecs import DecodeError
from esb.codecs.hl7v2 import Batch, Message, decode, from_tree, to_tree
from esb.codecs.hl7v2.structure import structure
from esb.codecs.hl7v2.validate import validate

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "hl7v2"


@dataclass
class Figures:
    """What came out; ``errors`` by file name, ``disagreed`` as file and place."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    disagreed: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of an index of the corpus."""
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


def value(message: Message, place: str) -> str | None:
    """What is at a place as the corpus writes it: ``PID#0.5[1].2.1``."""
    match = re.fullmatch(r"(.*)#(\d+)\.(\d+)\[(\d+)\]\.(\d+)\.(\d+)", place)
    assert match
    segment, *numbers = match.groups()
    return message.get(segment, *map(int, numbers))


def read(entry: dict[str, Any]) -> Message:
    """The message of an index line, with the charset that the index found where MSH-18 has none."""
    charset = "8859/1" if entry["charset"] == "latin-1" else ""
    return decode((CORPUS / "messages" / entry["id"]).read_bytes(), charset)


def measure() -> Figures:
    """Everything, in some seconds."""
    figures = Figures()
    facts = {entry["id"]: entry["values"] for entry in rows("facts.jsonl")}
    for entry in rows("index.jsonl"):
        figures.counts["messages"] += 1
        try:
            message = read(entry)
        except DecodeError as error:
            figures.errors[entry["id"]] = error.reason
            continue
        _round_trip(figures, entry["id"], message)
        _agreement(figures, entry["id"], message, facts.get(entry["id"], {}))
        _validation(figures, message)
    for entry in rows("batch-index.jsonl"):
        _batch(figures, entry)
    return figures


def _round_trip(figures: Figures, name: str, message: Message) -> None:
    """Of the bytes, and by way of JSON."""
    data = (CORPUS / "messages" / name).read_bytes()
    by_json = from_tree(json.loads(json.dumps(to_tree(message)))).encode()
    if message.encode() == by_json == data:
        figures.counts["same bytes"] += 1
    else:
        figures.changed.append(name)


def _agreement(figures: Figures, name: str, message: Message, values: dict[str, str]) -> None:
    for place, expected in values.items():
        figures.counts["values"] += 1
        if value(message, place) == expected:
            figures.counts["agreed"] += 1
        else:
            figures.disagreed.append(f"{name} {place}")


def _validation(figures: Figures, message: Message) -> None:
    began = perf_counter()
    faults = validate(message)
    figures.slowest_s = max(figures.slowest_s, perf_counter() - began)
    figures.counts["without an error"] += not any(fault.severity == "E" for fault in faults)
    laid_out = structure(message)
    figures.counts["known structures"] += laid_out is not None
    figures.counts["laid out without a fault"] += laid_out is not None and not laid_out.faults


def _batch(figures: Figures, entry: dict[str, Any]) -> None:
    with (CORPUS / "batch" / entry["id"]).open("rb") as file:
        found = sum(1 for _ in Batch(file))
    figures.counts["batch files"] += 1
    figures.counts["batch messages"] += found
    if found != entry["msh_segments"]:
        figures.miscounted.append(f"{entry['id']}: {found} for {entry['msh_segments']}")


def told(figures: Figures) -> str:
    """The figures in sentences."""
    counts = figures.counts
    lines = [
        f"{counts['same bytes']} of {counts['messages']} messages give their bytes back, also by way of JSON",
        f"{len(figures.errors)} are refused with a reason:",
        *(f"  {name}: {reason}" for name, reason in figures.errors.items()),
        f"{counts['agreed']} of {counts['values']} values agree with two other libraries",
        f"{counts['batch files']} batch files give {counts['batch messages']} messages",
        f"{counts['known structures']} have a known structure, {counts['laid out without a fault']} follow it",
        f"{counts['without an error']} have no error of validation, the slowest took {figures.slowest_s * 1000:.0f} ms",
        *(f"  NOT AS EXPECTED: {one}" for one in (*figures.changed, *figures.disagreed, *figures.miscounted)),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the figures; 1 when something changed, disagreed or was miscounted."""
    if not CORPUS.exists():
        sys.stdout.write("the shared corpus is not here\n")
        return 1
    figures = measure()
    sys.stdout.write(told(figures))
    return 1 if figures.changed or figures.disagreed or figures.miscounted else 0


if __name__ == "__main__":
    sys.exit(main())
