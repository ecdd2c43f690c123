"""Columns of a row: what does not hold what it should is empty, with why in ``broken``, and hides no other row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from esb.store.bodies import CorruptError, unpack


def facts(
    values: Mapping[str, Any],
    names: Iterable[str],
    broken: dict[str, str],
    *,
    numbers: Collection[str],
    states: Collection[str] = (),
) -> dict[str, Any]:
    """Texts by column, and integers in ``numbers``; ``states`` are what ``state`` may be, anything when empty."""
    found = {name: _fact(name, values[name], int if name in numbers else str, broken) for name in names}
    if states and "state" not in broken and found["state"] not in states:
        broken["state"] = f"there is no state '{found['state']}'"
    return found


def body(name: str, value: Any, broken: dict[str, str]) -> bytes:
    """Unpacked."""
    try:
        return unpack(value)
    except (CorruptError, TypeError) as error:
        broken[name] = str(error)
        return b""


def _fact(name: str, value: Any, wanted: type[int | str], broken: dict[str, str]) -> Any:
    if not isinstance(value, wanted):
        broken[name] = f"holds {type(value).__name__}"
        return wanted()
    if isinstance(value, str) and "\N{REPLACEMENT CHARACTER}" in value:
        broken[name] = "has characters that could not be read"
    return value
