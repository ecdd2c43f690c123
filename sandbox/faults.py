"""The fault menu: which call goes wrong, how, and whether its effect happens all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

CHANNELS = ("soap", "12320", "hl7", "fhir", "rest", "sql")
KINDS = {
    "delay": "done",
    "delay_after": "done",
    "hold": "done",
    "hold_after": "done",
    "hang_before": "none",
    "hang_after": "done",
    "reset_before": "none",
    "reset_after": "done",
    "business_error": "none",
    "garbage": "done",
    "gbk": "done",
    "gbk_undeclared": "done",
    "truncated": "done",
    "duplicate": "done",
    "html_error": "none",
    "empty": "done",
    "dtd": "done",
    "http_500": "none",
    "slow_drip": "done",
}
"""Fault -> whether the effect happens by default; `effect` in the request overrides it."""


@dataclass(slots=True)
class Fault:
    """One entry of the menu. `seconds` for delay and slow_drip, `code` for business_error, html_error and http_500."""

    channel: str
    operation: str
    fault: str
    effect: str
    seconds: float = 1.0
    code: str | None = None
    times: int | None = None


@dataclass(slots=True)
class Call:
    """A request that was understood but not yet carried out: `perform` makes the effect and gives the answer,
    `refuse` gives the channel's business refusal with a code of its own and has no effect."""

    channel: str
    operation: str
    decoded: Any
    perform: Callable[[], Any]
    refuse: Callable[[str | None], Any]


class Wire(Protocol):
    """The caller's end of a connection, as far as faults need it."""

    def send(self, answer: Any) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
    def encode(self, answer: Any) -> bytes: ...
    def spoil(self, fault: Fault, answer: Any) -> Any: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...
    async def gone(self) -> None: ...


class Faults:
    """Faults in force, the latest first. ``cleared`` happens when they are cleared; afterwards there is another one."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self.cleared = asyncio.Event()

    def add(self, body: dict[str, Any]) -> Fault:
        """Raises ValueError in words for an unknown channel, fault, effect or key."""
        fault = _read(body)
        self._active.insert(0, fault)
        return fault

    def clear(self) -> None:
        self._active.clear()
        self.cleared.set()
        self.cleared = asyncio.Event()

    def clear_channel(self, channel: str) -> None:
        self._active[:] = [fault for fault in self._active if fault.channel != channel]

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._active]

    def take(self, channel: str, operation: str) -> Fault | None:
        if not self._active:
            return None
        for fault in self._active:
            if fault.channel == channel and fault.operation in ("*", operation):
                self._count(fault)
                return fault
        return None

    def _count(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._active.remove(fault)


def _read(body: dict[str, Any]) -> Fault:
    kind = "hang_before" if body.get("fault") == "hang" else body.get("fault")
    unknown = set(body) - {"channel", "operation", "fault", "seconds", "code", "times", "effect"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    if body.get("channel") not in CHANNELS:
        raise ValueError(f"channel is one of {', '.join(CHANNELS)}")
    if kind not in KINDS:
        raise ValueError(f"fault is one of hang, {', '.join(KINDS)}")
    if body.get("effect") not in (None, "done", "none"):
        raise ValueError("effect is done or none")
    times, code = body.get("times"), body.get("code")
    return Fault(
        channel=body["channel"],
        operation=body.get("operation") or "*",
        fault=kind,
        effect=body.get("effect") or KINDS[kind],
        seconds=float(body.get("seconds", 1.0)),
        code=None if code is None else str(code),
        times=None if times is None else int(times),
    )


async def play(fault: Fault, call: Call, wire: Wire, cleared: asyncio.Event) -> None:
    """Carry a faulty call out on its wire. An effect that was promised happens even when the caller has gone."""
    kind = fault.fault
    if kind == "delay":
        await asyncio.sleep(fault.seconds)
    elif kind == "hold":
        await cleared.wait()
    answer = call.refuse(fault.code) if fault.effect == "none" else call.perform()
    if kind == "delay_after":
        await asyncio.sleep(fault.seconds)
    elif kind == "hold_after":
        await cleared.wait()
    if kind.startswith("reset"):
        wire.reset()
    elif kind.startswith("hang"):
        await wire.gone()
    elif kind == "truncated":
        data = wire.encode(answer)
        wire.send_raw(data[: len(data) * 2 // 3])
        wire.close()
    elif kind == "duplicate":
        wire.send_raw(wire.encode(answer) * 2)
    elif kind == "slow_drip":
        await _drip(wire, wire.encode(answer), fault.seconds)
    else:
        wire.send(wire.spoil(fault, answer))


async def _drip(wire: Wire, data: bytes, seconds: float) -> None:
    pieces = 10
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        wire.send_raw(data[start : start + size])
        await asyncio.sleep(seconds / pieces)
