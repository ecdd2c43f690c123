"""What conditions say before there is any data: which texts a path can still be, and which condition holds another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from esb.mapping.nodes import Both, Compare, Either, ListOf, Literal, Node, Not, Path, written


@dataclass(frozen=True, slots=True)
class Facts:
    """The texts that paths, as they are written, can only be and those that they cannot be."""

    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    never: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def after(self, when: Node, holds: bool = True) -> Facts:
        """What is known too where a condition holds, or where it does not."""
        match when:
            case Not(value):
                return self.after(value, not holds)
            case Both(left, right) if holds:
                return self.after(left).after(right)
            case Either(left, right) if not holds:
                return self.after(left, False).after(right, False)
            case Either(left, right):
                return self._one_of(NOTHING.after(left).only, NOTHING.after(right).only)
            case Compare("==" | "!=" | "in" as operator, Path(text=path), other):
                words = _texts(operator, other)
                if words is not None and holds and operator != "!=":
                    return self._is(path, words)
                if words is not None and holds is (operator == "!="):  # what fails to differ may be missing
                    return self._is_not(path, words)
        return self

    def words(self, path: str, known: Iterable[str]) -> tuple[str, ...]:
        """The texts a path can be, of those that its type allows; none where that is not known."""
        found = tuple(known) or tuple(sorted(self.only.get(path, ())))
        only, never = self.only.get(path, frozenset(found)), self.never.get(path, frozenset())
        return tuple(word for word in found if word in only and word not in never)

    def _one_of(self, one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]]) -> Facts:
        found = self
        for path in one.keys() & other.keys():
            found = found._is(path, one[path] | other[path])
        return found

    def _is(self, path: str, words: frozenset[str]) -> Facts:
        return Facts({**self.only, path: words & self.only.get(path, words)}, self.never)

    def _is_not(self, path: str, words: frozenset[str]) -> Facts:
        return Facts(self.only, {**self.never, path: words | self.never.get(path, frozenset())})


NOTHING: Final = Facts()


def implies(when: Node, other: Node) -> bool:
    """Whether a condition certainly holds wherever another, ``when``, does."""
    match other:
        case Literal(True):
            return True
        case Both(left, right):
            return implies(when, left) and implies(when, right)
        case Either(left, right) if implies(when, left) or implies(when, right):
            return True
    match when:
        case Literal(False):
            return True
        case Both(left, right):
            return implies(left, other) or implies(right, other)
        case Either(left, right):
            return implies(left, other) and implies(right, other)
    return written(when) == written(other) or (isinstance(other, Compare) and _settles(NOTHING.after(when), other))


def _settles(known: Facts, other: Compare) -> bool:
    """Whether a comparison certainly holds by what is known of its path."""
    told, only = NOTHING.after(other), known.only
    return any(only[path] <= words for path, words in told.only.items() if path in only) or any(
        only[path].isdisjoint(words) for path, words in told.never.items() if path in only
    )


def _texts(operator: str, node: Node) -> frozenset[str] | None:
    """The texts that a path is compared with; None where there is anything but constant texts."""
    if isinstance(node, ListOf) != (operator == "in"):
        return None
    items = node.items if isinstance(node, ListOf) else (node,)
    words = [item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str)]
    return frozenset(words) if len(words) == len(items) else None
