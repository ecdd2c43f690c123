"""A library on Node.js in a process that times itself: nothing of the pipe is in its time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

PEERS = Path(__file__).parent.parent / "peers"


class Peer:
    """A script of ``bench/peers`` that answers a line of JSON for each line of JSON."""

    script = ""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seconds(self, count: int) -> float:
        """How long it takes ``count`` times what it was asked last."""
        return float(self.ask({"count": count})["seconds"])

    def ask(self, question: dict[str, Any]) -> Any:
        """Its answer; ends the benchmark when there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"bench/peers/{self.script} ended: npm ci --prefix bench/peers")
        return json.loads(answer)


P = TypeVar("P", bound=Peer)


@contextmanager
def running(kind: type[P]) -> Iterator[P]:
    """A Node.js process with the script of ``kind``, ended when the block ends."""
    command = ["node", str(PEERS / kind.script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield kind(process)
        assert process.stdin is not None
        process.stdin.close()
