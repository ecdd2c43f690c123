"""How much of an expected FHIR tree another one has, leaf by leaf, and which leaves differ.

A leaf is a value with its path. Ids and the narrative of a converter (which holds the time of conversion) are not
compared. Items of a list, and resources of a type, are paired so that most of their leaves are equal, whatever their
order. Times are equal when they are the same moment. References between bundles that went through ``aligned`` are equal
when they lead to resources that are each other's pair; otherwise the id in them is not compared.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT.*([+-]\d\d:\d\d|Z)")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ROUNDS = 2
_GENERATED = "using Microsoft FHIR Converter"


class Difference(NamedTuple):
    """A leaf that is not equal; ``found`` is None where ours has none."""

    path: str
    expected: Any
    found: Any


class Comparison(NamedTuple):
    """Equal leaves, expected leaves, leaves of ours that were not expected, and what is not equal."""

    equal: int
    expected: int
    surplus: int
    differences: list[Difference]


def resources(bundle: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The resources of a bundle by type."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in bundle.get("entry") or ():
        found[entry["resource"]["resourceType"]].append(entry["resource"])
    return found


def aligned(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[Any, Any]:
    """Two bundles whose references say which pair of resources they lead to, in the place of ids.

    What a resource refers to helps to find its pair, and the pairs say what is referred to: so this takes some rounds.
    """
    pair: tuple[Any, Any] = expected, found
    for _ in range(_ROUNDS):
        labels = _labels(*pair)
        pair = tuple(_relabelled(bundle, known) for bundle, known in zip((expected, found), labels, strict=True))
    return pair


def _labels(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Reference -> type and number of the pair, for the resources of both bundles and for the bundles themselves."""
    wanted, given = resources(expected), resources(found)
    both = {"Bundle": [(expected, found)], **{kind: paired(wanted[kind], given[kind]) for kind in wanted}}
    labels: tuple[dict[str, str], dict[str, str]] = {}, {}
    for kind, pairs in both.items():
        for number, pair in enumerate(pairs):
            for known, one in zip(labels, pair, strict=True):
                if one is not None and "id" in one:
                    known[f"{kind}/{one['id']}"] = f"{kind}/{number}"
    return labels


def _relabelled(tree: Any, labels: Mapping[str, str]) -> Any:
    if isinstance(tree, list):
        return [_relabelled(value, labels) for value in tree]
    if not isinstance(tree, dict):
        return tree
    reference = tree.get("reference")
    changed = {"reference": labels.get(reference, reference)} if isinstance(reference, str) else {}
    return {name: _relabelled(value, labels) for name, value in tree.items()} | changed


def compare(expected: Any, found: Any, path: str = "") -> Comparison:
    """Compare two trees, or two lists of resources."""
    equal, differences = _compared(expected, found, path)
    return Comparison(equal, len(leaves(expected)), len(leaves(found)) - equal, differences)


def leaves(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of a tree that are compared, each with its path."""
    if isinstance(tree, dict):
        inner = (
            (f"{path}.{name}" if path else name, value) for name, value in tree.items() if not _skipped(name, value)
        )
        return [leaf for name, value in inner for leaf in leaves(value, name)]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in leaves(value, f"{path}[]")]
    return [] if tree is None else [(path, tree)]


def paired(expected: Sequence[Any], found: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each expected item with the item of ours that has most of its leaves, None where there is none left."""
    places = [(at, place) for at in range(len(expected)) for place in range(len(found))]
    scores = {(at, place): _compared(expected[at], found[place], "")[0] for at, place in places}
    partner: dict[int, int] = {}
    for at, place in sorted(places, key=lambda pair: (-scores[pair], abs(pair[0] - pair[1]))):
        if at not in partner and place not in partner.values():
            partner[at] = place
    return [(wanted, found[partner[at]] if at in partner else None) for at, wanted in enumerate(expected)]


def _skipped(name: str, value: Any) -> bool:
    if name == "div":
        return _GENERATED in value
    return name == "resourceType" or (name == "id" and isinstance(value, str))


def _compared(expected: Any, found: Any, path: str) -> tuple[int, list[Difference]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [name for name, value in expected.items() if not _skipped(name, value)]
        parts = [(expected[name], found.get(name), f"{path}.{name}" if path else name) for name in names]
    elif isinstance(expected, list) and isinstance(found, list):
        parts = [(wanted, given, f"{path}[]") for wanted, given in paired(expected, found)]
    elif isinstance(expected, dict | list) or _plain(expected) != _plain(found):
        simple = None if isinstance(found, dict | list) else found
        return 0, [Difference(name, value, simple) for name, value in leaves(expected, path)]
    else:
        return 1, []
    results = [_compared(*part) for part in parts]
    return sum(count for count, _ in results), [difference for _, found in results for difference in found]


def _plain(value: Any) -> Any:
    """A value as it is compared: a moment as seconds, a generated id as a star, truth apart from numbers."""
    if isinstance(value, bool) or not isinstance(value, str):
        return str(value) if isinstance(value, bool) else value
    return _moment(value) if _MOMENT.fullmatch(value) else _UUID.sub("*", value)


def _moment(value: str) -> Any:
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return value
