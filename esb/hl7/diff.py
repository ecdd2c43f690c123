"""Two messages by field, with their segments aligned first, so that one more OBX is one difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from esb.codecs.hl7v2 import Message, Segment
from esb.codecs.hl7v2.groups import HOLDERS
from esb.hl7.leaves import Ignored, Leaves, leaves, written
from esb.model import Tree

_WHOLE: Final = 1000
_GAP: Final = 600
_NEVER: Final = 9000
_MOST: Final = 1_000_000
_IDENTITY: Final = {
    "OBX": (3, 4),
    "OBR": (4,),
    "AL1": (3,),
    "DG1": (3,),
    "NK1": (2,),
    "IN1": (3,),
    "PR1": (3,),
    "RXE": (2,),
    "RXO": (1,),
    "AIL": (3,),
    "AIP": (3,),
    "AIS": (3,),
    "SPM": (2, 4),
    "FT1": (7,),
}
"""Fields that say what a segment is about. Segments that agree in none of them are not the same one changed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``changed`` with the values of a path, either None where it is absent; ``added`` or ``removed`` with segments.

    The path of what was added is one of the second message, all others are of the first.
    """

    kind: str
    path: str
    a: str | None = None
    b: str | None = None
    segments: tuple[str, ...] = ()

    def tree(self) -> dict[str, Tree]:
        """As JSON."""
        if self.kind == "changed":
            return {"kind": self.kind, "path": self.path, "a": self.a, "b": self.b}
        return {"kind": self.kind, "path": self.path, "segments": list(self.segments)}

    def __str__(self) -> str:
        if self.kind == "changed":
            sides = ("(nothing)" if side is None else repr(side) for side in (self.a, self.b))
            return f"{self.path}: {' -> '.join(sides)}"
        more = f" and {len(self.segments) - 1} more" if len(self.segments) > 1 else ""
        return f"{self.path}{more} {self.kind}: {self.segments[0]}"


class _Part(NamedTuple):
    """A segment with its values and its occurrence among those of its name, from 0."""

    segment: Segment
    values: Leaves
    occurrence: int

    @property
    def name(self) -> str:
        return self.segment.name

    @property
    def path(self) -> str:
        return self.name + (f"[{self.occurrence}]" if self.occurrence else "")


_Pair = tuple[_Part | None, _Part | None]


def differences(a: Message, b: Message, ignored: Ignored) -> list[Difference]:
    """In the order of the segments. A set id (1, 2, 3 ...) that only moved with what was added is no difference."""
    pairs = _aligned(_parts(a, ignored), _parts(b, ignored))
    return list(_told(pairs))


def _parts(message: Message, ignored: Ignored) -> list[_Part]:
    seen: Counter[str] = Counter()
    found = []
    for segment in message:
        if not ignored.segment(segment.name):
            found.append(_Part(segment, leaves(segment, ignored), seen[segment.name]))
        seen[segment.name] += 1
    return found


def _aligned(a: list[_Part], b: list[_Part]) -> list[_Pair]:
    """What is the same at both ends needs no search."""
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    middle = _searched(a[start : len(a) - end], b[start : len(b) - end])
    pairs: list[_Pair] = [*zip(a[:start], b[:start], strict=True), *middle]
    pairs += zip(a[len(a) - end :], b[len(b) - end :], strict=True)
    return _slid(pairs)


def _common(a: list[_Part], b: list[_Part]) -> int:
    count = 0
    while count < min(len(a), len(b)) and _cost(a[count], b[count]) == 0:
        count += 1
    return count


def _searched(a: list[_Part], b: list[_Part]) -> list[_Pair]:
    """The cheapest alignment (Needleman and Wunsch); by place where the messages are too long for that."""
    if len(a) * len(b) > _MOST:
        longest = max(len(a), len(b))
        same = [(x, y) for x, y in zip(a, b, strict=False) if x.name == y.name]
        if len(same) == longest:
            return list(same)
        return [*((x, None) for x in a), *((None, y) for y in b)]
    best = [[column * _GAP for column in range(len(b) + 1)]]
    for row, x in enumerate(a, 1):
        line = [row * _GAP]
        for column, y in enumerate(b, 1):
            line.append(min(best[-1][column - 1] + _cost(x, y), best[-1][column] + _GAP, line[-1] + _GAP))
        best.append(line)
    return _traced(a, b, best)


def _traced(a: list[_Part], b: list[_Part], best: list[list[int]]) -> list[_Pair]:
    row, column = len(a), len(b)
    pairs: list[_Pair] = []
    while row or column:
        here = best[row][column]
        if row and column and here == best[row - 1][column - 1] + _cost(a[row - 1], b[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((a[row], b[column]))
        elif column and here == best[row][column - 1] + _GAP:
            column -= 1
            pairs.append((None, b[column]))
        else:
            row -= 1
            pairs.append((a[row], None))
    return pairs[::-1]


def _cost(a: _Part, b: _Part) -> int:
    """0 for the same values, at most ``_WHOLE`` for the same segment changed."""
    if a.name != b.name:
        return _NEVER
    if not _same_subject(a, b):
        return _NEVER
    places = {place for place in a.values.keys() | b.values.keys() if place.field > 1}
    differing = sum(a.values.get(place) != b.values.get(place) for place in places)
    return -(-differing * _WHOLE // len(places)) if places else 0


def _same_subject(a: _Part, b: _Part) -> bool:
    fields = _IDENTITY.get(a.name)
    if fields is None:
        return True
    sides = [{(place, value) for place, value in part.values.items() if place.field in fields} for part in (a, b)]
    return bool(sides[0] & sides[1]) or not (sides[0] and sides[1])


def _slid(pairs: list[_Pair]) -> list[_Pair]:
    """A run of additions that might as well begin earlier begins where a group does: at ORC, not in its midst."""
    for side in (0, 1):
        end = len(pairs)
        while end:
            begin = end
            while begin and pairs[begin - 1][side] is None:
                begin -= 1
            _slide(pairs, begin, end, 1 - side)
            end = begin if begin < end else end - 1
    return pairs


def _slide(pairs: list[_Pair], begin: int, end: int, side: int) -> None:
    first, last = begin, end
    while first and first < last and not _begins(pairs[first][side]):
        before, closing = pairs[first - 1], pairs[last - 1]
        here, there = before[side], closing[side]
        if None in before or here is None or there is None or here.segment.text != there.segment.text:
            return
        other = before[1 - side]
        alone, both = ((here, None), (there, other)) if side == 0 else ((None, here), (other, there))
        pairs[first - 1], pairs[last - 1] = alone, both
        first, last = first - 1, last - 1


def _begins(part: _Part | None) -> bool:
    return part is not None and part.name in HOLDERS


def _told(pairs: list[_Pair]) -> Iterator[Difference]:
    whole: Counter[str] = Counter()
    local: Counter[str] = Counter()
    group: list[_Part] = []
    kind = ""
    for a, b in [*pairs, (None, None)]:
        now = "" if a and b else "removed" if a else "added"
        part = a or b
        if group and (part is None or now != kind or group[0].name not in HOLDERS or part.name == group[0].name):
            yield Difference(kind, group[0].path, segments=tuple(one.segment.text for one in group))
            group = []
        if part is None:
            return
        kind = now
        if a and b:
            if part.name in HOLDERS:
                local = Counter({part.name: local[part.name]})
            yield from _changes(a, b, {whole[part.name], local[part.name]} - {0})
        else:
            group.append(part)
            for moved in (whole, local):
                moved[part.name] += 1 if now == "added" else -1


def _changes(a: _Part, b: _Part, moved: set[int]) -> Iterator[Difference]:
    for place in sorted(a.values.keys() | b.values.keys()):
        old, new = a.values.get(place), b.values.get(place)
        if old == new or (place == (1, 1, 1, 1) and _only_moved(old, new, moved)):
            continue
        yield Difference("changed", f"{a.path}-{written(place, a.values, b.values)}", old, new)


def _only_moved(old: str | None, new: str | None, moved: set[int]) -> bool:
    """Set ids count within a group or over the whole message; ``moved`` has by how much either is off."""
    numbers = [side for side in (old, new) if side and side.isascii() and side.isdigit() and len(side) < 7]
    return len(numbers) == 2 and int(numbers[1]) - int(numbers[0]) in moved
