"""As ``bench.load``, but each request has a number of its own, where ``{n}`` stands in its bytes."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import cast

import uvloop

from bench.load import Load

_HEAD_END = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], until: float, done: asyncio.Future[None]) -> None:
        self._requests, self._until, self._done = requests, until, done
        self.times: list[float] = []
        self.failures = 0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_HEAD_END)
        at = self._buffer.lower().find(b"content-length:", 0, max(head, 0))
        if head < 0 or at < 0:
            return
        length = int(self._buffer[at + 15 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < head + len(_HEAD_END) + length:
            return
        self.times.append(time.perf_counter() - self._started)
        self.failures += self._buffer[9:10] != b"2"
        self._buffer = b""
        if time.perf_counter() < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def _run(port: int, request: str, connections: int, seconds: float, first: int, most: int) -> Load:
    loop = asyncio.get_running_loop()
    before, *others = request.encode().split(b"{n}")
    numbers = itertools.count(first) if not most else range(first, first + most)
    requests = (before + b"".join([b"%d%s" % (number, part) for part in others]) for number in numbers)
    began = time.perf_counter()
    made, ends = [], []
    for _ in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        one = _Connection(requests, began + seconds, end)
        made.append(one)
        ends.append(end)
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    took = time.perf_counter() - began
    times = sorted(each for one in made for each in one.times)
    middle, tail = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    return Load(len(times), sum(one.failures for one in made), took, len(times) / took, middle, tail)


def numbered_load(port: int, request: str, connections: int, seconds: float, *, first: int = 0, most: int = 0) -> Load:
    """Run it in a process of its own; ``most`` requests in all, 0 for as many as the time allows."""
    job = json.dumps([port, request, connections, seconds, first, most])
    done = subprocess.run([sys.executable, "-m", "bench.numbered", job], capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_run(*json.loads(sys.argv[1]))))))
