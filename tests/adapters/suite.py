"""What every adapter must do whatever the other side does. Subclass ``AdapterContract`` and give the five hooks.

The far side is a raw TCP server on loopback, so that each fault is the real thing: a closed port, a reset, silence. A
protocol with a handshake before the request (SQL) does it in ``handshake``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest

from esb.spi import Adapter, Call, Effect, Malformed, OutcomeUnknown, SystemClock, Tree, Unavailable
from tests.ports import free_port

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def make_call(seconds: float = 2.0, effect: Effect = Effect.ONCE, exchange: str = "01JTESTEXCHANGE0000000001") -> Call:
    clock = SystemClock()
    return Call("test.operation", exchange, "KEY1", effect, clock.monotonic() + seconds, clock)


def reset(writer: asyncio.StreamWriter) -> None:
    """A real RST: linger zero, then abort."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Peer:
    """A TCP server that behaves as told and counts what it saw."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.closed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            self.closed.set()
            with contextlib.suppress(ConnectionError):
                writer.close()

    def abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def peer(behaviour: Behaviour) -> AsyncIterator[tuple[Peer, int]]:
    it = Peer(behaviour)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    try:
        yield it, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        it.abort()
        await server.wait_closed()


class AdapterContract:
    """The shared suite. ``action`` and ``payload`` are a call that ``answer`` answers well."""

    action: ClassVar[str]
    payload: ClassVar[Tree]
    garbage: ClassVar[list[bytes]]
    """Whole answers on the wire that arrive well but cannot be what was agreed."""
    marker: ClassVar[str] = "SECRETMARKER"
    """A text inside ``payload`` (or the settings' secrets) that no error text may repeat."""

    def connect(self, port: int) -> Adapter:
        """A new adapter that talks to 127.0.0.1:``port``."""
        raise NotImplementedError

    async def handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What the protocol says before the first request of a connection."""

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """Read exactly one request; raise ``IncompleteReadError`` at the end of the stream."""
        raise NotImplementedError

    def answer(self, request: bytes) -> bytes:
        """The bytes of a good answer to ``request``."""
        raise NotImplementedError

    # behaviours of the far side

    def _well(self, seen: list[bytes]) -> Behaviour:
        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.handshake(reader, writer)
            while True:
                seen.append(await self.read_request(reader))
                writer.write(self.answer(seen[-1]))
                await writer.drain()

        return behave

    def _after_request(self, seen: list[bytes], act: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Behaviour:
        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.handshake(reader, writer)
            seen.append(await self.read_request(reader))
            await act(writer)

        return behave

    @contextlib.asynccontextmanager
    async def _against(self, behaviour: Behaviour) -> AsyncIterator[tuple[Adapter, Peer]]:
        async with peer(behaviour) as (far, port):
            adapter = self.connect(port)
            try:
                yield adapter, far
            finally:
                await adapter.close()

    def _tells_nothing(self, error: BaseException) -> None:
        assert self.marker not in str(error)
        assert self.marker not in repr(error)

    # promises

    async def test_a_good_answer_comes_back_and_the_wire_is_kept(self) -> None:
        seen: list[bytes] = []
        async with self._against(self._well(seen)) as (adapter, _):
            call = make_call()
            assert await adapter.call(self.action, self.payload, call) is not None
            assert len(seen) == 1
            assert call.wire.left
            assert call.wire.sent
            assert call.wire.received

    async def test_a_closed_port_is_unavailable_and_nothing_left(self) -> None:
        adapter = self.connect(free_port())
        call = make_call()
        with pytest.raises(Unavailable) as caught:
            await adapter.call(self.action, self.payload, call)
        assert not call.wire.left
        self._tells_nothing(caught.value)
        await adapter.close()

    async def test_silence_after_sending_is_unknown_and_ends_at_the_deadline(self) -> None:
        seen: list[bytes] = []

        async def hang(_: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with self._against(self._after_request(seen, hang)) as (adapter, _):
            call = make_call(0.4)
            started = call.clock.monotonic()
            with pytest.raises(OutcomeUnknown) as caught:
                await adapter.call(self.action, self.payload, call)
            assert call.clock.monotonic() - started < 1.5
            assert call.wire.left
            assert len(seen) == 1
            self._tells_nothing(caught.value)

    async def test_a_reset_before_the_request_is_read_is_never_called_done_or_resent(self) -> None:
        async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reset(writer)

        async with self._against(slam) as (adapter, _):
            call = make_call()
            with pytest.raises((Unavailable, OutcomeUnknown)) as caught:
                await adapter.call(self.action, self.payload, call)
            assert isinstance(caught.value, OutcomeUnknown) == call.wire.left

    async def test_a_reset_after_the_request_is_unknown_and_sent_once(self) -> None:
        seen: list[bytes] = []

        async def slam(writer: asyncio.StreamWriter) -> None:
            reset(writer)

        async with self._against(self._after_request(seen, slam)) as (adapter, _):
            call = make_call()
            with pytest.raises(OutcomeUnknown) as caught:
                await adapter.call(self.action, self.payload, call)
            assert call.wire.left
            assert len(seen) == 1
            self._tells_nothing(caught.value)

    async def test_a_polite_close_without_answer_is_unknown_and_sent_once(self) -> None:
        seen: list[bytes] = []

        async def close(writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with self._against(self._after_request(seen, close)) as (adapter, _):
            with pytest.raises(OutcomeUnknown):
                await adapter.call(self.action, self.payload, make_call())
            assert len(seen) == 1

    async def test_a_truncated_answer_is_never_an_answer(self) -> None:
        seen: list[bytes] = []

        async def half(writer: asyncio.StreamWriter) -> None:
            whole = self.answer(seen[-1])
            writer.write(whole[: len(whole) * 2 // 3])
            await writer.drain()
            writer.close()

        async with self._against(self._after_request(seen, half)) as (adapter, _):
            with pytest.raises((OutcomeUnknown, Malformed)):
                await adapter.call(self.action, self.payload, make_call())
            assert len(seen) == 1

    async def test_garbage_is_malformed_and_kept_raw(self) -> None:
        for blob in self.garbage:
            seen: list[bytes] = []

            async def rubbish(writer: asyncio.StreamWriter, blob: bytes = blob) -> None:
                writer.write(blob)
                await writer.drain()
                writer.close()

            async with self._against(self._after_request(seen, rubbish)) as (adapter, _):
                call = make_call()
                with pytest.raises(Malformed) as caught:
                    await adapter.call(self.action, self.payload, call)
                assert caught.value.raw or call.wire.received or not blob
                self._tells_nothing(caught.value)

    async def test_a_connection_closed_between_calls_costs_no_answer_and_no_resend(self) -> None:
        seen: list[bytes] = []

        async def once(writer: asyncio.StreamWriter) -> None:
            writer.write(self.answer(seen[-1]))
            await writer.drain()
            writer.close()

        async with self._against(self._after_request(seen, once)) as (adapter, far):
            await adapter.call(self.action, self.payload, make_call())
            await asyncio.wait_for(far.closed.wait(), 2)
            await asyncio.sleep(0.05)
            assert (
                await adapter.call(self.action, self.payload, make_call(exchange="01JTESTEXCHANGE0000000002"))
                is not None
            )
            assert len(seen) == 2

    async def test_a_passed_deadline_sends_nothing(self) -> None:
        seen: list[bytes] = []
        async with self._against(self._well(seen)) as (adapter, _):
            call = make_call(0.0)
            with pytest.raises(Unavailable):
                await adapter.call(self.action, self.payload, call)
            assert not call.wire.left
            assert not seen

    async def test_cancelling_frees_the_connection_and_passes_the_cancellation_on(self) -> None:
        seen: list[bytes] = []
        arrived = asyncio.Event()
        gone = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.handshake(reader, writer)
            seen.append(await self.read_request(reader))
            if len(seen) > 1:
                writer.write(self.answer(seen[-1]))
                await writer.drain()
                return
            arrived.set()
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
            gone.set()

        async with self._against(behave) as (adapter, _):
            task = asyncio.create_task(adapter.call(self.action, self.payload, make_call(5)))
            await asyncio.wait_for(arrived.wait(), 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 2)
            assert (
                await adapter.call(self.action, self.payload, make_call(exchange="01JTESTEXCHANGE0000000003"))
                is not None
            )

    async def test_many_calls_at_once_are_all_answered(self) -> None:
        seen: list[bytes] = []
        async with self._against(self._well(seen)) as (adapter, _):
            calls = [make_call(5, exchange=f"01JTESTEXCHANGE00000001{n:02d}") for n in range(12)]
            answers = await asyncio.gather(*(adapter.call(self.action, self.payload, call) for call in calls))
            assert all(answer is not None for answer in answers)
            assert len(seen) == 12

    async def test_closing_twice_is_fine_and_a_call_after_it_is_unavailable(self) -> None:
        seen: list[bytes] = []
        async with self._against(self._well(seen)) as (adapter, _):
            await adapter.close()
            await adapter.close()
            call = make_call()
            with pytest.raises(Unavailable):
                await adapter.call(self.action, self.payload, call)
            assert not call.wire.left
            assert not seen

    async def test_a_probe_tells_life_from_death(self) -> None:
        async with self._against(self._well([])) as (adapter, _):
            await adapter.probe(make_call(2, Effect.READ))
        dead = self.connect(free_port())
        with pytest.raises(Unavailable):
            await dead.probe(make_call(2, Effect.READ))
        await dead.close()
