"""Free ports of 127.0.0.1 for what is started later, or again and again on the same one."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below those that the system gives to connections: one of these may be taken, by the very client that asks for it too,
while nobody listens there."""
_SHARES = 8
_given: set[int] = set()


def free_port() -> int:
    """One that nobody listens at and that this function gave to nobody else; each worker of xdist has its own share."""
    size = (_LAST - _FIRST) // _SHARES
    worker = re.search(r"\d+$", os.environ.get("PYTEST_XDIST_WORKER", ""))
    first = _FIRST + (int(worker[0]) if worker else os.getpid()) % _SHARES * size
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(first, first + size)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
