"""A structure of values in ``routes.yaml`` that an event fills: ``with: {reportNo: $report.id}``.

A bare path is a path of the event, ``$message`` the whole of it. ``$exchange`` has ``source``, the endpoint that heard
it, and ``sender`` beside what it has everywhere; ``id`` and ``key`` are those of the message that the event was.
"""

from __future__ import annotations

from typing import Any

from esb.codecs.yaml import Document, PathTuple
from esb.errors import ConfigError
from esb.mapping.codegen import Program
from esb.mapping.codes import Codes
from esb.mapping.compile import MappingError
from esb.mapping.evaluate import Evaluator, Failure
from esb.mapping.expr import EVENT
from esb.mapping.reader import Reader
from esb.mapping.shape import Sheet
from esb.model import Tree


class Filling:
    """Compiled; safe for many tasks at once. ``sheet`` is for who checks it against types."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self._fill = Program(sheet).run(sheet.file)["translation"]

    def fill(self, event: Tree, exchange: dict[str, Tree]) -> Tree:
        """The request; raises ``MappingError``."""
        try:
            return self._fill(event, exchange, {})
        except Exception:
            return self.fill_slowly(event, exchange)

    def fill_slowly(self, event: Tree, exchange: dict[str, Tree]) -> Tree:
        """The same as ``fill``, by the reference evaluator."""
        gives = self.sheet.gives
        assert gives is not None
        try:
            return Evaluator({"message": event, "exchange": exchange, "site": {}}).whole(gives)
        except Failure as error:
            where = error.expression
            raise MappingError(where.file, where.line, error.target, error.path, error.reason) from None
        except Exception as error:
            raise MappingError(self.sheet.file, 1, "with", "", f"cannot be computed: {type(error).__name__}") from None


def compile_filling(document: Document, text: str, path: PathTuple, value: Any, codes: Codes) -> Filling:
    """The structure ``value`` that stands at ``path`` of a document; raises ``ConfigError`` with every finding."""
    reader = Reader(document, codes, {}, text)
    reader.sheet.gives = reader.whole(value, path, "with", EVENT)
    if reader.findings:
        raise ConfigError(reader.findings)
    return Filling(reader.sheet)
