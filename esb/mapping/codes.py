"""Code tables: the bus's canonical words and one system's codes for them, read from ``mappings/codes/<table>.yaml``.

source: GB/T 2261.1
entries: {male: '1', female: '2'}       # canonical word: their code, both ways
to_canonical: {'M': male}               # more of their codes, one way
to_theirs: {undisclosed: '9'}           # more canonical words, one way
default: {meaning: unknown, code: '0'}  # only where written: for codes and for words that are not in the table
standard: true                          # kept for reference: it may be used by no mapping
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from esb.codecs import yaml
from esb.errors import ConfigError, Finding, PartlyBroken
from esb.mapping.values import FunctionError, kind

_KEYS = ("source", "entries", "to_canonical", "to_theirs", "default", "standard")
_PARTS = ("entries", "to_canonical", "to_theirs", "default")


class Lookup(dict[str, str]):
    """One direction of a table. A word that is not in it is an error, unless the table has a default."""

    def __init__(self, entries: Mapping[str, str], default: str | None, table: str, direction: str) -> None:
        super().__init__(entries)
        self.default, self.table, self.direction = default, table, direction
        self.broken = False

    def __missing__(self, word: Any) -> str:
        if isinstance(word, int) and not isinstance(word, bool) and str(word) in self:
            return self[str(word)]
        if not isinstance(word, str | int) or isinstance(word, bool):
            raise FunctionError(f"is {kind(word)}, not a code of table '{self.table}'")
        if self.default is None:
            raise FunctionError(f"is not {self.direction} of table '{self.table}'")
        return self.default

    def find(self, word: Any) -> str | None:
        """The same, but None for a word that is not in a table without a default."""
        known = word in self or str(word) in self if isinstance(word, str | int) else True
        return self(word) if known or self.default is not None else None

    def __call__(self, word: Any) -> str:
        try:
            return self[word]
        except TypeError:
            raise FunctionError(f"is {kind(word)}, not a code of table '{self.table}'") from None


@dataclass(frozen=True, slots=True)
class Table:
    """A code table. ``meanings`` are all canonical words that reading can give, ``codes`` all codes writing can.

    A ``standard`` table is kept for reference and may be used by no mapping.
    """

    name: str
    source: str
    code: Lookup
    meaning: Lookup
    meanings: frozenset[str]
    codes: frozenset[str]
    standard: bool = False

    @property
    def words(self) -> frozenset[str] | None:
        """The canonical words that have a code; None where every word has one, by default."""
        return None if self.code.default is not None else frozenset(self.code)

    @property
    def known(self) -> frozenset[str] | None:
        """Their codes that have a meaning; None where every code has one, by default."""
        return None if self.meaning.default is not None else frozenset(self.meaning)


class Codes(Mapping[str, Table]):
    """All code tables by name."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def load_codes(folder: Path) -> Codes:
    """Read every table of a folder, none when there is no folder; raises ``ConfigError`` with all findings."""
    findings: list[Finding] = []
    tables: dict[str, Table] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            tables[path.stem] = read_table(path.stem, yaml.load(path))
        except ConfigError as error:
            findings.extend(error.findings)
            tables[path.stem] = _broken(path.stem)
    if findings:
        raise PartlyBroken(findings, Codes(tables))
    return Codes(tables)


def _broken(name: str) -> Table:
    """Stands for a table that could not be read: nothing is said of what it holds."""
    code, meaning = (Lookup({}, None, name, "") for _ in range(2))
    code.broken = meaning.broken = True
    return Table(name, "", code, meaning, frozenset(), frozenset(), standard=True)


def read_table(name: str, document: yaml.Document) -> Table:
    """One table from its file; raises ``ConfigError`` with all findings."""
    reader = _Reader(document)
    parts = reader.parts()
    if reader.findings:
        raise ConfigError(reader.findings)
    entries, default = parts["entries"], parts["default"]
    back = {theirs: word for word, theirs in entries.items()} | parts["to_canonical"]
    code = Lookup(entries | parts["to_theirs"], default.get("code"), name, "a canonical word")
    meaning = Lookup(back, default.get("meaning"), name, "a code")
    standard = document.value.get("standard") is True
    return Table(name, document.value["source"], code, meaning, _values(meaning), _values(code), standard)


def _values(lookup: Lookup) -> frozenset[str]:
    """All that one direction of a table can give."""
    return frozenset(lookup.values()) | ({lookup.default} if lookup.default is not None else set())


class _Reader:
    def __init__(self, document: yaml.Document) -> None:
        self.document = document
        self.findings: list[Finding] = []

    def parts(self) -> dict[str, dict[str, str]]:
        root = self.document.value
        if not isinstance(root, dict):
            self._find((), "a code table needs 'source' and 'entries'")
            return {}
        for key in root:
            if key not in _KEYS:
                self._find((key,), f"unknown key '{key}'", yaml.nearest(key, _KEYS), at_key=True)
        if not isinstance(root.get("source"), str) or not root["source"].strip():
            self._find(("source",), "'source' must name where the codes come from")
        if not isinstance(root.get("standard", True), bool):
            self._find(("standard",), "'standard' must be true or false")
        parts = {key: self._words(key) for key in _PARTS}
        if not any(parts[key] for key in _PARTS[:3]):
            self._find((), "a code table needs 'entries'")
        self._check(parts)
        return parts

    def _words(self, key: str) -> dict[str, str]:
        value = self.document.value.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._find((key,), f"'{key}' must be a mapping of text to text")
            return {}
        for word, code in value.items():
            if not isinstance(code, str):
                self._find((key, word), f"'{word}' must be text", f"write '{code}' in quotes")
        return cast(dict[str, str], value)

    def _check(self, parts: dict[str, dict[str, str]]) -> None:
        entries, seen = parts["entries"], dict[str, str]()
        for word, code in entries.items():
            if isinstance(code, str) and code in seen:
                hint = "say one of them under 'to_theirs'"
                self._find(("entries", word), f"code '{code}' stands for '{seen[code]}' and for '{word}'", hint)
            seen[str(code)] = word
        for code in parts["to_canonical"]:
            if code in seen:
                self._find(("to_canonical", code), f"code '{code}' is in 'entries' already", at_key=True)
        for word in parts["to_theirs"]:
            if word in entries:
                self._find(("to_theirs", word), f"'{word}' is in 'entries' already", at_key=True)
        for key in parts["default"]:
            if key not in ("meaning", "code"):
                self._find(
                    ("default", key), f"unknown key '{key}'", yaml.nearest(key, ("meaning", "code")), at_key=True
                )

    def _find(self, path: tuple[str, ...], message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.findings.append(self.document.finding(path, message, hint, at_key=at_key))
