"""A replay that sends nothing: what would become of each exchange, those that would be sent alike taken together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice

import sqlalchemy as sa

from esb.lint import Plan
from esb.model import Tree
from esb.replay.judging import CARRIED_OUT, Judged, Verdict, judge
from esb.replay.previewing import Changed, Preview, preview
from esb.store.bodies import CorruptError, unpack

CHUNK = 100
SHOWN = 3
Connect = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(slots=True)
class Group:
    """Exchanges of one operation with one fate that would be sent with the same fields changed.

    ``examples`` are some of their ids, ``changed`` the fields with the values of the first.
    """

    operation: str
    verdict: str
    why: str
    exchanges: int = 0
    first: bool = False
    error: str = ""
    changed: tuple[Changed, ...] = ()
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rehearsal:
    """All groups, the largest first."""

    exchanges: int
    groups: list[Group]

    @property
    def carried_out(self) -> int:
        """How many a real replay would accept again or release."""
        return sum(one.exchanges for one in self.groups if one.verdict in CARRIED_OUT)


def rehearse(connect: Connect, ids: Sequence[str], plan: Plan) -> Rehearsal:
    """Look at all of them, some hundred at a time; ``connect`` begins a transaction that only reads."""
    groups: dict[tuple[object, ...], Group] = {}
    for chunk in chunks(ids):
        with connect() as connection:
            judged = judge(connection, chunk, plan)
        for one in judged:
            _add(groups, one, _looked_at(plan, one))
    return Rehearsal(len(ids), sorted(groups.values(), key=lambda one: -one.exchanges))


def chunks(ids: Iterable[str]) -> Iterable[list[str]]:
    """So many as are looked at, or changed, in one transaction."""
    left = iter(ids)
    while some := list(islice(left, CHUNK)):
        yield some


def _looked_at(plan: Plan, one: Judged) -> Preview:
    if one.verdict not in CARRIED_OUT or one.row is None:
        return Preview()
    try:
        return preview(plan, one.row, one.request, unpack(one.row.sent))
    except (CorruptError, ValueError) as error:
        return Preview(error=f"the journal's row is damaged: {type(error).__name__}")


def _add(groups: dict[tuple[object, ...], Group], one: Judged, look: Preview) -> None:
    operation = one.row.operation if one.row else ""
    why = "" if one.verdict in (Verdict.OTHER, Verdict.RELEASE) else one.why
    key = (operation, one.verdict, why, look.first, look.error, tuple(each.field for each in look.changed))
    group = groups.get(key)
    if group is None:
        group = groups[key] = Group(
            operation, str(one.verdict), why, 0, look.first, look.error, look.changed
        )  # fmt: skip
    group.exchanges += 1
    group.examples += [one.id] if len(group.examples) < SHOWN else []


def as_tree(rehearsal: Rehearsal) -> dict[str, Tree]:
    """The rehearsal for programs."""
    groups = [{**asdict(one), "changed": [each._asdict() for each in one.changed]} for one in rehearsal.groups]
    return {"exchanges": rehearsal.exchanges, "carried_out": rehearsal.carried_out, "groups": groups}


def as_text(rehearsal: Rehearsal) -> str:
    """The rehearsal for people: then -> now, of the first exchange of each group."""
    lines: list[str] = []
    for one in rehearsal.groups:
        head = f"{one.exchanges} x {one.operation or '?'} {one.verdict}" + (f" ({one.why})" if one.why else "")
        lines.append(f"{head}: {_sent(one)}" if one.verdict in CARRIED_OUT else head)
        lines += [f"    {each.field}: {_or_nothing(each.then)} -> {_or_nothing(each.now)}" for each in one.changed]
        lines.append(f"    for example {', '.join(one.examples)}")
    count = rehearsal.carried_out
    lines.append(f"{count} of {rehearsal.exchanges} would be carried out; nothing was sent")
    return "\n".join(lines)


def _sent(group: Group) -> str:
    if group.error:
        return f"cannot be sent: {group.error}"
    if group.first:
        return "nothing that was sent before is kept to compare with"
    return f"{len(group.changed)} fields other than then" if group.changed else "sent as it was then"


def _or_nothing(value: str | None) -> str:
    return "(nothing)" if value is None else value
