"""How a function of the mapping language is declared: a Python function with examples, called ``value | name(...)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeVar

from esb.mapping.functions.sorts import Signature, signature
from esb.mapping.values import FunctionError, kind
from esb.model import Tree
from esb.types import ANY, Sort, Type

F = TypeVar("F", bound=Callable[..., Any])

MAX_TEXT: Final = 10_000_000
"""The longest text a function makes, in characters."""

MAX_PARTS: Final = 200_000
"""The most items a function makes out of one value."""


class Example(NamedTuple):
    """An expression and what it gives; ``FunctionError`` as the result says that it is an error."""

    expression: str
    result: Any
    given: Mapping[str, Tree] = {}


@dataclass(frozen=True, slots=True)
class Function:
    """A named function. ``prepared`` ones take literals only and are made ready once, when the mapping is loaded.

    ``may_miss`` ones can give nothing, which leaves the field out. ``signature`` is what its annotations say of the
    piped value and of the result.
    """

    name: str
    make: Callable[..., Any]
    summary: str
    examples: tuple[Example, ...]
    prepared: bool
    may_miss: bool
    signature: Signature
    least: int
    most: int | None
    kinds: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def takes(self) -> frozenset[Sort]:
        """The sorts a piped value may have; none is every sort."""
        return self.signature.takes

    @property
    def gives(self) -> Sort:
        """The sort of the result; ``any`` where it depends on the value."""
        return self.signature.gives(ANY).sort

    @property
    def many(self) -> tuple[bool, bool]:
        """Whether a list is taken as one value, and whether a list comes out."""
        return self.signature.takes_list, self.signature.gives(ANY).many

    def fits(self, sort: Sort) -> bool:
        """False only for a value that is certainly of the wrong sort."""
        return sort == "any" or not self.takes or sort in self.takes

    def result(self, given: Type = ANY) -> Type:
        """The type of the result for a piped value of a type."""
        return replace(self.signature.gives(given), required=given.required and not self.may_miss)

    def wrong_count(self, given: int) -> str:
        """What is wrong with that many arguments, or nothing."""
        if given < self.least or (self.most is not None and given > self.most):
            wanted = str(self.least) if self.least == self.most else f"{self.least} to {self.most or 'any number'}"
            return f"'{self.name}' takes {wanted} argument{'' if wanted == '1' else 's'}, got {given}"
        return ""

    def wrong_kind(self, index: int, value: Tree) -> str:
        """What is wrong with a literal as argument ``index``, or nothing."""
        wanted = self.kinds[min(index, len(self.kinds) - 1)]
        word = {"str": "text", "int": "a whole number"}.get(wanted.removesuffix(" | None"), "")
        if not word or (word == "text" and isinstance(value, str)) or (word != "text" and type(value) is int):
            return ""
        return f"argument {index + 1} of '{self.name}' must be {word}, got {kind(value)}"


FUNCTIONS: dict[str, Function] = {}


def function(
    *examples: tuple[Any, ...], prepared: bool = False, may_miss: bool = False, name: str = ""
) -> Callable[[F], F]:
    """Register a function under its own name; its first docstring line is its reference, its annotations its types."""

    def register(target: F) -> F:
        called = name or target.__name__.rstrip("_")
        summary = inspect.cleandoc(target.__doc__ or "").replace("\n", " ")
        entries = tuple(Example(*example) for example in examples)
        found = inspect.signature(target)
        value = "" if prepared else str(next(iter(found.parameters.values())).annotation)
        types = signature(value, str(found.return_annotation))
        rest = list(found.parameters.values())[0 if prepared else 1 :]
        FUNCTIONS[called] = Function(called, target, summary, entries, prepared, may_miss, types, *_arguments(rest))
        return target

    return register


def _arguments(parameters: list[inspect.Parameter]) -> tuple[int, int | None, tuple[str, ...], tuple[str, ...]]:
    """Least and most number of arguments, their kinds, and how the reference writes them."""
    many = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    single = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    least = sum(parameter.default is parameter.empty for parameter in single)
    kinds = tuple(str(parameter.annotation) for parameter in parameters)
    return least, None if many else len(single), kinds, tuple(map(_written, parameters))


def _written(parameter: inspect.Parameter) -> str:
    name = parameter.name.rstrip("_")
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"{name}..."
    return name if parameter.default is parameter.empty else f"{name}?"


def need_text(value: Tree) -> str:
    if isinstance(value, str):
        return value
    raise FunctionError(f"needs text, got {kind(value)}")


def need_int(value: Tree) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise FunctionError(f"needs a whole number, got {kind(value)}")


def need_list(value: Tree) -> list[Tree]:
    """The list itself; another value is a list of one, because XML writes it so."""
    return value if isinstance(value, list) else [value]


def need_dict(value: Tree) -> dict[str, Tree]:
    if isinstance(value, dict):
        return value
    raise FunctionError(f"needs a structure, got {kind(value)}")


def bounded(characters: int) -> None:
    """Refuse a text of more than ``MAX_TEXT`` characters before it is made."""
    if characters > MAX_TEXT:
        raise FunctionError(f"would make a text of more than {MAX_TEXT} characters")


def counted(parts: int) -> None:
    """Refuse a list of more than ``MAX_PARTS`` items before it is made."""
    if parts > MAX_PARTS:
        raise FunctionError(f"would make a list of more than {MAX_PARTS} items")
