"""``fields.yaml`` and ``rules.yaml``: which field holds what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from esb.codecs import yaml

_HERE: Final = Path(__file__).parent
_LOCAL: Final = "Z"

Parts = Mapping[int, str]
"""What each component (or sub-component) is: a kind, or a type one level down."""


class Field(NamedTuple):
    """``type`` is one of ``Rules.types``, ``text``, ``varies``, ``keep``, or "" for what is coded or a number.

    ``known`` is false for Z-segments and for fields and segments that HL7 does not have.
    """

    type: str
    staff: bool = False
    known: bool = True


class Rules:
    """The two files as they are used."""

    def __init__(self) -> None:
        fields, rules = _read("fields.yaml"), _read("rules.yaml")
        self.types: dict[str, Parts] = {name: _numbered(parts) for name, parts in rules["types"].items()}
        self.types |= {old: self.types[new] for old, new in rules["aliases"].items()}
        self.numbers = frozenset(rules["numbers"])
        self.persons: Mapping[str, list[int]] = rules["persons"]
        self.about = frozenset(rules["about"])
        self.placeholders = frozenset(rules["placeholders"])
        self.place_words = frozenset(word for words in rules["place_words"] for word in words)
        self.place_chars = frozenset(rules["place_chars"])
        self.alphabets: Mapping[str, str] = rules["alphabets"]
        self.compound_surnames = frozenset(rules["compound_surnames"])
        self.card_areas: list[str] = rules["card_areas"]
        self._last = {segment: types["last"] for segment, types in fields.items()}
        self._fields = {segment: _by_field(types) for segment, types in fields.items()}
        for segment, types in rules["fields"].items():
            self._fields.setdefault(segment, {}).update(_numbered(types))
        self._staff = rules["staff"]

    def field(self, segment: str, number: int) -> Field:
        """What a field is, and whether it is about staff."""
        if segment.startswith(_LOCAL) or number > self._last.get(segment, -1):
            return Field("text", known=False)
        name = self._fields[segment].get(number, "")
        return Field(name, self._is_staff(segment, number, name))

    def kind(self, segment: str, field: int, component: int) -> tuple[str, str]:
        """The type of a field and the kind of a component of it, "" for none; component 0 is the first."""
        name = self.field(segment, field).type
        return name, self.types.get(name, {}).get(component or 1, "")

    def _is_staff(self, segment: str, number: int, name: str) -> bool:
        staff = self._staff
        if number in staff["patients"].get(segment, ()):
            return False
        listed = segment in staff["segments"] and name in self.types and name not in ("TS", "DR")
        return name in staff["types"] or listed or number in staff["fields"].get(segment, ())


@lru_cache(1)
def rules() -> Rules:
    """The rules of the package, read once."""
    return Rules()


def _read(name: str) -> Any:
    return yaml.load(_HERE / name).value


def _numbered(parts: Mapping[Any, str]) -> dict[int, str]:
    return {int(number): kind for number, kind in parts.items()}


def _by_field(types: Mapping[str, Any]) -> dict[int, str]:
    return {number: name for name, numbers in types.items() if name != "last" for number in numbers}
