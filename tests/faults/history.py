"""Was a promise broken? A pure checker: what clients saw, against what really happened in the hospital.

    history.entries    what every client did and heard: ``invoke`` first, then one of ``ok`` (it happened, or it was
                       accepted), ``fail`` (it certainly did not) and ``info`` (nobody told)
    history.ends       exchange -> how it stands when all is quiet, for every exchange that was accepted
    history.effects    the hospital's ledger, oldest first
    history.sends      the requests that reached the hospital, oldest first
    history.places     slot -> how many could be taken at the beginning
    history.events     control ids of the events in the bus's inbox, one entry for each event

``judge`` returns the violations of I1 (accepted is never lost), I2 (one effect for one intent), I3 (no slot has more
takers than places, at no instant), I8 (what happens once is never sent again blindly) and I9 (order is kept for each
subject, and nobody waits for another's). It knows nothing of the bus but its contract.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

EFFECTS = {"registration.lock": "lock", "registration.unlock": "release"}
"""Operation -> the ledger's word for its effect."""
MESSAGE = "message"
"""The operation of an HL7 message that a system sends; its key is the control id, its effect an event."""
ONCE = {"LockRegistration": "FindRegistration"}
"""Requests that must not be sent twice, and the question that decides whether they may be."""
TAKES = {"lock": 1, "release": -1, "expire": -1, "cancel": -1}
_SAID_NO = ("business_error",)
_FINAL = ("done", "refused", "unavailable", "malformed")


class Kind(StrEnum):
    """What a client noted."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Entry(NamedTuple):
    """``at`` in seconds of the wall clock. ``exchange`` is set when the answer was 202: accepted, or being settled.

    ``subject`` is what order is kept for and what the ledger calls key: the order number.
    """

    at: float
    client: str
    kind: Kind
    operation: str
    key: str
    subject: str = ""
    exchange: str = ""
    status: int = 0


class Violation(NamedTuple):
    """A broken promise: which invariant, of whom, and why we say so."""

    invariant: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.subject}: {self.text}"


@dataclass
class History:
    """All that is known of a run; see the module."""

    entries: Sequence[Entry] = ()
    ends: Mapping[str, str] = field(default_factory=dict)
    effects: Sequence[Mapping[str, Any]] = ()
    sends: Sequence[Mapping[str, Any]] = ()
    places: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[str] = ()


def judge(history: History) -> list[Violation]:
    """Every violation, none when all promises were kept."""
    intents = _intents(history)
    return [
        *_lost(intents, history),
        *_doubled(intents, history),
        *_oversold(history),
        *_blind(intents, history),
        *_out_of_order(intents, history),
    ]


class _Intent:
    """One thing that a client wanted, under one key, however often it asked."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        first = entries[0]
        self.operation, self.key, self.subject = first.operation, first.key, first.subject
        self.entries = entries
        self.began = first.at
        self.exchanges = list(dict.fromkeys(one.exchange for one in entries if one.exchange))
        self.oks = [one for one in entries if one.kind is Kind.OK]
        self.last = entries[-1]

    @property
    def accepted(self) -> float | None:
        """When the bus first took responsibility."""
        return self.oks[0].at if self.oks else None

    def said_done(self, history: History) -> bool:
        """The client was told that it happened, at once or by its exchange."""
        told = any(one.kind is Kind.OK and not one.exchange for one in self.entries)
        return told or any(history.ends.get(one) == "done" for one in self.exchanges)

    def said_not(self, history: History) -> bool:
        """The last that the client heard is that it did not happen."""
        if self.said_done(history):
            return False
        ended = [history.ends.get(one) for one in self.exchanges]
        return self.last.kind is Kind.FAIL or (bool(ended) and ended[-1] in ("refused", "unavailable"))


def _intents(history: History) -> list[_Intent]:
    by_key: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(history.entries, key=lambda one: one.at):
        by_key[entry.operation, entry.key].append(entry)
    return [_Intent(entries) for entries in by_key.values()]


def _count(history: History, intent: _Intent) -> int:
    if intent.operation == MESSAGE:
        return Counter(history.events)[intent.key]
    wanted = EFFECTS[intent.operation]
    return sum(row["operation"] == wanted and row["key"] == intent.subject for row in history.effects)


