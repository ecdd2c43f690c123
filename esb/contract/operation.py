"""An operation of the contract and its parameters, with everything that a request needs compiled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from esb.contract.check import Check, FieldError, whole, whole_numbers
from esb.contract.schema import Schema, phi_paths
from esb.contract.types import type_of
from esb.model import Effect, Tree
from esb.types import Type

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A business no that an operation may answer: its HTTP status and the text that a patient reads."""

    code: str
    status: int
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path or query parameter. ``type`` is the JSON type of one value; ``repeated`` says that it is a list."""

    name: str
    location: str
    required: bool
    type: str
    repeated: bool = False

    def read(self, text: str) -> Tree:
        """The value as the contract types it; the text itself when it is none, so that validation names it."""
        if self.type == "string":
            return text
        if self.type == "integer":
            return int(text) if _INTEGER.fullmatch(text) else text
        if self.type == "boolean":
            return _BOOLEANS.get(text, text)
        return Decimal(text) if _NUMBER.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class Operation:
    """A canonical verb: ``registration.lock``. Frozen; its schemas are inlined and may be read, never changed.

    ``request_schema`` is one object of path, query and body fields; ``request_type`` and ``answer_type`` say the same
    as types. ``owner`` is the path of the field that must belong to the caller. ``request_phi`` and ``answer_phi`` map
    paths (``*`` = every item) to the kind of patient data.
    """

    name: str
    method: str
    path: str
    effect: Effect
    success_status: int
    summary: str
    request_schema: Schema
    answer_schema: Schema
    parameters: tuple[Parameter, ...] = ()
    has_body: bool = False
    key_required: bool = False
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    owner: tuple[str, ...] = ()
    requirement: tuple[str, ...] = ()
    request_type: Type = field(init=False, repr=False, compare=False)
    answer_type: Type = field(init=False, repr=False, compare=False)
    request_phi: Mapping[tuple[str, ...], str] = field(init=False)
    answer_phi: Mapping[tuple[str, ...], str] = field(init=False)
    _request: Check = field(init=False, repr=False, compare=False)
    _answer: Check = field(init=False, repr=False, compare=False)
    _counts: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made: dict[str, Any] = {
            "request_type": type_of(self.request_schema, required=True),
            "answer_type": type_of(self.answer_schema, required=True),
            "request_phi": dict(phi_paths(self.request_schema)),
            "answer_phi": dict(phi_paths(self.answer_schema)),
            "_request": Check(self.request_schema),
            "_answer": Check(self.answer_schema),
            "_counts": "'integer'" in repr(self.request_schema),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def phi(self) -> Mapping[tuple[str, ...], str]:
        """Patient data of request and answer together."""
        return {**self.request_phi, **self.answer_phi}

    def typed(self, tree: Tree) -> Tree:
        """A decoded request with its whole numbers as integers, changed in place: 25.0 is an integer to JSON Schema."""
        return whole(self.request_schema, tree)

    def check_request(self, tree: Tree) -> list[FieldError]:
        """Every wrong field of a request tree at once; empty when it satisfies the contract."""
        return self._request(tree) or (list(whole_numbers(self.request_schema, tree)) if self._counts else [])

    def check_answer(self, tree: Tree) -> list[FieldError]:
        """Every wrong field of an answer tree at once; empty when it satisfies the contract."""
        return self._answer(tree)
