"""A parked message's request with fields changed, checked against the contract; what it was stays in the journal."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from esb.blind import Blind
from esb.contract import Operation
from esb.model import Tree
from esb.pipeline.backlog import order_key
from esb.pipeline.parts import canonical
from esb.pipeline.subject import Subject
from esb.store import Row, State
from esb.store.bodies import pack
from esb.store.effects import stored
from esb.store.tables import exchange
from esb.types import Lost

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)]")
_PATH = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[\d+])*")
_TRUTHS = {"true": True, "false": False}


class NotEditedError(Exception):
    """What cannot be set, or what the contract says of the request with it."""


Steps = tuple[str | int, ...]


def edited(operation: Operation, request: Tree, texts: Mapping[str, str | None], ordered_by: str) -> Tree:
    """The request with a value at each path, as the contract types it; None takes a field out.

    Raises ``NotEditedError``, also where the order of delivery would be another: ``ordered_by`` is the message's key.
    """
    tree = copy.deepcopy(request)
    for path, text in texts.items():
        steps = _steps(path)
        if ordered_by and _found(request, steps) is not None and order_key(f"${path}", request) == ordered_by:
            raise NotEditedError(f"'{path}' says what it is ordered by: discard it and ask anew")
        _put(tree, path, steps, text if text is None else _typed(operation, path, steps, text))
    if wrong := operation.check_request(tree):
        raise NotEditedError("; ".join(f"{one.pointer or '/'}: {one.en}" for one in wrong))
    return tree


def keep(connection: sa.Connection, row: Row, new_id: str, finished: str, why: str) -> None:
    """Journal what was asked before as an exchange of its own: it ends here, and says which it was."""
    earlier = row._replace(
        id=new_id,
        state=State.CANCELLED.value,
        code="edited",
        key=new_id,
        fingerprint=b"",
        cause=row.id,
        finished=finished,
        reason=why,
        owner="",
    )
    connection.execute(exchange.insert(), stored(earlier))


def store(connection: sa.Connection, row: Row, operation: Operation, request: Tree, blind: Blind | None) -> None:
    """Its request is another from now on. The key keeps the fingerprint of what the client sent and may send again."""
    values = {"request": pack(canonical(request)), "subject": Subject.of(operation, blind).mark(request)}
    connection.execute(exchange.update().where(exchange.c.id == row.id).values(values))


def fingerprints(*requests: Tree) -> Iterator[str]:
    """What tells two requests apart and says nothing of them."""
    return (hashlib.sha256(canonical(one)).hexdigest() for one in requests)


def _steps(path: str) -> Steps:
    if not _PATH.fullmatch(path):
        raise NotEditedError(f"'{path}' is no path: write it like patient.name or items[0].fee")
    return tuple(name or int(at) for name, at in _STEP.findall(path))


def _found(tree: Tree, steps: Sequence[str | int]) -> Any:
    for step in steps:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _put(tree: Tree, path: str, steps: Steps, value: Tree) -> None:
    *above, last = steps
    holder = _found(tree, above)
    fits = isinstance(holder, dict) if isinstance(last, str) else isinstance(holder, list) and last < len(holder)
    if not fits or (value is None and (isinstance(last, int) or last not in holder)):
        raise NotEditedError(f"the request has no place '{path}'")
    if value is None:
        del holder[last]
    else:
        holder[last] = value


def _typed(operation: Operation, path: str, steps: Steps, text: str) -> Tree:
    known = operation.request_type.at([one for one in steps if isinstance(one, str)])
    if isinstance(known, Lost):
        raise NotEditedError(f"'{path}': the contract's request has no '{known.step}'")
    try:
        if known.sort == "integer":
            return int(text)
        if known.sort == "decimal":
            return Decimal(text)
        return _TRUTHS[text] if known.sort == "truth" else text
    except (ValueError, InvalidOperation, KeyError):
        raise NotEditedError(f"'{path}': '{text}' is no {known.sort}") from None
