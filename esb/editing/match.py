"""Which of their fields is which of ours: names alike, sorts that fit, values that look right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from esb.editing.leaves import Leaf
from esb.editing.names import Name, Words
from esb.types import Sort

LEAST = 0.45
_SURE = 0.75
_CLOSE = 0.1
_BY_TITLE = 0.9
_PART = 0.6
_SHORTER = 0.95
_OTHER_NAME = 0.96
_LOOKS = (
    (re.compile(r"[1-9]\d{16}[\dXx]"), frozenset({"document", "number"}), 0.9),
    (re.compile(r"1[3-9]\d{9}"), frozenset({"phone"}), 0.9),
    (re.compile(r"[\u4e00-\u9fff][A-Z][A-Z0-9]{5,6}"), frozenset({"plate"}), 0.9),
    (re.compile(r"[\u4e00-\u9fff·]{2,4}"), frozenset({"name"}), 0.6),
)
"""What a sample's value alone says: an identity card, a mobile phone, a car's plate, perhaps a name."""
_TIME = re.compile(r"\d[-/:年.]\d|^\d{8,14}([+-]\d{4})?$")
_TIMES: tuple[Sort, ...] = ("date", "time", "moment", "ts")
_NUMBERS: tuple[Sort, ...] = ("integer", "decimal")


@dataclass(frozen=True, slots=True)
class Match:
    """One of ours and one of theirs; ``others`` are those of the other side that are nearly as alike."""

    ours: Leaf
    theirs: Leaf
    score: float
    others: tuple[Leaf, ...] = ()


Score = Callable[[Leaf, Leaf], float]


def scorer(words: Words, context: str, *, sending: bool = False) -> Score:
    """How alike two leaves are, from 0 to 1; ``context`` is what our whole request or answer is about.

    What is sent may be the date alone of one of our times.
    """
    about = words.read(context)
    cache: dict[tuple[int, bool], list[tuple[Name, float]]] = {}

    def names(leaf: Leaf, around: frozenset[str]) -> list[tuple[Name, float]]:
        key = id(leaf), bool(around)
        if key not in cache:
            cache[key] = list(_names(words, leaf, around) if around else _with_shorter(_names(words, leaf, around)))
            if around and sending and leaf.type.sort == "moment" and "begin" in cache[key][0][0].own:
                cache[key].append((Name(frozenset({"date"}), around), _PART))
        return cache[key]

    def score(ours: Leaf, theirs: Leaf) -> float:
        pairs = ((left, right) for left in names(ours, about) for right in names(theirs, frozenset()))
        best = max((words.alike(left, right) * min(a, b) for (left, a), (right, b) in pairs), default=0.0)
        same = ours.path[-1:] == theirs.path[-1:] or (ours.path[-1] if ours.path else "") == theirs.called
        return best * _fits(ours, theirs) * (1.0 if same else _OTHER_NAME)

    return score


def _names(words: Words, leaf: Leaf, around: frozenset[str]) -> Iterable[tuple[Name, float]]:
    """By its name and by its title, in each of the title's languages."""
    parents = frozenset[str]().union(*map(words.read, (*leaf.path[:-1], *leaf.titles[:-1])))
    if leaf.path and leaf.path[0] != "exchange" and not re.fullmatch(r"[0-9]+(\[[0-9]+])?", leaf.path[-1]):
        yield Name(words.read(leaf.called or leaf.path[-1]), parents | around), 1.0
    if isinstance(leaf.value, str):
        yield from ((Name(said), trust) for look, said, trust in _LOOKS if look.fullmatch(leaf.value))
    for title in re.split(r"\s*/\s*", leaf.titles[-1]) if leaf.titles and leaf.titles[-1] else ():
        yield Name(words.read(title), parents | around), _BY_TITLE
    if leaf.path[2:] == ("1",):  # the first component of an HL7 field is what the field is about
        yield Name(words.read(leaf.titles[-2]), parents | around), _BY_TITLE


def _with_shorter(names: Iterable[tuple[Name, float]]) -> Iterable[tuple[Name, float]]:
    """A name that repeats what it stands in may mean no more than without that: REG_LIST.REG_STATUS is a status."""
    for name, trust in names:
        yield name, trust
        if name.own & name.around and name.own - name.around:
            yield Name(name.own - name.around, name.around), trust * _SHORTER


def _fits(ours: Leaf, theirs: Leaf) -> float:
    """1 where the sorts and the sample's value go together, less where they hardly can."""
    left, right = ours.type.sort, theirs.type.sort
    if "structure" in (left, right) or "bytes" in (left, right):
        return 0.0
    if right == "truth" and left != "truth":
        return 0.5
    if ours.type.words and theirs.path[-1:] == (
        "text",
    ):  # words of a list are coded, and said in other words beside it
        return 0.8
    if right in _TIMES and left not in _TIMES:
        return 0.5
    if left in _TIMES and right in _NUMBERS:
        return 0.6
    if left in _TIMES and isinstance(theirs.value, str) and theirs.value and not _TIME.search(theirs.value):
        return 0.3
    return 1.0


def for_each_of_theirs(ours: Sequence[Leaf], theirs: Sequence[Leaf], score: Score) -> list[Match]:
    """The best of ours for each of theirs that has one."""
    rows = ((their, _best([(score(our, their), our) for our in ours])) for their in theirs)
    found = [Match(best[1], their, best[0], best[2]) for their, best in rows if best]
    return _once(found, lambda match: match.ours.path)


def for_each_of_ours(ours: Sequence[Leaf], theirs: Sequence[Leaf], score: Score) -> list[Match]:
    """The best of theirs for each of ours that has one."""
    rows = ((our, _best([(score(our, their), their) for their in theirs])) for our in ours)
    found = [Match(our, best[1], best[0], best[2]) for our, best in rows if best]
    return _once(found, lambda match: match.theirs.path)


def _best(row: list[tuple[float, Leaf]]) -> tuple[float, Leaf, tuple[Leaf, ...]] | None:
    """The likest with its likeness, and those that are nearly as alike; None when nothing is."""
    row = sorted(row, key=lambda one: -one[0])
    if not row or row[0][0] < LEAST:
        return None
    near = tuple(leaf for score, leaf in row[1:4] if score > row[0][0] - _CLOSE)
    return row[0][0], row[0][1], near


def _once(found: list[Match], key: Callable[[Match], tuple[str, ...]]) -> list[Match]:
    """Without matches that want a weaker time what another match has already."""
    best: dict[tuple[str, ...], float] = {}
    for match in found:
        best[key(match)] = max(best.get(key(match), 0.0), match.score)
    return [one for one in found if one.score >= _SURE or one.score == best[key(one)] or _is_time(one)]


def _is_time(match: Match) -> bool:
    """A time may be wanted twice: as a whole and in parts, of the order and of the service."""
    return match.ours.type.sort == "moment" and match.theirs.type.sort in (*_TIMES, "text")


def review(match: Match, note: str, others: str) -> str:
    """The likeness, what is guessed and what else it could be."""
    return "; ".join(filter(None, (f"{match.score:.2f}", note, f"or {others}" if others else "")))