def _lost(intents: Iterable[_Intent], history: History) -> Iterator[Violation]:
    """I1."""
    events = set(history.events)
    for intent in intents:
        for exchange in intent.exchanges:
            if history.ends.get(exchange) not in _FINAL:
                text = f"exchange {exchange} was accepted and is {history.ends.get(exchange, 'not to be found')}"
                yield Violation("I1", intent.key, text)
        if intent.operation == MESSAGE:
            if intent.oks and intent.key not in events:
                yield Violation("I1", intent.key, "was acknowledged and is no event")
        elif intent.said_done(history) and not _count(history, intent):
            yield Violation("I1", intent.key, "was told as done and the hospital knows nothing of it")


def _doubled(intents: Iterable[_Intent], history: History) -> Iterator[Violation]:
    """I2."""
    for intent in intents:
        count = _count(history, intent)
        if count > 1:
            yield Violation("I2", intent.key, f"happened {count} times")
        if count and intent.operation != MESSAGE and intent.said_not(history):
            yield Violation("I2", intent.key, "happened, and its client was told that it did not")
    wanted = {(EFFECTS.get(one.operation), one.subject) for one in intents}
    for row in history.effects:
        if row["operation"] in EFFECTS.values() and (row["operation"], row["key"]) not in wanted:
            yield Violation("I2", row["key"], f"{row['operation']} happened and nobody asked for it")


def _oversold(history: History) -> Iterator[Violation]:
    """I3, after every single row of the ledger."""
    taken: Counter[str] = Counter()
    for row in history.effects:
        slot = row["slot"]
        taken[slot] += TAKES.get(row["operation"], 0)
        if slot in history.places and taken[slot] > history.places[slot]:
            yield Violation("I3", slot, f"{taken[slot]} takers for {history.places[slot]} places at row {row['seq']}")


def _blind(intents: Iterable[_Intent], history: History) -> Iterator[Violation]:
    """I8: between two sends there is a question, the hospital's own no, or the bus's word that it did not happen."""
    denials = {one.subject: [e.at for e in one.entries if e.kind is Kind.FAIL] for one in intents}
    earlier: dict[tuple[str, str], tuple[float, bool]] = {}
    questions = {question: once for once, question in ONCE.items()}
    for row in history.sends:
        operation, at = row["operation"], datetime.fromisoformat(row["at"]).timestamp()
        subject = (row["decoded"] or {}).get("OrderNo", "")
        if operation in questions:
            known = earlier.get((questions[operation], subject))
            if known:
                earlier[questions[operation], subject] = (known[0], True)
        if operation not in ONCE:
            continue
        before = earlier.get((operation, subject))
        if before and not before[1] and not any(before[0] <= one <= at for one in denials.get(subject, ())):
            yield Violation("I8", subject, f"{operation} was sent again and nobody had asked what became of the first")
        earlier[operation, subject] = (at, row["fault"] in _SAID_NO)


def _out_of_order(intents: Iterable[_Intent], history: History) -> Iterator[Violation]:
    """I9: what was accepted before the next was asked for happened before it, and was not overtaken by it."""
    by_subject: dict[str, list[_Intent]] = defaultdict(list)
    for intent in intents:
        if intent.operation in EFFECTS and intent.accepted is not None:
            by_subject[intent.subject].append(intent)
    rows = {(row["operation"], row["key"]): row["seq"] for row in history.effects}
    for subject, ordered in by_subject.items():
        for before, after in pairwise(ordered):
            if before.accepted is None or before.accepted > after.began:
                continue
            first, second = (rows.get((EFFECTS[one.operation], subject)) for one in (before, after))
            if first is not None and second is not None and second < first:
                yield Violation("I9", subject, f"{after.operation} happened before {before.operation}")
            if first is not None and second is None and after.exchanges and after.said_not(history):
                yield Violation("I9", subject, f"{after.operation} did not find what {before.operation} had done")


class Log:
    """Entries as JSON lines in a file, so that what a client saw outlives the client."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, entry: Entry) -> None:
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")

    def read(self) -> list[Entry]:
        if not self._file.exists():
            return []
        rows = (json.loads(line) for line in self._file.read_text("utf-8").splitlines())
        return [Entry(row[0], row[1], Kind(row[2]), *row[3:]) for row in rows]
