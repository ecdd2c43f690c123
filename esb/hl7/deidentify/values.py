"""One value of a kind -> its replacement."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

from esb.hl7.deidentify import numbers, times, words
from esb.hl7.deidentify.known import Known, Reach
from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.secret import Secret

_WORD: Final = r"(?<![^\W_])(?=[a-z]*\d)[a-z0-9]{6,40}(?![^\W_])"
_OTHER: Final = "|".join((numbers.EMAIL, numbers.CARD, numbers.SSN, numbers.PHONE, times.WRITTEN, _WORD))
_DOCUMENT: Final = re.compile(r"[A-Za-z0-9+/=\s]{200,}")
REMOVED: Final = "removed"
_SHORT: Final = 3


class Values:
    """The replacements for one person in one message. Every method gives the value itself where nothing is replaced."""

    def __init__(self, secret: Secret, fit: words.Fits, days: int, known: Known, is_id: Callable[[str], bool]) -> None:
        """``is_id`` tells the ids of all people, also of those of other messages."""
        self._secret, self._fit, self._days, self._known, self._is_id = secret, fit, days, known, is_id

    def of(self, kind: str, text: str, key: str = "") -> str:
        """``kind`` is one of ``rules.yaml``; ``key`` the whole that the value is a part of (an address)."""
        if text.strip().casefold() in rules().placeholders:
            return text
        match kind:
            case "id":
                return self._identifier(text)
            case "time":
                return self._time(text)
            case "phone" | "email":
                return self._phone(text)
            case "code":
                return numbers.identifier(text, self._secret, self._fit)
            case "place":
                new = words.place(text, key, self._secret, self._fit)
                self._known.add_place(text, new)
                return new
            case "document":
                return base64.b64encode(REMOVED.encode()).decode() if _DOCUMENT.fullmatch(text) else REMOVED
            case "text":
                return self.searched(text)
            case "family" | "given" | "more":
                return self.name(text, "")[0]
        return text

    def name(self, family: str, given: str) -> tuple[str, str]:
        """Family and given name of one person."""
        if all(part.strip().casefold() in {*rules().placeholders, ""} for part in (family, given)):
            return family, given
        new = words.name(family, given, self._secret, self._fit)
        self._known.add_name((family, given), new)
        return new

    def split_phone(self, area: str, local: str) -> tuple[str, str]:
        """The two halves of a number, as ``phone`` has the whole."""
        new = numbers.phone(area + local, self._secret, self._fit)
        self._known.add_id(local, new[len(area) :])
        return new[: len(area)], new[len(area) :]

    def searched(self, text: str) -> str:
        """Free text in which what is known of the people of the message, and what can only be a person's, is replaced.

        The latter are mail addresses, identity cards, phone and social security numbers; full dates are moved. A long
        BASE64 text is removed.
        """
        if _DOCUMENT.fullmatch(text) and " " not in text:
            return base64.b64encode(REMOVED.encode()).decode()
        whole = self._known.whole(text) if len(text.strip()) > _SHORT and not text.strip().isdigit() else None
        return whole or self._known.swept(text, Reach.TEXT, _OTHER, self._found)

    def coded(self, text: str) -> str:
        """A value in which only long ids and whole names are looked for."""
        return self._known.swept(text, Reach.CODED, "(?!)", str)

    def unknown(self, text: str) -> str:
        """A value of which HL7 does not say what it is."""
        return self._known.whole(text) or self.searched(text)

    def _identifier(self, text: str) -> str:
        new = numbers.card(text, self._days, self._secret) or numbers.identifier(text, self._secret, self._fit)
        self._known.add_id(text, new)
        return new

    def _phone(self, text: str) -> str:
        new = numbers.phone(text, self._secret, self._fit)
        self._known.add_id(text, new)
        return new

    def _time(self, text: str) -> str:
        new = times.shifted(text, self._days) or times.shifted_written(text.strip(), self._days)
        return new or words.rewritten(text, self._secret.picks("time", text), self._fit)

    def _found(self, text: str) -> str:
        """What stands in a text without being known."""
        if "@" in text:
            return numbers.email(text, self._secret, self._fit)
        card = numbers.card(text, self._days, self._secret)
        if card is None and re.fullmatch(numbers.CARD, text):
            return numbers.identifier(text, self._secret, self._fit)
        moved = card or times.shifted_written(text, self._days)
        if moved:
            return moved
        if re.fullmatch(_WORD, text, re.IGNORECASE) and not re.fullmatch(numbers.PHONE, text):
            return numbers.identifier(text, self._secret, self._fit) if self._is_id(text) else text
        return numbers.phone(text, self._secret, self._fit)
