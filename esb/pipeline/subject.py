"""Whom an exchange is about, as the journal writes it: found by what the contract says of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from esb.blind import Blind
from esb.contract import Operation
from esb.contract.schema import ITEM
from esb.model import Tree

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """Finds the patient of an exchange of ``operation``; without ``blind`` there is none for the journal.

    It is the field ``x-owner`` or the patient's number (``x-phi: patient_id``) of the request, else of the answer, else
    the number of a document in the request. Where one of these names several people it says nothing.
    """

    asked: tuple[_Path, ...]
    answered: tuple[_Path, ...]
    documents: tuple[_Path, ...]
    blind: Blind | None

    @classmethod
    def of(cls, operation: Operation, blind: Blind | None) -> Subject:
        owner = (operation.owner,) if operation.owner else _of_kind(operation.request_phi, "patient_id")
        answered = _of_kind(operation.answer_phi, "patient_id")
        return cls(owner, answered, _of_kind(operation.request_phi, "document"), blind)

    @property
    def is_somebody(self) -> bool:
        """Whether any field says whom it is about."""
        return bool(self.asked or self.answered or self.documents)

    def mark(self, request: Tree, answer: Tree = None) -> str:
        """Of this request and, when it has ended, its answer; empty where it is about nobody or nobody knows."""
        if self.blind is None:
            return ""
        for tree, paths in ((request, self.asked), (answer, self.answered), (request, self.documents)):
            found = {value for path in paths for value in _at(tree, path)} if paths and tree is not None else ()
            if len(found) == 1:
                return self.blind.of(*found)
        return ""


def _of_kind(phi: Mapping[_Path, str], kind: str) -> tuple[_Path, ...]:
    return tuple(path for path, sort in phi.items() if sort == kind)


def _at(tree: Tree, path: _Path) -> Iterator[str]:
    if not path:
        if isinstance(tree, str | int) and not isinstance(tree, bool):
            yield str(tree)
    elif path[0] == ITEM:
        for item in tree if isinstance(tree, list) else ():
            yield from _at(item, path[1:])
    elif isinstance(tree, dict):
        yield from _at(tree.get(path[0]), path[1:])
