"""`python -m sandbox.sender --his 2575 --lis 2576`: the hospital's HIS and LIS tell a bus what happens, over MLLP.

Each message waits for its acknowledgement; without one, or with an AE or AR, the sender goes on and says so at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator

from sandbox.clock import Clock
from sandbox.hospital import Hospital
from sandbox.telling import OF_LIS, STRUCTURES, Teller

VT, END = b"\x0b", b"\x1c\r"


class Line:
    """One connection to a listener; opened again when it was lost."""

    def __init__(self, host: str, port: int, seconds: float = 10.0) -> None:
        self._address, self._seconds = (host, port), seconds
        self._sock: socket.socket | None = None

    def say(self, message: bytes) -> bytes:
        """The acknowledgement. Raises OSError when there is none in time; the connection is not used again then."""
        try:
            return self._say(message)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
        self._sock = None

    def _say(self, message: bytes) -> bytes:
        sock = self._sock
        if sock is None:
            sock = self._sock = socket.create_connection(self._address, self._seconds)
        sock.sendall(VT + message + END)
        heard = b""
        while not heard.endswith(END):
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the listener closed")
            heard += data
        return heard[1:-2]


def verdict(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    for line in answer.split(b"\r"):
        fields = line.split(b"|")
        if fields[0] == b"MSA" and len(fields) > 2:
            return fields[1].decode(), fields[2].decode()
    return "", ""


def tell(teller: Teller, lines: dict[str, Line], kinds: list[str]) -> Iterator[tuple[str, str, str]]:
    """Send one message of each kind, to `lis` or to `his`; kind, control id and MSA-1, "" when no answer came."""
    for kind in kinds:
        line = lines.get("lis" if kind in OF_LIS else "his")
        if line is None:
            continue
        control, message = teller.message(kind)
        try:
            heard, of = verdict(line.say(message))
        except OSError:
            heard, of = "", control
        yield kind, control, heard if of == control else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.sender", description="HIS and LIS as senders of HL7 v2.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--his", type=int, help="port of the listener that the HIS tells")
    parser.add_argument("--lis", type=int, help="port of the listener that the LIS tells")
    parser.add_argument("--kind", action="append", choices=sorted(STRUCTURES), help="only these (default: all)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is sent (default 1)")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two rounds (default 0)")
    parser.add_argument("--seed", type=int, default=1, help="the hospital's (default 1)")
    options = parser.parse_args()
    ports = {"his": options.his, "lis": options.lis}
    lines = {name: Line(options.host, port) for name, port in ports.items() if port}
    teller = Teller(Hospital(Clock(), options.seed), prefix=f"{int(time.time()):x}")
    seen: Counter[str] = Counter()
    for _ in range(options.rounds):
        for kind, control, heard in tell(teller, lines, options.kind or sorted(STRUCTURES)):
            seen[heard or "no answer"] += 1
            if heard != "AA":
                print(f"{kind} {control}: {heard or 'no answer'}", file=sys.stderr)
        time.sleep(options.pause)
    print(json.dumps(seen))
    return 0 if set(seen) == {"AA"} else 1


if __name__ == "__main__":
    sys.exit(main())
