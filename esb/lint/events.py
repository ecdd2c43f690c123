"""What does not fit between subscribers, the events of the contract and the operations that they call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from esb.codecs.yaml import PathTuple, nearest
from esb.config.routes import Routes, SubscriberConfig
from esb.contract import Contract, Event, Operation
from esb.errors import Finding
from esb.lint.places import Places
from esb.mapping import Filling, check_filling
from esb.model import Effect
from esb.types import Lost, Type

Fillings = Mapping[tuple[str, str], Filling | None]
"""By event and the subscriber's label."""


def subscriber_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    """Events and operations that are not there, and operations that nobody could call for an event."""
    for event, subscribers in routes.events.items():
        if event not in contract.events:
            hint = nearest(event, contract.events) or "events: " + ", ".join(contract.events)
            yield routes.finding(("events", event), f"event '{event}' is not in the contract", hint, at_key=True)
        labels: set[str] = set()
        for at, one in enumerate(subscribers):
            place = ("events", event, at)
            if one.label in labels:
                message = f"'{one.label}' is told of '{event}' already"
                yield routes.finding((*place, "call"), message, "give one of the two a name: name: NAME")
            labels.add(one.label)
            yield from _called(contract, routes, one, (*place, "call"))


def _called(contract: Contract, routes: Routes, one: SubscriberConfig, place: PathTuple) -> Iterator[Finding]:
    operation = contract.operations.get(one.call)
    if operation is None or one.call not in routes.written:
        hint = nearest(one.call, routes.written) or "give it a route with deliver: queued"
        yield routes.finding(place, f"operation '{one.call}' has no route", hint)
    elif operation.effect is Effect.READ:
        yield routes.finding(place, f"'{one.call}' is a read, and nobody waits for its answer")
    elif (route := routes.routes.get(one.call)) is not None and not route.is_queued:
        message = f"nobody waits for the answer of '{one.call}': what fails must be tried again later"
        yield routes.finding(place, message, f"say deliver: queued in the route of '{one.call}'")


def filling_findings(contract: Contract, routes: Routes, fillings: Fillings, places: Places) -> Iterator[Finding]:
    """Paths that the event does not have, fields that the operation does not have or lacks."""
    for name, subscribers in routes.events.items():
        event = contract.events.get(name)
        for at, one in enumerate(subscribers):
            operation, filling = contract.operations.get(one.call), fillings.get((name, one.label))
            if event is None or operation is None:
                continue
            if one.given is None:
                yield from _unchanged(routes, event, operation, ("events", name, at))
            elif filling is not None:
                yield from map(places.of, check_filling(filling.sheet, event.type, operation.request_type))


def _unchanged(routes: Routes, event: Event, operation: Operation, place: PathTuple) -> Iterator[Finding]:
    """An event that is the request as it is."""
    wrong = next(_differences(event.type, operation.request_type, ""), None)
    if wrong is not None:
        message = f"the event is no request of '{operation.name}': {wrong}"
        yield routes.finding(place, message, "say what the request is: with: {...}")


def _differences(given: Type, wanted: Type, path: str) -> Iterator[str]:
    if not wanted.fields:
        return
    for name, inner in wanted.fields.items():
        if inner.required and (isinstance(found := given.at([name]), Lost) or not found.required):
            yield f"'{path}{name}' may be missing"
    for name, inner in given.fields.items():
        there = wanted.at([name])
        if isinstance(there, Lost):
            yield f"it has no '{path}{name}'"
        elif there.many != inner.many or (there.sort != inner.sort and "any" not in (there.sort, inner.sort)):
            yield f"'{path}{name}' is of another kind there"
        else:
            yield from _differences(inner, there, f"{path}{name}.")
