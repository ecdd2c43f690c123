"""The adapter between the bus and the simulated hospital: the bus's side of a wire that breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence

from esb.spi import Call, Malformed, OutcomeUnknown, Tree, Unavailable
from tests.sim.hospital import Hospital


class Wire:
    """``crowded`` is told how many calls are under way when one more begins."""

    def __init__(self, endpoint: str, hospital: Hospital, crowded: Callable[[int], None]) -> None:
        self._endpoint, self._hospital, self._crowded = endpoint, hospital, crowded
        self._under_way = 0

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        self._under_way += 1
        self._crowded(self._under_way)
        try:
            async with asyncio.timeout(call.remaining()):
                return await self._sent(action, payload, call)
        except TimeoutError:
            raise (OutcomeUnknown if call.wire.left else Unavailable)("no answer in time") from None
        finally:
            self._under_way -= 1

    async def _sent(self, action: str, payload: Tree, call: Call) -> Tree:
        behaviour = self._hospital.behaviour()
        await asyncio.sleep(self._hospital.pause())
        if behaviour == "refuse":
            raise Unavailable("connection refused")
        call.wire.sending(json.dumps([action, payload]).encode())
        how, answer = await self._hospital.request(behaviour, action, payload, call.exchange, self._endpoint)
        if how == "reset":
            raise OutcomeUnknown("connection reset")
        call.wire.received = json.dumps(answer).encode() or b"?"
        if how == "garbage":
            raise Malformed("no XML")
        return answer

    async def probe(self, call: Call) -> None:
        await asyncio.sleep(self._hospital.pause())
        if self._hospital.is_down:
            raise Unavailable("connection refused")

    async def close(self) -> None:
        """Nothing is open between calls."""

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        return ()

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        return action
