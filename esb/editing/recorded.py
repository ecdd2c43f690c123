"""Recorded exchanges: what was asked and what came back, from JSON files or from the journal of a bus.

A recording is ``{operation, request, answer}`` with ``exchange`` (as ``$exchange``), ``site``, ``dialect`` and ``id``
where they matter. ``answer`` is the decoded tree, or the text as it came; without it only what is sent is compared. A
``*.json`` file holds one recording or a list of them, a ``*.jsonl`` file one a line.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from esb.codecs import DecodeError, json
from esb.codecs.yaml import nearest
from esb.errors import AdapterError, ConfigError, Finding
from esb.mapping.examples import EXCHANGE
from esb.model import Tree
from esb.store.tables import Row
from esb.store.writer import unpack

_KEYS = ("id", "operation", "dialect", "request", "answer", "exchange", "site")
_BY_LOOK = (("MSH", "hl7v2"), ("<", "soap"), ("{", "rest"), ("[", "rest"))
_SQLITE = b"SQLite format 3\x00"
_DIALECT = re.compile(r"([a-z][a-z0-9_]*)/[^/]+\.yaml")
_FRAME = "\x0b\x1c\r\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange. ``answered`` says that there is an answer; ``place`` is where it was read, for people."""

    id: str
    operation: str
    request: Mapping[str, Tree]
    answer: Tree = None
    answered: bool = False
    dialect: str = ""
    exchange: Mapping[str, Tree] = field(default_factory=dict)
    site: Mapping[str, Tree] = field(default_factory=dict)
    place: str = ""


def read_recordings(path: Path, modules: Mapping[str, ModuleType]) -> list[Recording]:
    """Every recording in a file, a folder or a journal; raises ``ConfigError`` with all that cannot be read.

    ``modules`` are the installed adapters, which read answers that are texts.
    """
    reader = _Reader(modules)
    if _is_sqlite(path):
        found = list(reader.journal(path))
    else:
        files = sorted(one for one in path.rglob("*") if one.suffix in (".json", ".jsonl")) if path.is_dir() else [path]
        found = [recording for file in files for recording in reader.file(file)]
    if reader.findings:
        raise ConfigError(reader.findings)
    return found


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


class _Reader:
    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self.modules = modules
        self.findings: list[Finding] = []

    def file(self, file: Path) -> Iterator[Recording]:
        """The recordings of one JSON or JSON lines file."""
        try:
            data = file.read_bytes()
        except OSError as error:
            self.findings.append(Finding(str(file), 0, 0, f"cannot be read: {error.strerror}"))
            return
        lines = enumerate(data.split(b"\n"), 1) if file.suffix == ".jsonl" else [(0, data)]
        for number, line in lines:
            if line.strip():
                yield from self._trees(line, Finding(str(file), number, int(number > 0), ""))

    def _trees(self, data: bytes, place: Finding) -> Iterator[Recording]:
        try:
            tree = json.decode(data)
        except DecodeError as error:
            self._find(place, f"is no JSON: {error.reason}")
            return
        for at, one in enumerate(tree if isinstance(tree, list) else [tree]):
            name = f"{Path(place.file).stem}{f':{place.line}' if place.line else ''}{f'#{at}' if at else ''}"
            yield from self._recording(one, place, name)

    def _recording(self, tree: Tree, place: Finding, name: str) -> Iterator[Recording]:
        if not isinstance(tree, dict) or not {"operation", "request"} <= set(tree):
            self._find(place, "is no recording", "a recording needs 'operation' and 'request'")
            return
        for key in tree:
            if key not in _KEYS:
                self._find(place, f"unknown key '{key}'", nearest(key, _KEYS) or f"known are {', '.join(_KEYS)}")
        structures = [tree[key] for key in ("request", "exchange", "site") if tree.get(key) is not None]
        if not isinstance(tree["operation"], str) or not all(isinstance(one, dict) for one in structures):
            self._find(place, "'operation' must be a name, 'request', 'exchange' and 'site' structures")
            return
        try:
            answer = self._decoded(tree.get("answer"))
        except (AdapterError, DecodeError) as error:
            self._find(place, f"'answer' cannot be read: {error}")
            return
        yield Recording(
            str(tree.get("id", name)),
            tree["operation"],
            tree["request"],
            answer,
            "answer" in tree,
            str(tree.get("dialect", "")),
            {**EXCHANGE, "operation": tree["operation"], **(tree.get("exchange") or {})},
            tree.get("site") or {},
            f"{place.file}:{place.line}" if place.line else place.file,
        )

    def _decoded(self, answer: Tree) -> Tree:
        """The tree of an answer that is a text, by the adapter that reads its like."""
        if not isinstance(answer, str):
            return answer
        text = answer.strip(_FRAME)
        name = next((name for start, name in _BY_LOOK if text.lstrip().startswith(start)), "")
        decode: Callable[[str], Tree] | None = getattr(self.modules.get(name), "decode", None)
        return decode(text) if decode else answer

    def journal(self, file: Path) -> Iterator[Recording]:
        """Every exchange of a SQLite journal that has an answer on the wire; what an envelope hides is left out."""
        columns = ", ".join(Row._fields)
        try:
            with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                for values in connection.execute(f"SELECT {columns} FROM exchange ORDER BY id"):
                    yield from self._row(Row(*values))
        except sqlite3.Error as error:
            self._find(Finding(str(file), 0, 0, ""), f"is no journal of this version of the bus: {error}")

    def _row(self, row: Row) -> Iterator[Recording]:
        raw, dialect = unpack(row.raw), _DIALECT.search(row.mapping)
        exchange = {"id": row.id, "key": row.key or row.id, "operation": row.operation, "now": row.received}
        try:
            request: Any = json.decode(unpack(row.request))
            answer = self._decoded(_text(raw)) if raw else None
        except (AdapterError, DecodeError):
            return
        yield Recording(
            row.id,
            row.operation,
            request,
            answer,
            bool(raw) and not isinstance(answer, str),
            dialect[1] if dialect else "",
            exchange,
            place=row.id,
        )

    def _find(self, place: Finding, message: str, hint: str = "") -> None:
        self.findings.append(Finding(place.file, place.line, place.column, message, hint))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("gb18030", "replace")
