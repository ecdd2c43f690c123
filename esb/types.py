"""What a value is, by the contract or by a system's own schema: one description for all of them.

JSON Schema, WSDL, HL7 v2 tables, FHIR definitions and SQL columns each describe themselves as a ``Type``; lint, explain
and drafting look at nothing else. A list and its one item are the same here, as they are to a mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, NamedTuple, TypeAlias

Sort: TypeAlias = Literal[
    "any", "structure", "text", "integer", "decimal", "truth", "date", "time", "moment", "ts", "bytes"
]
"""``date`` 2026-01-15, ``time`` 09:30, ``moment`` RFC 3339 with its offset, ``ts`` HL7 20260115093000+0800."""


class Lost(NamedTuple):
    """The first step of a path that does not exist, and the names that do at that place."""

    step: str
    known: tuple[str, ...]


@dataclass(frozen=True)
class Type:
    """A value: its sort, whether it may be a list, whether it must be there, and its fields by name.

    ``make`` gives the fields and is called once, when they are asked for, so that types may hold themselves and large
    schemas cost nothing until used. ``words`` are all texts it can be, empty where that is not known; ``longest`` its
    length in characters, ``open`` that it may have fields that are not named, ``single`` that an item may stand without
    its list. XML attributes are ``@name``, FHIR choices ``value[x]`` beside their members, HL7 fields and components
    their numbers.
    """

    sort: Sort = "any"
    many: bool = False
    required: bool = False
    words: tuple[str, ...] = ()
    longest: int | None = None
    title: str = ""
    open: bool = False
    single: bool = False
    make: Callable[[], Mapping[str, Type]] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def fields(self) -> Mapping[str, Type]:
        """The fields by name; none of a plain value."""
        return self.make() if self.make else {}

    def at(self, steps: Sequence[str]) -> Type | Lost:
        """The type at a path of names; ``ANY`` below what nothing is known of."""
        found = self
        for step in steps:
            if found.sort == "any" and not found.fields:
                return ANY
            inner = found.fields.get(step)
            if inner is None and step in ("#text", "#cdata"):
                continue
            if inner is None and found.open:
                return ANY
            if inner is None:
                return Lost(step, tuple(found.fields))
            found = inner
        return found


ANY: Final = Type()


class Description(NamedTuple):
    """What one action of a system is sent and answers."""

    request: Type = ANY
    answer: Type = ANY
