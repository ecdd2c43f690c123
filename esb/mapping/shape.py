"""What a mapping file says, after it is read and checked: structures, loops, conditions and cases as frozen nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from esb.codecs.yaml import PathTuple
from esb.errors import Outcome
from esb.mapping.nodes import Default, Literal, Node


@dataclass(frozen=True, slots=True)
class Expression:
    """A computed value. ``target`` is where it goes, as people read it: ``request.Lock[].Fee``.

    ``text`` is what is written, at ``path`` of the document ``file``.
    """

    node: Node
    target: str
    line: int
    file: str = ""
    path: PathTuple = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Constant:
    value: bool | int | Decimal | str | None


@dataclass(frozen=True, slots=True)
class Structure:
    """``prune``: left out when it comes out empty. It stands at ``path`` of the document ``file``."""

    fields: tuple[tuple[str, Shape], ...]
    when: Expression | None = None
    prune: bool = False
    file: str = ""
    path: PathTuple = ()


@dataclass(frozen=True, slots=True)
class Value:
    """``$value``, left out when ``when`` is false."""

    value: Shape
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list; what a loop in it gives is spliced in."""

    parts: tuple[Shape, ...]
    prune: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """Nested loops, flattened. Each source may use the names before it; ``variables`` are unique in the file."""

    sources: tuple[Expression, ...]
    variables: tuple[str, ...]
    body: Shape
    prune: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """``$case``: the first option whose condition holds; nothing when none does."""

    options: tuple[tuple[Expression | None, Shape], ...]


@dataclass(frozen=True, slots=True)
class With:
    """``$with``: values computed once and named for the body. One may be missing."""

    names: tuple[tuple[str, Expression], ...]
    body: Shape


@dataclass(frozen=True, slots=True)
class Use:
    """``$use``: a part with its arguments in the order it takes them; nothing when one of them is missing."""

    part: Part
    arguments: tuple[Shape, ...]
    target: str
    file: str
    path: PathTuple


@dataclass(slots=True, eq=False)
class Part:
    """A named shape, ``library.name``. ``takes`` are its arguments, ``variables`` their roots in ``body``.

    The body is read after all parts are known by name, because parts use parts; ``function`` is made at its first use.
    One use of it comes to ``uses`` of parts, its own and those inside.
    """

    name: str
    file: str
    takes: tuple[str, ...]
    variables: tuple[str, ...] = ()
    body: Shape = field(default_factory=lambda: NOTHING)
    uses: int = 1
    function: Callable[..., Any] | None = None


Shape: TypeAlias = Expression | Constant | Structure | Value | Items | Loop | Choice | With | Use

NOTHING: Constant = Constant(None)


def writes_null(shape: Shape) -> bool:
    """Whether None is a result and not an omission: a constant null, or an expression that ends in ``?? null``."""
    if isinstance(shape, Expression):
        return isinstance(shape.node, Default) and shape.node.otherwise == Literal(None)
    return isinstance(shape, Constant)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to understand an answer. ``body`` for done and accepted; code, message and details otherwise.

    Its content stands at ``path`` of the document.
    """

    outcome: Outcome
    when: Expression | None
    body: Shape = Constant(None)
    code: Shape = Constant("")
    message: Shape = Constant("")
    details: Shape | None = None
    path: PathTuple = ()


@dataclass(slots=True)
class Sheet:
    """A whole ``file``. ``codes`` are those of refusals and where each is given, ``names`` the top of the request."""

    action: Shape = Constant("")
    request: Shape = Structure(())
    gives: Shape | None = None
    formats: tuple[tuple[str, str], ...] = ()
    cases: list[Case] = field(default_factory=list)
    codes: dict[str, PathTuple] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    file: str = ""
