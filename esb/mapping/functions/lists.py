"""Functions for lists and structures. A value that is not a list is a list of one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from esb.mapping.functions.registry import function, need_dict, need_list, need_text
from esb.mapping.values import FunctionError, equal, key, kind
from esb.model import Tree


@function(("['a', 'b'] | first", "a"), ("[] | first ?? 'none'", "none"), may_miss=True)
def first(value: Tree) -> Tree:
    """The first item; nothing when there is none."""
    found = need_list(value)
    return found[0] if found else None


@function(("['a', 'b'] | last", "b"), may_miss=True)
def last(value: Tree) -> Tree:
    """The last item; nothing when there is none."""
    found = need_list(value)
    return found[-1] if found else None


@function(("['a', 'b'] | count", 2), ("($x? ?? []) | count", 0))
def count(value: Tree) -> int:
    """How many items there are."""
    return len(need_list(value))


@function(("['b', 'a', 'b'] | distinct", ["b", "a"]))
def distinct(value: Tree) -> list[Tree]:
    """The items without repetitions, in the order of their first occurrence; texts and numbers only."""
    return list(dict.fromkeys(_plain(part) for part in need_list(value)))


@function(("['b', 'a'] | sort", ["a", "b"]), ("[2, 'a'] | sort", FunctionError))
def sort(value: Tree) -> list[Tree]:
    """The items in ascending order; all texts or all numbers."""
    found = [_plain(part) for part in need_list(value)]
    if len({isinstance(part, str) for part in found}) > 1:
        raise FunctionError("sorts texts or numbers, not both")
    return sorted(found)


@function(("'a' | list", ["a"]), ("['a'] | list", ["a"]), name="list")
def list_(value: Tree) -> list[Tree]:
    """The value as a list: a list as it is, anything else as a list of one."""
    return need_list(value)


@function(
    (
        "$ids | where('type', 'MR') | pluck('no')",
        ["7"],
        {"ids": [{"type": "PI", "no": "1"}, {"type": "MR", "no": "7"}]},
    ),
    ("$ids | where('type', 'XX')", [], {"ids": {"type": "PI"}}),
)
def where(value: Tree, name: str, wanted: Tree) -> list[Tree]:
    """The structures of a list whose field equals a value; those without the field are left out."""
    return [part for part in need_list(value) if equal(key(need_dict(part), need_text(name)), wanted)]


@function(("$items | pluck('name') | join(' ')", "a b", {"items": [{"name": "a"}, {}, {"name": "b"}]}))
def pluck(value: Tree, name: str) -> list[Tree]:
    """One field of every structure of a list, without those that lack it."""
    found = [key(need_dict(part), need_text(name)) for part in need_list(value)]
    return [part for part in found if part is not None]


def _plain(value: Tree) -> Any:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise FunctionError(f"needs texts or numbers, got {kind(value)}")
    return value
