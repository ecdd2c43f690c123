"""One question of ``esb explain`` and its answer, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from esb.config.settings import Settings
from esb.explain.choose import Chooser
from esb.explain.fields import lineage, lineage_of, table
from esb.explain.message import explain_file
from esb.explain.operation import as_text, explanation
from esb.explain.text import explained_text, lineage_text
from esb.lint import Plan
from esb.model import Tree


@dataclass(frozen=True, slots=True)
class Asked:
    """``what`` is an operation, a file of ``mappings/`` or a message file; the rest says more of it."""

    what: str
    field: str | None = None
    by: str | None = None
    side: str | None = None
    request: Tree = None
    site: Mapping[str, Tree] = dataclasses.field(default_factory=dict)
    unmask: bool = False


class Answer(NamedTuple):
    """``failed``: the mapping could not map the message."""

    tree: dict[str, Any]
    text: str
    failed: bool = False


def explain(settings: Settings, plan: Plan, asked: Asked) -> Answer:
    """The answer; raises ``CannotExplainError`` and ``UnknownFieldError``."""
    if asked.what in plan.mappings:
        return _operation(plan, asked)
    if asked.what.endswith((".yaml", ".yml")):
        return _mapping(settings, plan, asked)
    explained = explain_file(
        settings,
        plan,
        Path(asked.what),
        by=asked.by,
        side=asked.side,
        request=asked.request,
        site=asked.site,
        field=asked.field,
        bare=asked.unmask,
    )
    failed = any(side.error for side in explained.sides)
    return Answer(explained.tree(), explained_text(explained, whole=asked.field is not None), failed)


def _operation(plan: Plan, asked: Asked) -> Answer:
    if asked.field is None:
        facts = explanation(plan, asked.what)
        return Answer(facts, as_text(facts))
    found = lineage(plan, asked.what, asked.field)
    return Answer(found.tree(), lineage_text(found))


def _mapping(settings: Settings, plan: Plan, asked: Asked) -> Answer:
    mapping = Chooser(settings, plan, b"", asked.what).named(asked.what)
    if asked.field is None:
        facts = {"file": mapping.file, "made_from": table(mapping)}
        return Answer(facts, as_text(facts))
    found = lineage_of(mapping, asked.field, plan.contract.operations.get(Path(mapping.file).stem))
    return Answer(found.tree(), lineage_text(found))
