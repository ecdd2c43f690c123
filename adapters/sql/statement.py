"""Actions of the SQL adapter: one statement with ``:names``, or ``call procedure(in a, out b)``.

Only what a reviewer can judge at a glance is let through: one statement, no comments, no backslash inside quotes where
a database might take it for an escape, nothing that looks like a string template. Values come by binding only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Style = Literal["postgresql", "mariadb", "sqlite"]

READS = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW"})
WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})

TOKEN = re.compile(
    r"""
    (?P<quoted>'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`(?:[^`]|``)*+`)
  | (?P<open>['"`])
  | (?P<comment>--|/\*|\#(?![>\-]))
  | (?P<cast>::|:=)
  | :(?P<name>[^\W\d]\w*)
  | (?P<template>\$|[{}]|%(?:s\b|\())
  | (?P<word>\w[\w$]*)
  | (?P<end>;\s*\Z)
  | (?P<semicolon>;)
    """,
    re.VERBOSE,
)
_NULL_TEST = re.compile(r"\s+IS\s+(?:NOT\s+)?NULL\b", re.IGNORECASE)
_INSIDE_TEMPLATE = re.compile(r"\{\{|\$\{|%\(\w+\)s")
_CALL = re.compile(r"call\s+(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*){0,2})\s*(?:\((?P<list>[^()]*)\))?\s*;?", re.IGNORECASE)
_PARAMETER = re.compile(r"(?:(?P<mode>in|out|inout)\s+)?(?P<name>[^\W\d]\w*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """``sql`` in the driver's own style of placeholders; ``names`` are the binds in the order the driver wants them."""

    sql: str
    names: tuple[str, ...]
    is_read: bool

    @property
    def binds(self) -> frozenset[str]:
        return frozenset(self.names)


@dataclass(frozen=True, slots=True)
class Procedure:
    """``modes`` is empty when the action has no list: then every value of the payload goes in, in its order."""

    name: str
    parameters: tuple[str, ...]
    modes: tuple[str, ...]
    listed: bool

    @property
    def binds(self) -> frozenset[str]:
        return frozenset(n for n, mode in zip(self.parameters, self.modes, strict=True) if mode != "out")

    @property
    def outs(self) -> tuple[str, ...]:
        return tuple(n for n, mode in zip(self.parameters, self.modes, strict=True) if mode != "in")

    def with_values(self, names: tuple[str, ...]) -> Procedure:
        """The same with the list filled in from a payload, if there was none."""
        return self if self.listed else Procedure(self.name, names, ("in",) * len(names), True)


def parse(action: str, style: Style) -> Statement | Procedure:
    """The action for one kind of database; raises ``ValueError`` with a sentence."""
    if re.match(r"\s*call\b", action, re.IGNORECASE):
        return _procedure(action.strip(), style)
    return _Writer(action.strip(), style).statement()


def _procedure(action: str, style: Style) -> Procedure:
    if style == "sqlite":
        raise ValueError("SQLite has no stored procedures")
    match = _CALL.fullmatch(action)
    if match is None:
        raise ValueError("a call is 'call name' or 'call schema.name(in a, inout b, out c)' and nothing after it")
    listed = match["list"]
    names: list[str] = []
    modes: list[str] = []
    for item in (listed or "").split(",") if (listed or "").strip() else []:
        parameter = _PARAMETER.fullmatch(item.strip())
        if parameter is None or parameter["name"] in names:
            raise ValueError(f"{item.strip()[:60]!r} is not a parameter like 'in a' or 'out b' that stands once")
        names.append(parameter["name"])
        modes.append((parameter["mode"] or "in").lower())
    return Procedure(match["name"], tuple(names), tuple(modes), listed is not None)


class _Writer:
    """Walks over a statement once, checks it and rewrites its binds."""

    def __init__(self, text: str, style: Style) -> None:
        self._text = text
        self._style = style
        self._names: list[str] = []
        self._first = ""

    def statement(self) -> Statement:
        parts: list[str] = []
        position = 0
        for token in TOKEN.finditer(self._text):
            parts += [self._plain(self._text[position : token.start()]), self._write(token)]
            position = token.end()
        parts.append(self._plain(self._text[position:]))
        if self._first not in READS | WRITES:
            raise ValueError(f"a statement begins with SELECT, WITH, INSERT, UPDATE, DELETE ..., not {self._first!r}")
        return Statement("".join(parts), tuple(self._names), self._first in READS)

    def _write(self, token: re.Match[str]) -> str:
        kind, text = token.lastgroup, token[0]
        if kind == "name":
            return self._bind(token["name"], self._text[token.end() :])
        if kind == "end":
            return ""
        if kind == "word":
            self._first = self._first or text.upper()
            if text.upper() in ("OUTFILE", "DUMPFILE"):
                raise ValueError(f"{text} writes files on the database's machine")
        elif kind == "quoted":
            self._check_quoted(text)
        elif kind != "cast":
            raise ValueError(_REASONS[kind or ""])
        return self._plain(text)

    def _bind(self, name: str, rest: str) -> str:
        """One placeholder each time: PostgreSQL gives one number one type, but ``:x IS NULL OR n = :x`` has two."""
        self._names.append(name)
        if self._style == "postgresql":
            return f"${len(self._names)}" + ("::text" if _NULL_TEST.match(rest) else "")
        return "%s" if self._style == "mariadb" else "?"

    def _plain(self, text: str) -> str:
        if "?" in text and text[:1] not in "'\"`" and self._style != "postgresql":
            raise ValueError("'?' is no placeholder here; bind a :name")
        return text.replace("%", "%%") if self._style == "mariadb" else text

    def _check_quoted(self, text: str) -> None:
        if "\\" in text and self._style != "sqlite":
            raise ValueError("a backslash inside quotes may be an escape or not; bind the text as a :name")
        if _INSIDE_TEMPLATE.search(text):
            raise ValueError(_REASONS["template"])


_REASONS = {
    "open": "a quote is not closed",
    "comment": "comments belong into the YAML, not into the statement",
    "template": "string templates are not filled in; bind every value as a :name",
    "semicolon": "an action is one statement; there is something after ';'",
}
