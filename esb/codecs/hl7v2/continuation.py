"""Messages and segments that were too long for their sender: ADD and DSC (HL7 2.5, section 2.10.2).

Within a message ``ADD|`` goes on with the segment before it, exactly where that was cut. Between messages DSC-1 of one
is MSH-14 of the next; an ADD alone before DSC says that the segment before it goes on in the next message, whose first
segment after MSH then is an ADD with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from esb.codecs import DecodeError
from esb.codecs.hl7v2.message import Message, Segment, of_text

MOST_FRAGMENTS: Final = 1000


def pointer(message: Message) -> str | None:
    """DSC-1: the MSH-14 of the message that goes on with this one; None when it is whole or the last.

    DSC-2 ``I`` is another thing: more rows of a query's answer that are to be asked for.
    """
    found = message.segments("DSC")
    return found[-1].get(1) if found and found[-1].get(2) != "I" else None


def continued(message: Message) -> str | None:
    """MSH-14: the DSC-1 of the message that this one goes on with; None when it begins."""
    return message.get("MSH", 0, 14)


def joined(fragments: Sequence[Message]) -> Message:
    """One message of its fragments, in their order, or of one with ADD segments.

    The header is that of the first; ADD, each DSC that points to a fragment and the headers of the others are gone. A
    message without any of these is given back as it is. Raises ``DecodeError`` when a pointer is missing, another one
    or leads to a fragment that is not here, when the fragments are written with different delimiters or charsets, or
    when an ADD has nothing before it.
    """
    first = fragments[0]
    if len(fragments) == 1 and not (first.segments("ADD") or pointer(first)):
        return first
    _check(fragments)
    lines: list[str] = []
    for number, fragment in enumerate(fragments):
        fragmentary = pointer(fragment) is not None
        for segment in list(fragment)[1 if number else 0 :]:
            if segment.name != "DSC" or not fragmentary:
                _append(lines, segment, first.syntax.field)
    text = "\r".join(lines) + "\r"
    odd = dict.fromkeys(deviation for fragment in fragments for deviation in fragment.deviations)
    try:
        made = of_text(text.encode(_codec(fragments)), text, first.charset)
    except UnicodeEncodeError:
        raise DecodeError("holds what its charset reads but cannot write") from None
    return Message(made.raw, text, made.syntax, tuple(odd))


def _append(lines: list[str], segment: Segment, mark: str) -> None:
    if segment.name == "ADD":
        if len(lines) < 2:
            raise DecodeError("ADD goes on with a segment, but there is none before it")
        lines[-1] += segment.text.partition(mark)[2]
    else:
        lines.append(segment.text)


def _check(fragments: Sequence[Message]) -> None:
    for number, (before, after) in enumerate(pairwise(fragments), 2):
        if not pointer(before) or pointer(before) != continued(after):
            raise DecodeError(f"MSH-14 of fragment {number} is not DSC-1 of the one before")
    if pointer(fragments[-1]):
        raise DecodeError("the last fragment goes on in another message")
    heads = {fragment.text.lstrip("\ufeff\r\n\t ")[3:9].partition("\r")[0] for fragment in fragments}
    if len(heads) > 1:
        raise DecodeError("the fragments differ in their delimiters")


def _codec(fragments: Sequence[Message]) -> str:
    """A fragment within ASCII may be one of a longer message in another charset."""
    found = {fragment.charset for fragment in fragments if not fragment.text.isascii()}
    if len(found) > 1:
        raise DecodeError("the fragments differ in their charset")
    return next(iter(found), fragments[0].charset)


class Joiner:
    """Fragments as they arrive -> messages.

    A fragment waits for the one whose MSH-14 is its DSC-1; fragments of several messages may alternate. More than
    ``limit`` bytes or 1,000 fragments that wait are an error: the oldest is the one to blame, and is dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, list[Message]] = {}

    @property
    def waiting(self) -> list[str]:
        """The pointers that no message has come for, the oldest first."""
        return list(self._waiting)

    def add(self, message: Message) -> Message | None:
        """The whole message that ends with this one; None when it goes on.

        Raises ``DecodeError`` for a continuation whose beginning never came or does not fit, and when too much waits.
        """
        fragments = []
        if begun := continued(message):
            if begun not in self._waiting:
                raise DecodeError("MSH-14 goes on with a message that has not begun")
            fragments = self._waiting.pop(begun)
        fragments.append(message)
        goes_on = pointer(message)
        if not goes_on:
            return joined(fragments)
        if goes_on in self._waiting:
            raise DecodeError("DSC-1 is that of another message")
        self._waiting[goes_on] = fragments
        self._bound()
        return None

    def _bound(self) -> None:
        everything = [fragment for fragments in self._waiting.values() for fragment in fragments]
        if len(everything) > MOST_FRAGMENTS or sum(len(fragment.raw) for fragment in everything) > self._limit:
            del self._waiting[next(iter(self._waiting))]
            raise DecodeError("too many fragments wait for the rest of their messages, the oldest are dropped")
