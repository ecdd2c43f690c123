"""A closed-loop HTTP/1.1 load generator: N keep-alive connections, one request in flight on each.

It writes prepared bytes and looks only for ``Content-Length`` in the answers, so that it costs about 25 microseconds a
request and the server is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

import uvloop


@dataclass(frozen=True)
class Load:
    """What one run saw. Latencies in milliseconds, ``rate`` in requests a second."""

    requests: int
    failures: int
    seconds: float
    rate: float
    p50: float
    p99: float


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.done = request, until, done
        self.times: list[float] = []
        self.failures = 0
        self.buffer = b""
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.buffer.lower().find(b"content-length:", 0, head)
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r\n", at)]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + length:
            return
        now = time.perf_counter()
        self.times.append(now - self.started)
        if self.buffer[9:10] != b"2":
            self.failures += 1
        self.buffer = b""
        if now < self.until:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _run(host: str, port: int, request: bytes, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        one = _Connection(request, began + seconds, end)
        await loop.create_connection(lambda one=one: one, host, port)  # type: ignore[misc]
        made.append(one)
        ends.append(end)
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    took = time.perf_counter() - began
    times = sorted(time for one in made for time in one.times)
    failures = sum(one.failures for one in made)
    middle, tail = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    return Load(len(times), failures, took, len(times) / took, middle, tail)


def main() -> None:
    """``python -m bench.load '{"host": ..., "port": ..., "request": ..., "connections": 32, "seconds": 5}'``"""
    job = json.loads(sys.argv[1])
    load = uvloop.run(_run(job["host"], job["port"], job["request"].encode(), job["connections"], job["seconds"]))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
