"""Patients' data: another one's of the same form in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from esb.model import Tree

_SHORTEST = 2
Phi = Mapping[tuple[str, ...], str]


def altered(request: Tree, phi: Phi, at: tuple[str, ...] = ()) -> Tree:
    """A request with other patients' data of the same form."""
    if isinstance(request, Mapping):
        return {name: altered(value, phi, (*at, name)) for name, value in request.items()}
    if isinstance(request, list):
        return [altered(value, phi, (*at, "*")) for value in request]
    marked = any(at[: len(path)] == path for path in phi)
    return other(request) if marked else request


def other(value: Tree) -> Tree:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return "2001-02-03" if value != "2001-02-03" else "2002-03-04"
    if isinstance(value, str):
        return "".join(_turned(one) for one in value)
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) else value


def _turned(character: str) -> str:
    if character.isascii() and character.isdigit():
        return str((int(character) + 1) % 10)
    if character.isascii() and character.isalpha():
        return "b" if character == "a" else "B" if character == "A" else "a" if character.islower() else "A"
    return ("试" if character == "测" else "测") if character.isalpha() else character


def strangers(tree: Tree, phi: Phi) -> dict[str, str]:
    """Every text of a patient in a canonical tree, as it may stand in a system's message, and one to take its place."""
    found: dict[str, str] = {}
    for value in _texts(tree, phi, ()):
        if (len(value) >= _SHORTEST and not value.isascii()) or any(map(str.isdigit, value)):
            stranger = str(other(value))
            found |= {value: stranger, value.replace("-", ""): stranger.replace("-", "")}
    return found


def _texts(tree: Tree, phi: Phi, at: tuple[str, ...]) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _texts(value, phi, (*at, name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value, phi, (*at, "*"))
    elif isinstance(tree, str) and at in phi:
        yield tree


def replaced(tree: Tree, strangers: Mapping[str, str]) -> Tree:
    """A tree or a text with every text of a patient replaced, the longest first."""
    if isinstance(tree, Mapping):
        return {name: replaced(value, strangers) for name, value in tree.items()}
    if isinstance(tree, list):
        return [replaced(value, strangers) for value in tree]
    if isinstance(tree, str):
        for old in sorted(strangers, key=len, reverse=True):
            tree = tree.replace(old, strangers[old])
    return tree
