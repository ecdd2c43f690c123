"""What the facade counts: requests by operation and status, and their time."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Collectors in ``registry``; label children are kept, because finding them costs more than counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests", "Answered requests by operation and status", ["operation", "status"], registry=registry
        )
        self._seconds = Histogram(
            "http_request_seconds",
            "Time from request to answer by operation",
            ["operation"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """Count one answer; ``operation`` is "" for an address that is none."""
        counter = self._counters.get((operation, status))
        if counter is None:
            counter = self._counters[operation, status] = self._requests.labels(operation, str(status))
            self._histograms.setdefault(operation, self._seconds.labels(operation))
        counter.inc()
        self._histograms[operation].observe(seconds)
