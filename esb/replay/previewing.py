"""What would be sent for an exchange now, by field, beside what was sent then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from esb.clock import SHANGHAI, Clock
from esb.editing.persons import altered, strangers
from esb.errors import AdapterError
from esb.fields import changes, named, shown, within
from esb.lint import Plan
from esb.mapping import MappingError
from esb.model import Effect, Tree
from esb.observe import mask
from esb.replay.wire import fields, text_of
from esb.spi import Call
from esb.store.tables import Row


class Changed(NamedTuple):
    """A field and its values then and now as they may be shown; None where it is not there."""

    field: str
    then: str | None
    now: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """``first``: nothing is kept that was sent before. ``error`` is why nothing can be sent now."""

    changed: tuple[Changed, ...] = ()
    first: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Then:
    """The clock as it stood when the exchange was received."""

    moment: datetime

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return self.moment


def preview(plan: Plan, row: Row, request: Tree, sent: bytes) -> Preview:
    """Nothing is sent. Texts of a mapping's or an adapter's own error are masked."""
    try:
        now = _fields(plan, row, request)
    except (MappingError, AdapterError) as error:
        return Preview(error=mask(str(error)))
    if not sent:
        return Preview(first=True)
    found = list(changes(fields(text_of(sent)), now))
    if not found:
        return Preview()
    hidden = _of_patients(plan, row, request, now)
    texts = strangers(request, plan.contract.operations[row.operation].request_phi)
    names = {named(path) for path in now}
    changed = []
    for name, before, after in found:
        hides = hidden is None or within(name, hidden)
        was_hidden = hides or name not in names or any(text in str(before) for text in texts)
        changed.append(Changed(name, shown(before, hidden=was_hidden), shown(after, hidden=hides)))
    return Preview(tuple(changed))


def _fields(plan: Plan, row: Row, request: Tree) -> Mapping[str, Tree]:
    endpoint = plan.endpoints[plan.routes.routes[row.operation].to]
    context = {"id": row.id, "key": row.key, "operation": row.operation, "now": row.received}
    clock: Clock = _Then(datetime.fromisoformat(row.received).astimezone(SHANGHAI))
    action, payload = plan.mappings[row.operation].build(request, context, dict(endpoint.site))
    call = Call(row.operation, row.id, row.key, Effect(row.effect), 3600.0, clock)
    return fields(endpoint.preview(action, payload, call))


def _of_patients(plan: Plan, row: Row, request: Tree, now: Mapping[str, Tree]) -> set[str] | None:
    """The fields that would be sent otherwise if the patient's data were other; None when that cannot be tried."""
    other = altered(request, plan.contract.operations[row.operation].request_phi)
    try:
        return {name for name, *_ in changes(now, _fields(plan, row, other))}
    except (MappingError, AdapterError):
        return None
