"""What does not fit between routes.yaml and the contract: effects, settling, retries, caches, unused endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from esb.codecs.yaml import PathTuple, nearest
from esb.config.routes import RouteConfig, Routes
from esb.config.values import steps
from esb.contract import Contract, Operation
from esb.errors import Finding
from esb.mapping import Mapping as FieldMapping
from esb.model import Effect
from esb.types import Lost

_MOST_RETRIES = 10


def route_findings(contract: Contract, routes: Routes) -> Iterator[Finding]:
    """Routes against the contract."""
    for name, route in routes.routes.items():
        operation = contract.operations.get(name)
        if operation is None:
            hint = nearest(name, contract.operations)
            yield routes.finding(("routes", name), f"operation '{name}' is not in the contract", hint, at_key=True)
        else:
            yield from _safety(contract, routes, route, operation)


def _safety(contract: Contract, routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    if operation.effect is not Effect.READ and route.cache_s:
        yield routes.finding((*place, "cache"), f"only reads are cached; '{operation.name}' is {operation.effect}")
    if operation.owner and route.cache_s:
        message = f"'{operation.name}' answers what belongs to its caller (x-owner) and is not cached"
        yield routes.finding((*place, "cache"), message, "remove cache: two callers would share one answer")
    if operation.effect is not Effect.ONCE and route.settle:
        yield routes.finding((*place, "settle"), f"only 'once' is settled; '{operation.name}' is {operation.effect}")
    yield from _queued(routes, route, operation) if route.is_queued else _direct(routes, route, operation)
    if operation.effect is Effect.ONCE:
        yield from _once(contract, routes, route, operation)


def _direct(routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    hint = "say deliver: queued as well"
    for key in ("ordered", "priority", "ttl"):
        if (*place, key) in routes.document.marks:
            yield routes.finding((*place, key), f"'{key}' is for queued delivery", hint)
    if route.retry.over_s:
        yield routes.finding((*place, "retry"), "only queued delivery is tried again over a time", hint)
    if route.retry.times > _MOST_RETRIES:
        message = f"who waits for the answer cannot wait for more than {_MOST_RETRIES} retries"
        yield routes.finding((*place, "retry"), message, hint)


def _queued(routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    if operation.effect is Effect.READ:
        message = f"'{operation.name}' is a read: its answer is needed now and not later"
        yield routes.finding((*place, "deliver"), message, "remove deliver: queued")
    if route.ordered is not None:
        yield from _ordered(routes, (*place, "ordered"), route.ordered, operation)


def _ordered(routes: Routes, place: PathTuple, path: str, operation: Operation) -> Iterator[Finding]:
    """A value that is always there and is no list: without it nobody could say which come after which."""
    found = operation.request_type
    for step in steps(path):
        inner = found.at([step])
        if isinstance(inner, Lost):
            message = f"'{path}': the contract's request has no '{step}'"
            yield routes.finding(place, message, nearest(step, inner.known) or "fields: " + ", ".join(inner.known))
            return
        if not inner.required:
            yield routes.finding(place, f"'{path}': '{step}' may be missing, and then there would be no order")
            return
        found = inner
    if found.many or found.fields or found.sort == "any":
        yield routes.finding(place, f"'{path}' is no plain value", "name a text or a number, such as an id")


def _once(contract: Contract, routes: Routes, route: RouteConfig, operation: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name)
    if route.retry.times:
        hint = "remove retry; settle finds out whether it happened"
        yield routes.finding((*place, "retry"), f"'{operation.name}' is once and must never be sent again", hint)
    if route.settle is None:
        hint = "name a read that asks whether it happened: settle: OPERATION"
        yield routes.finding(place, f"'{operation.name}' is once and has no settle", hint, at_key=True)
    elif route.settle not in routes.written or route.settle not in contract.operations:
        hint = nearest(route.settle, routes.written)
        yield routes.finding((*place, "settle"), f"settle operation '{route.settle}' has no route", hint)
    else:
        yield from _settle(routes, operation, contract.operations[route.settle])


def _settle(routes: Routes, operation: Operation, settle: Operation) -> Iterator[Finding]:
    place = ("routes", operation.name, "settle")
    if settle.effect is not Effect.READ:
        yield routes.finding(place, f"settle operation '{settle.name}' must be a read; it is {settle.effect}")
    if settle.answer_schema != operation.answer_schema:
        message = f"'{settle.name}' does not answer what '{operation.name}' answers"
        yield routes.finding(place, message, "give both the same answer schema in the contract")
    for name in settle.request_schema.get("required", ()):
        if name not in operation.request_type.fields:
            yield routes.finding(place, f"'{settle.name}' needs '{name}', which '{operation.name}' does not have")


def unused_endpoints(routes: Routes) -> Iterator[Finding]:
    """Endpoints that no route leads to."""
    for name in routes.endpoints:
        if name not in routes.used:
            yield routes.finding(("endpoints", name), f"no route leads to endpoint '{name}'", at_key=True)


def never_absent(routes: Routes, mappings: Mapping[str, FieldMapping | None]) -> Iterator[Finding]:
    """A settle that cannot say that nothing happened would leave what was lost unknown for ever."""
    for name, route in routes.routes.items():
        settle = mappings.get(route.settle or "")
        if settle is not None and "not_found" not in settle.refusal_codes:
            message = f"the mapping of '{route.settle}' never refuses with not_found: absence could not be settled"
            yield routes.finding(("routes", name, "settle"), message)
