"""An event loop with virtual time: nothing waits, and the same seed runs the same callbacks in the same order.

Callbacks that are ready run in the order in which they became so, as asyncio promises. Timers of one moment run in an
order that the seed chooses: nothing promises theirs. What a thread would do runs on the loop, at a moment that the
seed chooses.

A process is what was begun within ``Loop.process``: its tasks, timers and callbacks. ``kill`` forgets all of them at
once, between two callbacks; what belongs to others goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import random
import sys
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

_process: ContextVar[int] = ContextVar("process", default=0)


class StuckError(AssertionError):
    """Nothing is left that could run, or it runs for ever."""


class _Task(asyncio.Task[Any]):
    """Hashes by the order in which tasks were made, so that a set of them is walked alike in every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class Loop(asyncio.AbstractEventLoop):
    """``steps`` counts the callbacks that were run. ``before_step`` is called before each of them."""

    def __init__(self, seed: random.Random, before_step: Callable[[], None] = lambda: None) -> None:
        self._random = seed
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._numbers = self._tasks = self._processes = 0
        self._dead: set[int] = set()
        self._buried: list[asyncio.Task[Any]] = []
        self._alive: dict[_Task, int] = {}
        self.before_step = before_step
        self.thread_s: Callable[[], float] = lambda: 0.0
        self.thread_fault: Callable[[], Exception | None] = lambda: None
        self.steps = 0
        self.errors: list[str] = []

    # processes

    def process(self) -> tuple[int, Context]:
        """A new process: its number, and the context in which to begin what belongs to it."""
        self._processes += 1
        context = copy_context()
        context.run(_process.set, self._processes)
        return self._processes, context

    def kill(self, number: int) -> None:
        """It runs no more: no ``finally`` of it, no callback. Its coroutines are kept until ``close``."""
        self._dead.add(number)
        for task in [task for task, process in self._alive.items() if process == number]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._buried.append(task)
            del self._alive[task]

    # what asyncio asks for

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._random.random(), self._numbers, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = _Task(coro, loop=self, name=name, context=context) if context else _Task(coro, loop=self, name=name)
        self._tasks += 1
        task.number = self._tasks
        self._alive[task] = (context.get(_process, 0) if context else _process.get()) or 0
        task.add_done_callback(lambda done: self._alive.pop(done, None))
        return task

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run it whole on the loop, when the thread would have come to it."""
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                if executor is not None and (fault := self.thread_fault()):
                    raise fault
                result = function(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self.thread_s(), run)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    call_exception_handler = default_exception_handler

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its moment comes."""

    # to run

    def run(self, main: Coroutine[Any, Any, None], most_steps: int) -> None:
        """Until ``main`` has ended; raises what it raised, ``StuckError`` after ``most_steps``."""
        events._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                if self.steps >= most_steps:
                    raise StuckError(f"{most_steps} steps and no end")
                self._step()
            task.result()
        finally:
            events._set_running_loop(None)

    def close(self) -> None:
        """Let go of the dead and of who is left: what they would still do or say is of no interest."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        events._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._bury()
                gc.collect()
        finally:
            events._set_running_loop(None)
            sys.unraisablehook = hook

    def _bury(self) -> None:
        for _ in range(3):  # who is closed may begin something in its last moment
            tasks, self._buried = [*self._buried, *self._alive], []
            self._alive.clear()
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
        self._ready.clear()
        self._timers.clear()

    def _step(self) -> None:
        if not self._ready:
            self._advance()
        handle = self._ready.popleft()
        self.before_step()
        if handle._cancelled or handle._context.get(_process, 0) in self._dead:  # type: ignore[attr-defined]
            return
        self.steps += 1
        handle._run()

    def _advance(self) -> None:
        """On to the moment of the next timers; all that are due then are ready."""
        timers = self._timers
        while timers and timers[0][3]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not timers:
            raise StuckError("nothing is left to run")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[3])
