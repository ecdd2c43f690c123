"""How an exchange ended -> status, headers and body."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from esb.codecs import json
from esb.contract import FieldError, Operation, Refusal
from esb.errors import Outcome
from esb.facade.problems import CATALOGUE, MEDIA_TYPE, Entry, Problem, encode_problem, problem_body
from esb.model import Effect, Result, Tree

Header: TypeAlias = tuple[bytes, bytes]
Jitter: TypeAlias = Callable[[], float]
"""A number from 0 up to 1."""

JSON = b"application/json"
EXCHANGES = "/v1/exchanges/"
_DEFAULT_RETRY_S = 2.0
_MAX_RETRY_S = 3600
_RETRY_STATUSES = {409, 429, 503}
_FALLBACK = {
    Outcome.REFUSED: "refused",
    Outcome.UNAVAILABLE: "unavailable",
    Outcome.UNKNOWN: "no_answer",
    Outcome.MALFORMED: "malformed_answer",
}
FINAL = frozenset({Outcome.DONE, Outcome.REFUSED, Outcome.UNAVAILABLE, Outcome.MALFORMED})


class Answer(NamedTuple):
    """What goes out, before the headers that every answer has."""

    status: int
    media_type: bytes
    body: bytes
    headers: tuple[Header, ...] = ()


def answer_result(operation: Operation, result: Result, jitter: Jitter) -> Answer:
    """The six outcomes in HTTP. A hospital system's own words never leave: a refusal is told by the contract's text."""
    replayed = ((b"idempotency-replayed", b"true"),) if result.replayed else ()
    if result.outcome is Outcome.DONE:
        body = result.encoded if result.encoded is not None else json.encode(result.body)
        return Answer(operation.success_status, JSON, body, replayed)
    if result.outcome is Outcome.ACCEPTED or (
        result.outcome is Outcome.UNKNOWN and operation.effect is not Effect.READ
    ):
        return answer_pending(result, replayed)
    code, entry = _entry(operation.refusals, result)
    body = json.encode(problem_body(code, entry, exchange=result.exchange, errors=_errors(result)))
    return Answer(entry.status, MEDIA_TYPE, body, replayed + retry_after(entry.status, result.retry_after, jitter))


def answer_problem(problem: Problem, exchange: str, jitter: Jitter) -> Answer:
    """A problem that the facade itself raised."""
    status, body = encode_problem(problem, exchange)
    return Answer(status, MEDIA_TYPE, body, tuple(problem.headers) + retry_after(status, None, jitter))


def state_tree(result: Result, refusals: Mapping[str, Refusal]) -> dict[str, Tree]:
    """An exchange as ``GET /v1/exchanges/{id}`` shows it; ``refusals`` have the texts."""
    state: dict[str, Tree] = {
        "id": result.exchange,
        "outcome": str(result.outcome),
        "final": result.outcome in FINAL,
    }
    if result.version:
        state["version"] = result.version
    if result.delivery:
        state["delivery"] = result.delivery
    if result.outcome is Outcome.DONE:
        kept = json.decode(result.encoded) if result.encoded is not None else result.body
        if kept is not None:  # the journal keeps no answer of a read without a key
            state["answer"] = kept
    elif result.outcome in FINAL:
        code, entry = _entry(refusals, result)
        state["problem"] = problem_body(code, entry, exchange=result.exchange, errors=_errors(result))
    return state


def answer_pending(result: Result, headers: tuple[Header, ...] = ()) -> Answer:
    """Accepted or in doubt: where its end will be found."""
    entry = CATALOGUE["accepted" if result.outcome is Outcome.ACCEPTED else "settling"]
    message = {"zh": entry.zh, "en": entry.en}
    tree = {"exchange": result.exchange, "outcome": str(result.outcome), "message": message}
    location = (b"location", (EXCHANGES + result.exchange).encode())
    return Answer(entry.status, JSON, json.encode(tree), (*headers, location))


def common_refusals(operations: Iterable[Operation]) -> dict[str, Refusal]:
    """The refusals that mean the same wherever they are used, by code."""
    found: dict[str, set[Refusal]] = {}
    for operation in operations:
        for code, refusal in operation.refusals.items():
            found.setdefault(code, set()).add(refusal)
    return {code: next(iter(same)) for code, same in found.items() if len(same) == 1}


def _entry(refusals: Mapping[str, Refusal], result: Result) -> tuple[str, Entry]:
    refusal = refusals.get(result.code) if result.outcome is Outcome.REFUSED else None
    if refusal is not None:
        return refusal.code, Entry(refusal.status, refusal.zh, refusal.en)
    code = result.code if result.code in CATALOGUE else _FALLBACK[result.outcome]
    return code, CATALOGUE[code]


def _errors(result: Result) -> list[FieldError]:
    """The wrong fields; a journalled result has them as trees."""
    found = result.details.get("errors", ())
    return [one if isinstance(one, FieldError) else FieldError(**one) for one in found]


def retry_after(status: int, seconds: float | None, jitter: Jitter) -> tuple[Header, ...]:
    """Spread over half as long again, so that all who were turned away do not come back in one second."""
    if status not in _RETRY_STATUSES or (status == 409 and seconds is None):
        return ()
    wait = math.ceil((seconds or _DEFAULT_RETRY_S) * (1 + jitter() / 2))
    return ((b"retry-after", str(min(max(wait, 1), _MAX_RETRY_S)).encode()),)
