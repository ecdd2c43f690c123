"""Logs and metrics: what happened, without what was said.

Logs are JSON lines, events in the past tense with the exchange id. Only fields on an allowlist are written, no body is
among them, and as a last guard whatever looks like an identity card, phone, bank card or openid number is masked.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, MutableMapping
from datetime import datetime
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

Event = MutableMapping[str, Any]

_ALLOWED = frozenset(
    {"event", "level", "time", "logger", "error", "where", "fields_left_out", "version", "file", "line", "pid"}
    | {"exchange", "operation", "endpoint", "outcome", "state", "code", "reason", "attempts", "seconds", "request_id"}
    | {"principal", "cause", "rows", "count", "backlog", "after_s", "adapter", "mapping", "address", "port", "signal"}
    | {"status", "method", "bytes", "subscriber", "role", "field", "day", "seq", "hash", "position", "tries"}
)
_MASKS = (
    (re.compile(r"(?<![0-9A-Za-z])(\d{6})\d{8}(\d{3}[\dXx])(?![0-9A-Za-z])"), r"\1********\2"),
    (re.compile(r"(?<![0-9A-Za-z])(\d{6})\d{6}(\d{3})(?![0-9A-Za-z])"), r"\1******\2"),
    (re.compile(r"(?<![0-9A-Za-z])(\d{4})\d{8,11}(\d{4})(?![0-9A-Za-z])"), r"\1********\2"),
    (re.compile(r"(?<![0-9A-Za-z])((?:\+?86)?1[3-9]\d)\d{4}(\d{4})(?![0-9A-Za-z])"), r"\1****\2"),
    (
        re.compile(r"(?<![0-9A-Za-z_-])(o[0-9A-Za-z_-]{3})[0-9A-Za-z_-]{20}([0-9A-Za-z_-]{4})(?![0-9A-Za-z_-])"),
        r"\1****\2",
    ),
)


def mask(text: str) -> str:
    """``text`` with identity card, bank card and phone numbers and openids masked in their middle."""
    for pattern, masked in _MASKS:
        text = pattern.sub(masked, text)
    return text


def configure(level: str, now: Callable[[], datetime], stream: TextIO) -> None:
    """Send our events and the standard library's log records to ``stream`` as JSON lines.

    Records of other libraries are written from warning on, by event and place only as ours are.
    """
    shared: list[Callable[[Any, str, Event], Any]] = [
        structlog.stdlib.add_log_level,
        _error,
        _stamp(now),
        _keep_allowed,
        _mask_values,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def get_logger() -> Any:
    """A structlog logger; call it with an event in the past tense and allowlisted fields."""
    return structlog.get_logger()


def _stamp(now: Callable[[], datetime]) -> Callable[[Any, str, Event], Event]:
    def stamp(_: Any, __: str, event: Event) -> Event:
        event["time"] = now().isoformat(timespec="milliseconds")
        return event

    return stamp


def _error(_: Any, __: str, event: Event) -> Event:
    """An exception becomes its class and where it was raised: its text may quote a body."""
    info = event.pop("exc_info", None)
    if isinstance(info, BaseException):
        event["error"], event["where"] = type(info).__name__, _place(info.__traceback__)
    elif isinstance(info, tuple) and info[0]:
        event["error"], event["where"] = info[0].__name__, _place(info[2])
    return event


def _place(trace: TracebackType | None) -> list[str]:
    return [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-8:]]


def _keep_allowed(_: Any, __: str, event: Event) -> Event:
    left_out = [name for name in event if name not in _ALLOWED and not name.startswith("_")]
    for name in left_out:
        del event[name]
    if left_out:
        event["fields_left_out"] = left_out
    return event


def _mask_values(_: Any, __: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = mask(value)
    return event


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


class Metrics:
    """Every number ``/metrics`` shows, in a registry of its own. Label children are bound once by those who count."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.exchanges = Counter(
            "exchanges", "Exchanges by how they ended", ["operation", "outcome"], registry=registry
        )
        self.exchange_seconds = Histogram(
            "exchange_seconds",
            "Seconds from admission to answer",
            ["operation"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.endpoint_calls = Counter(
            "endpoint_calls", "Calls to a system by how they ended", ["endpoint", "outcome"], registry=registry
        )
        self.endpoint_in_flight = Gauge(
            "endpoint_in_flight", "Calls to a system under way", ["endpoint"], registry=registry
        )
        self.breaker_state = Gauge("breaker_state", "0 closed, 1 half-open, 2 open", ["endpoint"], registry=registry)
        self.cache_hits = Counter("cache_hits", "Reads answered from the cache", ["operation"], registry=registry)
        self.journal_batch_size = Histogram(
            "journal_batch_size", "Works in one commit", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500), registry=registry
        )
        self.journal_lag = Gauge("journal_lag", "Journal works not yet committed", registry=registry)
        self.store_wal = Gauge("store_wal_bytes", "Write-ahead log of the SQLite store", registry=registry)
        self.journal_lost = Counter("journal_lost", "Rows of reads that could not be written", registry=registry)
        self.leases_lost = Counter(
            "leases_lost", "Times that others took over what this process had under way", registry=registry
        )
        self.steps_fenced = Counter(
            "steps_fenced", "Steps of an exchange that were refused because another has it", registry=registry
        )
        self.inbound_messages = Counter(
            "inbound_messages",
            "Messages of systems by their fate",
            ["endpoint", "result"],
            registry=registry,
        )
        self.inbound_seen = Counter(
            "inbound_seen",
            "Connections, and what is no message",
            ["endpoint", "what"],
            registry=registry,
        )
        self.queue_accepted = Counter("queue_accepted", "Exchanges accepted for later", ["endpoint"], registry=registry)
        self.queue_deliveries = Counter(
            "queue_deliveries", "Tries to deliver, by what came of them", ["endpoint", "result"], registry=registry
        )
        self.queue_depth = Gauge(
            "queue_depth", "Messages by what they wait for", ["endpoint", "where"], registry=registry
        )
        self.queue_oldest = Gauge(
            "queue_oldest_seconds", "Since the oldest that is not parked was accepted", ["endpoint"], registry=registry
        )
        self.shadows = Counter(
            "shadow_reads",
            "Reads copied to a shadow: alike, differs, unanswered, dropped, failed",
            ["operation", "shadow", "result"],
            registry=registry,
        )
        self.shadow_differences = Counter(
            "shadow_differences",
            "Reads in which the shadow differs",
            ["operation", "shadow", "field"],
            registry=registry,
        )
        self.event_exchanges = Counter(
            "event_exchanges", "Exchanges for events by what came of the first try", ["subscriber", "result"],
            registry=registry,
        )  # fmt: skip
        self.event_behind = Gauge(
            "event_behind", "Events that a subscriber has not left behind", ["subscriber"], registry=registry
        )
        self.event_oldest = Gauge(
            "event_oldest_seconds", "Since the first of them was received", ["subscriber"], registry=registry
        )
        self.broker_up = Gauge(
            "broker_up", "1 while the connection to the broker for this use is open", ["use"], registry=registry
        )
        self.broker_blocked = Gauge("broker_blocked", "1 while the broker takes nothing from us", registry=registry)
        self.broker_published = Counter(
            "broker_published",
            "Messages to the broker: confirmed, returned, refused, lost",
            ["result"],
            registry=registry,
        )
        self.broker_hints = Counter(
            "broker_hints",
            "Messages from the broker: claimed, early, late (dealt with by then), foreign",
            ["what"],
            registry=registry,
        )
        self.unknown_open = Gauge("unknown_open", "Exchanges whose outcome is being settled", registry=registry)
        self.config = Info("config", "The configuration in use", registry=registry)
        self.config_loaded = Gauge(
            "config_loaded_timestamp_seconds", "When the configuration in use was taken up", registry=registry
        )
        self.config_findings = Gauge(
            "config_rejected_findings", "Findings that keep the files out as they now are; 0: none", registry=registry
        )
        self.config_reloads = Counter(
            "config_reloads", "Times that the configuration was loaded again, by result", ["result"], registry=registry
        )
        for result in ("loaded", "unchanged", "rejected", "failed"):
            self.config_reloads.labels(result)
