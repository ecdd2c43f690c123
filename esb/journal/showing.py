"""A row of the journal for people and files: read as far as it can be read, patients masked unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from esb.codecs import DecodeError, json
from esb.codecs.formats import FORMATS, FRAME, guess
from esb.contract import Operation
from esb.contract.schema import ITEM
from esb.explain.masking import Masker
from esb.fields import form
from esb.journal.search import Found, Tried
from esb.model import Tree
from esb.observe import mask

_TEXTS = ("message", "reason")
_OURS = ("invalid_request",)
"""Codes whose details the bus wrote itself: which fields, never which values."""
_Path = tuple[str, ...]


class Shower:
    """Makes trees of rows. ``bare`` shows patient data; an operation that the contract lost is masked as a whole."""

    def __init__(self, operations: Mapping[str, Operation], *, bare: bool = False) -> None:
        self._operations, self._bare = operations, bare

    def line(self, found: Found) -> dict[str, Tree]:
        """Without its bodies."""
        facts = dict(found.facts)
        shown = {name: self._text(facts[name]) if name in _TEXTS else facts[name] for name in facts}
        broken = dict(found.broken)
        shown["timings"] = _json(facts["timings"].encode(), "timings", broken)
        shown["details"] = self._details(found, broken)
        return {**shown, "broken": broken} if broken else shown

    def whole(self, found: Found) -> dict[str, Tree]:
        """With its bodies: request and answer by the contract, what was on the wire by its own format."""
        shown = self.line(found)
        broken: dict[str, str] = dict(shown.pop("broken", {}))
        operation = self._operations.get(str(found.facts["operation"]))
        for name, phi in (("request", "request_phi"), ("answer", "answer_phi")):
            tree = _json(found.bodies[name], name, broken)
            shown[name] = self._canonical(tree, operation, getattr(operation, phi, {}))
        for name in ("sent", "raw"):
            shown[name] = wire(found.bodies[name], bare=self._bare)
        shown["tries"] = [self._tried(one) for one in found.tries]
        return {**shown, "broken": broken} if broken else shown

    def _tried(self, one: Tried) -> dict[str, Tree]:
        facts = {**one.facts, "reason": self._text(one.facts["reason"])}
        for name, body in (("sent", one.sent), ("raw", one.raw)):
            size, shown = facts.pop(f"{name}_bytes"), wire(body, bare=self._bare)
            facts[name] = {**shown, "bytes": size, "cut_to": len(body)} if shown and size > len(body) else shown
        return facts

    def _details(self, found: Found, broken: dict[str, str]) -> Tree:
        tree = _json(found.facts["details"].encode(), "details", broken)
        if found.facts["code"] in _OURS:
            return _each(tree, (), lambda _, value: mask(value) if isinstance(value, str) else value)
        return tree if self._bare else _each(tree, (), lambda _, value: _formed(value))

    def _canonical(self, tree: Tree, operation: Operation | None, phi: Mapping[_Path, str]) -> Tree:
        if self._bare or tree is None:
            return tree
        masker = Masker(operation, ())

        def shown(path: _Path, value: Tree) -> Tree:
            return masker.shown(value, _sort(phi, path), described=True).value

        return _each(tree, (), shown)

    def _text(self, text: str) -> str:
        return text if self._bare else mask(text)


def wire(data: bytes, *, bare: bool) -> dict[str, Tree] | None:
    """None when nothing was; else its format, its size and, where it can be read, what it says."""
    if not data:
        return None
    tree = _decoded(data)
    shown: dict[str, Tree] = {"bytes": len(data)}
    if tree is None:
        return {**shown, "text": data.decode("utf-8", "backslashreplace")} if bare else shown
    content = tree if bare else _each(tree, (), lambda _, value: _formed(value))
    return {**shown, "format": guess(data.strip(FRAME)), "content": content}


def _decoded(data: bytes) -> Tree:
    """None for what is in none of the formats."""
    data = data.strip(FRAME)
    try:
        return FORMATS[guess(data)].decode(data, None)
    except DecodeError:
        return None


def _json(data: bytes, name: str, broken: dict[str, str]) -> Tree:
    if not data:
        return None
    try:
        return json.decode(data)
    except DecodeError as error:
        broken[name] = f"is no JSON: {error.reason}"
        return None


def _formed(value: Tree) -> Tree:
    """By its form alone: of what is on the wire nobody has said that it is not a patient's."""
    if value is None or isinstance(value, bool):
        return value
    return form(str(value))


def _sort(phi: Mapping[_Path, str], path: _Path) -> str:
    """The kind of patient data at, above or below a path."""
    near = (sort for known, sort in phi.items() if known[: len(path)] == path or path[: len(known)] == known)
    return next(near, "")


def _each(tree: Tree, path: _Path, change: Callable[[_Path, Any], Tree]) -> Tree:
    if isinstance(tree, dict):
        return {name: _each(value, (*path, name), change) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_each(item, (*path, ITEM), change) for item in tree]
    return change(path, tree)
