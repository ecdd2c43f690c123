"""A closed-loop MLLP sender: N connections, one message in flight on each, every message with an id of its own.

It writes prepared bytes and looks at the verdict of the answers only, so that the listener is what is measured. With
``log`` it appends every acknowledged id to a file, for who compares it with the inbox afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import uvloop

END = b"\x1c\r"


@dataclass(frozen=True)
class MllpLoad:
    """What one run saw. Latencies in milliseconds, ``rate`` in acknowledged messages a second."""

    messages: int
    failures: int
    seconds: float
    rate: float
    p50: float
    p99: float


def admission(size: int, patient: str = "P0000001") -> bytes:
    """An ADT^A01 of ``size`` bytes in which ``@ID@`` stands for the control id; it may stand for the patient too."""
    lines = [
        "MSH|^~\\&|HIS|H1|HUB|WX|20260115093000||ADT^A01^ADT_A01|@ID@|P|2.5.1||||||UNICODE UTF-8",
        "EVN|A01|20260115093000|||D007^测试医生",
        f"PID|1||{patient}^^^HIS^PI~110101190001011236^^^GA^NI||测试患者||19000101|M|||测试路1号||13000000000||||||ACC0001",
        "NK1|1|测试家属|SPO||13000000001",
        f"PV1|1|I|D01^2^12^H1||||D007^测试医生{'|' * 12}V0000001{'|' * 25}20260115091500",
    ]
    text = "\r".join(lines) + "\rOBX|1|TX|NOTE||"
    rest = size - len(text.encode()) + len("@ID@") - 12 - 1
    words = "".join(f"note {number * 7919 % 100_000} of the nurse at admission, " for number in range(rest // 20 + 1))
    return (text + words[:rest] + "\r").encode()


class _Connection(asyncio.Protocol):
    def __init__(self, job: _Job, number: int, done: asyncio.Future[None]) -> None:
        self.job, self.done = job, done
        self.number, self.sent = number, 0
        self.times: list[float] = []
        self.failures = 0
        self.buffer = b""
        self.started = 0.0
        self.id = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.sent += 1
        self.id = b"%s%02d%06d" % (self.job.prefix, self.number, self.sent)
        self.started = time.perf_counter()
        self.transport.write(self.id.join(self.job.parts))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.buffer.endswith(END):
            return
        now = time.perf_counter()
        self.times.append(now - self.started)
        if b"MSA|AA|" + self.id in self.buffer or b"MSA|CA|" + self.id in self.buffer:
            if self.job.log:
                self.job.log.write(self.id + b"\n")
        else:
            self.failures += 1
        self.buffer = b""
        if now < self.job.until and (not self.job.pause or self._wait(now)):
            self._send()
        elif now >= self.job.until:
            self.transport.close()

    def _wait(self, now: float) -> bool:
        """At a fixed pace the next message is due at its time, not when the last one was answered."""
        due = self.job.began + (self.sent + self.number / self.job.connections) * self.job.pause
        if due <= now:
            return True
        asyncio.get_running_loop().call_later(due - now, self._send)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass
class _Job:
    parts: list[bytes]
    prefix: bytes
    connections: int
    began: float
    until: float
    pause: float
    log: IO[bytes] | None


def _log(name: str) -> IO[bytes]:
    return Path(name).open("ab", buffering=0)


async def _run(
    port: int, size: int, connections: int, seconds: float, prefix: str, rate: float, log: str, patient: str
) -> MllpLoad:
    loop = asyncio.get_running_loop()
    parts = (b"\x0b" + admission(size, patient) + END).split(b"@ID@")
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_log(log)) if log else None
        pause = connections / rate if rate else 0.0
        job = _Job(parts, prefix.encode(), connections, began, began + seconds, pause, file)
        made: list[_Connection] = []
        ends: list[asyncio.Future[None]] = []
        for number in range(connections):
            end: asyncio.Future[None] = loop.create_future()
            one = _Connection(job, number, end)
            with contextlib.suppress(OSError):
                await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]
                made.append(one)
                ends.append(end)
        await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    took = time.perf_counter() - began
    times = sorted(time for one in made for time in one.times) or [0.0]
    failures = sum(one.failures for one in made)
    middle, tail_ = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    return MllpLoad(len(times), failures, took, len(times) / took, middle, tail_)


def main() -> None:
    """``python -m bench.mllp_load '{"port": 2575, "connections": 32, "seconds": 5, "prefix": "A"}'``"""
    job = {"size": 1024, "prefix": "M", "rate": 0.0, "log": "", "patient": "P0000001", **json.loads(sys.argv[1])}
    print(json.dumps(asdict(uvloop.run(_run(**job)))))


if __name__ == "__main__":
    main()
