"""A listener on a free port with its desk and a store on a file, and senders that write bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.hl7v2 import ListenerSettings, listen
from adapters.hl7v2.server import MllpListener
from esb.clock import Ids, SystemClock
from esb.contract import Event
from esb.inbound import Answers, Callback, Callbacks, Desk
from esb.mapping import load_translation
from esb.observe import Metrics
from esb.store import Arrival, Store

VT, END = b"\x0b", b"\x1c\r"
TRANSLATION = """
from: hl7v2
to: json
gives: {id: '$message.PID-3[1].1', sex: '$message.PID-8? | meaning(gender_hl7)'}
"""
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {"id": {"type": "string", "maxLength": 40}, "sex": {"type": "string"}},
}
ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT.parent / "shared" / "corpus"


def adt(
    control: str = "M1", pid: str = "PID|1||P1", msh: str = "", kind: str = "ADT^A01^ADT_A01", more: str = ""
) -> bytes:
    """A message; ``msh`` are the fields from MSH-13 on."""
    return f"MSH|^~\\&|HIS|H1|HUB|WX|20260115||{kind}|{control}|P|2.5.1{msh}\r{pid}\r{more}".encode()


def frame(message: bytes) -> bytes:
    return VT + message + END


def callbacks(folder: Path, *on: str, text: str = TRANSLATION) -> Callbacks:
    """All of ``on`` by one translation."""
    from esb.mapping import load_codes

    file = folder / "told.yaml"
    file.write_text(text, "utf-8")
    codes = load_codes(ROOT / "mappings" / "codes")
    event = Event("patient.told", "", SCHEMA)
    one = Callback("his.told", on, event, load_translation(file, codes, {}), {}, "told.yaml@1")
    return Callbacks.of([one], "v1")


class Nobody:
    """Who is asked where no question is."""

    def begin(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asked anything")

    async def run(self, _: Any) -> Any:
        raise AssertionError("nobody asked anything")


@dataclass
class Station:
    """The parts, and the port."""

    port: int
    listener: MllpListener
    desk: Desk
    store: Store
    metrics: Metrics
    answers: Answers
    senders: list[Sender] = field(default_factory=list)

    async def open(self) -> Sender:
        self.senders.append(Sender(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.senders[-1]

    async def send(self, *messages: bytes) -> list[bytes]:
        """The answer to each message, one after the other on one connection."""
        sender = await self.open()
        answers = [await sender.send(message) for message in messages]
        await sender.close()
        return answers

    async def rows(self) -> list[Arrival]:
        """What was kept, oldest first."""
        return [arrival for _, arrival in reversed(await self.store.arrivals(100_000))]

    def counted(self, what: str) -> float:
        return self.metrics.registry.get_sample_value("inbound_seen_total", {"endpoint": "his", "what": what}) or 0.0


class Sender:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, message: bytes) -> bytes:
        self.writer.write(frame(message))
        return await self.answer()

    async def answer(self, seconds: float = 5.0) -> bytes:
        """The next frame's content."""
        async with asyncio.timeout(seconds):
            return (await self.reader.readuntil(END))[1:-2]

    async def rest(self, seconds: float = 5.0) -> bytes:
        """Everything until the listener closes."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def at(answer: bytes, segment: str, number: int) -> str:
    """A field of an answer by splitting alone."""
    mark = answer[3:4].decode()
    for line in answer.decode("utf-8", "replace").split("\r"):
        parts = line.split(mark or "|")
        if parts[0] == segment:
            parts = [parts[0], mark, *parts[1:]] if segment == "MSH" else parts
            return parts[number] if number < len(parts) else ""
    return ""


@contextlib.asynccontextmanager
async def station(
    folder: Path, *on: str, store: Callable[[], Store] | None = None, text: str = TRANSLATION, **settings: Any
) -> AsyncIterator[Station]:
    """Everything running; ``on`` are the kinds that become an event, ``settings`` the listener's."""
    metrics, clock = Metrics(), SystemClock()
    kept = store() if store else Store(f"sqlite:///{folder}/esb.db", metrics)
    await kept.start()
    listener = listen(ListenerSettings(**{"listen": "mllp://127.0.0.1:0", **settings}))
    desk = Desk("his", callbacks(folder, *(on or ("ADT",)), text=text), kept, clock, Ids(clock), metrics)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await listener.serve(sock, desk)
    answers = Answers(kept)
    desk.heard = answers.heard
    made = Station(port, listener, desk, kept, metrics, answers)
    try:
        yield made
    finally:
        await asyncio.gather(*(sender.close() for sender in made.senders))
        await listener.close(5.0)
        await kept.close()
