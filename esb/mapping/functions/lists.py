"""Functions for lists and structures. A value that is not a list is a list of one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from esb.mapping.functions.registry import counted, function, need_dict, need_int, need_list, need_text
from esb.mapping.functions.sorts import Groups, Item, Numbered, Pairs, Struct
from esb.mapping.values import FunctionError, equal, key, kind
from esb.model import Tree

_ROWS = {"rows": [{"no": "1", "fee": 2}, {"no": "2", "fee": 1}, {"no": "1", "fee": 0}]}


@function(("['a', 'b'] | first", "a"), ("[] | first ?? 'none'", "none"), may_miss=True)
def first(value: list[Tree]) -> Item:
    """The first item; nothing when there is none."""
    found = need_list(value)
    return found[0] if found else None


@function(("['a', 'b'] | last", "b"), may_miss=True)
def last(value: list[Tree]) -> Item:
    """The last item; nothing when there is none."""
    found = need_list(value)
    return found[-1] if found else None


@function(("['a', 'b', 'c'] | take(2)", ["a", "b"]), ("'a' | take(2)", ["a"]))
def take(value: list[Tree], most: int) -> list[Item]:
    """At most that many items from the start."""
    return need_list(value)[: max(need_int(most), 0)]


@function(("['a', 'b'] | count", 2), ("($x? ?? []) | count", 0))
def count(value: list[Tree]) -> int:
    """How many items there are."""
    return len(need_list(value))


@function(("['b', 'a', 'b'] | distinct", ["b", "a"]))
def distinct(value: list[Tree]) -> list[Item]:
    """The items without repetitions, in the order of their first occurrence; texts and numbers only."""
    return list(dict.fromkeys(_plain(part) for part in need_list(value)))


@function(("$rows | distinct_by('no') | pluck('fee')", [2, 1], _ROWS))
def distinct_by(value: list[Struct], name: str) -> list[Item]:
    """The structures whose field differs from that of all before them; those without the field stay."""
    found: dict[Any, Tree] = {}
    for at, part in enumerate(need_list(value)):
        field = _field(part, name)
        found.setdefault((at,) if field is None else field, part)
    return list(found.values())


@function(("['b', 'a'] | sort", ["a", "b"]), ("[2, 'a'] | sort", FunctionError))
def sort(value: list[Tree]) -> list[Item]:
    """The items in ascending order; all texts or all numbers."""
    found = [_plain(part) for part in need_list(value)]
    _alike(found)
    return sorted(found)


@function(("$rows | sort_by('fee') | pluck('no')", ["1", "2", "1"], _ROWS))
def sort_by(value: list[Struct], name: str) -> list[Item]:
    """The structures in ascending order of a field, all texts or all numbers; those without it come last."""
    keyed = [(_field(part, name), part) for part in need_list(value)]
    found = [pair for pair in keyed if pair[0] is not None]
    _alike([field for field, _ in found])
    return [part for _, part in sorted(found, key=lambda pair: pair[0])] + [
        part for field, part in keyed if field is None
    ]


@function(("['a', 'b'] | reverse", ["b", "a"]))
def reverse(value: list[Tree]) -> list[Item]:
    """The items from the last to the first."""
    return need_list(value)[::-1]


@function(("'a' | list", ["a"]), ("['a'] | list", ["a"]), name="list")
def list_(value: list[Tree]) -> list[Item]:
    """The value as a list: a list as it is, anything else as a list of one."""
    return need_list(value)


@function(("['a', ['b', 'c'], []] | flatten", ["a", "b", "c"]))
def flatten(value: list[Tree]) -> list[Tree]:
    """The items of a list of lists as one list; a list inside those stays a list."""
    found = need_list(value)
    counted(sum([len(need_list(part)) for part in found]))
    return [item for part in found for item in need_list(part)]


@function(("['a'] | concat(['b'])", ["a", "b"]), ("'a' | concat('b')", ["a", "b"]))
def concat(value: list[Tree], other: Tree) -> list[Tree]:
    """The items of one list and then those of another."""
    counted(len(need_list(value)) + len(need_list(other)))
    return need_list(value) + need_list(other)


@function(("['a', '', ' ', 'b'] | compact", ["a", "b"]), ("$x | compact", [0], {"x": [None, {}, 0]}))
def compact(value: list[Tree]) -> list[Item]:
    """The items without those that are nothing, blank text, or an empty list or structure."""
    return [part for part in need_list(value) if not (part is None or part in ([], {}) or _blank(part))]


def _blank(value: Tree) -> bool:
    return isinstance(value, str) and not value.strip()


@function(
    ("['a', 'b'] | numbered | pluck('number')", [1, 2]),
    ("'a' | numbered", [{"number": 1, "item": "a"}]),
)
def numbered(value: list[Tree]) -> Numbered:
    """Each item with its number from 1, as structures of number and item, such as the set ids of HL7 segments."""
    return [{"number": at, "item": part} for at, part in enumerate(need_list(value), 1)]


@function(
    (
        "$rows | group_by('no')",
        [
            {"key": "1", "items": [{"no": "1", "fee": 2}, {"no": "1", "fee": 0}]},
            {"key": "2", "items": [{"no": "2", "fee": 1}]},
        ],
        _ROWS,
    ),
    ("$rows | group_by('none') | pluck('key')", [], _ROWS),
)
def group_by(value: list[Struct], name: str) -> Groups:
    """The structures that share a field, as structures of key and items in order of first occurrence; those without
    the field are one group that has no key."""
    groups: dict[Any, dict[str, Tree]] = {}
    for part in need_list(value):
        field = _field(part, name)
        empty = {"items": []} if field is None else {"key": field, "items": []}
        groups.setdefault(field, empty)["items"].append(part)
    return list(groups.values())


@function(
    (
        "$ids | where('type', 'MR') | pluck('no')",
        ["7"],
        {"ids": [{"type": "PI", "no": "1"}, {"type": "MR", "no": "7"}]},
    ),
    ("$ids | where('type', 'XX')", [], {"ids": {"type": "PI"}}),
)
def where(value: list[Struct], name: str, wanted: Tree) -> list[Item]:
    """The structures of a list whose field equals a value; those without the field are left out."""
    _number(wanted)
    return [part for part in need_list(value) if equal(_number(key(need_dict(part), need_text(name))), wanted)]


@function(("$items | pluck('name') | join(' ')", "a b", {"items": [{"name": "a"}, {}, {"name": "b"}]}))
def pluck(value: list[Struct], name: str) -> list[Tree]:
    """One field of every structure of a list, without those that lack it."""
    found = [key(need_dict(part), need_text(name)) for part in need_list(value)]
    return [part for part in found if part is not None]


@function(("$x | pairs", [{"key": "a", "value": 1}, {"key": "b", "value": 2}], {"x": {"a": 1, "b": 2, "c": None}}))
def pairs(value: Struct) -> Pairs:
    """The fields of a structure as structures of key and value, for formats that send names as data."""
    return [{"key": name, "value": part} for name, part in need_dict(value).items() if part is not None]


def _field(part: Tree, name: str) -> Any:
    """A field of a structure that can be compared, or None."""
    found = key(need_dict(part), need_text(name))
    return None if found is None else _plain(found)


def _plain(value: Tree) -> Any:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise FunctionError(f"needs texts or numbers, got {kind(value)}")
    return _number(value)


def _number(value: Tree) -> Tree:
    """The value, unless it is a decimal that is no number and so equals nothing."""
    if isinstance(value, Decimal) and not value.is_finite():
        raise FunctionError("needs texts or numbers, got a number that is none")
    return value


def _alike(values: list[Any]) -> None:
    if len({isinstance(part, str) for part in values}) > 1:
        raise FunctionError("sorts texts or numbers, not both")
