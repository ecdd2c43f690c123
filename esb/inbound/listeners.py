"""The listeners of a bus: their sockets, and what a reload changes of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esb.clock import Clock, Ids
from esb.endpoint import Listening
from esb.errors import ConfigError, Finding
from esb.inbound.answers import Answers
from esb.inbound.callbacks import Callbacks
from esb.inbound.desk import Desk
from esb.inbound.questions import Asked, Questions
from esb.observe import Metrics, get_logger
from esb.store import Store

_DRAIN_S = 10.0
Address = tuple[str, int]
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Inlet:
    """One endpoint that systems call, with its callbacks, as it was loaded."""

    listening: Listening
    callbacks: Callbacks

    @property
    def address(self) -> Address:
        return self.listening.listener.address


class _Live:
    """A listener at work."""

    def __init__(self, inlet: Inlet, desk: Desk, sock: socket.socket) -> None:
        self.inlet, self.desk, self.sock = inlet, desk, sock

    async def serve(self) -> None:
        await self.inlet.listening.listener.serve(self.sock.dup(), self.desk)

    async def drain(self) -> None:
        await self.inlet.listening.listener.close(_DRAIN_S)


class Listeners:
    """All of them. Sockets are bound before a configuration is taken up and stay open as long as an address is used.

    ``told`` is called with the name of each event that is durable, ``answers`` told of each answer that is.
    """

    def __init__(
        self,
        inlets: Mapping[str, Inlet],
        store: Store,
        asked: Asked,
        *,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        told: Callable[[str], None] = lambda event: None,
        answers: Answers | None = None,
    ) -> None:
        self._inlets, self._store, self._asked, self._told = inlets, store, asked, told
        self._answers = answers
        self._clock, self._ids, self._metrics = clock, ids, metrics
        self._live: dict[str, _Live] = {}
        self._bound: dict[str, socket.socket] = {}
        self._changes: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def ports(self) -> dict[str, int]:
        """Endpoint -> the port it listens on."""
        return {name: live.sock.getsockname()[1] for name, live in self._live.items()}

    async def start(self) -> None:
        """Bind and serve; raises ``ConfigError`` when an address cannot be bound, and nothing is served then."""
        self.bind(self._inlets)
        for name, inlet in self._inlets.items():
            await self._open(name, inlet)

    def bind(self, inlets: Mapping[str, Inlet]) -> None:
        """Bind the addresses that no live listener has, in any thread; raises ``ConfigError``."""
        known = {name: live.inlet.address for name, live in self._live.items()}
        fresh: dict[str, socket.socket] = {}
        try:
            for name, inlet in inlets.items():
                if known.get(name) != inlet.address:
                    fresh[name] = _bind(name, inlet.address)
        except ConfigError:
            _close(fresh)
            raise
        _close(self._bound)
        self._bound = fresh

    def replace(self, inlets: Mapping[str, Inlet]) -> None:
        """Take up inlets whose addresses are bound: a message that is read from now on meets the new callbacks.

        A listener whose settings are the same goes on with its connections; another one's are closed once their
        answers are sent, while its successor accepts new ones.
        """
        earlier, self._inlets = self._changes, inlets
        for name, inlet in inlets.items():
            if name in self._live:
                self._live[name].desk.callbacks = inlet.callbacks
        self._changes = asyncio.get_running_loop().create_task(self._change(dict(inlets), earlier))

    async def close(self) -> None:
        """Stop accepting, answer what was read, close everything."""
        if self._changes:
            await asyncio.gather(self._changes, return_exceptions=True)
        await asyncio.gather(*(live.drain() for live in self._live.values()), *self._retiring)
        _close({name: live.sock for name, live in self._live.items()} | self._bound)
        self._live.clear()

    async def _change(self, inlets: Mapping[str, Inlet], earlier: asyncio.Task[None] | None) -> None:
        if earlier:
            await asyncio.gather(earlier, return_exceptions=True)
        gone: list[_Live] = []
        for name in [*self._live]:
            live, inlet = self._live[name], inlets.get(name)
            if inlet is None or inlet.listening.identity != live.inlet.listening.identity:
                gone.append(self._live.pop(name))
                if inlet is not None and inlet.address == live.inlet.address:
                    self._bound[name] = live.sock.dup()
        for name, inlet in inlets.items():
            if name not in self._live:
                await self._open(name, inlet)
        for live in gone:
            task = asyncio.get_running_loop().create_task(_retire(live))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _open(self, name: str, inlet: Inlet) -> None:
        questions = Questions(name, self._asked, self._metrics)
        desk = Desk(name, inlet.callbacks, self._store, self._clock, self._ids, self._metrics, questions)
        desk.same_id_s = inlet.listening.listener.same_id_s
        desk.told = self._told
        if self._answers is not None:
            desk.heard = self._answers.heard
        live = self._live[name] = _Live(inlet, desk, self._bound.pop(name))
        await live.serve()
        host, port = live.sock.getsockname()[:2]
        _log.info("listener_opened", endpoint=name, address=host, port=port)


async def _retire(live: _Live) -> None:
    await live.drain()
    live.sock.close()


def _bind(name: str, address: Address) -> socket.socket:
    try:
        return socket.create_server(address, backlog=1024)
    except OSError as error:
        message = f"cannot listen on {address[0]}:{address[1]}: {error.strerror}"
        raise ConfigError([Finding(name, 0, 0, message, "another process may be listening there")]) from None


def _close(sockets: Mapping[str, socket.socket]) -> None:
    for sock in sockets.values():
        sock.close()
