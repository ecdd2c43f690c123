"""Turns what pydantic found wrong into findings with file, line, column and the nearest valid word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from esb.codecs.yaml import Document, PathTuple, nearest
from esb.errors import Finding


def findings(document: Document, path: PathTuple, error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """One finding for each error of ``model``'s validation of the tree at ``path`` in ``document``."""
    return [_finding(document, path, one, model) for one in error.errors() if not _is_found(document, path, one)]


def _is_found(document: Document, path: PathTuple, detail: ErrorDetails) -> bool:
    """Whether there is no value because nothing has that name outside: that is a finding already (``Outside``)."""
    value = document.value
    for step in _real(document, (*path, *detail["loc"])):
        value = value[step]
    return detail["input"] is None and isinstance(value, str) and value.startswith("$")


def _finding(document: Document, path: PathTuple, detail: ErrorDetails, model: type[BaseModel]) -> Finding:
    place = (*path, *detail["loc"])
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        known = _known(model, detail["loc"][:-1])
        hint = nearest(name, known) or ("known keys: " + ", ".join(sorted(known)) if known else "")
        return document.finding(place, f"unknown key '{name}'", hint, at_key=True)
    if detail["type"] == "missing":
        return document.finding(place[:-1], f"key '{name}' is missing", at_key=True)
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return document.finding(_real(document, place), f"'{name}' {message}" if name else message)


def _real(document: Document, place: PathTuple) -> PathTuple:
    """pydantic adds union tags and the like to locations; keep what stands in the file."""
    while place and place not in document.marks:
        place = place[:-1]
    return place


def _known(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for step in loc:
        current = _step(current, step)
        if current is None:
            return []
    fields = getattr(current, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _step(current: Any, step: int | str) -> Any:
    fields = getattr(current, "model_fields", None)
    if fields is None:
        return None
    for name, field in fields.items():
        if step in (name, field.alias):
            return next(_models(field.annotation), None)
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
