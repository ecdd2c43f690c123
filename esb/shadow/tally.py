"""What was found and is not in the store yet: as many numbers as there are fields, however many exchanges."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from esb.fields import SAMPLES
from esb.shadow.comparing import Differs
from esb.store.shadow import ALIKE, COMPARED, Count

_Key = tuple[str, str, str, str]


class Tally:
    """One event loop."""

    def __init__(self) -> None:
        self._exchanges: dict[_Key, int] = {}
        self._samples: dict[_Key, list[dict[str, str | None]]] = {}

    def add(self, hour: str, operation: str, endpoint: str, exchange: str, found: Sequence[Differs]) -> None:
        """One exchange was compared."""
        for field in (COMPARED, *((one.field for one in found) if found else (ALIKE,))):
            key = (hour, operation, endpoint, field)
            self._exchanges[key] = self._exchanges.get(key, 0) + 1
        for one in found:
            samples = self._samples.setdefault((hour, operation, endpoint, one.field), [])
            if len(samples) < SAMPLES:
                samples.append({"exchange": exchange, "before": one.live, "after": one.shadow})

    def take(self) -> list[Count]:
        """What has gathered, which begins anew."""
        exchanges, samples = self._exchanges, self._samples
        self._exchanges, self._samples = {}, {}
        return [Count(*key, number, _text(samples.get(key))) for key, number in exchanges.items()]

    def give_back(self, counts: Sequence[Count]) -> None:
        """What ``take`` gave and could not be kept."""
        for *key, number, samples in counts:
            known: _Key = tuple(key)  # type: ignore[assignment]
            self._exchanges[known] = self._exchanges.get(known, 0) + number
            if samples:
                self._samples[known] = [*orjson.loads(samples), *self._samples.get(known, [])][:SAMPLES]


def _text(samples: list[dict[str, str | None]] | None) -> str:
    return orjson.dumps(samples).decode() if samples else ""
