"""A record of each exchange, and its ending."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from esb.codecs import EncodeError
from esb.codecs.json import encode
from esb.errors import Outcome
from esb.model import Effect, Exchange, Result, Tree
from esb.pipeline.version import Lane
from esb.spi import Wire
from esb.store import Row, State, Try


@dataclass(slots=True)
class Ending:
    """How an exchange ended, before it is told to anybody.

    ``reason`` is for journal and log, ``message`` is the system's text for the caller. ``decided`` is true when
    the mapping read this from an answer: only then does a refusal say anything about another exchange.
    """

    outcome: Outcome
    code: str = ""
    body: Tree = None
    encoded: bytes = b""
    message: str = ""
    details: MappingOf[str, Tree] = field(default_factory=dict)
    reason: str = ""
    retry_after: float | None = None
    raw: bytes = b""
    decided: bool = False

    def result(self, exchange: str) -> Result:
        """As the caller is told it."""
        return Result(
            outcome=self.outcome,
            exchange=exchange,
            body=self.body,
            code=self.code,
            message=self.message,
            retry_after=self.retry_after,
            encoded=self.encoded or None,
            details=self.details,
        )


class Record:
    """What the journal will say about one exchange; written to as it goes.

    ``left``: bytes of an earlier attempt may have left. ``silent``: some attempt ended without an answer that decides.
    """

    __slots__ = ("attempts", "canonical", "cause", "exchange", "lane", "left", "marks", "silent", "started", "wire")

    def __init__(self, exchange: Exchange, lane: Lane, started: float, cause: str = "") -> None:
        self.exchange = exchange
        self.lane = lane
        self.started = started
        self.cause = cause
        self.canonical = b""
        self.attempts = 0
        self.left = False
        self.silent = False
        self.wire: Wire | None = None
        self.marks: list[tuple[str, float]] = []

    @property
    def keyed(self) -> bool:
        """True when the caller gave an idempotency key."""
        return self.exchange.key != self.exchange.id

    def request(self) -> bytes:
        """The request as canonical JSON, made once."""
        if not self.canonical:
            self.canonical = canonical(self.exchange.request)
        return self.canonical

    def attempt(self) -> Wire:
        """A new attempt; raises ``AssertionError`` rather than send a once again."""
        if self.wire and self.wire.left:
            self.left = True
        if self.left and self.exchange.effect is Effect.ONCE:
            raise AssertionError("a once was about to be sent again")
        self.attempts += 1
        self.wire = Wire()
        return self.wire

    @property
    def may_have_arrived(self) -> bool:
        """True when bytes of any attempt may have left."""
        return self.left or (self.wire is not None and self.wire.left)

    def row(self, state: State, finished: str, ended: float, ending: Ending | None = None) -> Row:
        """The journal's row; ``ending`` is None while the exchange is under way.

        The answer to a read without a key is not kept: it follows from the raw answer and the mapping's version.
        """
        exchange, lane, wire = self.exchange, self.lane, self.wire
        end = ending or _UNDER_WAY
        durable = exchange.effect is not Effect.READ or self.keyed
        return Row(
            exchange.id,
            exchange.operation,
            lane.endpoint.name,
            exchange.effect.value,
            state.value,
            end.code,
            end.message,
            details_text(end.details),
            exchange.principal,
            exchange.key,
            hashlib.sha256(self.request()).digest() if durable and self.keyed else b"",
            exchange.request_id,
            self.cause,
            exchange.received,
            finished,
            self._timings(ended),
            self.attempts,
            lane.mapped_by,
            lane.version.name,
            end.reason,
            lane.subject.mark(exchange.request, end.body),
            "",
            self.request(),
            wire.sent if wire else b"",
            end.raw or (wire.received if wire else b""),
            end.encoded if durable or not end.decided else b"",
        )

    def tried(self, finished: str, ending: Ending) -> Try:
        """For the journal, of a try after which the exchange goes on."""
        wire = self.wire or Wire()
        return Try(
            finished,
            self.lane.endpoint.name,
            ending.outcome.value,
            ending.code,
            ending.reason,
            self.attempts,
            self.lane.mapped_by,
            self.lane.version.name,
            wire.sent,
            ending.raw or wire.received,
        )

    def _timings(self, ended: float) -> str:
        """JSON of milliseconds by stage, and ``total``."""
        last, parts = self.started, []
        for stage, at in self.marks:
            parts.append(f'"{stage}":{(at - last) * 1000:.3f},')
            last = at
        return f'{{{"".join(parts)}"total":{(ended - self.started) * 1000:.3f}}}'


_UNDER_WAY = Ending(Outcome.UNKNOWN)


def asked(row: Row, request: MappingOf[str, Tree], deadline: float) -> Exchange:
    """The exchange of a row of the journal, to go on with until ``deadline``; ``request`` is the row's, decoded."""
    return Exchange(
        id=row.id,
        operation=row.operation,
        effect=Effect(row.effect),
        request=request,
        key=row.key,
        principal=row.principal,
        deadline=deadline,
        received=row.received,
        request_id=row.request_id,
    )


def details_text(details: MappingOf[str, Tree]) -> str:
    """Details as JSON for the journal, empty for none. What has no JSON form stands there as its text: a mapping or an
    adapter that gave it must not keep an end from being written.
    """
    if not details:
        return ""
    try:
        return encode(dict(details)).decode()
    except EncodeError:
        return encode(_writable(details)).decode()


def _writable(value: object) -> Tree:
    if isinstance(value, MappingOf):
        return {_text(name): _writable(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(child) for child in value]
    return value if value is None or type(value) in (bool, int) else _text(value)


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


def canonical(tree: Tree) -> bytes:
    """JSON with sorted keys: equal trees give equal bytes."""
    try:
        return orjson.dumps(tree, default=_number, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers over 64 bits
        return json.dumps(tree, default=str, sort_keys=True, ensure_ascii=False).encode()


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)
