"""Fuzzing of the MLLP listener over real sockets: ``python -m tests.fuzz.hl7_listener [--seconds N]``.

Several connections at once send what hypothesis makes up: messages cut anywhere, messages nobody wants, frames that
never end, stray bytes, arbitrary bytes, ends and resets at any moment. What is sent in frames before anything arbitrary
is answered one by one in its order with the verdict it must have; nothing that was not asked is answered; the listener
goes on, holds nothing back, and no callback raises. ``tests/esb/inbound/test_fuzz.py`` is the short form.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esb import observe
from esb.clock import SystemClock
from tests.esb.inbound.kit import END, VT, Station, adt, at, station

LIMIT = 32 * 1024
_STRAY = st.binary(min_size=1, max_size=60).map(lambda data: data.translate(None, b"\x0b\x1c"))
_numbers = itertools.count(1)


class Step(NamedTuple):
    """Something that a connection sends; ``data`` is the content of a frame, or the bytes themselves."""

    kind: str
    data: bytes = b""


class Script(NamedTuple):
    """One connection: what it sends, in which pieces, and how it ends."""

    steps: list[Step]
    cuts: list[int]
    ending: str


_steps = st.one_of(
    st.sampled_from(["ADT^A01", "ZZZ^Z01", ""]).map(lambda kind: Step("message", kind.encode())),
    st.integers(1, 60).map(lambda length: Step("half", b"x" * length)),
    _STRAY.map(lambda data: Step("stray", data)),
    st.binary(max_size=300).map(lambda data: Step("any", data)),
    st.just(Step("long", b"y" * (LIMIT + 10))),
    st.binary(max_size=80).map(lambda data: Step("rubbish", b"?" + data.translate(None, b"\x0b\x1c"))),
)
scripts = st.builds(
    Script,
    st.lists(_steps, max_size=12),
    st.lists(st.integers(1, 200), min_size=1, max_size=20),
    st.sampled_from(["eof", "eof", "eof", "reset", "close"]),
)
storms = st.lists(scripts, min_size=1, max_size=8)


class Sent(NamedTuple):
    """The bytes, and the answers (MSA-1, MSA-2) that must come; ``whole``: and no others."""

    data: bytes
    expected: list[tuple[str, str]]
    whole: bool


def written(steps: Sequence[Step]) -> Sent:
    """What a connection sends; from the first arbitrary bytes on nobody can say what must be heard."""
    data, expected, is_clean = b"", list[tuple[str, str]](), True
    for kind, content in steps:
        if kind == "message":
            number = f"F{next(_numbers)}"
            data += VT + adt(number, kind=content.decode()) + END
            if is_clean:
                expected.append(("AA" if content == b"ADT^A01" else "AR", number))
        elif kind == "rubbish":
            data += VT + content + END
            if is_clean:
                expected.append(("AR", ""))
        elif kind == "half":
            data += VT + b"MSH|^~\\&|" + content
        else:
            is_clean = is_clean and kind == "stray"
            data += content
    return Sent(data, expected, is_clean)


class Bench:
    """A listener with its store on an event loop of its own thread, for a function that is not asynchronous."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self.raised: list[str] = []
        self._loop.set_exception_handler(lambda _, context: self.raised.append(str(context)))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        limits = {"max_frame_bytes": LIMIT, "max_unfinished_bytes": 4 * LIMIT, "frame_s": 60.0}
        self.his: Station = self._run(self._stack.enter_async_context(station(folder, "ADT", **limits)))

    def storm(self, storm: Sequence[Script]) -> None:
        """All connections at once, and then a message that must be taken."""
        self._run(self._storm(storm))
        assert not self.raised, self.raised

    def close(self) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _storm(self, storm: Sequence[Script]) -> None:
        await asyncio.gather(*map(self._connection, storm))
        number = f"F{next(_numbers)}"
        (answer,) = await self.his.send(adt(number))
        assert (at(answer, "MSA", 1), at(answer, "MSA", 2)) == ("AA", number), "the listener goes on"
        async with asyncio.timeout(10):
            while self.his.listener.peers or self.his.listener.unfinished:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def _connection(self, script: Script) -> None:
        sent = written(script.steps)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.his.port)
        with contextlib.nullcontext() if sent.whole and script.ending == "eof" else contextlib.suppress(OSError):
            for piece in _pieces(sent.data, script.cuts):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if script.ending == "eof":
                writer.write_eof()
                _judge(sent, await asyncio.wait_for(reader.read(), 20))
        if script.ending == "reset":
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    place = 0
    for size in itertools.cycle(cuts):
        if place >= len(data):
            return
        size = max(size, len(data) // 200)
        yield data[place : place + size]
        place += size


def _judge(sent: Sent, heard: bytes) -> None:
    """What the listener closes for may be lost on its way together with the answers before it, as TCP has it."""
    *frames, rest = heard.split(END)
    answers = [(at(one.strip(VT), "MSA", 1), at(one.strip(VT), "MSA", 2)) for one in frames]
    if sent.whole:
        assert (answers, rest) == (sent.expected, b"")
    common = min(len(answers), len(sent.expected))
    assert answers[:common] == sent.expected[:common]


def run(folder: Path, seconds: float, examples: int) -> int:
    """How many storms the listener stood: ``examples``, or so many as fit into the seconds."""
    bench, count = Bench(folder), 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(storms)
    def stands(storm: list[Script]) -> None:
        nonlocal count
        bench.storm(storm)
        count += 1

    try:
        end = time.monotonic() + seconds
        stands()
        while time.monotonic() < end:
            stands()
    finally:
        bench.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    observe.configure("error", SystemClock().now, sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        count = run(Path(folder), options.seconds, 200)
    sys.stdout.write(f"{count} storms, nothing found\n")


if __name__ == "__main__":
    main()
