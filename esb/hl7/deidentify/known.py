"""What is known of the people of one message, and where else it stands in that message."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.words import is_han


class Reach(IntEnum):
    """Where a known value is looked for. Each reach has what the ones before it have."""

    CODED = 1
    """Coded fields: long ids and whole names."""
    TEXT = 2
    """Free text and Z-segments: parts of names, short ids, addresses."""
    WHOLE = 3
    """Z-segments and fields that HL7 does not have: also what is too short to be looked for inside a text."""


_LEAST_LETTERS: Final = 3
_LEAST_HAN: Final = 2
_LEAST_ID: Final = {Reach.CODED: 6, Reach.TEXT: 4}


class Known:
    """Originals with their replacements."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, Reach]] = {}
        self._patterns: dict[Reach, re.Pattern[str]] = {}

    def add_id(self, old: str, new: str) -> None:
        """An id, phone or mail address."""
        old = old.strip()
        if len(old) > 1:
            number = any(map(str.isdigit, old))
            coded = number and len(old) >= _LEAST_ID[Reach.CODED]
            text = len(old) >= _LEAST_ID[Reach.TEXT] and (number or len(old) >= _LEAST_ID[Reach.CODED])
            self._add(old, new.strip(), Reach.CODED if coded else Reach.TEXT if text else Reach.WHOLE)

    def add_name(self, old: tuple[str, str], new: tuple[str, str]) -> None:
        """A family and a given name."""
        for one, other in zip(old, new, strict=True):
            self._add(one, other, Reach.TEXT if _is_long(one) else Reach.WHOLE)
        if all(old):
            for mark in (" ", ", ", ",", "^", "") if not is_han("".join(old)) else ("", " ", "^"):
                reach = Reach.CODED if mark or is_han("".join(old)) else Reach.WHOLE
                self._add(mark.join(old), mark.join(new), reach)
                self._add(mark.join(reversed(old)), mark.join(reversed(new)), reach)

    def add_place(self, old: str, new: str) -> None:
        """A part of an address; one that is a single word is too common to be looked for inside a text."""
        long = len(old) > 5 and (" " in old.strip() or is_han(old))
        self._add(old, new, Reach.TEXT if long else Reach.WHOLE)

    def whole(self, text: str) -> str | None:
        """The replacement of a value that is known as a whole."""
        found = self._found.get(text.strip().casefold())
        return None if found is None else _cased(found[0], text)

    def swept(self, text: str, reach: Reach, other: str, replace: Callable[[str], str]) -> str:
        """``text`` with what is known replaced, and what the pattern ``other`` finds between by ``replace`` of it."""
        pattern = self._patterns.get(reach)
        if pattern is None:
            words = sorted((word for word, (_, least) in self._found.items() if least <= reach), key=len, reverse=True)
            known = "|".join(map(_bounded, words)) or "(?!)"
            pattern = self._patterns[reach] = re.compile(f"(?P<known>{known})|(?:{other})", re.IGNORECASE)

        def changed(match: re.Match[str]) -> str:
            found = match["known"]
            return replace(match[0]) if found is None else self.whole(found) or found

        return pattern.sub(changed, text)

    def _add(self, old: str, new: str, reach: Reach) -> None:
        word = old.strip().casefold()
        if len(word) < 2 or word in rules().placeholders or word == new.strip().casefold():
            return
        before = self._found.get(word)
        if before is None or reach < before[1]:
            self._found[word] = (new.strip(), reach)
            self._patterns.clear()


def _is_long(name: str) -> bool:
    name = name.strip()
    return len(name) >= (_LEAST_HAN if is_han(name) else _LEAST_LETTERS) and not name.isdigit()


def _bounded(word: str) -> str:
    """As a pattern that finds it as a word; a long number also at the end of letters."""
    digits = sum(map(str.isdigit, word))
    edge = r"\d" if digits == len(word) >= _LEAST_ID[Reach.CODED] else r"[^\W_]"
    before = f"(?<!{edge})" if word[0].isascii() and word[0].isalnum() else ""
    after = f"(?!{edge})" if word[-1].isascii() and word[-1].isalnum() else ""
    return before + re.escape(word).replace(r"\ ", r"\s+") + after


def _cased(new: str, like: str) -> str:
    if like.isupper():
        return new.upper()
    return new.lower() if like.islower() else new
