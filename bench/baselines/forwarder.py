"""A forwarder written by hand: asyncio and sqlite3, one commit for all that has gathered, then AA and the message on.

``python -m bench.baselines.forwarder FILE PORT OUT``. It reads by ``str.split`` alone,
for this one message and charset; no validation, no escapes, no repeats, no order, no retry, no journal of what it sent.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor

import uvloop

END = b"\x1c\r"


class Store:
    """One thread, one transaction for all that waits."""

    def __init__(self, file: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._busy = False
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, raw BLOB)")

    def keep(self, raw: bytes) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((raw, done))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().create_task(self._write())
        return done

    async def _write(self) -> None:
        while batch := self._waiting:
            self._waiting = []
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [raw for raw, _ in batch])
            for _, done in batch:
                done.set_result(None)
        self._busy = False

    def _commit(self, rows: list[bytes]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO message (raw) VALUES (?)", [(raw,) for raw in rows])
        self._database.execute("COMMIT")


class Out(asyncio.Protocol):
    """The line to the department; answers are counted and nothing more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, message: bytes) -> None:
        self.transport.write(message)  # type: ignore[attr-defined]


class Peer(asyncio.Protocol):
    def __init__(self, store: Store, out: Out, numbers: itertools.count[int]) -> None:
        self.store, self.out, self.numbers, self.buffer = store, out, numbers, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *frames, self.buffer = (self.buffer + data).split(END)
        for frame in frames:
            raw = frame[1:]
            self.store.keep(raw).add_done_callback(lambda _, raw=raw: self._kept(raw))  # type: ignore[misc]

    def _kept(self, raw: bytes) -> None:
        lines = {line[:3]: line.split("|") for line in raw.decode().split("\r") if line}
        head, pid, pv1 = lines["MSH"], lines["PID"], lines["PV1"]
        ack = (
            f"\x0bMSH|^~\\&|{head[4]}|{head[5]}|{head[2]}|{head[3]}|{head[6]}||ACK|1|P|2.5.1\rMSA|AA|{head[9]}\r\x1c\r"
        )
        self.transport.write(ack.encode())  # type: ignore[attr-defined]
        self.out.send(_mapped(head, lines["EVN"], pid, pv1, next(self.numbers)).encode())


def _mapped(head: list[str], evn: list[str], pid: list[str], pv1: list[str], number: int) -> str:
    ward, bed = [*pv1[3].split("^"), "", ""][:2]
    doctor = [*pv1[7].split("^"), ""][1]
    fields = [pid[3].split("^")[0], "", pid[5], "", pid[7], pid[8], "", "", pid[11], "", pid[13]]
    return (
        f"\x0bMSH|^~\\&|HUB||WARD||{head[6]}||ADT^A08^ADT_A01|F{number}|P|2.5.1||||||UNICODE UTF-8\r"
        f"EVN||{evn[2]}\rPID|||{'|'.join(fields)}\r"
        f"PV1||{pv1[2]}|{ward}^^{bed}||||^{doctor}|||||||||||||{pv1[19]}\r\x1c\r"
    )


async def _run(file: str, port: int, out_port: int) -> None:
    loop, store, numbers = asyncio.get_running_loop(), Store(file), itertools.count(1)
    _, out = await loop.create_connection(Out, "127.0.0.1", out_port)
    await loop.create_server(lambda: Peer(store, out, numbers), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
