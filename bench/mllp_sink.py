"""An MLLP receiver that is not ours: takes every message, answers AA, and knows which ids it has seen.

``python -m bench.mllp_sink``: prints its port, then answers each line on its standard input with a line of JSON:
``{"messages": all, "ids": distinct, "last": time of the last one}``; time is that of ``time.monotonic``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

END = b"\x1c\r"
HEAD = b"\x0bMSH|^~\\&|WARD|H1|HUB|WX|20260115093000||ACK^A08^ACK|R%d|P|2.5.1\rMSA|AA|%s\r\x1c\r"


class Seen:
    """What all connections have received."""

    def __init__(self) -> None:
        self.messages = 0
        self.ids: set[bytes] = set()
        self.last = 0.0

    def shown(self) -> str:
        return json.dumps({"messages": self.messages, "ids": len(self.ids), "last": self.last})


class _Connection(asyncio.Protocol):
    def __init__(self, seen: Seen) -> None:
        self.seen, self.buffer = seen, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *frames, self.buffer = (self.buffer + data).split(END)
        answers = []
        for frame in frames:
            control = frame.split(b"|", 10)[9]
            self.seen.messages += 1
            self.seen.ids.add(control)
            answers.append(HEAD % (self.seen.messages, control))
        self.seen.last = time.monotonic()
        self.transport.write(b"".join(answers))  # type: ignore[attr-defined]


async def _run() -> None:
    loop, seen = asyncio.get_running_loop(), Seen()
    server = await loop.create_server(lambda: _Connection(seen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(seen.shown(), flush=True)


if __name__ == "__main__":
    uvloop.run(_run())
