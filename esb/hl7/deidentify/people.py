"""Who is who: ids that stand together in one PID or MRG are one person, in whatever message."""

from __future__ import annotations

from collections.abc import Iterable

from esb.hl7.deidentify.rules import rules
from esb.hl7.deidentify.secret import Secret

_LEAST_DAYS, _SPAN_DAYS = 28, 365


class People:
    """Persons as sets of ids, of which digests are kept and nothing else: some 250 bytes an id.

    Fill it with every message first, then ask. A person is the least digest of its ids.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._ids: set[bytes] = set()
        self._above: dict[bytes, bytes] = {}
        self._of_control: dict[bytes, bytes] = {}

    def add(self, ids: Iterable[str], controls: Iterable[str] = ()) -> None:
        """One person's ids, and the control ids (MSH-10) of messages about that person."""
        digests = self._digests(ids)
        self._ids.update(digests)
        for digest in digests:
            self._join(digests[0], digest)
        for control in controls:
            if digests:
                self._of_control[self._digest(f"control {control}")] = digests[0]

    def is_id(self, word: str) -> bool:
        """Whether it is the id of anyone, in whatever message."""
        return self._digest(word.strip().casefold()) in self._ids

    def person(self, ids: Iterable[str]) -> bytes | None:
        """Whose ids these are; None without ids that are anyone's."""
        digests = self._digests(ids)
        return min(map(self._top, digests)) if digests else None

    def of_control(self, control: str) -> bytes | None:
        """Who the message with that control id was about."""
        found = self._of_control.get(self._digest(f"control {control}"))
        return None if found is None else self._top(found)

    def days(self, person: bytes) -> int:
        """By how many days a person's times are moved: four weeks to thirteen months back."""
        return -(_LEAST_DAYS + next(self._secret.picks("days", person.hex())) % _SPAN_DAYS)

    def _digests(self, ids: Iterable[str]) -> list[bytes]:
        plain = (one.strip().casefold() for one in ids)
        return [self._digest(one) for one in plain if one.strip("0 ") and one not in rules().placeholders]

    def _digest(self, text: str) -> bytes:
        return self._secret.digest("person", text)[:16]

    def _top(self, digest: bytes) -> bytes:
        while (above := self._above.get(digest, digest)) != digest:
            self._above[digest] = digest = self._above.get(above, above)
        return digest

    def _join(self, one: bytes, other: bytes) -> None:
        low, high = sorted((self._top(one), self._top(other)))
        if low != high:
            self._above[high] = low
