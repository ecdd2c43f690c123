"""Several character sets in one text, switched as ISO/IEC 2022 does: MSH-18 with repetitions, MSH-20 with the scheme.

Python has no such codec (``iso2022_jp_ext`` refuses right hand sets, ``iso2022_kr`` wants a header), so this module
registers one for each combination: ``iso2022_iso8859_1_jisx0208`` reads and writes text that begins in ISO 8859-1 and
goes to JIS X 0208 and back. Reading knows every set, declared or not; writing keeps to those in the name, in their
order. Line ends take a reader back to the beginning, and a writer goes back before every character of ASCII.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple


class CharacterSet(NamedTuple):
    """A graphic set: the Python codec that knows it, what that writes before each character, its bytes a character.

    ``left`` is the escape sequence (without ESC) that makes bytes below 0x80 mean this set, ``right`` the one for those
    above; "" where there is none.
    """

    name: str
    codec: str
    lead: bytes
    width: int
    left: bytes
    right: bytes

    def high(self, char: str) -> bytes:
        """The character with the highest bit of its bytes set; b"" when it is not in this set."""
        try:
            data = char.encode(self.codec)
        except UnicodeEncodeError:
            return b""
        body = data.removeprefix(self.lead)
        lowest = 0x80 if self.codec.startswith("iso8859") else 0xA1
        return body if data.startswith(self.lead) and len(body) == self.width and min(body) >= lowest else b""


_RIGHT_HANDS: Final = dict(
    zip((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16), b"ABCDLGFHMVTY_bf", strict=True),
)
"""Parts of ISO 8859 and the last byte of their escape sequence, from the ISO-IR register."""

SETS: Final = {
    one.name: one
    for one in (
        CharacterSet("ascii", "ascii", b"", 1, b"(B", b""),
        CharacterSet("jisx0201", "euc_jp", b"\x8e", 1, b"(I", b")I"),
        CharacterSet("jisx0208", "euc_jp", b"", 2, b"$B", b"$)B"),
        CharacterSet("jisx0212", "euc_jp", b"\x8f", 2, b"$(D", b"$)D"),
        CharacterSet("gb2312", "gb2312", b"", 2, b"$A", b"$)A"),
        CharacterSet("ksx1001", "euc_kr", b"", 2, b"$(C", b"$)C"),
        *(
            CharacterSet(f"iso8859_{part}", f"iso8859_{part}", b"", 1, b"", bytes((0x2D, final)))
            for part, final in _RIGHT_HANDS.items()
        ),
    )
}
_ASCII: Final = SETS["ascii"]
_ALIASES: Final = {b"(J": b"(B", b"$@": b"$B", b"$(A": b"$A", b"$(B": b"$B", b"$)@": b"$)B"}
"""Roman JIS is read as ASCII, or it would take the backslash away from the escapes; JIS of 1978 as that of 1983."""
_LEFT: Final = {one.left: one for one in SETS.values() if one.left}
_RIGHT: Final = {one.right: one for one in SETS.values() if one.right}

_STEP: Final = re.compile(rb"\x1b(\$?[()\x2d]?[@-~])|[\r\n]")
_PREFIX: Final = "iso2022_"


class Sides(NamedTuple):
    """Which sets the bytes below and above 0x80 mean; ``right`` is None where none was called."""

    left: CharacterSet
    right: CharacterSet | None

    def switched(self, sequence: bytes) -> Sides:
        """After that escape sequence (without ESC). Raises ``UnicodeError`` for one that is not known."""
        sequence = _ALIASES.get(sequence, sequence)
        if sequence in _LEFT:
            return Sides(_LEFT[sequence], self.right)
        if sequence in _RIGHT:
            return Sides(self.left, _RIGHT[sequence])
        raise UnicodeError("unknown escape sequence")

    def decoded(self, data: bytes) -> str:
        """Text without escape sequences. Raises ``UnicodeError``."""
        if self.left is _ASCII and data.isascii():
            return data.decode("ascii")
        return "".join([self._run(run[0]) for run in _RUNS.finditer(data)])

    def _run(self, run: bytes) -> str:
        side = self.left if run[0] < 0x80 else self.right
        if side is None:
            raise UnicodeError("bytes above 0x7F without a set for them")
        if side is _ASCII or run[0] <= 0x20:
            return run.decode("ascii")
        if len(run) % side.width:
            raise UnicodeError("half of a character")
        high = run.translate(_HIGH)
        if side.lead:
            high = b"".join([side.lead + high[at : at + side.width] for at in range(0, len(high), side.width)])
        return high.decode(side.codec)


_RUNS: Final = re.compile(rb"[\x00-\x20]+|[\x21-\x7f]+|[\x80-\xff]+")
_HIGH: Final = bytes(byte | 0x80 for byte in range(256))
_LOW: Final = bytes(byte & 0x7F for byte in range(256))


def start(codec: str) -> Sides:
    """How a text begins whose first or only charset is that Python codec."""
    name = codec.replace("-", "_")
    first = SETS.get(_sets(name)[0].name if name.startswith(_PREFIX) else name)
    return Sides(_ASCII, first if first and first.right and first.width == 1 else None)


def name_of(sets: Sequence[str]) -> str:
    """The Python codec that switches between these sets, the first of them the one in which text begins."""
    return _PREFIX + "_".join(sets)


def sequences(text: str, codec: str) -> Iterator[tuple[bytes, bytes]]:
    """Characters outside of ASCII as escape sequences (without ESC) with the bytes that follow, the last one back.

    ``codec`` is one of ``name_of``. Raises ``UnicodeEncodeError`` for a character that is in none of its sets.
    """
    wanted = [one for one in _sets(codec) if one is not _ASCII]
    before: CharacterSet | None = None
    pending, away = bytearray(), False
    for at, char in enumerate(text):
        found = ((one, data) for one in wanted if (data := one.high(char)))
        one, data = next(found, (None, b""))
        if one is None:
            raise UnicodeEncodeError(codec, text, at, at + 1, "character in none of the sets")
        if before is not None and one is not before:
            yield before.left or before.right, bytes(pending)
            pending.clear()
        pending += data.translate(_LOW) if one.left else data
        before, away = one, away or bool(one.left)
    if before is not None:
        yield before.left or before.right, bytes(pending)
        if away:
            yield _ASCII.left, b""


_BEYOND: Final = re.compile(r"[^\x00-\x7f]+")


def _encode(codec: str, text: str) -> tuple[bytes, int]:
    """Characters of the first set, where text begins in a right hand one, need no sequence."""
    first = start(codec).right

    def written(match: re.Match[str]) -> str:
        plain = [first.high(char) for char in match[0]] if first else [b""]
        if all(plain):
            return b"".join(plain).decode("latin-1")
        try:
            parts = list(sequences(match[0], codec))
        except UnicodeEncodeError as error:
            at = match.start() + error.start
            raise UnicodeEncodeError(codec, text, at, at + 1, error.reason) from None
        if first and any(sequence in _RIGHT for sequence, _ in parts):
            parts.append((first.right, b""))
        return b"".join([b"\x1b" + sequence + data for sequence, data in parts]).decode("latin-1")

    return _BEYOND.sub(written, text).encode("latin-1"), len(text)


def _decode(codec: str, data: bytes) -> tuple[str, int]:
    sides = beginning = start(codec)
    data = bytes(data)
    out, at = [], 0
    for step in _STEP.finditer(data):
        out.append(sides.decoded(data[at : step.start()]))
        at = step.end()
        if step[1] is None:
            out.append(step[0].decode("ascii"))
            sides = beginning
        else:
            sides = sides.switched(step[1])
    out.append(sides.decoded(data[at:]))
    return "".join(out), len(data)


@lru_cache(64)
def _sets(codec: str) -> tuple[CharacterSet, ...]:
    parts = re.findall(r"iso8859_\d+|[a-z0-9]+", codec.removeprefix(_PREFIX))
    return tuple([SETS[part] for part in parts])


def _search(codec: str) -> codecs.CodecInfo | None:
    """Every name of ``name_of``, for ``str.encode`` and ``bytes.decode``."""
    try:
        known = codec.startswith(_PREFIX) and _sets(codec)
    except KeyError:
        known = ()
    if not known:
        return None
    return codecs.CodecInfo(
        lambda text, errors="strict": _encode(codec, text),
        lambda data, errors="strict": _decode(codec, data),
        name=codec,
    )


codecs.register(_search)
