"""The sequence number protocol as a sender: MSH-13 counts, MSA-4 says which number is expected next.

The number is agreed by a message of MSH alone with the number 0, at the first message and whenever it is not known what
became of the last one. A message that is answered as out of step was not taken and is sent again with the right number.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from esb.codecs.hl7v2 import Message
from esb.spi import AdapterError, Unavailable

_NUMBER = re.compile(r"\d{1,15}", re.ASCII)
Converse = Callable[[int], Awaitable[Message]]
"""Sends the message with that number in MSH-13 and gives its answer."""


class Sequence:
    """The numbers of one line, on which one message at a time is under way."""

    def __init__(self) -> None:
        self._next: int | None = None

    async def converse(self, ask: Converse, send: Converse) -> Message:
        """The answer to the message that ``send`` sends; ``ask`` sends MSH alone."""
        number = await self._agreed(ask)
        self._next = None
        answer = await send(number)
        expected = _expected(answer)
        is_taken = answer.get("MSA", 0, 1) in ("AA", "CA")
        if not is_taken and expected not in (None, number, number + 1):
            number = expected or 1
            answer = await send(number)
            expected = _expected(answer)
        self._next = number + 1 if expected is None else expected
        return answer

    async def _agreed(self, ask: Converse) -> int:
        if self._next is not None:
            return self._next
        try:
            answer = await ask(0)
        except AdapterError as error:
            raise Unavailable(f"no sequence number could be agreed: {error.reason}") from None
        if answer.get("MSA", 0, 1) not in ("AA", "CA"):
            raise Unavailable("no sequence number could be agreed: the system refused to say which it expects")
        return _expected(answer) or 1


def _expected(answer: Message) -> int | None:
    text = answer.get("MSA", 0, 4) or ""
    return int(text) if _NUMBER.fullmatch(text) else None
