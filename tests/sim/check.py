"""The judge: a pure function of what was seen. Each line it returns is a promise of RELIABILITY that was broken."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from tests.sim.history import Event
from tests.sim.hospital import Lock, Request, Slot
from tests.sim.plan import LONGEST_SCHEDULE_S, SETTLE_AFTER_S, Plan

_DONE, _NOTHING = "done", ("refused", "unavailable")
_TOLD = ("told", "polled", "reread")
_NOT_OF_AN_EXCHANGE = ("idempotency_conflict", "idempotency_running", "overloaded", "queue_full", "store_unavailable",
                       "no_route", "running")  # fmt: skip
_LONGEST_ANSWER_S = 4.0
_TOLD_WITHIN_S = 0.1  # after the disk said no
_QUESTION_EVERY_S, _LEASE_S, _FAULTY_WAIT_S, _HELD_S = 60.0, 60.0, 5.0, 30.0


class Journalled(NamedTuple):
    """A row of the journal when all is quiet."""

    id: str
    operation: str
    effect: str
    state: str
    code: str
    principal: str
    key: str
    cause: str
    request: bytes

    @property
    def order(self) -> str:
        return str(json.loads(self.request[1:]).get("orderNo", ""))


@dataclass
class Seen:
    """All that a judge may look at."""

    plan: Plan
    events: list[Event]
    requests: list[Request]
    slots: dict[str, Slot]
    locks: dict[str, list[Lock]]
    journal: list[tuple[Any, ...]]
    queue: list[tuple[Any, ...]]
    errors: list[str]

    def rows(self) -> list[Journalled]:
        return [Journalled(*row) for row in self.journal]


def violations(seen: Seen) -> list[str]:
    """The broken promises, none when all were kept."""
    checks = (
        lost, not_kept, twice, sent_again, oversold, changed, out_of_order, unbounded, without_end, untrue,
        own_mistakes,
    )  # fmt: skip
    return [line for check in checks for line in check(seen)]


def lost(seen: Seen) -> Iterator[str]:
    """I1: the journal knows every exchange that somebody was told of, and what is accepted waits until it has ended."""
    known = {row.id for row in seen.rows()}
    waiting = {exchange for exchange, *_ in seen.queue}
    for row in seen.rows():
        if row.state == "accepted" and not row.cause and row.id not in waiting:
            yield f"I1 {row.id} {row.operation} was accepted, has no end and is in no queue"
    for event in _told(seen):
        if event.facts["outcome"] in ("accepted", "done", "unknown") and event.facts["exchange"] not in known:
            yield f"I1 {event.facts['exchange']} was {event.facts['outcome']} and is not in the journal"
    for event in seen.events:
        if event.what == "missing":
            yield f"I1 {event.facts['exchange']} could not be found"


def not_kept(seen: Seen) -> Iterator[str]:
    """I2: who was told that nothing was kept sends it again, and would have the effect of both."""
    no = [event for event in _told(seen) if event.what == "told" and event.facts["code"] == "store_unavailable"]
    told = {event.facts["exchange"]: event for event in no if not event.facts["replayed"]}
    for request in seen.requests:
        event = told.get(request.exchange)
        if event is not None and request.carried_out and not _died(seen, event.at, request.at):
            yield f"I2 {request.exchange} was not kept, it was said, and request {request.number} was carried out"


def _died(seen: Seen, after: float, before: float) -> bool:
    """The process ended between the two, and what it only had in memory with it."""
    return any(one.what in ("killed", "stopping") and after <= one.at <= before for one in seen.events)


def twice(seen: Seen) -> Iterator[str]:
    """I2: one effect for an order, one exchange that ends well for a key."""
    effects: dict[tuple[str, str], list[int]] = defaultdict(list)
    for request in seen.requests:
        if request.state == "effect":
            effects[request.action, request.order].append(request.number)
    for (action, order), numbers in effects.items():
        if len(numbers) > 1:
            yield f"I2 {action} {order} took effect {len(numbers)} times: requests {numbers}"
    done: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in seen.rows():
        if row.effect != "read" and row.state == _DONE and not row.cause and row.key != row.id:
            done[row.operation, row.principal, row.key].append(row.id)
    for (operation, _, key), rows in done.items():
        if len(rows) > 1:
            yield f"I2 key {key} of {operation} was carried out {len(rows)} times: {rows}"


def sent_again(seen: Seen) -> Iterator[str]:
    """I8: a lock is not sent while an earlier one of its order may be carried out, or was."""
    earlier: dict[str, list[Request]] = defaultdict(list)
    ends = {event.facts["number"]: event.at for event in seen.events if event.who == "his" and event.what != "arrived"}
    for request in seen.requests:
        if request.action != "LockRegistration":
            continue
        for before in earlier[request.order]:
            if before.state == "effect" or ends.get(before.number, float("inf")) > request.at:
                yield f"I8 {request.order} request {request.number} was sent after {before.number}, {before.state}"
        earlier[request.order].append(request)


def oversold(seen: Seen) -> Iterator[str]:
    """I3: never more places taken than there are; who was told that a place is his has one."""
    for name, slot in seen.slots.items():
        if slot.most > slot.capacity:
            yield f"I3 {name} had {slot.most} of {slot.capacity} places taken"
    held = {order for order, locks in seen.locks.items() if any(lock.status == "1" for lock in locks)}
    returned = {request.order for request in seen.requests if request.action == "UnlockRegistration"}
    for row in seen.rows():
        is_lock = row.operation == "registration.lock" and row.state == _DONE
        if is_lock and row.order not in held and row.order not in returned:
            yield f"I3 {row.order} was told that it has a place, {row.id}, and has none"


def changed(seen: Seen) -> Iterator[str]:
    """I7: an exchange that has ended has ended, and its answer stays."""
    ends: dict[str, Event] = {}
    for event in _told(seen):
        facts = event.facts
        if facts["outcome"] in ("accepted", "unknown") or facts["code"] in _NOT_OF_AN_EXCHANGE:
            before = ends.get(facts["exchange"])
            if before and facts["code"] not in _NOT_OF_AN_EXCHANGE and not _told_from_memory(seen, before, event):
                yield f"I7 {facts['exchange']} was {_end(before)} and then {_end(event)}"
            continue
        before = ends.setdefault(facts["exchange"], event)
        if _end(before) != _end(event) and not _forgotten(seen, before, event):
            yield f"I7 {facts['exchange']} was {_end(before)} and then {_end(event)}"
        elif _differ(before.facts, facts) and not _told_from_memory(seen, before, event):
            yield f"I7 {facts['exchange']} had another answer"


def _differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return bool(before.get("body") and after.get("body") and before["body"] != after["body"])


def _forgotten(seen: Seen, before: Event, event: Event) -> bool:
    """What was only told is asked about: its effect is found; a no is only known as nothing having happened. What may
    be sent again is told so.
    """
    becomes = event.facts["code"] in ("not_happened", "not_sent", "outcome_unknown")
    return becomes and _told_from_memory(seen, before, event)


def _told_from_memory(seen: Seen, before: Event, event: Event) -> bool:
    """The disk failed when the end was told, and the bus died before that end could be written."""
    from_memory = before.what == "told" and not before.facts["replayed"]
    failed = any(begin <= before.at <= end + _TOLD_WITHIN_S for begin, end in seen.plan.disk_fails)
    return from_memory and failed and _died(seen, before.at, event.at)


def out_of_order(seen: Seen) -> Iterator[str]:
    """I9: with one order key what was accepted first reaches the hospital first, as long as it is one queue."""
    if not seen.plan.ordered or seen.plan.moves:
        return
    arrived: dict[str, list[int]] = defaultdict(list)
    for request in seen.requests:
        arrived[request.exchange].append(request.number)
    keys: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    ordered = {operation for version in seen.plan.versions for operation, route in version.routes.items()
               if all("ordered" in v.routes.get(operation, route) for v in seen.plan.versions)}  # fmt: skip
    requests = {row.id: row for row in seen.rows()}
    for number, event in enumerate(seen.events):
        facts = event.facts
        if event.what == "told" and facts["outcome"] == "accepted" and not facts["replayed"]:
            row = requests.get(facts["exchange"])
            if row is not None and row.operation in ordered:
                keys[_order_key(seen.plan, row)].append((facts["asked"], number, row.id))
    for key, accepted in keys.items():
        for _, told, first in accepted:
            for asked, _, second in accepted:
                if told < asked and arrived[first] and arrived[second] and arrived[first][-1] > arrived[second][0]:
                    yield f"I9 {second} overtook {first} with the order key {key}"


def unbounded(seen: Seen) -> Iterator[str]:
    """I10: no more calls at once than the system bears, no answer later than a deadline allows."""
    for event in seen.events:
        if event.what == "crowded":
            yield f"I10 {event.facts['calls']} calls at once, the system bears {event.facts['most']}"
        if event.what == "told" and event.facts["took"] > _LONGEST_ANSWER_S:
            yield f"I10 {event.facts['exchange']} was answered after {event.facts['took']} s"


def rest_within(plan: Plan) -> float:
    """Seconds in which all must come to its end once everything works: what the product promises of a message.

    A question every minute after those of the route; the lease of a message whose taker does not know that it has it;
    the longest schedule of tries, and three of five seconds for our own mistakes; after it those that were held behind
    it, each in a moment. What became due by a clock that was ahead is due when that moment has come.
    """
    ahead = max(accumulate((step for _, step in sorted(plan.clock_steps)), initial=0.0))
    return (
        ahead + sum(SETTLE_AFTER_S) + _QUESTION_EVERY_S + _LEASE_S + LONGEST_SCHEDULE_S + 3 * _FAULTY_WAIT_S + _HELD_S
    )


def without_end(seen: Seen) -> Iterator[str]:
    """I11: in the end, ``rest_within`` seconds after everything was healed, all has ended."""
    for exchange, operation, state, reason in seen.queue:
        yield f"I11 {exchange} {operation} is still {state} in the queue: {reason}"
    for row in seen.rows():
        is_open = row.state in ("received", "sent", "accepted") or (row.state == "unknown" and row.effect == "once")
        if is_open and not row.cause:  # one that was given another's answer ends with that
            yield f"I11 {row.id} {row.operation} is still {row.state}"


def untrue(seen: Seen) -> Iterator[str]:
    """I2, I3: what the journal says happened has happened, and what it says did not has not."""
    by_exchange: dict[str, list[Request]] = defaultdict(list)
    for request in seen.requests:
        by_exchange[request.exchange].append(request)
    for row in seen.rows():
        if row.effect == "read" or row.cause:
            continue
        mine = by_exchange[row.id]
        took_effect = [request for request in mine if request.state == "effect"]
        if row.state in _NOTHING and took_effect and row.code != "outcome_unknown":
            yield f"I3 {row.id} of {row.order} is {row.state} {row.code}; request {took_effect[0].number} took effect"
        if row.state == _DONE and not any(request.carried_out for request in mine):
            yield f"I1 {row.id} of {row.order} is done and was never carried out"


def own_mistakes(seen: Seen) -> Iterator[str]:
    """Nothing that the bus did not expect of itself."""
    for event in seen.events:
        if event.who == "log" and event.what == "failed":
            yield f"bus {event.facts['event']} {event.facts.get('exchange', '')} {event.facts['error']}"
        if event.what == "raised":
            yield f"bus raised {event.facts['why']}"
    yield from (f"loop {error}" for error in seen.errors)


def _told(seen: Seen) -> list[Event]:
    return [
        one
        for one in seen.events
        if one.what in _TOLD and one.facts["operation"] != "registration.find" and one.facts["outcome"]
    ]


def _end(event: Event) -> str:
    return f"{event.facts['outcome']} {event.facts['code']}".strip()


def _order_key(plan: Plan, row: Journalled) -> str:
    name = str(plan.ordered).removeprefix("$")
    return str(json.loads(row.request[1:]).get(name, row.order))
