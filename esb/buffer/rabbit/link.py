"""Connections to the broker on the bus's own event loop, as coroutines, and opened again whenever they are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError, StreamLostError

from esb.buffer.rabbit.errors import BrokerDown, BrokerError, BrokerRefused, of
from esb.observe import Metrics, get_logger

_ANSWER_S, _CLOSE_S = 10.0, 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 5.0
_log = get_logger()
logging.getLogger("pika").setLevel(logging.CRITICAL)
"""The library tells of each failure several times, as an error and in its own words; ours are told once."""


class Channel:
    """A channel; ``raw`` is the library's, for what needs no answer. ``lost`` is done when it is closed."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.lost: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(self._closed)

    async def ask(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method of the library that is answered; raises ``BrokerError``."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            getattr(self.raw, method)(*args, **more, callback=answer.set_result)
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.wait((answer, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise BrokerDown(f"no answer to {method} within {_ANSWER_S:.0f} s") from None
        except AMQPError as error:
            raise of(error) from None
        if not answer.done():
            raise self.lost.result()
        return answer.result()

    def _closed(self, _: Any, reason: BaseException) -> None:
        _settle(self.lost, of(reason))


class Connection:
    """A connection; ``lost`` is done when it is no more, ``blocked`` while the broker takes nothing from us."""

    def __init__(self, parameters: pika.connection.Parameters) -> None:
        loop = asyncio.get_running_loop()
        self.blocked = False
        self.lost: asyncio.Future[BrokerError] = loop.create_future()
        self._opened: asyncio.Future[BrokerError | None] = loop.create_future()
        self._ended = asyncio.Event()
        self._limit_s = parameters.stack_timeout + 2
        self._raw = AsyncioConnection(
            parameters,
            on_open_callback=lambda _: _settle(self._opened, None),
            on_open_error_callback=lambda _, error: self._is_over(error),
            on_close_callback=lambda _, error: self._is_over(error),
            custom_ioloop=loop,
        )
        self._raw.add_on_connection_blocked_callback(lambda *_: setattr(self, "blocked", True))
        self._raw.add_on_connection_unblocked_callback(lambda *_: setattr(self, "blocked", False))

    async def opened(self) -> None:
        """Wait until it is open; raises ``BrokerError``."""
        try:
            async with asyncio.timeout(self._limit_s):
                error = await asyncio.shield(self._opened)
        except TimeoutError:
            error = BrokerDown("no answer when connecting")
        if error is not None:
            raise error

    async def channel(self) -> Channel:
        """A new channel; raises ``BrokerError``."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._raw.channel(on_open_callback=opened.set_result)
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.wait((opened, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except (TimeoutError, AMQPError) as error:
            raise of(error) from None
        if not opened.done():
            raise self.lost.result()
        return Channel(opened.result())

    def give_up(self, reason: BrokerError) -> None:
        """It is lost, whatever the broker thinks: something about it is not as it was set up."""
        _settle(self.lost, reason)

    async def close(self) -> None:
        """End it; a socket at whose other end nobody answers is let go."""
        if self._opened.done():
            with suppress(AMQPError):
                self._raw.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._ended.wait()
        if not self._ended.is_set():
            with suppress(Exception):
                self._raw._terminate_stream(StreamLostError("given up"))

    def _is_over(self, error: BaseException) -> None:
        self._ended.set()
        _settle(self._opened, of(error))
        _settle(self.lost, of(error))


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class Link:
    """Keeps one connection open until ``close``; ``use`` is called with each new one and sets up what needs it.

    ``over`` is called whenever one is lost. After ``start`` everything happens by itself; a failure is logged once for
    each new reason.
    """

    def __init__(
        self,
        name: str,
        parameters: pika.connection.Parameters,
        use: Callable[[Connection], Awaitable[None]],
        over: Callable[[], None],
        *,
        metrics: Metrics,
        uniform: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._name, self._parameters, self._use, self._over = name, parameters, use, over
        self._uniform, self._sleep = uniform, sleep
        self._up = metrics.broker_up.labels(name)
        self._up.set(0)
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    @property
    def blocked(self) -> bool:
        """True while the broker has an alarm and takes nothing from this connection."""
        return self._connection is not None and self._connection.blocked

    async def start(self) -> None:
        """Connect once, so that what is configured wrongly is known; raises ``BrokerRefused`` only."""
        first: asyncio.Future[BrokerError | None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._run(first), name=f"broker {self._name}")
        error = await first
        if isinstance(error, BrokerRefused):
            await self.close()
            raise error

    async def close(self) -> None:
        """Close it for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def drop(self) -> None:
        """Give this connection up and begin anew: something about it is not as it was set up."""
        if self._connection is not None:
            self._connection.give_up(BrokerDown("given up: begun anew"))

    async def _run(self, first: asyncio.Future[BrokerError | None]) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            error = await self._once(first)
            self._say(error)
            if not first.done():
                first.set_result(error)
            lived = asyncio.get_running_loop().time() - began
            failures = 0 if lived > _LONGEST_WAIT_S else failures + 1
            longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures, 10))
            await self._sleep(longest * (0.5 + self._uniform() / 2))

    async def _once(self, first: asyncio.Future[BrokerError | None]) -> BrokerError:
        """One connection from its beginning to its end; why it ended."""
        try:
            self._connection = Connection(self._parameters)
            await self._connection.opened()
            await self._use(self._connection)
            self._up.set(1)
            self._said = ""
            _log.info("broker_connected", reason=self._name)
            if not first.done():
                first.set_result(None)
            return await asyncio.shield(self._connection.lost)
        except BrokerError as error:
            return error
        except AMQPError as error:  # it was lost between two steps of setting it up
            return of(error)
        except Exception as error:  # nobody would begin it anew
            _log.error("broker_link_failed", exc_info=error)
            return BrokerDown(f"internal_error: {type(error).__name__}")
        finally:
            self._up.set(0)
            self._over()
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()

    def _say(self, error: BrokerError) -> None:
        if str(error) != self._said:
            event = "broker_refused" if isinstance(error, BrokerRefused) else "broker_lost"
            _log.warning(event, reason=f"{self._name}: {error}")
            self._said = str(error)
