"""Randomness that depends on a secret and a text alone."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from math import isqrt

_ROUNDS = 8


class Secret:
    """A key of any length. The same key, purpose and text give the same numbers everywhere."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("the key is empty")
        self._key = key
        self.permuted = lru_cache(65536)(self._permuted)

    def digest(self, purpose: str, text: str) -> bytes:
        """64 bytes."""
        return hmac.digest(self._key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), "sha512")

    def picks(self, purpose: str, text: str) -> Iterator[int]:
        """Numbers of 32 bits without end."""
        for block in count():
            digest = self.digest(f"{purpose}/{block}", text)
            yield from (int.from_bytes(digest[at : at + 4]) for at in range(0, 64, 4))

    def _permuted(self, purpose: str, number: int, size: int) -> int:
        """Another number below ``size``: a permutation in which no number stays, where there are two.

        It is a step along the one cycle that the secret makes of all of them.
        """
        there = self._walked(purpose, number, size, 1)
        return self._walked(purpose, (there + 1) % size, size, -1)

    def _walked(self, purpose: str, number: int, size: int, direction: int) -> int:
        """A Feistel network on a rectangle that holds ``size``, repeated until it is back below (Black, Rogaway)."""
        high = isqrt(size - 1) + 1
        low = -(-size // high)
        while True:
            number = self._mixed(f"{purpose}/{size}", number, high, low, direction)
            if number < size:
                return number

    def _mixed(self, purpose: str, number: int, high: int, low: int, direction: int) -> int:
        left, right = divmod(number, low)
        for turn in range(_ROUNDS)[::direction]:
            if turn % 2:
                left = (left + direction * self._number(f"{purpose}/{turn}", right)) % high
            else:
                right = (right + direction * self._number(f"{purpose}/{turn}", left)) % low
        return left * low + right

    def _number(self, purpose: str, number: int) -> int:
        return int.from_bytes(self.digest(purpose, str(number)))
